"""Where the input comes from: a file or standard input, read as it comes."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from io import FileIO
from typing import Any

from anyio import to_thread, wait_readable
from anyio.lowlevel import checkpoint

from .messages import ReportedError
from .reading import BadLineError, Parser, Read

CHUNK = 65536


def open_input(path: str) -> tuple[FileIO, str]:
    """Return what to read from, unbuffered, and what to call it; ``-`` is standard input.

    Raises:
        OSError: If it cannot be opened.
    """
    if path == "-":
        return FileIO(os.dup(0)), "<stdin>"
    return FileIO(path), path


def tells_when_ready(descriptor: int) -> bool:
    """Whether the event loop can wait for it: pipes, sockets, terminals; but files never wait."""
    if sys.platform == "win32":
        return False
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


class Items:
    """The items of an input, as a pipeline reads them. Holds what was read last, and no more.

    Args:
        file: What to read from.
        parser: What makes items of it.
        limit: How many items to give at most; ``None`` means all.
        bad_line: Called with each line that is left out; ``None`` lets the first end the run.
        read: Called with each item before it is given; ``None`` if nobody wants to know.
    """

    def __init__(
        self,
        file: FileIO,
        parser: Parser,
        *,
        limit: int | None = None,
        bad_line: Callable[[BadLineError], None] | None = None,
        read: Callable[[Read], None] | None = None,
    ) -> None:
        self._descriptor = file.fileno()
        self._waits = tells_when_ready(self._descriptor)
        self._parser = parser
        self._left = -1 if limit is None else limit
        self._bad_line = bad_line
        self._read = read
        self._found: Iterator[Read | BadLineError] = iter(())  # in what was read last
        self._ended = False

    def __aiter__(self) -> Items:
        return self

    async def __anext__(self) -> Any:
        """Return the next item. A checkpoint where it has to read; cancelling it loses nothing."""
        if self._left == 0:
            raise StopAsyncIteration
        while True:
            for read in self._found:
                if isinstance(read, BadLineError):
                    if self._bad_line is None:
                        raise read
                    self._bad_line(read)
                    continue
                if self._read is not None:
                    self._read(read)
                self._left -= 1
                return read.item
            if self._ended:
                raise StopAsyncIteration
            data = await self._chunk()
            self._ended = not data
            self._found = self._parser.feed(data) if data else self._parser.end()

    async def _chunk(self) -> bytes:
        """Return the next bytes, as soon as there are any; none at the end."""
        descriptor = self._descriptor
        try:
            while self._waits:
                await wait_readable(descriptor)
                try:
                    return os.read(descriptor, CHUNK)
                except BlockingIOError:  # somebody else has read it
                    await checkpoint()
            return await to_thread.run_sync(os.read, descriptor, CHUNK)
        except OSError as error:
            raise ReportedError(f"cannot read {self._parser.name}: {error.strerror}") from error
