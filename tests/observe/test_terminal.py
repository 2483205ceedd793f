"""The live view in a real terminal: tmux draws, and is asked what stands on its screen."""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import subprocess
import sys
from codecs import getincrementaldecoder
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux")

ROOT = Path(__file__).parents[2]

# The test moves it step by step: every letter that it types into the fifo lets one item through.
PROGRAM = """
import os
import sys

import anyio
from conveyor import live, progress, single_task


@single_task(concurrency_limit=2)
async def fetch(number):
    return number


@single_task(task_name="check [bold]")
async def check(number):
    await gate.wait_for(number)
    return number


class Gate:
    def __init__(self):
        self.open = anyio.Condition()
        self.letters = 0

    async def wait_for(self, number):
        async with self.open:
            while self.letters <= number:
                await self.open.wait()

    async def read(self, path):
        fifo = os.open(path, os.O_RDWR)  # so that it never ends
        while True:
            await anyio.wait_readable(fifo)
            os.read(fifo, 1)
            async with self.open:
                self.letters += 1
                self.open.notify_all()


async def main(show, fifo):
    global gate
    gate = Gate()
    async with anyio.create_task_group() as group:
        group.start_soon(gate.read, fifo)
        async with show((fetch | check)(range(4))) as stream:
            async for result in stream:
                print("result", result, "[/no markup]")
                print("note", result, file=sys.stderr)
        group.cancel_scope.cancel()  # the gate


try:
    anyio.run(main, globals()[sys.argv[1]], sys.argv[2])
    print("all done")
except KeyboardInterrupt:
    print("interrupted")
"""


def quote(path: Path | str) -> str:
    return shlex.quote(str(path))


ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


class Tmux:
    """A tmux of its own, with one window, whose output is read as it comes.

    Attributes:
        seen: All that the terminal was sent up to now, without what moves and colours.
    """

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "tmux"
        self._directory = directory
        self._output = -1
        self._decoder = getincrementaldecoder("utf-8")()
        self._sent = ""
        self._mark = 0
        self.seen = ""

    def __call__(self, *command: str) -> str:
        return subprocess.run(
            ["tmux", "-f", "/dev/null", "-S", self._socket, *command],
            check=True,
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            timeout=20,
        ).stdout

    def start(self, command: str, columns: int, rows: int) -> None:
        """Open a window in which `command` runs once its output is read, and then a `cat`."""
        pipe, go = self._directory / "output", self._directory / "go"
        os.mkfifo(pipe)
        os.mkfifo(go)
        shell = f"read line < {quote(go)}; unset PYTEST_CURRENT_TEST COLUMNS LINES; ulimit -c 0; "
        shell += f"export TERM=screen PYTHONPATH={quote(ROOT)} PYTHONIOENCODING=utf-8; {command}; "
        shell += f"tmux -S {quote(self._socket)} wait-for -S over; exec cat"
        self("new-session", "-d", "-x", str(columns), "-y", str(rows), shell)
        self._output = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # nobody writes yet
        self("pipe-pane", f"exec cat > {quote(pipe)}")
        go.write_text("go\n")

    def wait_until(self, text: str) -> None:
        """Read what the terminal is sent until `text` has come, behind what came before."""
        while (found := self.seen.find(text, self._mark)) < 0:
            there, _, _ = select.select([self._output], [], [], 20)
            chunk = os.read(self._output, 65536) if there else b""
            assert chunk, f"{text!r} does not come, behind {self.seen!r}"
            self._sent += self._decoder.decode(chunk)
            self.seen = ESCAPES.sub("", self._sent)
        self._mark = found + len(text)

    def screen(self) -> list[str]:
        """Return the lines of the screen, without the empty ones at its end."""
        return [line.rstrip() for line in self("capture-pane", "-p").rstrip().split("\n")]

    def cursor(self) -> tuple[bool, int]:
        """Return whether the cursor is shown, and in which line."""
        shown, line = self("display-message", "-p", "#{cursor_flag} #{cursor_y}").split()
        return shown == "1", int(line)

    def close(self) -> None:
        subprocess.run(
            ["tmux", "-S", self._socket, "kill-server"],
            check=False,
            capture_output=True,
            timeout=20,
        )
        if self._output >= 0:
            os.close(self._output)


