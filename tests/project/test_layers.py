"""The picture of the package: imports point down, and one module alone knows the event loops."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

# From the bottom up, wing by wing. A module imports only from rows above its own in this table,
# also where only type checkers see it and inside functions. Empty packages are left out.
LAYERS = [
    # descriptions, which know no engine: but a rate limit has a living part
    [
        "_model.awaiting",
        "_model.batch_info",
        "_model.by_name",
        "_model.checks",
        "_model.errors",
        "_model.failure",
        "_model.figures",
        "_model.modes",
        "_model.names",
    ],
    ["_model.arguments", "_model.instrument"],
    ["_model.context"],
    ["_model.handlers", "_engine.loop.host", "_engine.rates.bucket"],
    ["_engine.rates.throttle"],
    ["_model.rate_limit"],
    ["_model.spec"],
    # the engine
    ["_engine.loop.drive", "_engine.loop.later", "_engine.loop.turn"],
    ["_engine.frames", "_engine.log", "_engine.nesting", "_engine.order"],
    ["_engine.loop.cleanup", "_engine.loop.leftover"],
    ["_engine.loop.companion"],
    ["_engine.signals", "_engine.link"],
    ["_engine.books.processor", "_engine.books.sketch", "_engine.books.watch"],
    ["_engine.books.times"],
    ["_engine.rates.waits", "_engine.results.budget"],
    ["_engine.calls.backoff", "_engine.calls.side_inputs"],
    ["_engine.rates.meter"],
    ["_engine.offload.outcome", "_engine.offload.threads"],
    ["_engine.offload.parcel"],
    ["_engine.offload.child"],
    ["_engine.offload.processes"],
    ["_engine.offload.executors"],
    ["_engine.calls.caller"],
    ["_engine.intake.fillings"],
    ["_engine.intake.items"],
    ["_engine.intake.batches", "_engine.intake.keyed", "_engine.outlet", "_engine.worker"],
    ["_engine.supervisor"],
    ["_engine.source"],
    ["_engine.results.delivery", "_engine.stage"],
    ["_engine.run"],
    # what people see of a run
    ["_files", "_observe.report.finding", "_observe.report.progress", "_observe.report.words"],
    ["_observe.report.evidence"],
    ["_observe.report.ends", "_observe.report.limits"],
    ["_observe.report.computing"],
    ["_observe.report.bottleneck"],
    ["_observe.report.graph", "_observe.report.table"],
    ["_observe.report.colour", "_observe.report.html"],
    ["_observe.statistics"],
    # what users hold
    ["_stream"],
    ["_loop_thread", "_signals"],
    ["_blocking"],
    # and more of what people see
    ["_observe.live.pipes", "_observe.live.rates", "_observe.telemetry", "_observe.trace.events"],
    ["_observe.live.line", "_observe.live.screen", "_observe.trace.trace"],
    ["_observe.live.picture", "_observe.trace.plot"],
    ["_observe.live"],
    ["_pipeline"],
    ["_decorators"],
    # before it runs
    ["_check.fits"],
    ["_check.edges"],
    ["_check.plan"],
    ["__init__"],
    # the command line
    [
        "_cli.blocks",
        "_cli.decoding",
        "_cli.lineage",
        "_cli.load",
        "_cli.messages",
    ],
    [
        "_cli.check",
        "_cli.files",
        "_cli.graph",
        "_cli.lines",
        "_cli.stopping",
        "_cli.tracing",
        "_cli.unpacking",
    ],
    ["_cli.arrays", "_cli.input", "_cli.tables", "_cli.writing"],
    ["_cli.failures", "_cli.output", "_cli.reading"],
    ["_cli.options", "_cli.work"],
    ["_cli.run"],
    ["_cli.app"],
    ["__main__"],
]
# These decide and never wait, so that they can be tested without an event loop.
PURE = [
    "_model.arguments",
    "_observe.trace.events",
    "_model.names",
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
    "_engine.intake.fillings",
    "_engine.calls.backoff",
    "_engine.results.budget",
    "_engine.books.sketch",
    "_engine.books.times",
    "_engine.rates.waits",
    "_engine.rates.bucket",
    "_engine.offload.outcome",
    "_model.by_name",
    "_model.errors",
    "_model.spec",
    "_observe.statistics",
    "_observe.live.rates",
    "_observe.live.line",
    "_observe.live.picture",
    "_observe.live.screen",
    "_observe.report.words",
    "_observe.report.progress",
    "_observe.report.finding",
    "_observe.report.evidence",
    "_observe.report.ends",
    "_observe.report.limits",
    "_observe.report.computing",
    "_observe.report.bottleneck",
    "_observe.report.graph",
    "_observe.report.table",
]
# A protocol may say that something is to be awaited.
MAY_DECLARE = {"_model.errors": {"handle_error"}}

# Modules that import each other in a circle: they can only be understood together. This list may
# get shorter, and not longer.
CIRCLES: list[set[str]] = [{"_engine.results.delivery", "_engine.stage"}]

LOOPS = {"asyncio", "trio", "sniffio", "uvloop"}
KNOWS_LOOPS = {"_engine.loop.host"}

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
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}
EMPTY = {name for name in PACKAGES if not MODULES[name].read_text(encoding="utf-8")}


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


def imports(name: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield what the module imports: `conveyor.x.y` for one of ours, the full name of any other."""
    package = ["conveyor", *name.split(".")]
    if name == "__init__":
        package = ["conveyor"]
    elif name not in PACKAGES:
        package.pop()
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:  # a name may be that of a module
                inner = ".".join([*base[1:], alias.name])
                ours = base[:1] == ["conveyor"] and inner in RANK.keys() | MODULES.keys()
                yield ".".join([*base, alias.name] if ours else base)


