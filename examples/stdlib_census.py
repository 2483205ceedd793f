"""A census of Python source files, as a pipeline that streams.

It reads every source file of the installed standard library, counts functions, classes, lines and
docstrings, stores the figures in an SQLite database, and prints those of each file as soon as they
are stored. All stages run at the same time: the first results are on the screen long before the
last file has been read, and there are never more than a few hundred files in memory. Below them a
terminal shows the stages at work, and at the end stands the report of the run.

    make demo ARGS="--backend trio --as-completed"

or, where ``conveyor[rich]`` is installed, ``python examples/stdlib_census.py --help``. It needs
nothing else but trio for ``--backend trio`` and uvloop for ``--uvloop``. The pipeline itself is in
`census`.
"""

from __future__ import annotations

import argparse
import ast
import logging
import os
import signal
import sqlite3
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from importlib.util import find_spec
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import anyio
from anyio import to_thread

from conveyor import Stream, StreamStatistics, batch_task, live, resource, single_task

NOT_INCLUDED = {"site-packages", "dist-packages", "__pycache__"}
OURS = 0x43454E53  # marks a database as one that the next census may replace


class Source(NamedTuple):
    path: str
    text: str


class Module(NamedTuple):
    """What the census knows of a file: a row of the database."""

    path: str
    package: str
    lines: int
    functions: int
    classes: int
    definitions: int  # functions, classes and the module itself: all that can have a docstring
    documented: int


# The pipeline


async def find(root: Path, limit: int | None) -> AsyncIterator[str]:
    """Give the paths of the source files below `root`, directory by directory."""
    directories = os.walk(root)
    found = 0
    while entry := await to_thread.run_sync(lambda: next(directories, None)):
        directory, folders, files = entry
        folders[:] = sorted(set(folders) - NOT_INCLUDED)
        for name in sorted(files):
            if name.endswith(".py"):
                yield Path(directory, name).relative_to(root).as_posix()
                found += 1
                if found == limit:
                    return


@single_task(on_error="skip_item", concurrency_limit=8)
async def read(path: str, root: Path) -> Source:
    return Source(path, await to_thread.run_sync(read_text, root / path))


@single_task(on_error="skip_item", concurrency_limit=2)
async def measure(source: Source) -> Module:
    return await to_thread.run_sync(count, source)


@batch_task(max_size=32, max_wait=0.05)
async def store(modules: list[Module], database: sqlite3.Connection) -> list[Module]:
    await to_thread.run_sync(insert, database, modules)
    return modules


async def census(options: argparse.Namespace, seen: Seen) -> None:
    """Run the pipeline, and show what comes out of it."""
    async for _ in find(options.path, options.limit):
        seen.total += 1
    if not seen.total:
        return
    await to_thread.run_sync(prepare, options.database)

    database = resource(lambda: connect(options.database))
    pipeline = read.with_inputs(options.path) | measure | store.with_inputs(database)
    if options.as_completed:
        pipeline = pipeline.with_execution_mode("as_completed")

    seen.stream = stream = pipeline(find(options.path, options.limit))
    async with stream, live(stream, total=seen.total):
        async for module in stream:
            seen.at_first = seen.at_first or stream.statistics()
            if not options.quiet:
                print_module(module)


class Seen:
    """What is known of the census, however it ends."""

    def __init__(self) -> None:
        self.total = 0
        self.stream: Stream[Module] | None = None
        self.at_first: StreamStatistics | None = None  # when the first result had come
        self.reasons: Counter[str] = Counter()

    def count_warning(self, record: logging.LogRecord) -> bool:
        """Count what the library logs, that an item was skipped, and keep it off the screen."""
        error = record.exc_info and record.exc_info[0]
        self.reasons[error.__name__ if error else record.getMessage()] += 1
        return False


# What the stages do in worker threads


def read_text(path: Path) -> str:
    with tokenize.open(path) as file:  # in the encoding that the file declares
        return file.read()


def count(source: Source) -> Module:
    functions = classes = definitions = documented = 0
    nodes: list[Any] = [ast.parse(source.text, source.path)]
    while nodes:
        node = nodes.pop()
        # Definitions are statements: there is no need to look into expressions.
        for block in "body", "handlers", "orelse", "finalbody", "cases":
            nodes += getattr(node, block, ())
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function or isinstance(node, ast.ClassDef | ast.Module):
            functions += is_function
            classes += isinstance(node, ast.ClassDef)
            definitions += 1
            documented += ast.get_docstring(node, clean=False) is not None
    # A name on disk may be any bytes; what cannot be stored or shown is escaped.
    path = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in source.path)
    package = path.partition("/")[0].removesuffix(".py")
    lines = sum(1 for _ in StringIO(source.text))
    return Module(path, package, lines, functions, classes, definitions, documented)


def insert(database: sqlite3.Connection, modules: list[Module]) -> None:
    with database:  # one transaction: the whole batch, or nothing of it
        database.executemany("INSERT INTO modules VALUES (?, ?, ?, ?, ?, ?, ?)", modules)


