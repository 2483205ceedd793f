"""The demo as a user starts it: a process of its own, over a small tree and over the real one."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULT = re.compile(r"(.+?) +(\d+) def +(\d+) class +(\d+) lines +(\d+)% doc\n?")
# What the live view writes where there is no terminal.
STATE = re.compile(r"\d+:\d\d, .*; \d+ > read \d/8 > .* > store \d/1 > \d+\n", re.MULTILINE)

both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")

SAMPLE = '''"""A module."""

class A:
    """A class."""

    def method(self):
        """A method."""
        def inner(): pass

if True:
    try:
        async def function(): "A docstring."
    finally:
        class B: pass
'''

FILES = {
    "broken.py": b"def f(:\n",
    "declared.py": "# coding: latin-1\nname = 'é'\n\ndef f(): pass\n".encode("latin-1"),
    "empty.py": b"",
    "sample.py": SAMPLE.encode(),
    "undecodable.py": b"a = 1\nb = 2\nc = '\xff'\n",
    "no newline.py": b"a = 1",
    "notes.txt": b"no source",
    "site-packages/other.py": b"",
    "__pycache__/other.py": b"",
    "package/__init__.py": b'"""A package."""\n',
    "package/inner/deep.py": b"lambda: 0\nmatch 0:\n    case 0:\n        def f(): pass\n",
    **{f"many/m{number:02}.py": b"\n" * number for number in range(40)},
}

# In the order of the input: a directory's files before its subdirectories.
ROWS = [
    ("declared.py", "declared", 4, 1, 0, 2, 0),
    ("empty.py", "empty", 0, 0, 0, 1, 0),
    ("no newline.py", "no newline", 1, 0, 0, 1, 0),
    ("sample.py", "sample", 14, 3, 2, 6, 4),
    *((f"many/m{number:02}.py", "many", number, 0, 0, 1, 0) for number in range(40)),
    ("package/__init__.py", "package", 1, 0, 0, 1, 1),
    ("package/inner/deep.py", "package", 4, 1, 0, 2, 0),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for name, content in FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tree


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "census.db"


@contextmanager
def started(*arguments: object) -> Generator[subprocess.Popen[str], None, None]:
    """Run the demo; it has ended, one way or another, when the block is left."""
    outside = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "examples/stdlib_census.py", *map(str, arguments)],
        cwd=ROOT,
        env={**outside, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # does nothing where all went well


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end and return exit code, further output, and errors but for the last state.

    Not with `communicate`, which knows nothing of what the stream has read ahead.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    output = "" if process.stdout.closed else process.stdout.read()
    errors = process.stderr.read()  # never enough to fill a pipe
    return process.wait(), output, STATE.sub("", errors)


def run(*arguments: object) -> tuple[int, str, str]:
    with started(*arguments) as process:
        return finish(process)


def rows_of(database: Path) -> list[tuple[object, ...]]:
    """Return the rows in the order in which they were stored, from a database that is sound."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT * FROM modules ORDER BY rowid").fetchall()


def shown_in(output: str) -> list[str]:
    """Return the paths of the results, in the order in which they were shown."""
    return [match[1] for line in output.splitlines() if (match := RESULT.fullmatch(line))]


def read_results(process: subprocess.Popen[str], number: int) -> list[str]:
    """Read the output up to and including so many results, as they come, and return their paths."""
    assert process.stdout is not None
    shown: list[str] = []
    for line in process.stdout:
        shown += shown_in(line)
        if len(shown) == number:
            return shown
    raise AssertionError(f"the output ended after {len(shown)} results")


@both_backends
@pytest.mark.parametrize("mode", ["ordered", "as completed"])
def test_census_of_a_small_tree(backend: str, mode: str, tree: Path, database: Path) -> None:
    options = ["--as-completed"] * (mode == "as completed")
    code, output, errors = run(
        "--path", tree, "--database", database, "--backend", backend, *options
    )

    assert (code, errors) == (0, "")
    assert not re.search(r"[\r\x1b]", output)
    rows, shown = rows_of(database), shown_in(output)
    assert shown == [row[0] for row in rows]
    if mode == "ordered":
        assert rows == ROWS
    else:
        assert sorted(rows) == sorted(ROWS)
    assert re.search(r"^sample\.py +3 def +2 class +14 lines +67% doc\n", output, re.MULTILINE)

    assert "  sample                    3 functions,      14 lines,    1 files\n" in output
    total = len(ROWS) + 2
    assert re.search(
        rf"\n{total} files; skipped:"
        r" 1 (SyntaxError|UnicodeDecodeError), 1 (SyntaxError|UnicodeDecodeError)\.\n",
        output,
    )
    assert re.search(rf"\nFirst result after [\d.]+ s, when \d+ of {total} files had", output)
    report = output.partition("files had been read.\n\n")[2]
    assert f" {total} read, {len(ROWS)} delivered\n" in report
    assert re.search(rf"^read +{total} +{total - 1} +1 ", report, re.MULTILINE)
    assert re.search(rf"^measure +{total - 1} +{len(ROWS)} +1 ", report, re.MULTILINE)
    assert re.search(rf"^store +{len(ROWS)} +{len(ROWS)} ", report, re.MULTILINE)
    assert output.endswith(f"\nDatabase: {database}\n")


