"""Every Python example of the README and the documentation runs, and prints what the page says.

The examples of a page run in their order and share their names, as a reader would type them. They
may `await` at the top, and time in them is virtual. What an example prints is compared with the
`text` block right below it. One that is not to run has a comment above it that says why:

    <!-- not run: needs a server -->
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import pytest

import conveyor
from conveyor import PipelineContext
from conveyor._model.spec import BatchSpec, SingleSpec
from conveyor._model.spec import option_names as options

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
]


# --- reading a page


@dataclass
class Block:
    """A fenced block: its language, its lines, and the number of its first line."""

    language: str
    text: str
    line: int
    output: str | None = None  # what stands in the text block right below
    exempt: str | None = None  # why it does not run


FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<language>[^`\s]*)")
EXEMPT = re.compile(r"\s*<!-- *not run: *(?P<reason>.*?) *-->\s*")


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page; a block of output belongs to the example above it."""
    example: Block | None = None  # with nothing but blank lines between it and here
    exempt: str | None = None
    lines = iter(enumerate(page.splitlines(), start=1))
    for number, line in lines:
        opening = FENCE.match(line)
        if opening is None:
            if line.strip():
                example = None
                comment = EXEMPT.fullmatch(line)
                exempt = comment["reason"] if comment else None
            continue
        closing = re.compile(rf" *{opening['fence'][0]}{{{len(opening['fence'])},}} *")
        body = []
        for _, inner in lines:
            if closing.fullmatch(inner):
                break
            body.append(inner.removeprefix(opening["indent"]))
        else:
            raise ValueError(f"the block that begins in line {number} does not end")
        text = "".join(f"{inner}\n" for inner in body)
        block = Block(opening["language"], text, number + 1, exempt=exempt)
        if block.language == "text" and example is not None:
            example.output = text
        example = block if block.language == "python" else None
        exempt = None
        yield block


def examples(page: Path) -> list[Block]:
    """Return the Python examples of a page."""
    return [block for block in blocks(page.read_text("utf-8")) if block.language == "python"]


# --- running it


class _InsideTheLoop(ast.NodeTransformer):
    """Awaits the function that a script hands to `anyio.run`, since a loop runs here already."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        match node.value:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="anyio"), attr="run"), args=[main, *args]
            ):
                call = ast.Call(main, args, [])
                node.value = ast.Await(call)
                ast.copy_location(call, node)
                ast.copy_location(node.value, node)
        return node


async def run(block: Block, namespace: dict[str, Any], name: str) -> str:
    """Run an example and return what it printed. Tracebacks show its lines in the page."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    source = "\n" * (block.line - 1) + block.text
    tree = compile(source, name, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    code = compile(_InsideTheLoop().visit(tree), name, "exec", flags, dont_inherit=True)
    printed = io.StringIO()
    with redirect_stdout(printed):
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            await result
    return printed.getvalue()


async def check(page: list[Block], name: str) -> None:
    """Run the examples of a page, and compare what they print."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in page:
        if block.exempt is None:
            printed = await run(block, namespace, name)
            assert printed == (block.output or ""), f"printed by {name}:{block.line}"


def title(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.virtual_time
@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=title)
async def test_the_examples_of(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what they write is not to stay
    await check(examples(page), str(page))


# --- what a page is made of


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_examples_are_worth_reading(page: Path) -> None:
    for block in examples(page):
        assert does_something(block.text), f"{title(page)}:{block.line} neither defines nor runs"
        assert block.exempt is None or len(block.exempt.split()) > 1, "an exemption has a reason"


def does_something(example: str) -> bool:
    """Whether an example defines or runs something: a name or a constant alone does neither."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
    body = compile(example, "<example>", "exec", flags).body
    return any(
        not isinstance(node, ast.Pass)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.Name))
        for node in body
    )


def test_output_stands_below_what_prints_it() -> None:
    for page in PAGES:
        for block in examples(page):
            assert block.output is None or block.exempt is None, "what does not run prints nothing"


@pytest.mark.parametrize("name", conveyor.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    reference = (DOCS / "reference.md").read_text("utf-8")
    assert re.search(rf"^\.\. auto\w+:: conveyor\.{name}\b", reference, re.MULTILINE)


def documented_defaults(name: str) -> dict[str, Any]:
    """Return what the reference shows as the keyword arguments of `name`, with their defaults."""
    reference = (DOCS / "reference.md").read_text("utf-8")
    shown = re.search(rf"^\.\. auto\w+:: conveyor\.{name}\((.*)\)$", reference, re.MULTILINE)
    assert shown is not None
    parameters = inspect.signature(eval(f"lambda {shown[1]}: None")).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.VAR_KEYWORD)
    }


