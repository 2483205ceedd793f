"""The items of an input, out of its bytes: JSON lines, lines, CSV, or an earlier run's failures.

Bytes come in pieces of any size, and what is complete is given at once. Nothing here waits.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, NoReturn

from .messages import ReportedError

FORMATS = ("jsonl", "lines", "csv", "failures")


def guess_format(path: str) -> str:
    """Return the format that a file has by its name; JSON lines unless that says otherwise."""
    name = path.lower()
    if name.endswith((".failures.jsonl", ".failures")):
        return "failures"
    if name.endswith(".csv"):
        return "csv"
    return "lines" if name.endswith((".txt", ".log")) else "jsonl"


class Read(NamedTuple):
    """An item of the input.

    Attributes:
        line: The number of its first line, counted from 1.
        item: What the pipeline is given.
        text: The same as JSON, if it is at hand.
    """

    line: int
    item: Any
    text: str | None = None


class BadLineError(ReportedError):
    """A line that is not what the format asks for. With ``--on-bad-line skip`` it is left out.

    Attributes:
        line: Its number, counted from 1.
        why: What is wrong with it.
    """

    def __init__(self, name: str, line: int, why: str) -> None:
        super().__init__(f"{name}:{line}: {why}")
        self.line = line
        self.why = why


class HeaderError(ReportedError):
    """A first line of CSV that cannot name the fields: there is nothing to go on with."""


class Parser:
    """Makes items of bytes.

    What a line is worth comes out lazily, so that what is before a bad line is out before it.

    Args:
        name: Of the input, as error messages have it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._number = 0  # of the last line that was complete
        self._parts: list[bytes] = []  # of the line that is not

    def feed(self, data: bytes) -> Iterator[Read | BadLineError]:
        """Yield what is complete with these bytes."""
        lines = data.split(b"\n")
        if len(lines) == 1:
            self._parts.append(data)
            return
        lines[0] = b"".join((*self._parts, lines[0]))
        self._parts = [lines.pop()]
        for line in lines:
            yield from self._next(line, b"\n")

    def end(self) -> Iterator[Read | BadLineError]:
        """Yield what is complete with the end of the input."""
        line, self._parts = b"".join(self._parts), []
        if line:
            yield from self._next(line, b"")

    def _next(self, line: bytes, end: bytes) -> Iterable[Read | BadLineError]:
        self._number += 1
        if self._number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            text = (line + end).decode()
        except UnicodeDecodeError as error:
            why = f"no UTF-8: {error.reason} at byte {error.start + 1}"
            return self.undecodable(self._number, why)
        return self.parse(self._number, text)

    def bad(self, line: int, why: str) -> tuple[BadLineError]:
        return (BadLineError(self.name, line, why),)

    def undecodable(self, line: int, why: str) -> Iterable[Read | BadLineError]:
        return self.bad(line, why)

    def parse(self, line: int, text: str) -> Iterable[Read | BadLineError]:
        """Return what a line gives; its end is still on it."""
        raise NotImplementedError


class Lines(Parser):
    """Every line is an item, a string without its end."""

    def parse(self, line: int, text: str) -> Iterable[Read | BadLineError]:
        return (Read(line, text.removesuffix("\n").removesuffix("\r")),)


class JsonLines(Parser):
    """Every line is an item in JSON; empty ones are passed over."""

    def parse(self, line: int, text: str) -> Iterable[Read | BadLineError]:
        text = text.strip()
        if not text:
            return ()
        try:
            item = from_json(text)
        except ValueError as error:
            return self.bad(line, f"no JSON: {error}")
        return (Read(line, item, text),)


class FailureLines(Parser):
    """Every line tells of a failure, as ``--failures`` writes it: its inputs are items."""

    def parse(self, line: int, text: str) -> Iterable[Read | BadLineError]:
        text = text.strip()
        if not text:
            return ()
        try:
            failure = from_json(text)
        except ValueError as error:
            return self.bad(line, f"no JSON: {error}")
        inputs = failure.get("inputs") if isinstance(failure, dict) else None
        if not isinstance(inputs, list):
            return self.bad(line, 'no line of --failures: it has no list of "inputs"')
        return [Read(line, item) for item in inputs]


class Csv(Parser):
    """The first row names the fields, and every further one is an item: a dict of strings."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._rows = _Rows()
        self._header: list[str] | None = None

    def undecodable(self, line: int, why: str) -> Iterable[Read | BadLineError]:
        if self._header is None:
            raise HeaderError(f"{self.name}:{line}: {why}")
        return self.bad(line, why)

    def parse(self, line: int, text: str) -> Iterable[Read | BadLineError]:
        self._rows.add(line, text)
        return self._read()

    def end(self) -> Iterator[Read | BadLineError]:
        yield from super().end()
        self._rows.ended = True
        yield from self._read()

    def _read(self) -> Iterator[Read | BadLineError]:
        for line, row in self._rows.complete():
            if isinstance(row, csv.Error):
                if self._header is None:
                    raise HeaderError(f"{self.name}:{line}: no CSV: {row}")
                yield from self.bad(line, f"no CSV: {row}")
            elif self._header is None:
                self._header = self._checked(line, row)
            elif len(row) != len(self._header):
                fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
                yield from self.bad(line, f"{fields}, and the header names {len(self._header)}")
            else:
                yield Read(line, dict(zip(self._header, row, strict=True)))

    def _checked(self, line: int, names: list[str]) -> list[str]:
        for name in names:
            if names.count(name) > 1:
                raise HeaderError(f"{self.name}:{line}: the header names {name!r} more than once")
        return names


class _Rows:
    """Rows of CSV, of which each may have several lines.

    The `csv` module asks for lines. If there is none yet in the middle of a row, that row is
    begun anew with a line that may end it.
    """

    def __init__(self) -> None:
        self.ended = False
        self._waiting: deque[tuple[int, str]] = deque()
        self._taken: list[tuple[int, str]] = []  # by the row that is being read
        self._open = 0  # characters that wait inside quotes
        self._reader = csv.reader(self, strict=True)

    def add(self, line: int, text: str) -> None:
        self._waiting.append((line, text))
        if self._open:
            self._open += len(text)
            # The row cannot end here; but quotes that do not end at all are found out as well.
            if '"' not in text and self._open <= csv.field_size_limit():
                return
        self._open = 0

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> str:
        if not self._waiting:
            raise StopIteration if self.ended else _NoLineYetError
        self._taken.append(self._waiting.popleft())
        return self._taken[-1][1]

    def complete(self) -> Iterator[tuple[int, list[str] | csv.Error]]:
        """Yield the rows that are complete, each with the number of its first line."""
        while self._waiting and (self.ended or not self._open):
            self._taken.clear()
            row: list[str] | csv.Error
            try:
                row = next(self._reader)
            except csv.Error as error:
                row = error
            except _NoLineYetError:
                self._open = sum(len(text) for _, text in self._taken)
                self._waiting.extendleft(reversed(self._taken))
                return
            if row != []:
                yield self._taken[0][0], row


class _NoLineYetError(Exception):
    pass


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


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


PARSERS: dict[str, type[Parser]] = {
    "jsonl": JsonLines,
    "lines": Lines,
    "csv": Csv,
    "failures": FailureLines,
}