def is_ours(module: str) -> bool:
    return module.partition(".")[0] == "conveyor"


def may_import(name: str, module: str) -> bool:
    """Say whether the table lets a module import another one of ours."""
    inner = module.partition(".")[2] or "__init__"
    if inner in EMPTY or any({name, inner} <= circle for circle in CIRCLES):
        return True
    return RANK.get(inner, len(LAYERS)) < RANK[name]


def wrong_imports(name: str, tree: ast.AST) -> list[str]:
    """Return the imports that the table forbids."""
    ours = filter(is_ours, imports(name, ast.walk(tree)))
    wrong = [module for module in ours if not may_import(name, module)]
    for module in imports(name, walk(tree)):
        if module.partition(".")[0] in LOOPS and name not in KNOWS_LOOPS:
            wrong.append(module)
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
    assert MODULES.keys() - EMPTY == RANK.keys()


@pytest.mark.parametrize("name", sorted(MODULES.keys() & RANK.keys()))
def test_imports_point_down_and_leave_the_loops_to_one_module(name: str) -> None:
    assert wrong_imports(name, read(name)) == []


@pytest.mark.parametrize("name", sorted(MODULES.keys() & set(PURE)))
def test_what_decides_does_not_wait(name: str) -> None:
    assert waits(name, read(name)) == []


def test_circles_only_get_fewer() -> None:
    graph = {}
    for name in MODULES:
        ours = filter(is_ours, imports(name, ast.walk(read(name))))
        graph[name] = {module.partition(".")[2] or "__init__" for module in ours}
    found = sorted(sorted(circle) for circle in circles(graph))
    assert found == sorted(sorted(circle) for circle in CIRCLES)


# --- and these tests would see it broken


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("_engine.outlet", "from .run import Run", ["conveyor._engine.run"]),
        ("_engine.outlet", "from . import run", ["conveyor._engine.run"]),
        ("_engine.outlet", "from .outlet import Outlet", ["conveyor._engine.outlet"]),
        ("_engine.outlet", "from .._pipeline import Pipeline", ["conveyor._pipeline"]),
        ("_engine.outlet", "from .. import _pipeline", ["conveyor._pipeline"]),
        ("_engine.outlet", "from conveyor import _pipeline", ["conveyor._pipeline"]),
        ("_engine.outlet", "from conveyor import Pipeline", ["conveyor"]),
        ("_engine.outlet", "import conveyor._engine.run", ["conveyor._engine.run"]),
        ("_engine.outlet", "import conveyor", ["conveyor"]),
        ("_engine.outlet", "from .unheard_of import x", ["conveyor._engine.unheard_of"]),
        ("_engine.outlet", "def f():\n    from .run import Run", ["conveyor._engine.run"]),
        (
            "_engine.outlet",
            "if TYPE_CHECKING:\n    from .run import Run",
            ["conveyor._engine.run"],
        ),
        (
            "_model.spec",
            "from .context import x\nfrom .._engine.order import y",
            ["conveyor._engine.order"],
        ),
        ("_observe.live", "from ..._pipeline import x", ["conveyor._pipeline"]),
        ("_engine.run", "from asyncio import Queue", ["asyncio"]),
        ("_engine.run", "import trio.lowlevel as low", ["trio.lowlevel"]),
        ("_engine.run", "def f():\n    import sniffio", ["sniffio"]),
        ("_engine.run", "if TYPE_CHECKING:\n    pass\nelse:\n    import trio", ["trio"]),
        ("_engine.run", "try:\n    import uvloop\nexcept ImportError:\n    pass", ["uvloop"]),
        ("_engine.loop.host", "import asyncio\ndef f():\n    import trio", []),
        ("_engine.run", "import anyio\nfrom .stage import Stage\nfrom .loop import host", []),
        ("_engine.run", "from .._model.spec import Spec\nfrom collections import deque", []),
        ("_engine.run", "if typing.TYPE_CHECKING:\n    import asyncio", []),
        ("_engine.run", "from . import loop", []),
        ("__init__", "from ._pipeline import Pipeline", []),
    ],
)
def test_wrong_imports_are_seen(name: str, source: str, wrong: list[str]) -> None:
    assert wrong_imports(name, ast.parse(source)) == wrong


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
    assert waits("_model.errors", ast.parse(source)) == found
    assert ("async def handle_error" in waits("_model.spec", ast.parse(source))) == (
        "handle" in source
    )
