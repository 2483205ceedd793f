"""Where the results go: standard output, or a file that appears when all is written."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout, suppress

from anyio import CancelScope, to_thread, wait_writable
from anyio.lowlevel import checkpoint

from .input import tells_when_ready
from .messages import AbortedError, ReportedError

# A write of so many bytes to a pipe with room does not wait.
PIECE = getattr(select, "PIPE_BUF", 512)
ENOUGH = 65536


class ClosedOutputError(Exception):
    """Nobody reads the output any more."""


class Output:
    """Writes bytes without holding up the event loop.

    Args:
        descriptor: Where to.
        name: What it is called in messages.
        prompt: Whether somebody may be reading along, so that everything is written at once.
    """

    def __init__(self, descriptor: int, name: str, *, prompt: bool) -> None:
        self._descriptor = descriptor
        self._name = name
        self._prompt = prompt
        self._waits = tells_when_ready(descriptor)
        self._never_waits = stat.S_ISCHR(os.fstat(descriptor).st_mode) and not self._waits
        self._held: list[bytes] = []
        self._size = 0
        self._scope: CancelScope | None = None

    async def write(self, data: bytes) -> None:
        """Write, or keep it until there is more. What is cut off may be written in part.

        Raises:
            AbortedError: If it waited as all was given up.
            ClosedOutputError: If nobody reads it any more.
            ReportedError: If it cannot be written.
        """
        self._held.append(data)
        self._size += len(data)
        if self._prompt or self._size >= ENOUGH:
            await self.flush()

    async def flush(self) -> None:
        """Write what is kept."""
        data = b"".join(self._held)
        self._held.clear()
        self._size = 0
        try:
            with CancelScope() as scope:
                self._scope = scope
                await self._write(memoryview(data))
            if scope.cancelled_caught:
                raise AbortedError
        except (BrokenPipeError, ConnectionResetError):
            raise ClosedOutputError from None
        except OSError as error:
            raise ReportedError(f"cannot write {self._name}: {error.strerror}") from error
        finally:
            self._scope = None

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
                data = data[await to_thread.run_sync(os.write, self._descriptor, data) :]

    def give_up(self) -> None:
        """End a `write` that waits for somebody to read."""
        if self._scope is not None:
            self._scope.cancel()


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
