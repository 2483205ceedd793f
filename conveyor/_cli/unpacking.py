"""Compressed files: told by their first bytes when they are read, by their names when written.

Nothing here waits.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from .messages import ReportedError

PIECE = 65536  # bytes that are unpacked at a time: a small file may hold a very large one


class Unpacker:
    """Turns the bytes of a file into what is packed in it; what is not packed stays as it is.

    gzip, bzip2, xz and, from Python 3.14 on, zstd are recognised by how they begin, which no text
    does in an encoding that is in use. Several packed files in a row are one.

    Args:
        name: Of the input, as error messages have it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._head: bytes | None = b""  # as long as it may still turn out to be packed
        self._make: Callable[[], _Decompressor] | None = None
        self._kind = ""
        self._unpacking: _Decompressor | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what is in these bytes.

        Raises:
            ReportedError: If they are damaged, or packed in a way that cannot be read here.
        """
        if self._head is not None:
            data = self._head + data
            if any(magic.startswith(data) and magic != data for magic in _MAGIC):
                self._head = data
                return
            self._head = None
            self._recognise(data)
        if self._make is None:
            yield data
        else:
            yield from self._unpack(data)

    def end(self) -> Iterator[bytes]:
        """Yield what there still is at the end of the file.

        Raises:
            ReportedError: If it ends too early.
        """
        head, self._head = self._head, None
        if head:
            yield head
        if self._unpacking is not None and not self._unpacking.eof:
            raise ReportedError(
                f"cannot read all of {self._name}: its {self._kind} data breaks off, as in a file "
                "that was not copied to its end"
            )

    def _recognise(self, data: bytes) -> None:
        for magic, kind in _MAGIC.items():
            if data.startswith(magic):
                self._kind = kind
                self._make = _DECOMPRESSORS.get(kind)
                if self._make is None:
                    raise ReportedError(f"cannot read {self._name}: {_REFUSED[kind]}")

    def _unpack(self, data: bytes) -> Iterator[bytes]:
        assert self._make is not None
        while data:
            unpacking = self._unpacking
            if unpacking is None or unpacking.eof:
                data = data.lstrip(b"\0") if unpacking is not None else data  # tapes are padded
                if not data:
                    return
                unpacking = self._unpacking = self._make()
            try:
                piece = unpacking.decompress(data, PIECE)
                while piece or not (unpacking.eof or unpacking.needs_input):
                    yield piece
                    piece = unpacking.decompress(b"", PIECE) if not unpacking.eof else b""
            except tuple(_ERRORS) as error:
                raise ReportedError(
                    f"cannot read {self._name}: its {self._kind} data is damaged: {error}"
                ) from None
            data = unpacking.unused_data


class _Decompressor(Protocol):
    """What the decompressors of `bz2`, `lzma` and `compression.zstd` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """`zlib` in the shape of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._more = False  # whether the last piece was as long as it may be

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not (self._more or self._zlib.unconsumed_tail)

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._more = len(piece) == max_length
        return piece


# --- which there are


def _gzip(data: bytes) -> bytes:
    packing = zlib.compressobj(wbits=31)  # unlike `gzip.compress`, without the time
    return packing.compress(data) + packing.flush()


_MAGIC = {
    b"\x1f\x8b": "gzip",
    **{b"BZh%d1AY&SY" % level: "bzip2" for level in range(1, 10)},
    **{b"BZh%d\x17rE8P\x90" % level: "bzip2" for level in range(1, 10)},  # with nothing in it
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_ZSTD = "zstd, which needs Python 3.14 or later"
_REFUSED = {
    "zip": "it is a zip archive: unpack it first, or pass one file of it on with unzip -p",
    "zstd": f"it is packed with {_ZSTD}: pass it on with zstd -dc",
    "xz": "it is packed with xz, which this Python was built without: pass it on with xz -dc",
    "bzip2": "it is packed with bzip2, which this Python was built without: pass it on with bzcat",
}
_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {"gzip": _Gzip}
_PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": _gzip}
_ERRORS: list[type[Exception]] = [OSError, EOFError, zlib.error]

# Not every Python has all of them.
for _module, _kind, _ending, _class, _error in (
    ("bz2", "bzip2", ".bz2", "BZ2Decompressor", None),
    ("lzma", "xz", ".xz", "LZMADecompressor", "LZMAError"),
    ("compression.zstd", "zstd", ".zst", "ZstdDecompressor", "ZstdError"),
):
    try:
        _found: Any = importlib.import_module(_module)
    except ImportError:
        continue
    _DECOMPRESSORS[_kind] = getattr(_found, _class)
    _PACKERS[_ending] = _found.compress
    if _error is not None:
        _ERRORS.append(getattr(_found, _error))

ENDINGS = (".gz", ".bz2", ".xz", ".zst")


def without_packing(path: str) -> str:
    """Return a file's name without the ending that says how it is packed."""
    for ending in ENDINGS:
        if path.lower().endswith(ending):
            return path[: -len(ending)]
    return path


def packer_for(path: str) -> Callable[[bytes], bytes] | None:
    """Return what packs the blocks of a file of this name; ``None`` if it is not to be packed.

    Each block can be unpacked by itself, and one after another they are a file of the kind.

    Raises:
        ValueError: If that cannot be done here.
    """
    ending = path[len(without_packing(path)) :].lower()
    if not ending:
        return None
    if ending not in _PACKERS:
        kind = _ZSTD if ending == ".zst" else "a module that this Python was built without"
        raise ValueError(f"packing it takes {kind}")
    return _PACKERS[ending]