def test_where_there_is_no_terminal_a_line_tells_the_state(tree: Path, database: Path) -> None:
    with started("--path", tree, "--database", database, "--quiet") as process:
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait() == 0
    last = errors.splitlines(keepends=True)[-1]
    assert STATE.fullmatch(last)
    total = len(ROWS) + 2
    assert f", over, 100 %, {total} of {total} read, {len(ROWS)} results, " in last
    assert ", 2 skipped; " in last


@posix
@both_backends
def test_results_come_before_the_last_file_is_read(
    backend: str, tree: Path, database: Path
) -> None:
    last = tree / "zzz" / "last.py"
    last.parent.mkdir()
    os.mkfifo(last)  # whoever reads it waits until somebody has written it
    with started("--path", tree, "--database", database, "--backend", backend) as process:
        shown = read_results(process, len(ROWS))
        last.write_text("")
        code, _, errors = finish(process)
    assert shown == [row[0] for row in ROWS]
    assert (code, errors) == (0, "")


def test_limit_quiet_and_a_second_census(tree: Path, database: Path) -> None:
    code, output, errors = run("--path", tree, "--database", database, "--limit", 4)
    assert (code, errors) == (0, "")
    assert shown_in(output) == ["declared.py", "empty.py", "no newline.py"]  # one is broken
    assert rows_of(database) == ROWS[:3]

    options = ["--uvloop"] if sys.platform != "win32" else []
    code, output, errors = run("--path", tree, "--database", database, "--quiet", *options)
    assert (code, errors) == (0, "")
    assert output.startswith("\nLargest packages:\n")
    assert rows_of(database) == ROWS


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_any_file_name(tmp_path: Path, database: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in b"\xff.py", b"a\x1b\n.py", "ö.py".encode():
        Path(os.fsdecode(bytes(tree) + b"/" + name)).write_bytes(b"")
    code, output, errors = run("--path", tree, "--database", database)
    assert (code, errors) == (0, "")
    assert shown_in(output) == [row[0] for row in rows_of(database)]
    assert set(shown_in(output)) == {"\\udcff.py", "a\\x1b\\n.py", "ö.py"}


def test_bad_input_is_one_line(tree: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE modules (precious)")
        connection.commit()
    before = foreign.read_bytes()
    (tmp_path / "nothing").mkdir()

    wrong: list[tuple[list[object], str]] = [
        (["--path", tmp_path / "missing"], "there is no directory"),
        (["--path", tmp_path / "nothing"], "no Python files"),
        (["--limit", "0"], "--limit"),
        (["--path", tree, "--database", foreign], "belongs to another program"),
    ]
    for arguments, complaint in wrong:
        code, output, errors = run(*arguments)
        assert (code, output, errors.count("\n")) == (2, "", 1)
        assert complaint in errors
    assert foreign.read_bytes() == before


@posix
@both_backends
def test_ctrl_c(backend: str, database: Path) -> None:
    with started("--database", database, "--backend", backend) as process:
        shown = read_results(process, 3)
        process.send_signal(signal.SIGINT)
        code, output, errors = finish(process)

    assert code == 130
    shown += shown_in(output)
    rows = rows_of(database)
    # What was shown had been stored; what was stored last may not have been shown any more.
    assert [row[0] for row in rows[: len(shown)]] == shown
    where = re.escape(str(database))
    message = rf"Interrupted: {len(rows)} of \d+ files are in {where}\.\n"
    assert re.fullmatch(message, errors)
    assert not list(database.parent.glob("census.db-*"))  # no transaction was left open


@posix
@both_backends
def test_output_that_nobody_reads_any_more(backend: str, database: Path) -> None:
    with started("--database", database, "--backend", backend) as process:
        shown = read_results(process, 1)
        assert process.stdout is not None
        process.stdout.close()
        code, _, errors = finish(process)
    assert (code, errors) == (141, "")
    assert rows_of(database)[0][0] == shown[0]