# The database


def connect(path: Path) -> closing[sqlite3.Connection]:
    # One thread at a time uses it, but not always the same one.
    return closing(sqlite3.connect(path, check_same_thread=False))


def prepare(path: Path) -> None:
    """Make an empty database, in place of an earlier census if there is one."""
    with connect(path) as database:
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (mark,) = database.execute("PRAGMA application_id").fetchone()
        if tables and mark != OURS:
            raise sqlite3.DatabaseError("it belongs to another program")
        with database:
            database.execute(f"PRAGMA application_id = {OURS}")
            database.execute("DROP TABLE IF EXISTS modules")
            database.execute(
                "CREATE TABLE modules (path TEXT PRIMARY KEY, package TEXT, lines INTEGER,"
                " functions INTEGER, classes INTEGER, definitions INTEGER, documented INTEGER)"
            )


def stored(path: Path) -> int:
    with connect(path) as database:
        (rows,) = database.execute("SELECT count(*) FROM modules").fetchone()
    return int(rows)


# What is printed


def print_module(module: Module) -> None:
    print(
        f"{module.path:<38} {module.functions:4} def {module.classes:3} class"
        f" {module.lines:5} lines {module.documented / module.definitions:4.0%} doc",
        flush=True,
    )


def print_ranking(path: Path) -> None:
    with connect(path) as database:
        print("\nLargest packages:")
        for package, functions, lines, files in database.execute(
            "SELECT package, sum(functions), sum(lines), count(*) FROM modules"
            " GROUP BY package ORDER BY sum(functions) DESC, package LIMIT 5"
        ):
            print(f"  {package:<20} {functions:6} functions, {lines:7} lines, {files:4} files")
        print("\nBest documented packages, of those with 20 definitions or more:")
        for package, share, definitions in database.execute(
            "SELECT package, 100.0 * sum(documented) / sum(definitions) AS share, sum(definitions)"
            " FROM modules GROUP BY package HAVING sum(definitions) >= 20"
            " ORDER BY share DESC, package LIMIT 5"
        ):
            print(f"  {package:<20} {share:5.1f} % of {definitions} definitions")


def print_summary(seen: Seen) -> None:
    reasons = ", ".join(f"{number} {reason}" for reason, number in seen.reasons.most_common())
    skipped = f"; skipped: {reasons}" if reasons else ""
    print(f"\n{seen.total} files{skipped}.")
    if seen.at_first:
        print(
            f"First result after {seen.at_first.elapsed:.2f} s, when"
            f" {seen.at_first.stages[0].emitted} of {seen.total} files had been read."
        )
    if seen.stream:
        print(f"\n{seen.stream.statistics()}")


# The command line


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def main() -> int:
    parser = Parser(description="Take a census of Python source files, with a streaming pipeline.")
    add = parser.add_argument
    add("--backend", choices=["asyncio", "trio"], default="asyncio", help="default: %(default)s")
    add("--uvloop", action="store_true", help="run asyncio on uvloop")
    add("--as-completed", action="store_true", help="print results in the order they are finished")
    add("--database", type=Path, default="census.db", metavar="PATH", help="default: %(default)s")
    add("--limit", type=positive, metavar="N", help="take the first N files only")
    add("--path", type=Path, metavar="DIR", help="another tree than the standard library")
    add("-q", "--quiet", action="store_true", help="print no line for each file")
    options = parser.parse_args()
    options.path = options.path or Path(sysconfig.get_path("stdlib"))
    if not options.path.is_dir():
        parser.error(f"argument --path: there is no directory {options.path}")
    if options.uvloop and options.backend != "asyncio":
        parser.error(f"argument --uvloop: it is for asyncio, not for {options.backend}")
    for module in [options.backend, *["uvloop"] * options.uvloop]:
        if not find_spec(module):
            parser.error(f"{module} is not installed: pip install 'conveyor[{module}]'")

    seen = Seen()
    logging.getLogger("conveyor").addFilter(seen.count_warning)
    for kind in SyntaxWarning, DeprecationWarning:  # what the compiler thinks of the files
        warnings.simplefilter("ignore", kind)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    settings = {"use_uvloop": True} if options.uvloop else {}
    try:
        anyio.run(census, options, seen, backend=options.backend, backend_options=settings)
        if not seen.total:
            parser.error(f"argument --path: there are no Python files in {options.path}")
        print_ranking(options.database)
        print_summary(seen)
        print(f"\nDatabase: {options.database.absolute()}", flush=True)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        rows = stored(options.database) if seen.stream else 0
        where = f" in {options.database.absolute()}" if rows else " stored"
        print(f"Interrupted: {rows} of {seen.total} files are{where}.", file=sys.stderr)
        return 130
    except sqlite3.Error as error:
        parser.error(f"argument --database: cannot use {options.database}: {error}")
    except BrokenPipeError:  # whoever read the results has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


if __name__ == "__main__":
    sys.exit(main())
