"""The encoding of an input, by its name or by how the input begins, and where its lines end."""

from __future__ import annotations

import codecs

# Those of UTF-32 first: that of its little-endian kind begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def checked_encoding(name: str) -> str:
    """Return an encoding's own name.

    Raises:
        LookupError: If there is none of this name, or it is not one of text.
    """
    "\n".encode(name)  # refuses also what turns bytes into bytes, as "hex" does
    return codecs.lookup(name).name


def find_encoding(head: bytes, asked: str | None, *, more: bool) -> tuple[str, int] | None:
    """Return the encoding of an input and the length of its byte order mark.

    Args:
        head: How it begins.
        asked: The encoding that was asked for; ``None`` for what the mark says, else UTF-8.
        more: Whether more of it may follow. If that has to be known, the answer is ``None``.
    """
    name = "utf-8" if asked in (None, "utf-8-sig") else asked
    marks = [
        (mark, known)
        for mark, known in _MARKS
        if asked is None or known == name or known.startswith(f"{name}-")
    ]
    if more and any(mark.startswith(head) and mark != head for mark, _ in marks):
        return None
    for mark, known in marks:
        if head.startswith(mark):
            return known, len(mark)
    if name in ("utf-16", "utf-32"):  # without a mark: in the order of most machines
        return f"{name}-le", 0
    return name, 0


class Splitter:
    """Splits bytes into lines, of which the last may not be complete.

    Args:
        encoding: As `find_encoding` returns it.
    """

    def __init__(self, encoding: str) -> None:
        self.newline = "\n".encode(encoding)
        self._unit = len(self.newline)
        self._odd = b""  # of a character whose other bytes have not come yet

    def split(self, data: bytes) -> list[bytes]:
        """Return the lines without their ends: the first goes on where the last one stopped."""
        if self._unit == 1:
            return data.split(self.newline)
        data = self._odd + data
        whole = len(data) - len(data) % self._unit
        self._odd = data[whole:]
        lines, start, found = [], 0, -1
        while (found := data.find(self.newline, found + 1, whole)) >= 0:
            if found % self._unit == 0:  # else it is one half of each of two characters
                lines.append(data[start:found])
                start = found + self._unit
        lines.append(data[start:whole])
        return lines

    def end(self) -> bytes:
        """Return what has not been part of a line yet."""
        odd, self._odd = self._odd, b""
        return odd
