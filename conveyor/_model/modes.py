"""In which order results come."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias


class ExecutionMode(StrEnum):
    """In which order a stream gives its results; the plain strings do as well."""

    __module__ = "conveyor"

    ORDERED = "ordered"
    AS_COMPLETED = "as_completed"

    @classmethod
    def parse(cls, value: object) -> ExecutionMode:
        """Return `value` as a mode.

        Raises:
            TypeError: If it is not a string.
            ValueError: If it is not one of the modes.
        """
        if not isinstance(value, str):
            raise TypeError(
                f"execution_mode must be 'ordered' or 'as_completed', not {value!r} "
                f"of type {type(value).__name__}"
            )
        try:
            return cls(value)
        except ValueError:
            raise ValueError(
                f"execution_mode must be 'ordered' or 'as_completed', not {value!r}"
            ) from None


Mode: TypeAlias = ExecutionMode | Literal["ordered", "as_completed"]
