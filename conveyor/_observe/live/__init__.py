"""A run before one's eyes: `live` and `progress`."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from anyio import get_cancelled_exc_class, sleep

from ..._engine.log import NOWHERE, Log
from ..._engine.loop import host
from ..._engine.loop.companion import Companion
from ..._model.checks import check_seconds
from ..._stream import Stream
from .line import plain_line
from .pipes import BrokenPipes, forget
from .rates import Moment, Rates

if TYPE_CHECKING:
    from rich.console import Console

    from .screen import Screen

Out = TypeVar("Out")

_MISSING: Final = "needs rich, which is not installed: pip install 'conveyor[rich]'"


def live(
    stream: Stream[Out],
    *,
    total: int | None = None,
    console: Console | None = None,
    interval: float | None = None,
) -> AbstractAsyncContextManager[Stream[Out]]:
    """Return a block in which the terminal shows what `stream` does.

    ::

        async with live(pipeline(data)) as stream:
            async for result in stream: ...

    It shows the stages with the queues between them: calls that run, of how many; results per
    second, over the last five, and how many in all; what failed, was skipped and tried again.
    Below is what there is to say of the whole run, and a progress bar with an
    estimate where it is known how many items there are. What the program prints to the same
    terminal appears above. When the block ends, in whatever way, the last picture stays.

    Where the console is no terminal, or a dumb one, there is a line of text now and then, and
    one at the end. In a test of pytest's there is nothing, unless a console is given.

    The block neither starts the stream nor ends it, and entering and leaving it may be a
    checkpoint. Should drawing fail, that is logged, and the run goes on without a picture.

    Args:
        stream: The stream; the block gives it.
        total: How many items the input has. ``None`` (the default) leaves it to the input, which
            may know.
        console: A ``rich.console.Console``. By default one that writes to the standard error.
        interval: Seconds between two pictures, by the event loop's clock; ``None`` (the default)
            means 0.2 on a terminal, and 5 for lines of text.

    Raises:
        TypeError: If `stream` is no stream, or another argument has the wrong type.
        ValueError: If `total` is below 0, or `interval` not above.
        ImportError: If rich is not installed: ``pip install 'conveyor[rich]'``.
    """
    return _Shown(stream, _Settings("live", stream, total, console, interval))


def progress(
    stream: Stream[Out],
    *,
    total: int | None = None,
    console: Console | None = None,
    interval: float | None = None,
) -> _Progress[Out]:
    """Return `stream` with one line on the terminal that says how far it is.

    ::

        async for result in progress(pipeline(data)): ...

    So iterated it gives the stream's results, and draws when one comes. It has no task of
    its own: while nothing comes the line stands still. It also is a block, ``async with
    progress(stream):``, which gives the stream, and in which the line moves by itself.

    For all else, and for what is shown elsewhere than on a terminal, see `live`.

    Args:
        stream: The stream.
        total: As for `live`.
        console: As for `live`.
        interval: As for `live`.

    Raises:
        TypeError: As for `live`.
        ValueError: As for `live`.
        ImportError: As for `live`.
    """
    return _Progress(stream, _Settings("progress", stream, total, console, interval))


class _Settings:
    """What the user has asked for, checked."""

    def __init__(
        self,
        name: str,
        stream: object,
        total: int | None,
        console: Console | None,
        interval: float | None,
    ) -> None:
        if not isinstance(stream, Stream):
            raise TypeError(f"{name} takes a stream, as in {name}(pipeline(data)), not {stream!r}")
        if total is not None and (isinstance(total, bool) or not isinstance(total, int)):
            raise TypeError(f"total must be a whole number of at least 0, or None, not {total!r}")
        if total is not None and total < 0:
            raise ValueError(f"total must be a whole number of at least 0, or None, not {total!r}")
        check_seconds("interval", interval, zero=False, none=True)
        try:
            from rich.console import Console
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "rich":
                raise
            raise ImportError(f"{name} {_MISSING}", name="rich") from None
        if console is not None and not isinstance(console, Console):
            raise TypeError(f"console must be a rich.console.Console, or None, not {console!r}")
        self.total = total
        self.console = console
        self.interval = interval
        self.whole = name == "live"

    def screen(self) -> Screen | None:
        from .picture import Line, Picture
        from .screen import screen_for

        return screen_for(
            self.console,
            Picture if self.whole else Line,
            lambda moment: plain_line(moment, stages=self.whole),
        )


class _View:
    """One screen while it shows one stream. Its errors are logged, never raised.

    The work matters more than its picture. So whatever goes wrong with that, from the first line
    on, is told once, and the run goes on without.
    """

    def __init__(self, stream: Stream[Any], screen: Screen, settings: _Settings) -> None:
        self._stream = stream
        self._screen = screen
        self._total = settings.total
        self._rates = Rates()
        self._thread = threading.get_ident()
        self._failed = False
        self._log = NOWHERE
        self.interval = settings.interval or screen.interval
        self._pipes = BrokenPipes(screen.console)
        self._pipes.enter()
        try:
            self._try(lambda: screen.open(self._moment()))
        except BaseException:
            self._give_up()
            self._pipes.leave()
            raise

    def _moment(self) -> Moment:
        statistics = self._stream.statistics()
        self._log = Log(statistics.pipeline_id or None)  # known once it runs
        if self._total is not None:
            statistics = replace(statistics, total=self._total)
        return self._rates.at(statistics)

    def draw(self) -> None:
        if not self._failed:
            self._try(lambda: self._screen.show(self._moment()))

    def close(self) -> None:
        # A run may be looked at in its own thread only. A view that was dropped may be closed in
        # another, by the garbage collection, and keeps the picture that it has.
        moment: Moment | None = None
        if not self._failed and threading.get_ident() == self._thread:
            with suppress(Exception):
                moment = self._moment()
        try:
            if not self._failed:
                self._try(lambda: self._screen.close(moment))
        finally:
            self._pipes.leave()

    def _try(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            self._failed = True
            # First of all, or the warning would itself be written through what does not work.
            self._give_up()
            # Where a terminal or a file has gone, it does not matter where in rich that showed.
            cause = None if isinstance(error, OSError | ValueError) else error
            self._log.warning("drawing has failed, and ends: %r", error, error=cause)

    def _give_up(self) -> None:
        """Give the terminal back, as far as that can still be done."""
        with suppress(Exception):
            self._screen.close(None)
        with suppress(Exception):
            forget(self._screen.console)


async def _draw(view: _View) -> None:
    while True:
        await sleep(view.interval)
        view.draw()


class _Shown(AbstractAsyncContextManager[Stream[Out]]):
    """The block of `live` and `progress`."""

    def __init__(self, stream: Stream[Out], settings: _Settings) -> None:
        self._stream = stream
        self._settings = settings
        self._view: _View | None = None
        self._drawing: Companion | None = None

    async def __aenter__(self) -> Stream[Out]:
        """Show the first picture, and begin to move it."""
        host.require_loop()
        screen = self._settings.screen()
        if screen is not None:
            view = self._view = _View(self._stream, screen, self._settings)
            self._drawing = Companion(partial(_draw, view), "conveyor picture")
        return self._stream

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show the last picture, which stays. The body's exception passes as it is."""
        view, self._view = self._view, None
        drawing, self._drawing = self._drawing, None
        if view is None or drawing is None:
            return
        try:
            await drawing.end()  # noqa: ASYNC102 - shielded, and it is about to end
        finally:
            view.close()


