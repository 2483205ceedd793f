"""What is to be written to a file, whole results at a time. Nothing here waits."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress


class Blocks:
    """Holds what is to be written until there is enough of it, and knows how far a file is whole.

    Whoever uses it writes each block that `take` returns, and calls `wrote` once all of it is
    written. What was written of a block that could not be is cut off by `mend`.

    Args:
        enough: Bytes that are worth writing.
        pack: Turns a block into what is to be written; ``None`` to write it as it is.

    Attributes:
        whole: How many entries are in the blocks that were written.
    """

    def __init__(self, enough: int, pack: Callable[[bytes], bytes] | None = None) -> None:
        self.whole = 0
        self._enough = enough
        self._pack = pack
        self._held: list[bytes] = []
        self._size = 0
        self._entries = 0  # among what is held
        self._length = 0  # of the file, as far as it is whole
        self._writing: tuple[int, int] | None = None

    @property
    def writing(self) -> bool:
        """Whether a block was taken that has not been written."""
        return self._writing is not None

    def add(self, data: bytes, entries: int = 1) -> bool:
        """Add so many entries; return whether it is time to write."""
        self._held.append(data)
        self._size += len(data)
        self._entries += entries
        return self._size >= self._enough

    def take(self, *, last: bool = False) -> bytes:
        """Return what is to be written now.

        Args:
            last: Whether nothing comes after it. What is packed must not be empty then.
        """
        held = b"".join(self._held)
        if self._pack is not None and (held or (last and not self._length)):
            block = self._pack(held)
        else:
            block = held
        self._writing = (len(block), self._entries)
        self._held.clear()
        self._size = self._entries = 0
        return block

    def wrote(self) -> None:
        """Note that what was taken is written."""
        assert self._writing is not None
        length, entries = self._writing
        self._length += length
        self.whole += entries
        self._writing = None

    def mend(self, descriptor: int) -> None:
        """Cut off what there is of a block that was not written to its end.

        Raises:
            OSError: If that fails, as where there is no file.
        """
        if self._writing is not None:
            self._writing = None
            os.ftruncate(descriptor, self._length)
            os.lseek(descriptor, self._length, os.SEEK_SET)

    def finish(self, descriptor: int, end: bytes = b"") -> None:
        """Write to a file what is held, and `end` behind it, if there is room.

        What is in the file then is whole: `whole` entries.
        """
        try:
            self.mend(descriptor)
            self._write(descriptor)
            if end:
                self.add(end, 0)
                self._write(descriptor)
        except OSError:
            with suppress(OSError):
                self.mend(descriptor)

    def _write(self, descriptor: int) -> None:
        write_all(descriptor, self.take())
        self.wrote()


def write_all(
    descriptor: int, data: bytes, make_room: Callable[[OSError], bool] = lambda error: False
) -> None:
    """Write all of it, however many steps that takes.

    Args:
        descriptor: Where to.
        data: What.
        make_room: Called with an error: whether to try again.

    Raises:
        OSError: If it cannot be written; some of it may be.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except OSError as error:
            if not make_room(error):
                raise
