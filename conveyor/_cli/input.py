"""Where the input comes from: files and standard input, one after another, read as they come."""

from __future__ import annotations

import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Any

from anyio import to_thread, wait_readable
from anyio.lowlevel import checkpoint

from .lines import BadLineError, Found, Parser, Read, Unread
from .messages import ReportedError
from .unpacking import Unpacker

CHUNK = 65536


def tells_when_ready(descriptor: int) -> bool:
    """Whether the event loop can wait for it: pipes, sockets, terminals; but files never wait."""
    if sys.platform == "win32":
        return False
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


class Input:
    """A file that is read, or standard input.

    Args:
        path: Its name; ``-`` for standard input.
        make: Makes what turns its bytes into items, given what messages call it.
        file: It, if it is open already.

    Attributes:
        path: Its name.
        name: What messages call it.
    """

    def __init__(
        self, path: str, make: Callable[[str], Parser], file: FileIO | None = None
    ) -> None:
        self.path = path
        self.name = "<stdin>" if path == "-" else path
        self._make = make
        self._file = file
        self._waits = False

    @property
    def file(self) -> FileIO:
        """It, open and unbuffered."""
        assert self._file is not None
        return self._file

    def check(self) -> None:
        """Look whether it can be opened, without opening it: a pipe may be opened but once.

        Raises:
            OSError: If it cannot be.
        """
        if self.path == "-":
            return
        mode = Path(self.path).stat().st_mode
        if stat.S_ISDIR(mode) or not os.access(self.path, os.R_OK):
            FileIO(self.path).close()  # says why not

    def open(self, *, wait: bool = True) -> None:
        """Open it, unless it is open.

        Args:
            wait: Whether to wait, if it is a named pipe, until somebody writes to it. Else
                reading waits for that, where the system can do so.

        Raises:
            OSError: If it cannot be opened.
        """
        if self._file is not None:
            return
        if self.path == "-":
            self._file = FileIO(os.dup(0))
        elif not wait and sys.platform == "linux" and Path(self.path).is_fifo():
            self._file = FileIO(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK))
        else:
            self._file = FileIO(self.path)

    def begin(self) -> None:
        """Get ready to read it, once it is open."""
        self._waits = tells_when_ready(self.file.fileno())
        self._unpacker = Unpacker(self.name)
        self._parser = self._make(self.name)

    def close(self) -> None:
        """Close it, if it is open."""
        if self._file is not None:
            self._file.close()

    def is_file(self, path: str) -> bool:
        """Whether a path leads to it, and it is a file that could be replaced."""
        try:
            other = os.stat(path)  # noqa: PTH116 - to be compared
            own = os.fstat(0) if self.path == "-" else os.stat(self.path)  # noqa: PTH116
        except OSError:
            return False
        return stat.S_ISREG(own.st_mode) and os.path.samestat(own, other)

    async def read(self) -> bytes:
        """Return the next bytes, as soon as there are any; none at the end."""
        descriptor = self.file.fileno()
        try:
            while self._waits:
                await wait_readable(descriptor)
                try:
                    return os.read(descriptor, CHUNK)
                except BlockingIOError:  # somebody else has read it
                    await checkpoint()
            return await to_thread.run_sync(os.read, descriptor, CHUNK)
        except OSError as error:
            raise self.unreadable(error) from error

    def read_now(self) -> bytes:
        """Return the next bytes of a file; none at the end."""
        try:
            return os.read(self.file.fileno(), CHUNK)
        except OSError as error:
            raise self.unreadable(error) from error

    def found(self, data: bytes) -> Iterator[Found]:
        """Yield what is complete with these bytes; none are the end."""
        if data:
            for piece in self._unpacker.feed(data):
                yield from self._parser.feed(piece)
        else:
            for piece in self._unpacker.end():
                yield from self._parser.feed(piece)
            yield from self._parser.end()

    def unreadable(self, error: OSError) -> ReportedError:
        return ReportedError(f"cannot read {self.name}: {error.strerror}")


class Items:
    """The items of all inputs, as a pipeline reads them. Holds what was read last, and no more.

    Args:
        inputs: What to read, one after another.
        limit: How many items to give at most; ``None`` means all.
        bad_line: Called with each line that is left out; ``None`` lets the first end the run.
        read: Called with each item before it is given; ``None`` if nobody wants to know.
        unread: Called with each line of ``--failures`` that has no item.
    """

    def __init__(
        self,
        inputs: Iterable[Input],
        *,
        limit: int | None = None,
        bad_line: Callable[[BadLineError], None] | None = None,
        read: Callable[[Read, str], None] | None = None,
        unread: Callable[[Unread, str], None] | None = None,
    ) -> None:
        self._waiting = deque(inputs)
        self._input: Input | None = None  # that is being read
        self._ended = False  # whether its end has been read
        self._found: Iterator[Found] = iter(())  # in what was read last
        self._left = -1 if limit is None else limit
        self._bad_line = bad_line
        self._read = read
        self._unread = unread

    def __aiter__(self) -> Items:
        return self

    async def __anext__(self) -> Any:
        """Return the next item. A checkpoint where it has to read; cancelling it loses nothing."""
        if self._left == 0:
            raise StopAsyncIteration
        while True:
            for found in self._found:
                if isinstance(found, Read):
                    if self._read is not None:
                        self._read(found, self._name)
                    self._left -= 1
                    return found.item
                if isinstance(found, Unread):
                    if self._unread is not None:
                        self._unread(found, self._name)
                elif self._bad_line is None:
                    raise found
                else:
                    self._bad_line(found)
            if self._ended:
                self._leave()
            if self._input is None:
                if not self._waiting:
                    raise StopAsyncIteration
                await self._open()
            assert self._input is not None
            self._take(await self._input.read())

    def leaves(self, path: str) -> bool:
        """Whether not all of an input that is this file was given. This blocks.

        Raises:
            ReportedError: If that input cannot be read.
        """
        if any(each.is_file(path) for each in self._waiting):
            return True
        if self._input is None or not self._input.is_file(path):
            return False
        while (found := next(self._found, None)) is None:
            if self._ended:
                return False
            self._take(self._input.read_now())
        self._found = chain([found], self._found)
        return True

    def rest(self, path: str) -> Iterator[Found]:
        """Yield what was not given of the inputs that are this file. This blocks.

        Raises:
            ReportedError: If they cannot be read.
        """
        while True:
            if self._input is not None:
                if self._input.is_file(path):
                    yield from self._found
                    if not self._ended:
                        self._take(self._input.read_now())
                        continue
                self._leave()
            if not self._waiting:
                return
            following = self._waiting[0]
            if following.is_file(path):
                try:
                    following.open()
                except OSError as error:
                    raise following.unreadable(error) from error
                self._begin()
            else:
                self._waiting.popleft().close()

    def close(self) -> None:
        """Close what is open."""
        if self._input is not None:
            self._input.close()
        for each in self._waiting:
            each.close()

    @property
    def _name(self) -> str:
        assert self._input is not None
        return self._input.name

    async def _open(self) -> None:
        following = self._waiting[0]
        try:
            await to_thread.run_sync(partial(following.open, wait=False))
        except OSError as error:
            raise following.unreadable(error) from error
        self._begin()

    def _begin(self) -> None:
        self._input = self._waiting.popleft()
        self._input.begin()
        self._ended = False

    def _take(self, data: bytes) -> None:
        assert self._input is not None
        self._found = self._input.found(data)
        self._ended = not data

    def _leave(self) -> None:
        assert self._input is not None
        self._input.close()
        self._input = None
        self._found = iter(())
        self._ended = False