class _Progress(_Shown[Out], AsyncIterator[Out]):
    """What `progress` gives. Outside its block it draws as it is iterated."""

    def __init__(self, stream: Stream[Out], settings: _Settings) -> None:
        super().__init__(stream, settings)
        self._alone: _View | None = None  # while it is iterated without a block
        self._clock: Callable[[], float] | None = None
        self._due = 0.0
        self._quiet = False  # whether there is nothing to draw any more

    def __aiter__(self) -> _Progress[Out]:
        """Return itself.

        Raises:
            StreamConsumedError: If the stream has ended or was closed.
        """
        aiter(self._stream)
        return self

    async def __anext__(self) -> Out:
        """Return the next result. It waits and raises as the stream's own does."""
        if self._alone is None and self._view is None and not self._quiet:
            self._open()
        try:
            result = await anext(self._stream)
        except BaseException as error:
            # A stream that has a block of its own goes on after it was cancelled here.
            self._quiet = not isinstance(error, get_cancelled_exc_class())
            self._close()
            raise
        if self._clock is not None and self._clock() >= self._due and self._alone is not None:
            self._alone.draw()
            self._due = self._clock() + self._alone.interval
        return result

    def _open(self) -> None:
        host.require_loop()
        screen = self._settings.screen()
        if screen is None:
            self._quiet = True
            return
        self._alone = _View(self._stream, screen, self._settings)
        self._clock = host.clock()
        self._due = self._clock() + self._alone.interval

    def _close(self) -> None:
        view, self._alone, self._clock = self._alone, None, None
        if view is not None:
            view.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # if it was refused before it was whole
            self._close()
