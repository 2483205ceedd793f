"""Results as text: JSON, lines or CSV. Nothing here waits."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import PurePath
from typing import Any
from uuid import UUID

from .messages import message_of
from .unpacking import without_packing

FORMATS = ("jsonl", "json", "lines", "csv", "tsv")
_ENDINGS = {
    "json": (".json",),
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "lines": (".txt", ".log"),
}


def guess_format(path: str, *, delimiter: bool = False) -> str:
    """Return the format that a file has by its name; JSON lines unless that says otherwise.

    Args:
        path: Its name.
        delimiter: Whether the fields are to be separated by a character that was named: then it
            is CSV unless the name says that it is JSON.
    """
    name = without_packing(path.lower())
    found = next((form for form, ends in _ENDINGS.items() if name.endswith(ends)), None)
    if delimiter and found != "json" and not name.endswith((".jsonl", ".ndjson")):
        return "csv"
    return found or "jsonl"


class UnwritableError(Exception):
    """A value that the format cannot hold.

    Args:
        why: What it is.
        where: The way to it inside the result, ``.tags[3]`` say.
    """

    def __init__(self, why: str, where: str = "") -> None:
        super().__init__(why, where)
        self.why = why
        self.where = where

    def __str__(self) -> str:
        return f"{self.why}, at {self.where}" if self.where else self.why


_PLAIN = frozenset({str, int, bool, type(None)})
_AS_TEXT = (Decimal, UUID, PurePath)
_DATES = (datetime, date, time)


def plain(value: Any) -> Any:
    """Return `value` made of what JSON holds.

    Dataclasses and named tuples become objects, sets become sorted arrays, an `Enum` becomes its
    value, dates and times become ISO 8601, a `timedelta` seconds, and `Decimal`, `UUID` and paths
    become strings.

    Raises:
        UnwritableError: If something in it is nothing that JSON holds.
    """
    try:
        return _plain(value)
    except RecursionError:
        raise UnwritableError("it holds itself, or is nested too deep") from None
    except UnwritableError:
        raise
    except Exception as error:  # from the user's own classes
        raise UnwritableError(_failed(error)) from error


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        return _object(value)
    if kind is list or kind is tuple:
        return _array(value)
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnwritableError(f"{float(value)} is no number of JSON's")
        return value
    if isinstance(value, str | int):
        return value
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, _DATES):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return _object(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _object({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, tuple) and (names := getattr(value, "_fields", None)) is not None:
        return _object(dict(zip(names, value, strict=True)))
    if isinstance(value, Set):
        return _sorted(_array([*value]))
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return _array(value)
    raise UnwritableError(f"nothing that JSON holds: {full_name(kind)}")


def _failed(error: Exception) -> str:
    return f"{type(error).__name__}: {message_of(error)}"


def full_name(kind: type) -> str:
    """Return the name of a class, with its module unless it is built in."""
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def _object(value: Mapping[Any, Any]) -> dict[Any, Any]:
    made = {}
    for name, inner in value.items():
        if type(name) is not str:
            name = _key(name)
        if type(inner) not in _PLAIN:
            try:
                inner = _plain(inner)
            except UnwritableError as error:
                raise UnwritableError(error.why, f".{name}{error.where}") from None
        made[name] = inner
    return made


def _array(values: Sequence[Any]) -> list[Any]:
    made = []
    for place, inner in enumerate(values):
        if type(inner) not in _PLAIN:
            try:
                inner = _plain(inner)
            except UnwritableError as error:
                raise UnwritableError(error.why, f"[{place}]{error.where}") from None
        made.append(inner)
    return made


def _key(name: Any) -> Any:
    made = _plain(name)
    if isinstance(made, dict | list):
        raise UnwritableError(f"a key that is no string: {full_name(type(name))}")
    return made


def _sorted(values: list[Any]) -> list[Any]:
    # The order of a set of strings is another in every process.
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=json.dumps)


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":")).encode


def to_json(value: Any) -> str:
    """Return `value` as JSON in one line.

    Raises:
        UnwritableError: If something in it is nothing that JSON holds.
    """
    made = plain(value)
    try:
        text = _encode(made)
    except ValueError as error:  # a number of more digits than Python turns into text
        raise UnwritableError(_failed(error)) from None
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can write all the same
        return _encode_ascii(made)
    return text


class Writer:
    """Makes text of results, one after the other."""

    def encode(self, result: Any) -> str:
        """Return what is to be written of a result.

        Raises:
            UnwritableError: If the format cannot hold it.
        """
        raise NotImplementedError

    def end(self) -> str:
        """Return what is to be written behind the last result."""
        return ""


class JsonLines(Writer):
    """One JSON text in a line for each result."""

    def encode(self, result: Any) -> str:
        return to_json(result) + "\n"


class JsonArray(Writer):
    """One JSON array of all results, each in a line of its own."""

    def __init__(self) -> None:
        self._before = "["

    def encode(self, result: Any) -> str:
        text = f"{self._before}\n{to_json(result)}"
        self._before = ","
        return text

    def end(self) -> str:
        return "[]\n" if self._before == "[" else "\n]\n"


class Lines(Writer):
    """One line for each result: a string as it is, and anything else as JSON."""

    def encode(self, result: Any) -> str:
        if not isinstance(result, str):
            return to_json(result) + "\n"
        if "\n" in result or "\r" in result:
            raise UnwritableError("a string with several lines, which would become several results")
        try:
            result.encode()
        except UnicodeEncodeError:
            raise UnwritableError("a string that UTF-8 cannot hold") from None
        return f"{result}\n"


class Csv(Writer):
    """A row for each result, below a first one that names the fields of the first result.

    Strings and numbers stand as they are, ``None`` as an empty field, anything else as JSON.

    Args:
        delimiter: What separates the fields.
    """

    def __init__(self, delimiter: str = ",") -> None:
        self._names: list[str] | None = None
        self._text = io.StringIO(newline="")
        self._rows = csv.writer(self._text, delimiter=delimiter, lineterminator="\n")

    def encode(self, result: Any) -> str:
        made = plain(result)
        if not isinstance(made, dict):
            raise UnwritableError(
                "CSV has rows of named fields: a result must be a dict, a dataclass or a named "
                f"tuple, not {full_name(type(result))}"
            )
        names = [*made] if self._names is None else self._names
        if made.keys() != set(names):
            raise UnwritableError(_difference(made, names))
        cells = [self._cell(name, made[name]) for name in names]
        try:
            if self._names is None:
                self._rows.writerow([self._cell(name, name) for name in names])
            self._rows.writerow(cells)
            text = self._text.getvalue()
        except (csv.Error, ValueError) as error:  # a number of more digits than become text
            raise UnwritableError(_failed(error)) from None
        finally:
            self._text.seek(0)
            self._text.truncate()
        self._names = names
        return text

    def _cell(self, name: str, value: Any) -> Any:
        if value is None:
            return ""
        if isinstance(value, bool | dict | list):
            return to_json(value)
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise UnwritableError("a string that UTF-8 cannot hold", f".{name}") from None
        return value


def _difference(made: dict[str, Any], names: Sequence[str]) -> str:
    missing = [name for name in names if name not in made]
    more = [name for name in made if name not in names]
    parts = []
    if missing:
        parts.append(f"without {', '.join(map(repr, missing))}")
    if more:
        parts.append(f"with {', '.join(map(repr, more))}")
    return f"other fields than the first result's: {' and '.join(parts)}"


WRITERS: dict[str, Callable[[], Writer]] = {
    "jsonl": JsonLines,
    "json": JsonArray,
    "lines": Lines,
    "csv": Csv,
    "tsv": partial(Csv, "\t"),
}


def writer_for(form: str, delimiter: str | None = None) -> Writer:
    """Return what makes text of results.

    Args:
        form: The format.
        delimiter: What is to separate the fields; ``None`` for what does as a rule.
    """
    if delimiter is not None and form in ("csv", "tsv"):
        return Csv(delimiter)
    return WRITERS[form]()
