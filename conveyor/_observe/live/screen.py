"""Where a run is drawn: on a terminal, as plain lines, or nowhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any, Protocol, TextIO, TypeAlias

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment

from .pipes import forget

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType, RenderResult

    from .rates import Moment

Draws: TypeAlias = Callable[["Moment"], "RenderableType"]
Writes: TypeAlias = Callable[["Moment"], str]


# Behind a picture. There the ^C that a terminal writes by itself is drawn over, where behind a full
# line it would begin another one.
TO_THE_LEFT = Control(ControlType.CARRIAGE_RETURN)


class Screen(Protocol):
    """Shows one run. Nothing of it waits.

    Attributes:
        interval: Seconds between two pictures, unless the user says otherwise.
        console: What it writes to.
    """

    interval: float
    console: Console

    def open(self, moment: Moment) -> None: ...

    def show(self, moment: Moment) -> None: ...

    def close(self, moment: Moment | None) -> None:
        """Show the last picture, the one before it if there is none, and give the screen back."""
        ...


def screen_for(console: Console | None, draws: Draws, writes: Writes) -> Screen | None:
    """Return what a run is shown on, ``None`` if it is not to be shown."""
    if console is None:
        if "PYTEST_CURRENT_TEST" in os.environ:
            return None
        above = sys.stderr
        if isinstance(above, Above) and above.console is not None:
            console = above.console  # of another view: they stand one below the other
        else:
            console = Console(stderr=True, force_jupyter=False)
        # Rich may be told to write colours into a file. A picture that moves is none the less for
        # terminals alone.
        moves = console.is_interactive and _is_terminal(console.file)
    else:
        moves = console.is_interactive
    return Terminal(console, draws) if moves else Lines(console, writes)


class Lines:
    """One line of text at a time, and one at the end."""

    interval = 5.0

    def __init__(self, console: Console, writes: Writes) -> None:
        self.console = console
        self._writes = writes

    def open(self, moment: Moment) -> None:
        pass

    def show(self, moment: Moment) -> None:
        text = self._writes(moment)
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def close(self, moment: Moment | None) -> None:
        if moment is not None:
            self.show(moment)


class Terminal:
    """One picture that moves. What the program prints meanwhile appears above it."""

    interval = 0.2

    def __init__(self, console: Console, draws: Draws) -> None:
        self.console = console
        self._draws = draws
        self._live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._above: dict[str, Above] = {}  # what stands in for `sys.stdout`, or for both

    def open(self, moment: Moment) -> None:
        self._live.update(self._draws(moment))
        with self.console:  # written at the end, so that an error finds the view begun as a whole
            self._live.start()
            # Rich hides the cursor. Whatever ends this process, nobody then has to bring it back.
            self.console.show_cursor(True)
        for name in "stdout", "stderr":
            file = getattr(sys, name)
            if not hasattr(file, "rich_proxied_file") and _same_terminal(file, self.console.file):
                self._above[name] = above = Above(self.console, file)
                setattr(sys, name, above)
        self._refresh()

    def show(self, moment: Moment) -> None:
        self._live.update(self._draws(moment))
        self._refresh()

    def _refresh(self) -> None:
        with self.console:  # in one piece
            self._live.refresh()
            self.console.control(TO_THE_LEFT)

    def close(self, moment: Moment | None) -> None:
        try:
            if moment is not None:
                self._live.update(self._draws(moment))
        finally:
            try:
                self._live.stop()
            finally:
                above, self._above = self._above, {}
                for name, each in above.items():
                    if getattr(sys, name) is each:
                        setattr(sys, name, each.rich_proxied_file)
                with ExitStack() as stack:  # each of them, whatever is wrong with another
                    for each in above.values():
                        stack.callback(each.leave)


class Above:
    """Stands in for a terminal's file: whole lines appear above the picture, as they are.

    The last line waits for its end, or for that of the picture.

    Attributes:
        console: The picture's, while there is one.
    """

    def __init__(self, console: Console, file: TextIO) -> None:
        self.console: Console | None = console
        self._file = file
        self._rest = ""

    @property
    def rich_proxied_file(self) -> TextIO:
        """The file itself, under the name by which rich asks for it."""
        return self._file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str, /) -> int:
        if self.console is None:
            return self._file.write(text)
        lines, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            console = self.console
            try:
                with console:
                    console.print(_Raw(lines + newline), crop=False)
                    console.control(TO_THE_LEFT)
            except (OSError, ValueError):
                forget(console)  # the program is told, and may do what it likes
                raise
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self.console is None:
            self._file.flush()

    def leave(self) -> None:
        """Write straight into the file from now on: somebody may have kept this."""
        self.console = None
        rest, self._rest = self._rest, ""
        self.write(rest)
        self.flush()


class _Raw:
    """Text that rich neither wraps nor reads anything into."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._text)


def _is_terminal(file: IO[str]) -> bool:
    try:
        return file.isatty()
    except (AttributeError, ValueError):  # it is closed, say
        return False


def _same_terminal(one: IO[str], other: IO[str]) -> bool:
    if not _is_terminal(one) or not _is_terminal(other):
        return False
    try:
        return os.fstat(one.fileno()).st_rdev == os.fstat(other.fileno()).st_rdev
    except (AttributeError, OSError, ValueError):
        return False
