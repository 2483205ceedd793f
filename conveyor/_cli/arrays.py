"""The items of a JSON array, which is never in memory as a whole. Nothing here waits."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from enum import Enum, auto

from .lines import BadLineError, Found, JsonLines, Parser, Read, UnreadableError, from_json

# Up to the next bracket, or quote that is not closed in this piece; a comma counts only outside.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_INSIDE = re.compile(rf'(?:[^"\[\]{{}}]++|{_STRING})*+', re.DOTALL)
_OUTSIDE = re.compile(rf'(?:[^"\[\]{{}},]++|{_STRING})*+', re.DOTALL)
_REST_OF_STRING = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

# From here on an element that has not ended yet is looked at: it may be one that never will.
_LARGE = 2**20


class _State(Enum):
    START = auto()  # nothing yet but white space
    LINES = auto()  # no array: an item in every line
    VALUES = auto()  # no array: one value after another, of several lines each
    ARRAY = auto()
    OVER = auto()


class Json(Parser):
    """The elements of an array are the items.

    What is no array is taken for one value after another, as in JSON lines.
    """

    def __init__(self, name: str, encoding: str | None = None) -> None:
        super().__init__(name, encoding)
        self._state = _State.START
        self._taken: list[bytes] = []  # as long as it may turn out to have an item in every line
        self._lines: JsonLines | None = None
        self._held = [""]  # of what begins in an earlier piece
        self._opened = True  # whether the bracket in front of the elements has been passed
        self._value = _Value()
        self._line = 1  # of what is looked at
        self._elements = 0
        self._looked_at = 0  # characters of the element that has not ended

    def begin(self, encoding: str) -> None:
        super().begin(encoding)
        decoder = codecs.getincrementaldecoder(encoding)
        self._decoder = decoder()
        self._peeking = decoder("replace")

    def take(self, data: bytes) -> Iterator[Found]:
        return self._take(data, final=False)

    def _take(self, data: bytes, *, final: bool) -> Iterator[Found]:
        if self._state is _State.START:
            self._taken.append(data)
            self._peek(self._peeking.decode(data, final), final=final)
            if self._state is _State.START:
                return
            data, self._taken = b"".join(self._taken), []
        if self._lines is not None:
            yield from self._lines.take(data)
            return
        wrong: UnicodeDecodeError | None = None
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            wrong = error
            text = error.object[: error.start].decode(self._encoding, "ignore")
        if not self._opened:
            before, _, text = text.partition("[")
            self._line += before.count("\n")
            self._opened = True
        yield from self._elements_of(text)
        if wrong is not None:
            line = self._line + "".join(self._held).count("\n")
            raise UnreadableError(f"{self.name}:{line}: {self.not_text(wrong, place=False)}")

    def finish(self) -> Iterator[Found]:
        yield from self._take(b"", final=True)
        if self._lines is not None:
            yield from self._lines.finish()
            return
        rest = "".join(self._held)
        if self._state is _State.ARRAY:
            line = self._line + _blank(rest)
            why = "the array does not end, as in a file that was not copied to its end"
            yield from self.bad(line, why, rest.strip())
        elif rest.strip():
            yield self._item(rest)

    def _peek(self, text: str, *, final: bool) -> None:
        """Find out what kind of text it is, if that can be told yet."""
        self._held.append(text)
        if not self._held[0]:
            self._held = [text.lstrip()]
        if not (final or "\n" in text or self._held[0].startswith("[")):
            return
        first, newline, _ = "".join(self._held).lstrip().partition("\n")
        if first.startswith("["):
            self._state = _State.ARRAY
            self._opened = False
        elif not first or not (newline or final):
            return
        elif _is_json(first):
            self._state = _State.LINES
            self._lines = JsonLines(self.name, self._asked)
            self._lines.begin(self._encoding)
        else:
            self._state = _State.VALUES
        self._held.clear()

    # --- what is in it

    def _elements_of(self, text: str) -> Iterator[Found]:
        start = 0
        while self._state is not _State.OVER:
            end = self._value.end(text, start, array=self._state is _State.ARRAY)
            if end < 0:
                self._held.append(text[start:])
                self._look_at(len(text) - start)
                return
            element = "".join((*self._held, text[start:end]))
            self._held.clear()
            self._looked_at = 0
            start = end
            if self._state is _State.VALUES:
                yield self._item(element)
                continue
            start += 1
            if text[end] == "]":
                self._state = _State.OVER
            if self._elements or element.strip() or text[end] == ",":
                yield self._item(element)
        if rest := text[start:].strip():
            line = self._line + _blank(text[start:])
            raise UnreadableError(
                f"{self.name}:{line}: something follows the array: {rest[:20]!r}; if there is an "
                "item in every line, give --input-format jsonl"
            )
        self._line += text.count("\n", start)

    def _item(self, element: str) -> Found:
        self._elements += 1
        line = self._line + _blank(element)
        self._line += element.count("\n")
        text = element.strip()
        try:
            item = from_json(text)
        except ValueError as error:
            return BadLineError(self.name, line, f"no JSON: {error}{self.hint(text)}", text)
        return Read(line, item, None if "\n" in text else text)

    def _look_at(self, more: int) -> None:
        """Refuse an element that is sure to be wrong, before all the rest is taken for its part."""
        before, self._looked_at = self._looked_at, self._looked_at + more
        if self._looked_at < _LARGE or before.bit_length() == self._looked_at.bit_length():
            return
        text = "".join(self._held)
        self._held = [text]
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            # What is cut off is wrong near its end, or is a string that has no end.
            if len(text) - error.pos > 100 and not error.msg.startswith("Unterminated string"):
                line = self._line + text.count("\n", 0, error.pos)
                raise UnreadableError(f"{self.name}:{line}: no JSON: {error.msg}") from None
        except (ValueError, RecursionError):
            pass


class _Value:
    """Finds the end of a value in text that comes in pieces, by its brackets and strings alone."""

    def __init__(self) -> None:
        self._depth = 0
        self._string = False  # whether a piece has ended inside a string,
        self._escaped = False  # and behind a backslash

    def end(self, text: str, start: int, *, array: bool) -> int:
        """Return where the value ends whose text goes on here, -1 if not in this piece.

        In an `array` that is where the comma or the bracket behind it stands.
        """
        place, size = start, len(text)
        while place < size:
            if self._string:
                place = self._rest_of_string(text, place)
                continue
            pattern = _INSIDE if self._depth or not array else _OUTSIDE
            match = pattern.match(text, place)
            place = match.end() if match is not None else place
            if place == size:
                break
            mark = text[place]
            if mark == '"':
                self._string = True
            elif mark in "[{":
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if not self._depth and not array:
                    return place + 1
            elif array and mark in ",]":
                return place
            place += 1
        return -1

    def _rest_of_string(self, text: str, place: int) -> int:
        if self._escaped:
            self._escaped = False
            return place + 1
        match = _REST_OF_STRING.match(text, place)
        place = match.end() if match is not None else place
        if place < len(text):
            self._string = text[place] != '"'
            self._escaped = self._string
            place += 1
        return place


def _blank(text: str) -> int:
    """Return how many lines there are in front of what stands in the text."""
    return text.count("\n", 0, len(text) - len(text.lstrip()))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    except RecursionError:
        pass
    return True
