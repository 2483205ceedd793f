"""How numbers, names and options are written where people read them."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import fields
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..._model.spec import Spec

ELLIPSIS = "…"
UNITS = {"µs", "ms", "s", "min", "h", "%"}


# Numbers


def count_text(number: float) -> str:
    """Return a count: ``12,345``, or ``inf``."""
    return "inf" if number == math.inf else f"{number:,.0f}"


def seconds_text(seconds: float) -> str:
    """Return a duration to two digits, or to the second where that says more.

    ``30 µs``, ``1.3 ms``, ``1.5 s``, ``41 s``, ``3 min 20 s``, ``2 h 5 min``.
    """
    if seconds < 0.5e-8:
        return "0 s"
    if seconds < 0.995e-3:  # from here on, two digits of it are a millisecond
        return f"{_two_digits(seconds * 1e6)} µs"
    if seconds < 0.995:
        return f"{_two_digits(seconds * 1e3)} ms"
    if seconds < 59.5:
        return f"{_two_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def exact_seconds_text(seconds: float) -> str:
    """Return a duration that somebody has chosen, unrounded: ``50 ms``, ``1.25 s``, ``90 s``."""
    for unit, size in ("s", 1.0), ("ms", 1e-3):
        if seconds >= size or not seconds:
            return f"{seconds / size:.12g} {unit}"
    return f"{seconds / 1e-6:.12g} µs"


def _two_digits(number: float) -> str:
    digits = math.floor(math.log10(number))
    text = f"{round(number, 1 - digits):.{max(0, 1 - digits)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def share_text(share: float) -> str:
    """Return a share of 1 as ``97 %``; what is not all of it is not called 100 %."""
    percent = round(share * 100)
    if percent == 100 and share < 1:
        percent = 99
    if percent == 0 and share > 0:
        return "less than 1 %"
    return f"{percent} %"


def slots_text(slots: float) -> str:
    """Return how many slots a stage has, for the middle of a sentence."""
    if slots == 1:
        return "its one slot"
    return "both slots" if slots == 2 else f"all {count_text(slots)} slots"


def part_of(some: float, whole: float) -> float:
    """Return ``some / whole``, within 0 and 1; 0 where there is no whole."""
    return min(max(some / whole, 0.0), 1.0) if whole > 0 else 0.0


# Names


def plain(text: str) -> str:
    r"""Return `text` in one line, with everything that does not print written as ``\n`` or so.

    What a terminal or a page would act on, is text then. Surrogates are gone as well.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def width(text: str) -> int:
    """Return how many columns of a terminal `text` takes, which is all printable."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shortened(text: str, columns: int) -> str:
    """Return `text` in at most so many columns; what is missing in the middle is an ellipsis."""
    if width(text) <= columns:
        return text
    room = columns - 1
    tail = _cut(text[::-1], room // 3)[::-1]
    return _cut(text, room - width(tail)) + ELLIPSIS + tail


def _cut(text: str, columns: int) -> str:
    """Return what of the beginning of `text`, which is longer, goes into so many columns."""
    used = accumulate(map(_char_width, text))
    return text[: next(index for index, each in enumerate(used) if each > columns)]


def padded(text: str, columns: int, *, right: bool) -> str:
    """Return `text` filled up with spaces to so many columns."""
    fill = " " * (columns - width(text))
    return fill + text if right else text + fill


def wrapped(text: str, columns: int) -> str:
    """Return `text` in lines of so many columns, as far as its words are not longer.

    A number and its unit stay together.
    """
    words: list[str] = []
    for word in text.split():
        if words and word.strip(".,;:()") in UNITS:
            words[-1] += f" {word}"
        else:
            words.append(word)
    lines: list[str] = []
    for word in words:
        if lines and width(lines[-1]) + 1 + width(word) <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


# Options


def options_of(spec: Spec) -> dict[str, str]:
    """Return the options of a task that differ from their defaults, as they would be written.

    Its name and side inputs are left out. Of what is not plain, a name stands for the value: an
    option may hold something large or secret.
    """
    options: dict[str, str] = {}
    for option in fields(spec):
        if not option.init or option.name in ("func", "task_name", "args", "kwargs"):
            continue
        value = getattr(spec, option.name)
        if not _same(value, option.default):
            options[option.name] = value_text(value)
    return options


def _same(value: Any, default: Any) -> bool:
    # What is not plain may be equal to anything, or refuse to tell.
    both_plain = isinstance(value, str | int | float) and isinstance(default, str | int | float)
    return value is default or (both_plain and bool(value == default))


def value_text(value: Any) -> str:
    """Return an option's value, short and in one line."""
    if isinstance(value, tuple):
        return "(" + ", ".join(value_text(each) for each in value) + ")"
    kind = type(value).__name__
    if isinstance(value, str | int | float):
        text = repr(value)
    elif kind in ("Fraction", "RateLimit"):
        text = str(value)
    else:
        name = getattr(value, "__name__", None)
        text = name if isinstance(name, str) else kind
    return shortened(plain(text), 40)
