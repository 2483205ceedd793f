"""Checks of values that several options, settings and arguments take.

Each raises one clear error: what the value is for, what it may be, and what it is.
"""

from __future__ import annotations

import sys
from typing import Any


def check_count(name: str, value: object, *, none: bool = False, inf: bool = False) -> None:
    """Check that `value` is a whole number of at least 1.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is below 1, or not whole.
    """
    allowed = "a whole number of at least 1"
    allowed += ", or math.inf for no limit" if inf else ""
    allowed += ", or None" if none else ""
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be {allowed}, not {value!r}")
    if inf and value == float("inf"):
        return
    if isinstance(value, float):
        raise (ValueError if value != value or value < 1 else TypeError)(
            f"{name} must be {allowed}, not {value!r}"
        )
    if value < 1:
        raise ValueError(f"{name} must be {allowed}, not {value!r}")


def check_max_failures(value: Any) -> None:
    """Check that `value` says how many items may fail.

    Raises:
        TypeError: If it is neither a whole number, nor a fraction, nor ``None``.
        ValueError: If it is below 0, or a fraction that is not between 0 and 1.
    """
    if value is None:
        return
    # Code that has a fraction has imported the whole module. Otherwise another thread may be in
    # the middle of importing it.
    fraction = getattr(sys.modules.get("fractions"), "Fraction", None)
    if fraction is not None and isinstance(value, fraction):
        if not 0 < value < 1:
            raise ValueError(f"max_failures as a fraction must be between 0 and 1, not {value!r}")
        return
    if isinstance(value, bool) or not isinstance(value, int):
        hint = ""
        if isinstance(value, float) and 0 < value < 1:
            hint = f': for a share of the items write Fraction("{value!r}")'
        raise TypeError(
            "max_failures must be a whole number of at least 0, a fractions.Fraction "
            f"between 0 and 1, or None, not {value!r}{hint}"
        )
    if value < 0:
        raise ValueError(f"max_failures must be a whole number of at least 0, not {value!r}")


def check_seconds(name: str, value: object, *, zero: bool, none: bool) -> None:
    if value is None and none:
        return
    allowed = f"a number of seconds {'of at least' if zero else 'above'} 0"
    allowed += ", or None" if none else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be {allowed}, not {value!r}")
    if value != value or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {allowed}, not {value!r}")


def check_bool(name: str, value: object, *, none: bool = False) -> None:
    if not isinstance(value, bool) and not (value is None and none):
        allowed = "True, False or None" if none else "True or False"
        raise TypeError(f"{name} must be {allowed}, not {value!r}")


def check_amount(name: str, value: object, *, zero: bool = False) -> float:
    """Return `value` if it is a finite number above 0, or with `zero` of at least 0.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is out of that range.
    """
    allowed = f"a finite number {'of at least' if zero else 'above'} 0"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be {allowed}, not {value!r}")
    if not (0 < value <= sys.float_info.max or (zero and value == 0)):
        raise ValueError(f"{name} must be {allowed}, not {value!r}")
    return value
