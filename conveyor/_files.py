"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from errno import EACCES, EISDIR, ENOENT
from itertools import count
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import IO, Any, AnyStr, Generic, Literal, NoReturn, overload


class WholeFile(Generic[AnyStr]):
    """A file that is written beside its place, and put there when all of it has been written.

    ::

        with WholeFile("results.jsonl") as file:
            file.write("{}\\n")

    When the block ends, the file is there, and what was there before is replaced, in one step
    that others see done or not done. When it ends in an exception, nothing has changed. Who wants
    to decide otherwise calls `open`, and then `commit`, `keep` or `discard`.

    Its permissions are those of the file that it replaces, or else what `open` would give a new
    one. Of a symbolic link it is the target that is replaced. What is neither a file nor a
    directory, such as ``/dev/stdout`` or a named pipe, cannot be replaced: it is written to at
    once.

    None of this is a checkpoint: it blocks, as all work on files does.

    Args:
        path: Where the file is to be.
        mode: ``"w"`` (the default) for text, ``"wb"`` for bytes.
        encoding: Of text; UTF-8 by default.
        newline: As `open` has it: ``None`` (the default) writes the ends of lines that are usual
            on this system, ``""`` and ``"\\n"`` leave them as they are.
        partial: Whether it is written under the name that `keep` gives it from the start, so that
            it is there even if the process is killed. By default its name is hidden until then.

    Raises:
        TypeError: If `path` is neither a string nor a path of strings.
        ValueError: If there is no such mode.
    """

    @overload
    def __init__(
        self: WholeFile[str],
        path: str | os.PathLike[str],
        mode: Literal["w"] = "w",
        *,
        encoding: str = "utf-8",
        newline: str | None = None,
        partial: bool = False,
    ) -> None: ...

    @overload
    def __init__(
        self: WholeFile[bytes],
        path: str | os.PathLike[str],
        mode: Literal["wb"],
        *,
        partial: bool = False,
    ) -> None: ...

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: str = "w",
        *,
        encoding: str = "utf-8",
        newline: str | None = None,
        partial: bool = False,
    ) -> None:
        self.path = checked_path(path)
        if mode not in ("w", "wb"):
            raise ValueError(f"mode must be 'w' or 'wb', not {mode!r}")
        self._mode = mode
        self._encoding = None if mode == "wb" else encoding
        self._newline = None if mode == "wb" else newline
        self._partial = partial
        self._file: IO[AnyStr] | None = None
        self._target = Path()
        self._beside: Path | None = None  # where it is; None if what is written goes to its place

    def open(self) -> IO[AnyStr]:
        """Return the file to write to, beside its place.

        Raises:
            OSError: If nothing can be written there, with the path and the reason.
            LookupError: If there is no such encoding.
        """
        try:
            target, mode = _look(self.path)
            if mode is not None and not stat.S_ISREG(mode):
                self._file = self._wrap(os.open(target, os.O_WRONLY))
                return self._file
            return self._open_beside(target, mode)
        except OSError as error:
            _refuse(error, self.path)

    def _open_beside(self, target: Path, mode: int | None) -> IO[AnyStr]:
        if self._partial:
            beside, descriptor = _create_partial(target)
        else:
            beside = target.with_name(f".{target.name[:40]}.{token_hex(4)}.part")
            descriptor = _create(beside)
        try:
            file = self._wrap(descriptor)
            if mode is not None:
                beside.chmod(stat.S_IMODE(mode))
        except BaseException:
            beside.unlink()
            raise
        self._file, self._beside, self._target = file, beside, target
        return file

    def _wrap(self, descriptor: int) -> IO[Any]:
        return os.fdopen(descriptor, self._mode, encoding=self._encoding, newline=self._newline)

    def seal(self) -> None:
        """Write all of it to the disk and close it, so that `commit` has little left to do.

        Whoever has several files to put in place seals them all first: if there is no room for
        one of them, none has been put in place. If it is over already, this does nothing.

        Raises:
            OSError: If it cannot be written. Nothing has changed.
        """
        file = self._file
        if file is None or file.closed:
            return
        try:
            file.flush()
            if self._beside is not None:
                os.fsync(file.fileno())  # or a crash might leave the name without the content
            file.close()
        except OSError as error:
            _refuse(error, self.path)

    def commit(self) -> None:
        """Put the file in its place. If it is over already, this does nothing.

        Raises:
            OSError: If that fails, or writing what had not been written yet. Nothing has changed.
        """
        if self._file is None:
            return
        try:
            self.seal()
            if self._beside is not None:
                self._beside.replace(self._target)
                self._beside = None
        except OSError as error:
            _refuse(error, self.path)
        finally:
            self.discard()

    def keep(self) -> Path | None:
        """Leave what was written beside its place, and return where. What is there stays.

        That is ``results.partial.jsonl`` for ``results.jsonl``; and if there is such a file
        already, it is ``results.partial-2.jsonl``, and so on. If it is over already, or was
        written to its place at once, the answer is ``None``.
        """
        if self._file is None:
            return None
        with suppress(OSError):  # the disk may be full: then it is what there was room for
            self.seal()
        kept, self._beside = self._beside, None
        if kept is not None and not self._partial:
            with suppress(OSError):  # then it stays hidden, but it stays
                named, descriptor = _create_partial(self._target)
                os.close(descriptor)
                kept = kept.replace(named)
        self.discard()
        return kept

    def discard(self) -> None:
        """Remove what was written. If it is over already, this does nothing."""
        file, self._file = self._file, None
        if file is None:
            return
        with suppress(OSError):
            file.close()  # writes what it still has, and the disk may be full
        if self._beside is not None:
            with suppress(OSError):
                self._beside.unlink()
            self._beside = None

    def __enter__(self) -> IO[AnyStr]:
        return self.open()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self.commit()
        else:
            self.discard()


