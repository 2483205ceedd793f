"""The picture of the package: imports point down, and one module alone knows the event loops."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

# From the bottom up. A module imports from lower rows only, never from its own.
LAYERS = [
    ["_report", "_fits", "_instrument", "_files", "_names", "_awaiting"],
    ["_arguments", "_events", "_report.words", "_report.progress", "_report.finding"],
    ["_report.evidence"],
    ["_report.ends", "_report.limits"],
    ["_report.computing"],
    ["_report.bottleneck"],
    ["_report.graph"],
    ["_report.table"],
    ["_report.colour", "_report.html"],
    ["_errors", "_failure", "_stats", "_context", "_batch", "_by_name", "_engine"],
    ["_handlers", "_engine.bucket", "_engine.host", "_engine.outcome"],
    ["_engine.throttle"],
    ["_rate"],
    ["_spec"],
    [
        "_engine.order",
        "_engine.batch",
        "_engine.pace",
        "_engine.drive",
        "_engine.parcel",
        "_engine.threads",
        "_engine.later",
        "_engine.log",
        "_engine.turn",
        "_engine.frames",
        "_engine.leftover",
        "_engine.nesting",
        "_engine.failures",
        "_engine.sketch",
        "_engine.waits",
        "_engine.processor",
        "_engine.worker",
    ],
    ["_engine.child"],
    ["_engine.processes"],
    [
        "_engine.signals",
        "_engine.link",
        "_engine.cleanup",
        "_engine.executors",
        "_engine.meter",
        "_engine.times",
        "_engine.watch",
    ],
    ["_engine.companion", "_engine.call", "_engine.source", "_engine.inputs", "_engine.intake"],
    ["_engine.outlet", "_engine.deliver", "_engine.keyed"],
    ["_engine.stage"],
    ["_engine.run"],
    ["_stream", "_live.rates", "_live.pipes"],
    ["_loop_thread", "_live.line", "_live.screen"],
    ["_live.picture"],
    ["_blocking", "_edges", "_signals", "_trace", "_telemetry", "_live"],
    ["_plot"],
    ["_pipeline"],
    ["_decorators"],
    ["__init__"],
    [
        "_cli",
        "_cli.load",
        "_cli.plan",
        "_cli.messages",
        "_cli.lineage",
        "_cli.decoding",
        "_cli.blocks",
    ],
    [
        "_cli.lines",
        "_cli.unpacking",
        "_cli.check",
        "_cli.graph",
        "_cli.files",
        "_cli.stopping",
        "_cli.tracing",
    ],
    ["_cli.arrays", "_cli.tables", "_cli.writing"],
    ["_cli.reading", "_cli.input", "_cli.failures"],
    ["_cli.output"],
    ["_cli.options", "_cli.work"],
    ["_cli.run"],
    ["_cli.app"],
    ["__main__"],
]
# These decide and never wait, so that they can be tested without an event loop.
PURE = [
    "_arguments",
    "_events",
    "_names",
    "_cli.lineage",
    "_cli.decoding",
    "_cli.blocks",
    "_cli.unpacking",
    "_cli.lines",
    "_cli.arrays",
    "_cli.tables",
    "_cli.reading",
    "_cli.writing",
    "_engine.order",
    "_engine.batch",
    "_engine.pace",
    "_engine.failures",
    "_engine.sketch",
    "_engine.times",
    "_engine.waits",
    "_engine.bucket",
    "_engine.outcome",
    "_by_name",
    "_errors",
    "_spec",
    "_stats",
    "_live.rates",
    "_live.line",
    "_live.picture",
    "_live.screen",
    "_report.words",
    "_report.progress",
    "_report.finding",
    "_report.evidence",
    "_report.ends",
    "_report.limits",
    "_report.computing",
    "_report.bottleneck",
    "_report.graph",
    "_report.table",
]
# A protocol may say that something is to be awaited.
MAY_DECLARE = {"_errors": {"handle_error"}}

# Modules that import each other in a circle, once the imports are counted that only type checkers
# see. They can only be understood together. This list may get shorter, and not longer.
CIRCLES = [
    {
        "_context",
        "_engine.throttle",
        "_instrument",
        "_rate",
        "_report.bottleneck",
        "_report.colour",
        "_report.computing",
        "_report.ends",
        "_report.evidence",
        "_report.graph",
        "_report.html",
        "_report.limits",
        "_report.progress",
        "_report.table",
        "_report.words",
        "_spec",
        "_stats",
    },
    {"_engine.deliver", "_engine.run", "_engine.source", "_engine.stage"},
]

LOOPS = {"asyncio", "trio", "sniffio", "uvloop"}
KNOWS_LOOPS = {"_engine.host"}

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

spec = find_spec("conveyor")
assert spec is not None
assert spec.origin is not None
ROOT = Path(spec.origin).parent


def modules() -> dict[str, Path]:
    """Return the files of the package by the names that the table uses."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