def test_the_options_in_the_reference_are_those_of_the_code() -> None:
    # Written out there, as the code has overloads, and the options of batches behind a `**`.
    every = {field.name: field.default for field in fields(SingleSpec)}
    assert documented_defaults("single_task") == {name: every[name] for name in options(SingleSpec)}

    every = {field.name: field.default for field in fields(BatchSpec)}
    shown = documented_defaults("batch_task")
    assert shown.pop("max_size") is inspect.Parameter.empty
    assert every["max_size"] is MISSING
    assert shown == {name: every[name] for name in shown}
    own = set(options(BatchSpec)) - set(options(SingleSpec)) - {"max_size"}
    assert shown.keys() == own | {"on_error", "concurrency_limit"}

    shown = documented_defaults("PipelineContext")
    assert shown.keys() == {field.name for field in fields(PipelineContext)}
    assert PipelineContext(**shown) == PipelineContext()


def test_every_module_is_in_the_tour() -> None:
    tour = (DOCS / "explanation" / "tour.md").read_text("utf-8")
    package = Path(conveyor.__file__).parent
    paths = [path for path in package.rglob("*.py") if path.parent.name != "__pycache__"]
    names = [path.relative_to(package).as_posix() for path in paths if path.stat().st_size]
    assert [name for name in names if f"`{name}`" not in tour] == []


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_between_the_files_lead_somewhere(page: Path) -> None:
    # Sphinx checks those inside docs/; this checks the README's as well.
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text("utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


# --- the reader and the runner themselves


def test_blocks_are_found_with_their_lines_and_outputs() -> None:
    page = textwrap.dedent("""\
        # Title

        ```python
        print(1)
        ```

        ```text
        1
        ```

        - in a list:

          ~~~python
          if True:
              print(2)
          ~~~

        It prints:

        ```text
        not compared
        ```

        ````md
        ```python
        no example
        ```
        ````

        <!-- not run: there is no server -->
        ```python
        connect()
        ```
        """)
    assert list(blocks(page)) == [
        Block("python", "print(1)\n", 4, output="1\n"),
        Block("text", "1\n", 8),
        Block("python", "if True:\n    print(2)\n", 14),
        Block("text", "not compared\n", 21),
        Block("md", "```python\nno example\n```\n", 25),
        Block("python", "connect()\n", 32, exempt="there is no server"),
    ]


def test_a_block_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="line 1 does not end"):
        list(blocks("```python\nprint(1)\n"))


async def test_examples_share_their_names_and_may_await() -> None:
    page = [
        Block("python", "import anyio\nasync def main(word): print(word)\n", 1),
        Block("python", "await main('first')\n", 4, output="first\n"),
        Block("python", "anyio.run(main, 'second')\n", 8, output="second\n"),
        Block("python", "async def two():\n    yield 1\n    yield 2\n", 12),
        Block("python", "async for n in two(): print(n)\n", 16, output="1\n2\n"),
    ]
    await check(page, "page.md")


@pytest.mark.parametrize(
    ("source", "output"),
    [("print(1)", "2\n"), ("print(1)", None), ("pass", "1\n"), ("print(1)", "1")],
)
async def test_other_output_than_the_page_shows_fails(source: str, output: str | None) -> None:
    with pytest.raises(AssertionError, match=re.escape("printed by page.md:7")):
        await check([Block("python", source, 7, output=output)], "page.md")


async def test_an_example_that_is_exempt_does_not_run() -> None:
    await check(
        [Block("python", "raise SystemExit", 1, exempt="it would end all tests")], "page.md"
    )


async def test_a_traceback_names_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        await check([Block("python", "x = 0\n1 / x\n", 7)], "page.md")
    place = caught.traceback[-1]
    assert (str(place.path).endswith("page.md"), place.lineno + 1) == (True, 8)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", False),
        ("# a comment", False),
        ("'a string'", False),
        ("pipeline", False),
        ("...", False),
        ("pass", False),
        ("pipeline(data)", True),
        ("await stream.collect()", True),
        ("x = 1", True),
        ("def f(): ...", True),
    ],
)
def test_what_an_example_must_do(source: str, expected: bool) -> None:
    assert does_something(source) is expected
