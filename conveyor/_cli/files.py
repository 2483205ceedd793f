"""The files that a run writes: they appear together when it has gone well, or are kept in part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from .._files import WholeFile
from .messages import ReportedError, say


@dataclass
class Written:
    """A file that is being written.

    Attributes:
        path: Its name.
        file: It, which is not in its place yet.
        descriptor: What to write to.
        what: What is written, in the singular.
        salvage: Makes what is there whole, and returns how much of it there is.
    """

    path: str
    file: WholeFile[bytes]
    descriptor: int
    what: str
    salvage: Callable[[], int]


class Files:
    """A block at whose end all files are in their places, or are removed, or kept in part.

    Args:
        keep: Whether those that are not complete are kept.
    """

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self._files: list[Written] = []

    def open(self, path: str, what: str) -> Written:
        """Begin a file.

        Raises:
            click.UsageError: If nothing can be written there.
        """
        file = WholeFile(path, "wb", partial=self.keep)
        try:
            descriptor = file.open().fileno()
        except OSError as error:
            raise click.UsageError(f"cannot write {path}: {error.strerror}") from None
        written = Written(path, file, descriptor, what, lambda: 0)
        self._files.append(written)
        return written

    def commit(self) -> None:
        """Put all files in their places: if one of them cannot be written, none.

        Raises:
            ReportedError: If that fails.
        """
        for step in WholeFile.seal, WholeFile.commit:
            for written in self._files:
                try:
                    step(written.file)
                except OSError as error:
                    message = f"cannot write {written.path}: {error.strerror}"
                    raise ReportedError(message) from error
        self._files.clear()

    def put_aside(self, written: Written) -> str | None:
        """Keep a file beside its place; return what is in it and where, ``None`` if nothing is."""
        self._files.remove(written)
        count = written.salvage()
        if not count:
            written.file.discard()
            return None
        kept = written.file.keep()
        if kept is None:  # a pipe, or a device
            return None
        number = f"1 {written.what}" if count == 1 else f"{count} {written.what}s"
        shown = Path(written.path).with_name(kept.name)
        return f"{number} kept in {shown if shown.exists() else kept}"

    def close(self) -> None:
        """Keep those that are not in their places, or remove them."""
        while self._files:
            written = self._files[0]
            if not self.keep:
                self._files.remove(written)
                written.file.discard()
            elif kept := self.put_aside(written):
                say(kept)

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
