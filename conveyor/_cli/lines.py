"""The items of an input, out of its bytes: what all formats share, and those of one line an item.

Bytes come in pieces of any size, and what is complete is given at once. Nothing here waits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, NoReturn

from .decoding import Splitter, find_encoding
from .messages import ReportedError


class Read(NamedTuple):
    """An item of the input.

    Attributes:
        line: The number of its first line, counted from 1.
        item: What the pipeline is given.
        text: The same as JSON in one line, if it is at hand.
        record: The line of ``--failures`` that it stands in, if it is from there.
    """

    line: int
    item: Any
    text: str | None = None
    record: str | None = None


class Unread(NamedTuple):
    """A line of ``--failures`` that tells of a line which could not be read: it has no item.

    Attributes:
        line: Its number, counted from 1.
        why: What is wrong with what could not be read.
        record: The line.
    """

    line: int
    why: str
    record: str


class BadLineError(ReportedError):
    """A line that is not what the format asks for. With ``--on-bad-line skip`` it is left out.

    Attributes:
        name: Of the input.
        line: Its number, counted from 1.
        why: What is wrong with it.
        text: What stands there; of a row of CSV or an element of an array all of its lines.
    """

    def __init__(self, name: str, line: int, why: str, text: str) -> None:
        super().__init__(f"{name}:{line}: {why}")
        self.name = name
        self.line = line
        self.why = why
        self.text = text


class UnreadableError(ReportedError):
    """An input that cannot be read beyond this place, whatever is to become of bad lines."""


Found = Read | Unread | BadLineError


class Parser:
    """Makes items of bytes.

    What is worth an item comes out lazily, so that what is before a bad line is out before it.

    Args:
        name: Of the input, as error messages have it.
        encoding: Of its text; ``None`` (the default) for what its byte order mark says, and UTF-8
            if it has none.
    """

    def __init__(self, name: str, encoding: str | None = None) -> None:
        self.name = name
        self._asked = encoding
        self._head: bytes | None = b""  # as long as the encoding is not known

    def feed(self, data: bytes) -> Iterator[Found]:
        """Yield what is complete with these bytes.

        Raises:
            UnreadableError: If there is nothing to go on with.
        """
        if self._head is not None:
            data = self._head + data
            mark = self._start(data, more=True)
            if mark is None:
                self._head = data
                return
            data = data[mark:]
        yield from self.take(data)

    def end(self) -> Iterator[Found]:
        """Yield what is complete with the end of the input.

        Raises:
            UnreadableError: If it may not end here.
        """
        head = self._head
        if head is not None:
            mark = self._start(head, more=False)
            yield from self.take(head[mark:])
        yield from self.finish()

    def _start(self, head: bytes, *, more: bool) -> int | None:
        """Find out the encoding, and return the length of its mark, if that can be told yet."""
        found = find_encoding(head, self._asked, more=more)
        if found is None:
            return None
        encoding, mark = found
        self.begin(encoding)
        return mark

    def begin(self, encoding: str) -> None:
        """Note the encoding, before anything is taken."""
        self._encoding = encoding
        self._head = None

    def take(self, data: bytes) -> Iterator[Found]:
        """Yield what is complete with these bytes, which are behind the byte order mark."""
        raise NotImplementedError

    def finish(self) -> Iterator[Found]:
        """Yield what is complete with the end."""
        raise NotImplementedError

    def bad(self, line: int, why: str, text: str) -> tuple[BadLineError]:
        return (BadLineError(self.name, line, why, text),)

    def not_text(self, error: UnicodeDecodeError, *, place: bool = True) -> str:
        """Return what is wrong with bytes that are not in the encoding, and in which `place`."""
        name = self._encoding.upper() if self._encoding.startswith("utf") else self._encoding
        why = f"not {name}: {error.reason}{f' at byte {error.start + 1}' if place else ''}"
        return why if self._asked else f"{why}; --encoding names another encoding"

    def hint(self, text: str) -> str:
        """Return what may explain why something in the text is wrong, to be put behind that."""
        if "\0" in text and self._asked is None:
            return "; there are NUL characters in it: for UTF-16 give --encoding utf-16"
        return ""


class LineParser(Parser):
    """Takes the lines one after another."""

    def __init__(self, name: str, encoding: str | None = None) -> None:
        super().__init__(name, encoding)
        self._number = 0  # of the last line that was complete
        self._parts: list[bytes] = []  # of the line that is not

    def begin(self, encoding: str) -> None:
        super().begin(encoding)
        self._splitter = Splitter(encoding)

    def take(self, data: bytes) -> Iterator[Found]:
        lines = self._splitter.split(data)
        if len(lines) == 1:
            self._parts += lines
            return
        lines[0] = b"".join((*self._parts, lines[0]))
        self._parts = [lines.pop()]
        for line in lines:
            yield from self._next(line, self._splitter.newline)

    def finish(self) -> Iterator[Found]:
        line, self._parts = b"".join((*self._parts, self._splitter.end())), []
        if line:
            yield from self._next(line, b"")

    def _next(self, line: bytes, end: bytes) -> Iterable[Found]:
        self._number += 1
        try:
            text = (line + end).decode(self._encoding)
        except UnicodeDecodeError as error:
            text = line.decode(self._encoding, "backslashreplace")
            return self.undecodable(self._number, self.not_text(error), text)
        return self.parse(self._number, text)

    def undecodable(self, line: int, why: str, text: str) -> Iterable[Found]:
        return self.bad(line, why, text)

    def parse(self, line: int, text: str) -> Iterable[Found]:
        """Return what a line gives; its end is still on it."""
        raise NotImplementedError


class Lines(LineParser):
    """Every line is an item, a string without its end."""

    def parse(self, line: int, text: str) -> Iterable[Found]:
        return (Read(line, text.removesuffix("\n").removesuffix("\r")),)


class JsonLines(LineParser):
    """Every line is an item in JSON; empty ones are passed over."""

    def parse(self, line: int, text: str) -> Iterable[Found]:
        text = text.strip()
        if not text:
            return ()
        try:
            item = from_json(text)
        except ValueError as error:
            return self.bad(line, f"no JSON: {error}{self.hint(text)}", text)
        return (Read(line, item, text),)

    def hint(self, text: str) -> str:
        if text == "[" and self._number == 1:
            return "; for an array of items give --input-format json"
        return super().hint(text)


class FailureLines(LineParser):
    """Every line tells of a failure, as ``--failures`` writes it: its inputs are items."""

    def parse(self, line: int, text: str) -> Iterable[Found]:
        text = text.strip()
        if not text:
            return ()
        try:
            failure = from_json(text)
        except ValueError as error:
            return self.bad(line, f"no JSON: {error}", text)
        inputs = failure.get("inputs") if isinstance(failure, dict) else None
        if not isinstance(inputs, list):
            return self.bad(line, 'no line of --failures: it has no list of "inputs"', text)
        if not inputs and "text" in failure:
            told = failure.get("error")
            why = told.get("message") if isinstance(told, dict) else None
            return (Unread(line, why if isinstance(why, str) else "it says not why", text),)
        return [Read(line, item, record=text) for item in inputs]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        shown = text if len(text) <= 20 else f"{text[:20]}..."
        raise ValueError(f"{shown} is too large for a float")
    return number


_decode = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_float).decode


def from_json(text: str) -> Any:
    """Return what the JSON text says.

    Raises:
        ValueError: If it is none, with the reason and the place.
    """
    try:
        return _decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
