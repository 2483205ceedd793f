"""Where workers cannot have the function: programs without a guard, notebooks, sessions."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from conveyor._engine.offload.parcel import OF_SESSION
from conveyor._engine.offload.processes import NO_GUARD

BACKENDS = ["asyncio", "trio"]


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def program(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    return path


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("end", ["collect()", "drain()"])
def test_a_forgotten_guard_is_named(backend: str, end: str, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        f"""
        import sys
        import anyio
        from conveyor import single_task

        read = []

        @single_task(executor="process", on_error="skip_item")
        def work(item):
            return item

        async def main():
            await work(read.append(item) or item for item in range(3)).{end}

        try:
            anyio.run(main, backend=sys.argv[1])
        finally:
            print(read)
        """,
    )
    done = run(path, backend)
    assert done.stdout == "[]\n"  # once: what the program prints in a worker goes nowhere
    last = done.stderr.splitlines()[-2:]
    assert last == [
        f"RuntimeError: {NO_GUARD} ({path})",
        "task 'work' cannot run in 'process'",
    ]
    assert 'if __name__ == "__main__":' in last[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_and_with_a_pool(backend: str, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        import sys
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        import anyio
        from conveyor import single_task

        @single_task
        def work(item):
            return item

        async def main():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                await work.with_options(executor=pool)([1]).collect()

        anyio.run(main, backend=sys.argv[1])
        """,
    )
    done = run(path, backend)
    # The workers say so, each in its traceback, and then our own, in the note of the last error.
    last = done.stderr.splitlines()[-3:]
    assert last[0].startswith("concurrent.futures.process.BrokenProcessPool: ")
    assert last[1] == f"{NO_GUARD} ({path})"
    assert last[2] == "stage 'work' (1 of 1), item 0"


def test_a_pool_that_breaks_later_is_not_told_so(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        import os
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        from conveyor import single_task

        @single_task
        def work(item):
            os._exit(3) if item else None

        if os.environ.pop("FIRST", None):  # which is a guard as well
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                try:
                    work.with_options(executor=pool).run([0, 1])
                except Exception as error:
                    print(type(error).__name__, error.__notes__)
        """,
    )
    done = run(path, env={**os.environ, "FIRST": "yes"})
    assert (done.stderr, done.stdout) == (
        "",
        "BrokenProcessPool [\"stage 'work' (1 of 1), item 1\"]\n",
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("sys.exit(4)", "SystemExit: 4"),
        ("raise OSError(2, 'no disk')", "FileNotFoundError: [Errno 2] no disk"),
    ],
)
def test_a_main_module_that_fails_in_a_worker_is_named(line: str, why: str, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        f"""
        import sys
        from conveyor import single_task

        if __name__ != "__main__":
            {line}

        @single_task(executor="process")
        def work(item):
            return item

        if __name__ == "__main__":
            work.run([1])
        """,
    )
    done = run(path)
    error, note = done.stderr.splitlines()[-2:]
    assert error == (
        f"RuntimeError: a worker process imports the main module of the program, {path}, "
        f"which failed there with {why}"
    )
    assert note == "task 'work' cannot run in 'process'"
    assert f"line 6, in <module>\n    {line}" in done.stderr


def test_a_worker_has_the_arguments_and_the_path_of_the_program(tmp_path: Path) -> None:
    beside = tmp_path / "elsewhere"
    beside.mkdir()
    (beside / "beside.py").write_text("def work(item):\n    return item + 1\n")
    path = program(
        tmp_path,
        """
        import sys
        sys.path.append(sys.argv[1])
        from beside import work
        from conveyor import single_task

        added = int(sys.argv[2])

        @single_task(executor="process")
        def add(item):
            import os
            os.system("echo printed")  # which would come between the answers
            print("printed", file=sys.__stdout__)
            return work(item) + added, sys.stdin.read(), sys.argv[2]

        if __name__ == "__main__":
            print(add.run([1]))
        """,
    )
    done = run(path, beside, 10)
    assert (done.stderr, done.stdout) == ("", "[(12, '', '10')]\n")


def test_modules_that_are_run_by_name_are_imported_by_name(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tools.py").write_text("def work(item):\n    return item + 1\n")
    text = """
        from conveyor import single_task
        from .tools import work

        @single_task(executor="process")
        def of_main(item):
            return work(item)

        of_tools = single_task(executor="process")(work)

        if __name__ == "__main__":
            print(of_tools.run([1]))
            print(of_main.run([1]))
    """
    for name in ("program", "__main__"):
        (package / f"{name}.py").write_text(textwrap.dedent(text))
    done = run("-m", "package.program", cwd=tmp_path)
    assert (done.stderr, done.stdout) == ("", "[2]\n[2]\n")
    # A package's `__main__` is not imported, as multiprocessing does it.
    done = run("-m", "package", cwd=tmp_path)
    assert done.stdout == "[2]\n"
    assert "the function 'of_main' of the module '__main__' is not found where it is" in done.stderr


SESSION = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from conveyor import single_task
import math

@single_task
def work(item):
    return item + 1

def attempt(executor, task):
    try:
        print(task.with_options(executor=executor).run([1]))
    except Exception as error:
        print(type(error).__name__, error, *error.__notes__ if hasattr(error, "__notes__") else ())

attempt("process", work)
attempt("process", single_task(math.sqrt))
attempt("thread", work)
for method in "spawn", "fork":
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
        attempt(pool, work)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there fork can be used")
def test_a_function_of_a_session_is_named() -> None:
    done = run("-W", "ignore::DeprecationWarning", "-c", SESSION)
    assert done.stderr == ""
    process, sqrt, thread, spawn, fork = done.stdout.splitlines()
    assert process == (
        f"TypeError task 'work' cannot run in 'process': the function 'work' {OF_SESSION}"
    )
    assert (sqrt, thread, fork) == ("[1.0]", "[2]", "[2]")  # a fork has all that there is
    assert spawn.startswith("LookupError the function 'work' of the module '__main__' is not found")
    assert f"'work' {OF_SESSION}" in spawn


def test_and_so_is_one_of_a_program_that_is_piped_in() -> None:
    done = run("-", input=SESSION.partition("for method in")[0])
    assert done.stderr == ""
    process, sqrt, thread = done.stdout.splitlines()
    assert f"the function 'work' {OF_SESSION}" in process
    assert (sqrt, thread) == ("[1.0]", "[2]")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="this Python has no subinterpreters")
def test_a_function_of_a_session_does_not_reach_subinterpreters() -> None:
    script = SESSION.partition("for method in")[0].replace('"process"', '"interpreter"')
    done = run("-W", "ignore", "-c", script)
    interpreter, sqrt, *_ = done.stdout.splitlines()
    assert interpreter == (
        f"TypeError task 'work' cannot run in 'interpreter': the function 'work' {OF_SESSION}"
    )
    assert sqrt == "[1.0]"


CELLS = [
    """
from conveyor import single_task
import math

@single_task
def work(item):
    return item + 1
""",
    """
try:
    await work.with_options(executor="process")([1]).collect()
except TypeError as error:
    print(error)
""",
    """
print(await single_task(math.sqrt, executor="process")([4]).collect())
print(await work.with_options(executor="thread")([1]).collect())
""",
]


@pytest.mark.filterwarnings("ignore")  # of the libraries that start the kernel
def test_a_function_of_a_notebook_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    _, refused, works = notebook.cells
    assert refused["outputs"][0]["text"] == (
        f"task 'work' cannot run in 'process': the function 'work' {OF_SESSION}\n"
    )
    assert works["outputs"][0]["text"] == "[2.0]\n[2]\n"
