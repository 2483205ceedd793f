"""Type checkers are told of the options that there are: the typed dictionaries name them all."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from conveyor._model import spec as _spec
from conveyor._model.spec import BatchSpec, SingleSpec, option_names

assert _spec.__file__ is not None
CLASSES = {
    node.name: node
    for node in ast.walk(ast.parse(Path(_spec.__file__).read_text(encoding="utf-8")))
    if isinstance(node, ast.ClassDef)
}


def keys(name: str) -> set[str]:
    """Return the keys of a typed dictionary, which exists for type checkers alone."""
    node = CLASSES[name]
    own = {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return own.union(*(keys(base) for base in bases if base in CLASSES))


@pytest.mark.parametrize(
    ("kind", "name", "apart"),
    [
        (SingleSpec, "SingleOptions", {"on_error", "spread"}),
        (BatchSpec, "BatchOptions", {"on_error", "max_size"}),
        (BatchSpec, "BatchChanges", {"on_error"}),
    ],
)
def test_each_option_has_its_type(
    kind: type[SingleSpec] | type[BatchSpec], name: str, apart: set[str]
) -> None:
    assert keys(name) | apart == set(option_names(kind))
    assert not keys(name) & apart  # those have overloads, or a parameter, of their own