class Demo(Tmux):
    """The program above in a terminal."""

    def run(self, show: str, columns: int = 80, rows: int = 24) -> None:
        (self._directory / "program.py").write_text(PROGRAM, encoding="utf-8")
        gate = self._directory / "gate"
        os.mkfifo(gate)
        self.start(
            f"{quote(sys.executable)} -W error {quote(self._directory / 'program.py')} "
            f"{show} {quote(gate)}",
            columns,
            rows,
        )
        self._gate = gate.open("w")

    def let_through(self) -> None:
        self._gate.write("x")
        self._gate.flush()

    def close(self) -> None:
        if hasattr(self, "_gate"):
            self._gate.close()
        super().close()


@pytest.fixture
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("t"))  # the path of a socket must be short
    try:
        yield demo
    finally:
        demo.close()


def line_with(text: str, lines: list[str]) -> int:
    (found,) = [number for number, line in enumerate(lines) if text in line]
    return found


def test_the_picture_moves_and_prints_stand_above_it(demo: Demo) -> None:
    demo.run("live")
    demo.wait_until("4 of 4 read  0 results")
    first = demo.screen()
    assert first[0].startswith("     ╭─ fetch ─")
    assert " check [bold] ─" in first[0]
    assert line_with(" 0 %  4 of 4 read  0 results", first) == len(first) - 1
    assert demo.cursor() == (True, len(first) - 1)

    demo.let_through()
    demo.wait_until("1 result ")
    second = demo.screen()
    assert second[:2] == ["result 0 [/no markup]", "note 0"]
    assert line_with("╭─ fetch ─", second) == 2
    assert line_with(" 25 %  4 of 4 read  1 result ", second) == len(second) - 1

    for number in range(1, 4):
        demo.let_through()
        demo.wait_until(f"result {number}")
    demo.wait_until("all done")
    demo("wait-for", "over")
    last = demo.screen()
    assert last[:8:2] == [f"result {number} [/no markup]" for number in range(4)]
    assert line_with("╭─ fetch ─", last) == 8
    assert line_with("100 %  4 of 4 read  4 results", last) == len(last) - 2
    assert last[-1] == "all done"
    assert demo.cursor() == (True, len(last))


def test_ctrl_c_leaves_the_last_picture_and_the_cursor(demo: Demo) -> None:
    demo.run("live", columns=40, rows=15)  # so small that there is no room for boxes
    demo.wait_until("0 results")
    demo.let_through()
    demo.wait_until("1 result ")
    demo("send-keys", "C-c")
    demo.wait_until("interrupted")
    demo("wait-for", "over")
    last = demo.screen()
    assert "result 0 [/no markup]" in last
    # The terminal's own ^C has moved nothing.
    assert line_with("▸ check [bold]", last) == line_with("▸ fetch", last) + 1
    assert " 25 % " in last[-2]
    assert last[-1] == "interrupted"
    assert demo.cursor() == (True, len(last))


def test_the_line_of_progress(demo: Demo) -> None:
    demo.run("progress")
    demo.wait_until("0 results")
    assert len(demo.screen()) == 1
    demo.let_through()
    demo.wait_until("1 result ")
    *above, line = demo.screen()
    assert above == ["result 0 [/no markup]", "note 0"]
    assert line.startswith("━")
    assert " 25 %  4 of 4 read  1 result " in line


def test_the_demo(demo: Demo, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(3):
        (tree / f"m{number}.py").write_text("def f(): pass\n")
    database = tmp_path / "census.db"
    demo.start(
        f"{quote(sys.executable)} -W error {quote(ROOT / 'examples/stdlib_census.py')} "
        f"--path {quote(tree)} --database {quote(database)}",
        100,
        50,
    )
    demo("wait-for", "over")
    screen = demo.screen()
    results = [line for line in screen if re.fullmatch(r"m\d\.py +1 def +0 class .*", line)]
    assert len(results) == 3
    assert screen[:3] == results
    assert line_with("╭─ read ─", screen) == 3
    assert line_with("100 %  3 of 3 read  3 results", screen) < line_with("Largest", screen)
    assert line_with("over after ", screen)


def test_killed_in_the_middle_it_leaves_the_cursor(demo: Demo) -> None:
    demo.run("live")
    demo.wait_until("0 results")
    demo("send-keys", "C-\\")  # SIGQUIT, which no Python program sees
    demo("wait-for", "over")
    assert demo.cursor()[0]