MODULES = modules()
PACKAGES = {"__init__"} | {name.rpartition(".")[0] for name in RANK if "." in name}


# --- reading a module


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs: everything inside `node` but what stands under `if TYPE_CHECKING:`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from walk(other)
        else:
            yield from walk(child)


def imports(name: str, tree: ast.AST, *, types: bool = False) -> Iterator[str]:
    """Yield what the module imports: `conveyor.x.y` for one of ours, the full name of any other.

    With `types`, imports for type checkers alone are included.
    """
    package = ["conveyor", *name.split(".")]
    if name not in PACKAGES:
        package.pop()
    elif name == "__init__":
        package = ["conveyor"]
    for node in ast.walk(tree) if types else walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:  # a name may be that of a module
                inner = ".".join([*base[1:], alias.name])
                ours = base[:1] == ["conveyor"] and inner in RANK.keys() | MODULES.keys()
                yield ".".join([*base, alias.name] if ours else base)


def wrong_imports(name: str, tree: ast.AST) -> list[str]:
    """Return the imports that the table forbids."""
    wrong = []
    for imported in imports(name, tree):
        top, _, inner = imported.partition(".")
        if top == "conveyor":
            allowed = RANK.get(inner or "__init__", len(LAYERS)) < RANK[name]
        else:
            allowed = top not in LOOPS or name in KNOWS_LOOPS
        if not allowed:
            wrong.append(imported)
    return wrong


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the groups of modules that import each other, directly or not."""
    reach = {}
    for start in graph:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            for module in graph.get(ahead.pop(), set()) - seen:
                seen.add(module)
                ahead.append(module)
        reach[start] = seen
    found: list[set[str]] = []
    for name, modules in reach.items():
        if name in modules and not any(name in circle for circle in found):
            found.append({other for other in modules if name in reach.get(other, ())})
    return found


def waits(name: str, tree: ast.AST) -> list[str]:
    """Return what awaits in the module, and what is async other than a declared name."""
    declared = MAY_DECLARE.get(name, set())
    found = []
    for node in walk(tree):
        if isinstance(node, ast.AsyncFunctionDef) and node.name not in declared:
            found.append(f"async def {node.name}")
        elif isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith) or (
            isinstance(node, ast.comprehension) and node.is_async
        ):
            found.append(ast.unparse(node).splitlines()[0])
    return found


def read(name: str) -> ast.AST:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


# --- the picture holds


def test_every_module_has_its_layer() -> None:
    assert MODULES.keys() <= RANK.keys()


@pytest.mark.parametrize("name", sorted(MODULES.keys() & RANK.keys()))
def test_imports_point_down_and_leave_the_loops_to_one_module(name: str) -> None:
    assert wrong_imports(name, read(name)) == []


@pytest.mark.parametrize("name", sorted(MODULES.keys() & set(PURE)))
def test_what_decides_does_not_wait(name: str) -> None:
    assert waits(name, read(name)) == []


def test_circles_only_get_fewer() -> None:
    graph = {}
    for name in MODULES:
        imported = (module.partition(".") for module in imports(name, read(name), types=True))
        graph[name] = {inner or "__init__" for top, _, inner in imported if top == "conveyor"}
    found = sorted(sorted(circle) for circle in circles(graph))
    assert found == sorted(sorted(circle) for circle in CIRCLES)


# --- and these tests would see it broken


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("_engine.stage", "from .run import Run", ["conveyor._engine.run"]),
        ("_engine.stage", "from . import run", ["conveyor._engine.run"]),
        ("_engine.stage", "from .stage import Stage", ["conveyor._engine.stage"]),
        ("_engine.stage", "from .._pipeline import Pipeline", ["conveyor._pipeline"]),
        ("_engine.stage", "from .. import _pipeline", ["conveyor._pipeline"]),
        ("_engine.stage", "from conveyor import _pipeline", ["conveyor._pipeline"]),
        ("_engine.stage", "from conveyor import Pipeline", ["conveyor"]),
        ("_engine.stage", "import conveyor._engine.run", ["conveyor._engine.run"]),
        ("_engine.stage", "import conveyor", ["conveyor"]),
        ("_engine.stage", "from .unheard_of import x", ["conveyor._engine.unheard_of"]),
        ("_engine.stage", "def f():\n    from .run import Run", ["conveyor._engine.run"]),
        (
            "_spec",
            "from ._context import x\nfrom ._engine.order import y",
            ["conveyor._engine.order"],
        ),
        ("_engine", "from .host import x", ["conveyor._engine.host"]),
        ("_engine.run", "from asyncio import Queue", ["asyncio"]),
        ("_engine.run", "import trio.lowlevel as low", ["trio.lowlevel"]),
        ("_engine.run", "def f():\n    import sniffio", ["sniffio"]),
        ("_engine.run", "if TYPE_CHECKING:\n    pass\nelse:\n    import trio", ["trio"]),
        ("_engine.run", "try:\n    import uvloop\nexcept ImportError:\n    pass", ["uvloop"]),
        ("_engine.host", "import asyncio\ndef f():\n    import trio", []),
        ("_engine.run", "import anyio\nfrom .stage import Stage\nfrom . import host", []),
        ("_engine.run", "from .._spec import Spec\nfrom collections import deque", []),
        ("_engine.link", "if TYPE_CHECKING:\n    from .run import Run\n    import asyncio", []),
        ("_engine.link", "if typing.TYPE_CHECKING:\n    from .run import Run", []),
        ("__init__", "from ._pipeline import Pipeline\nfrom ._engine.inputs import resource", []),
    ],
)
def test_wrong_imports_are_seen(name: str, source: str, wrong: list[str]) -> None:
    assert wrong_imports(name, ast.parse(source)) == wrong


def test_imports_for_types_are_seen_where_they_count() -> None:
    tree = ast.parse("if TYPE_CHECKING:\n    from .run import Run\ndef f():\n    from . import link")
    assert [*imports("_engine.stage", tree)] == ["conveyor._engine.link"]
    every = ["conveyor._engine.run", "conveyor._engine.link"]
    assert sorted(imports("_engine.stage", tree, types=True)) == sorted(every)


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"a"}}, [{"a"}]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, [{"a", "b", "c"}]),
        ({"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}}, [{"a", "b"}, {"c", "d"}]),
        ({"a": {"elsewhere"}}, []),
    ],
)
def test_circles_are_seen(graph: dict[str, set[str]], found: list[set[str]]) -> None:
    assert circles(graph) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("async def f(): pass", ["async def f"]),
        ("async def handle_error(): pass", []),
        ("async def handle_error():\n    await g()", ["await g()"]),
        ("async def handle_error():\n    [x async for x in y]", [" async for x in y"]),
        ("async def handle_error():\n    async for x in y: pass", ["async for x in y:"]),
        ("async def handle_error():\n    async with y: pass", ["async with y:"]),
        ("def f(): pass", []),
    ],
)
def test_waiting_is_seen(source: str, found: list[str]) -> None:
    assert waits("_errors", ast.parse(source)) == found
    assert ("async def handle_error" in waits("_spec", ast.parse(source))) == ("handle" in source)
