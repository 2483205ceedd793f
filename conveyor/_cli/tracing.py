"""The trace of a run, which is nothing that its results may be lost for."""

from __future__ import annotations

from errno import EDQUOT, ENOSPC
from types import TracebackType
from typing import Any

import click

from .._observe.trace.trace import _Recording  # pyright: ignore[reportPrivateUsage]
from .._stream import Stream
from .messages import say


class Tracing:
    """A block in which every call of a stream's run is recorded in a file.

    If the file cannot be written, that is told when the block ends, and raised nowhere.

    Args:
        stream: The stream.
        path: Where the file is to be; ``None`` to record nothing.

    Attributes:
        failed: Whether it could not be written.
    """

    def __init__(self, stream: Stream[Any], path: str | None) -> None:
        self.failed = False
        self._path = path
        self._recording = None if path is None else _Recording(stream, path)

    def make_room(self, error: OSError) -> bool:
        """Give up the file if the disk is full; return whether that may have helped."""
        full = error.errno in (ENOSPC, EDQUOT)
        return full and self._recording is not None and self._recording.give_up(error)

    def __enter__(self) -> Tracing:
        """Begin.

        Raises:
            click.UsageError: If no file can be written there.
        """
        if self._recording is not None:
            try:
                self._recording.__enter__()
            except OSError as error:
                message = f"cannot write {self._path}: {error.strerror}"
                raise click.UsageError(message) from None
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._recording is None:
            return
        try:
            self._recording.__exit__(exc_type, exc, traceback)
        except OSError as error:
            self.failed = True
            say(f"Error: cannot write {self._path}: {error.strerror}")
