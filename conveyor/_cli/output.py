"""Where the results go: standard output, or a file that appears when all is written."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial

from anyio import CancelScope, to_thread, wait_writable
from anyio.lowlevel import checkpoint

from .blocks import Blocks
from .input import tells_when_ready
from .messages import AbortedError, ReportedError

# A write of so many bytes to a pipe with room does not wait.
PIECE = getattr(select, "PIPE_BUF", 512)
ENOUGH = 65536
ENOUGH_TO_PACK = 2**20  # for each block is packed by itself


class ClosedOutputError(Exception):
    """Nobody reads the output any more."""


class Output:
    """Writes bytes without holding up the event loop.

    Args:
        descriptor: Where to.
        name: What it is called in messages.
        prompt: Whether somebody may be reading along, so that everything is written at once.
        pack: Turns a block into what is to be written; ``None`` to write it as it is. What is
            packed is never prompt.

    Attributes:
        make_room: Called with an error in writing to a file: whether to try again.
    """

    def __init__(
        self,
        descriptor: int,
        name: str,
        *,
        prompt: bool,
        pack: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._name = name
        self._waits = tells_when_ready(descriptor)
        self._never_waits = stat.S_ISCHR(os.fstat(descriptor).st_mode) and not self._waits
        self._packs = pack is not None
        enough = ENOUGH_TO_PACK if self._packs else 0 if prompt else ENOUGH
        self._blocks = Blocks(enough, pack)
        self._scope: CancelScope | None = None
        self._complete = False
        self.make_room: Callable[[OSError], bool] = lambda error: False

    async def write(self, data: bytes, results: int = 1) -> None:
        """Write so many results, or keep them until there are more.

        Raises:
            AbortedError: If it waited as all was given up.
            ClosedOutputError: If nobody reads it any more.
            ReportedError: If it cannot be written.
        """
        if self._blocks.add(data, results):
            await self.flush()

    async def flush(self, *, last: bool = False) -> None:
        """Write what is kept.

        Args:
            last: Whether nothing comes after it.
        """
        try:
            with CancelScope() as scope:
                self._scope = scope
                await self._write_block(last=last)
            if scope.cancelled_caught:
                raise AbortedError
        except (BrokenPipeError, ConnectionResetError):
            raise ClosedOutputError from None
        except OSError as error:
            raise ReportedError(f"cannot write {self._name}: {error.strerror}") from error
        finally:
            self._scope = None
        self._complete = last

    async def _write_block(self, *, last: bool) -> None:
        if self._packs:  # which takes a while
            block = await to_thread.run_sync(partial(self._blocks.take, last=last))
        else:
            block = self._blocks.take()
        await self._write(memoryview(block))
        self._blocks.wrote()

    async def _write(self, data: memoryview) -> None:
        while data:
            if self._waits:
                await wait_writable(self._descriptor)
                with suppress(BlockingIOError):  # somebody else has taken the room
                    data = data[os.write(self._descriptor, data[:PIECE]) :]
            elif self._never_waits:  # /dev/null
                await checkpoint()
                data = data[os.write(self._descriptor, data) :]
            else:
                try:
                    data = data[await to_thread.run_sync(os.write, self._descriptor, data) :]
                except OSError as error:
                    if not self.make_room(error):
                        raise

    def give_up(self) -> None:
        """End a `write` that waits for somebody to read."""
        if self._scope is not None:
            self._scope.cancel()

    def salvage(self, end: bytes = b"") -> int:
        """Make a file that breaks off here a whole one, and return how many results it has.

        This blocks. What another thread is writing at this moment is left alone.

        Args:
            end: What belongs behind the last result.
        """
        if self._scope is None and not self._complete:
            self._blocks.finish(self._descriptor, end)
        return self._blocks.whole


class TerminalOutput(Output):
    """Writes to the terminal that a picture of the run is on: results go above it."""

    def __init__(self) -> None:
        super().__init__(2, "the terminal", prompt=True)

    async def _write(self, data: memoryview) -> None:
        await checkpoint()
        sys.stdout.write(bytes(data).decode())
        sys.stdout.flush()


def fill_closed_descriptors() -> list[int]:
    """Return which of the standard descriptors are closed, and open them on nothing.

    Or the next file that is opened would get the number of one of them.
    """
    closed: list[int] = []
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.append(descriptor)
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    return closed


@contextmanager
def standard_output() -> Generator[int, None, None]:
    """Give standard output for the results alone: whatever else is printed goes to standard error.

    That holds for the functions of the pipeline, and for processes that they start.
    """
    ours = os.dup(1)
    try:
        _flush()
        os.dup2(2, 1)
        try:
            with redirect_stdout(sys.stderr):  # at once, and not when its own buffer is full
                yield ours
        finally:
            _flush()
            os.dup2(ours, 1)
    finally:
        os.close(ours)


def _flush() -> None:
    with suppress(OSError, ValueError, AttributeError):  # closed, or not there at all
        sys.stdout.flush()
