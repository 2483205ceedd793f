"""Settings of a run, as its tasks see them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ._arguments import takes
from ._instrument import Instrument
from ._names import slip

if TYPE_CHECKING:
    from fractions import Fraction

    from ._instrument import MakesInstrument


class ExecutionMode(StrEnum):
    """In which order a stream gives its results; the plain strings do as well."""

    __module__ = "conveyor"

    ORDERED = "ordered"
    AS_COMPLETED = "as_completed"

    @classmethod
    def parse(cls, value: object) -> ExecutionMode:
        """Return `value` as a mode.

        Raises:
            TypeError: If it is no string.
            ValueError: If there is no such mode.
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


def check_count(name: str, value: object, *, none: bool = False, inf: bool = False) -> None:
    """Refuse what is no whole number of at least 1.

    Raises:
        TypeError: If it is no number.
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
    """Refuse what does not say how many items may fail.

    Raises:
        TypeError: If it is neither a whole number, nor a fraction, nor ``None``.
        ValueError: If it is below 0, or a fraction that is not between 0 and 1.
    """
    if value is None:
        return
    fractions = sys.modules.get("fractions")  # who has a fraction has imported it
    if fractions is not None and isinstance(value, fractions.Fraction):
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


def check_instrument(value: object) -> None:
    """Refuse what cannot make an instrument.

    Raises:
        TypeError: If it cannot be called, or is an instrument already.
    """
    if isinstance(value, Instrument):
        raise TypeError(
            f"each run makes its own instrument: give the class {type(value).__name__}, or a "
            f"function that returns one, not {value!r}"
        )
    if not takes(value, 1):
        raise TypeError(
            "an instrument is given as what makes it: an Instrument class, or a function of a "
            f"RunInfo that returns one, not {value!r}"
        )


def check_instruments(values: object) -> None:
    """Refuse what is no sequence of what makes instruments.

    Raises:
        TypeError: If it is none.
    """
    if type(values) is tuple and not values:  # the usual way
        return
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"instruments must be a list of Instrument classes, not {values!r}")
    for value in values:
        check_instrument(value)


@dataclass(frozen=True)
class PipelineContext:
    """The settings of one run, and a dict that its tasks share.

    Attributes:
        execution_mode: ``"ordered"`` (the default) or ``"as_completed"``.
        max_parallelism: How many task functions may run at one moment in the whole run;
            ``None`` (the default) leaves it to the tasks' own limits.
        buffer_size: How many items may wait between two stages, 100 by default.
        pipeline_id: A name for the run; ``None`` (the default) gives each run one of its own.
        data: Anything else. Each run works on its own shallow copy.
        max_failures: How many items may fail and be skipped or emitted in the whole run, before
            it fails with `TooManyFailures`; ``None`` (the default) means any number. A
            `fractions.Fraction` is a share of the items that the task with the most of them has
            received, looked at whenever an item fails, once these are 100.
        timing: Whether the run measures where its time goes, for `Stream.statistics`: ``True`` by
            default. Counters are kept in any case.
        instruments: What makes an `Instrument` for each run, one or more; none by default.
    """

    __module__ = "conveyor"

    execution_mode: ExecutionMode | str = ExecutionMode.ORDERED
    max_parallelism: int | None = None
    buffer_size: int = 100
    pipeline_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    max_failures: int | Fraction | None = None
    timing: bool = True
    instruments: Sequence[MakesInstrument] = ()

    def __post_init__(self) -> None:
        # A frozen dataclass leaves no other way to store the parsed form.
        object.__setattr__(self, "execution_mode", ExecutionMode.parse(self.execution_mode))
        check_count("max_parallelism", self.max_parallelism, none=True)
        check_count("buffer_size", self.buffer_size)
        if self.pipeline_id is not None and not isinstance(self.pipeline_id, str):
            raise TypeError(f"pipeline_id must be a str or None, not {self.pipeline_id!r}")
        if not isinstance(self.data, Mapping):
            raise TypeError(f"data must be a dict, not {self.data!r}")
        check_max_failures(self.max_failures)
        if not isinstance(self.timing, bool):
            raise TypeError(f"timing must be True or False, not {self.timing!r}")
        check_instruments(self.instruments)


SETTINGS = frozenset(f.name for f in fields(PipelineContext))


def merge_settings(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, with what is not a field of the context under ``data``; the right side wins.

    Raises:
        TypeError: If a setting is of a wrong type, or its name is a slip for that of a field.
        ValueError: If a setting is out of its range.
    """
    merged: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for side in (left, right):
        for name, value in side.items():
            if name not in SETTINGS:
                _check_name(name)
                data[name] = value
            elif name != "data":
                merged[name] = value
            elif isinstance(value, Mapping):
                data.update(value)
            else:
                raise TypeError(f"data must be a dict, not {value!r}")
    if data:
        merged["data"] = data
    PipelineContext(**merged)  # refuses what is wrong here, where it was written
    return merged


def _check_name(name: str) -> None:
    if (right := slip(name, sorted(SETTINGS))) is not None:
        raise TypeError(
            f"there is no setting {name!r}: did you mean {right!r}? If it is meant as data of "
            f"your own, write data={{{name!r}: ...}}"
        )


current_context: ContextVar[PipelineContext | None] = ContextVar("conveyor_context", default=None)


def get_current_context() -> PipelineContext | None:
    """Return the context of the run in whose task function this is called, else ``None``."""
    return current_context.get()
