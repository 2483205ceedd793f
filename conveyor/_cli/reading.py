"""The formats of an input, and which of them a file has by its name."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from .arrays import Json
from .lines import FailureLines, JsonLines, Lines, Parser
from .tables import Csv
from .unpacking import without_packing

FORMATS = ("jsonl", "json", "lines", "csv", "tsv", "failures")
_ENDINGS = {
    "failures": (".failures.jsonl", ".failures"),
    "json": (".json", ".geojson"),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "lines": (".txt", ".log"),
}


class MakesParser(Protocol):
    def __call__(self, name: str, encoding: str | None = None) -> Parser: ...


PARSERS: dict[str, MakesParser] = {
    "jsonl": JsonLines,
    "json": Json,
    "lines": Lines,
    "csv": Csv,
    "tsv": partial(Csv, usual="\t"),
    "failures": FailureLines,
}


def guess_format(path: str, *, delimiter: bool = False) -> str:
    """Return the format that a file has by its name; JSON lines unless that says otherwise.

    Args:
        path: Its name.
        delimiter: Whether the fields are separated by a character that was named: then it is CSV
            where the name does not say that it has no fields.
    """
    name = without_packing(path.lower())
    found = next((form for form, ends in _ENDINGS.items() if name.endswith(ends)), None)
    if delimiter and found in (None, "lines", "tsv"):
        return "csv"
    return found or "jsonl"


def parser_for(
    form: str, name: str, encoding: str | None = None, delimiter: str | None = None
) -> Parser:
    """Return what makes items of an input.

    Args:
        form: Its format.
        name: Its name, as error messages have it.
        encoding: Of its text; ``None`` for what its byte order mark says, and UTF-8 if it has none.
        delimiter: What separates its fields; ``None`` for what does as a rule.
    """
    if delimiter is not None and form in ("csv", "tsv"):
        return Csv(name, encoding, delimiter)
    return PARSERS[form](name, encoding)
