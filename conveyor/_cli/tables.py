"""The items of CSV and its relatives. Nothing here waits."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator

from .lines import Found, LineParser, Read, UnreadableError

# Characters that a row of several lines may have, before its quotes are said not to end.
LONGEST = 2**24
_FIELD_LIMIT = 2**31 - 1  # what fits into a C long everywhere

_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def checked_delimiter(text: str) -> str:
    r"""Return the character that separates fields; a tab may be written ``\t``.

    Raises:
        ValueError: If it cannot separate them.
    """
    delimiter = "\t" if text == r"\t" else text
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise ValueError(rf"one character, such as ';' or '\t' for a tab, not {text!r}")
    return delimiter


class Csv(LineParser):
    """The first row names the fields, and every further one is an item: a dict of strings.

    Args:
        name: As for every `Parser`.
        encoding: As for every `Parser`.
        delimiter: What separates the fields; ``None`` (the default) for `usual`, and then a header
            of one field is refused if it looks as if something else did.
        usual: What separates them as a rule.
    """

    def __init__(
        self,
        name: str,
        encoding: str | None = None,
        delimiter: str | None = None,
        usual: str = ",",
    ) -> None:
        super().__init__(name, encoding)
        self._rows = _Rows(delimiter or usual)
        self._sure = delimiter is not None
        self._header: list[str] | None = None

    def undecodable(self, line: int, why: str, text: str) -> Iterable[Found]:
        if self._header is None:
            raise UnreadableError(f"{self.name}:{line}: {why}")
        return self.bad(line, why, text)

    def parse(self, line: int, text: str) -> Iterable[Found]:
        self._rows.add(line, text)
        return self._read()

    def finish(self) -> Iterator[Found]:
        yield from super().finish()
        self._rows.ended = True
        yield from self._read()

    def _read(self) -> Iterator[Found]:
        for line, row, text in self._rows.complete():
            if isinstance(row, csv.Error):
                if self._header is None:
                    raise UnreadableError(f"{self.name}:{line}: no CSV: {row}{self.hint(text)}")
                yield from self.bad(line, f"no CSV: {row}", text)
            elif self._header is None:
                self._header = self._checked(line, row)
            elif len(row) != len(self._header):
                fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
                why = f"{fields}, and the header names {len(self._header)}"
                yield from self.bad(line, why, text)
            else:
                yield Read(line, dict(zip(self._header, row, strict=True)))

    def _checked(self, line: int, names: list[str]) -> list[str]:
        place = f"{self.name}:{line}: "
        for name in names:
            if names.count(name) > 1:
                raise UnreadableError(f"{place}the header names {name!r} more than once")
        if hint := self.hint("".join(names)):
            raise UnreadableError(f"{place}no CSV{hint}")
        if len(names) == 1 and not self._sure:
            for other, words in _DELIMITERS.items():
                if other in names[0]:
                    usual = self._rows.delimiter
                    raise UnreadableError(
                        f"{place}the header has one field, with {words} in it: if that separates "
                        f"the fields, give --delimiter {_shell(other)}, else {_shell(usual)}"
                    )
        return names


def _shell(delimiter: str) -> str:
    return r"'\t'" if delimiter == "\t" else f"'{delimiter}'"


class _Rows:
    """Rows of CSV, of which each may have several lines.

    The `csv` module asks for lines. If there is none yet in the middle of a row, that row is
    begun anew with the line that ends it.
    """

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter
        self.ended = False
        self._waiting: deque[tuple[int, str]] = deque()
        self._taken: list[tuple[int, str]] = []  # by the row that is being read
        self._open = 0  # characters that wait inside quotes
        self._reader = csv.reader(self, strict=True, delimiter=delimiter)
        # For the whole process, but nobody counts on an error there. By default it is 131,072.
        csv.field_size_limit(max(csv.field_size_limit(), _FIELD_LIMIT))

    def add(self, line: int, text: str) -> None:
        self._waiting.append((line, text))
        if self._open:
            self._open += len(text)
            # Quotes that do not end at all have to be found out as well.
            if self._open <= LONGEST and ('"' not in text or self._still_open(text)):
                return
        self._open = 0

    def _still_open(self, text: str) -> bool:
        """Whether a row that is inside quotes is so again, or still, when this line ends.

        It is read by itself, as a row that begins inside quotes: from the row's own beginning it
        would have to be read again with every line that has quotes.
        """
        try:
            next(csv.reader(_inside_quotes(text), strict=True, delimiter=self.delimiter))
        except _NoLineYetError:
            return True
        except csv.Error:
            pass
        return False

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> str:
        if not self._waiting:
            raise StopIteration if self.ended else _NoLineYetError
        self._taken.append(self._waiting.popleft())
        return self._taken[-1][1]

    def complete(self) -> Iterator[tuple[int, list[str] | csv.Error, str]]:
        """Yield the rows that are complete, each with the number of its first line and its text."""
        while self._waiting and (self.ended or not self._open):
            self._taken.clear()
            row: list[str] | csv.Error
            try:
                row = next(self._reader)
            except csv.Error as error:
                row = error
            except _NoLineYetError:
                size = sum(len(text) for _, text in self._taken)
                if size <= LONGEST:
                    self._open = size
                    self._waiting.extendleft(reversed(self._taken))
                    return
                row = csv.Error(f"quotes that do not end within {LONGEST:,} characters")
            if row != []:
                text = "".join(text for _, text in self._taken)
                yield self._taken[0][0], row, text.removesuffix("\n").removesuffix("\r")


def _inside_quotes(text: str) -> Iterator[str]:
    yield f'"{text}'
    raise _NoLineYetError


class _NoLineYetError(Exception):
    pass