def checked_path(path: object) -> str:
    """Return a path as a string.

    Raises:
        TypeError: If it is neither a string nor a path of strings.
    """
    found = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(found, str):
        raise TypeError(f"the path of a file must be a str or a Path, not {path!r}")
    return found


def _look(path: str) -> tuple[Path, int | None]:
    """Return what `path` leads to, and its mode; ``None`` if it is not there yet.

    Raises:
        OSError: If it is a directory, or may not be written to, or cannot be looked at.
    """
    target = Path(path)
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    if not path:
        raise _error(ENOENT)
    if path.endswith(("/", os.sep)) or (mode is not None and stat.S_ISDIR(mode)):
        raise _error(EISDIR)
    # What is read-only could be replaced, where its directory is not; but that is not meant.
    if mode is not None and not os.access(target, os.W_OK):
        raise _error(EACCES)
    if mode is None or stat.S_ISREG(mode):
        target = target.resolve()
    return target, mode


def partial_name(name: str, number: int = 1) -> str:
    """Return the name of a file that holds a part of what another was to hold.

    Its endings stay, since they tell what is in it.
    """
    stem = name
    for endings in _PACKED, _KINDS:
        for ending in endings:
            if len(stem) > len(ending) and stem.lower().endswith(ending):
                stem = stem[: -len(ending)]
                break
        else:
            if endings is _KINDS and (suffix := Path(stem).suffix):
                stem = stem[: -len(suffix)]
    counted = f"-{number}" if number > 1 else ""
    return f"{stem}.partial{counted}{name[len(stem) :]}"


_PACKED = (".gz", ".bz2", ".xz", ".zst")
_KINDS = (".failures.jsonl",)  # of two words


def _create_partial(target: Path) -> tuple[Path, int]:
    """Create a file for a part of what `target` was to hold, under the first name that is free."""
    for number in count(1):
        path = target.with_name(partial_name(target.name, number))
        with suppress(FileExistsError):
            return path, _create(path)
    raise AssertionError  # pragma: no cover - there is always a number left


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _refuse(error: OSError, path: str) -> NoReturn:
    # What the user knows is the path that was asked for, not the name of the file beside it.
    if error.errno is None:
        raise error
    raise OSError(error.errno, error.strerror, path) from None
