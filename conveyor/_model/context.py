"""Settings of a run, as its tasks see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from .arguments import takes
from .checks import check_count, check_max_failures
from .instrument import Instrument
from .modes import ExecutionMode, Mode
from .names import slip

if TYPE_CHECKING:
    from fractions import Fraction

    from anyio import Event

    from .instrument import MakesInstrument


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


class Stop:
    """Whether a run was told to stop, for those who ask and for those who wait."""

    __slots__ = ("_event", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._event: Event | None = None  # there once somebody waits

    def set(self) -> None:
        self.is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        from anyio import Event, lowlevel  # to describe needs no event loop

        if self.is_set:
            await lowlevel.checkpoint()
            return
        if self._event is None:
            self._event = Event()
        await self._event.wait()


class _OfARun:
    """What a run's own context has beside the fields, which are its settings."""

    __slots__ = ("_stop",)

    _stop: Stop


@dataclass(frozen=True)
class PipelineContext(_OfARun):
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

    execution_mode: Mode = ExecutionMode.ORDERED
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

    def for_a_run(self, pipeline_id: str) -> PipelineContext:
        """Return a copy that is a run's own. The fields were checked before."""
        context = object.__new__(PipelineContext)
        vars(context).update(vars(self), pipeline_id=pipeline_id, data=dict(self.data))
        object.__setattr__(context, "_stop", Stop())
        return context

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to a run."""
        return vars(self)

    @property
    def stop_order(self) -> Stop:
        """That of the run, for the engine."""
        return self._stop

    @property
    def stopping(self) -> bool:
        """Whether the run was told to stop, with `Stream.stop` or by a signal.

        False in a context that is not a run's own. It may be read in a worker thread.
        """
        return hasattr(self, "_stop") and self._stop.is_set

    async def wait_stopping(self) -> None:
        """Wait until the run is told to stop. A checkpoint.

        An input that may wait for long waits for this beside it, and then ends by itself. A run
        that ends otherwise never tells: what waits in one of its tasks is cancelled with it.

        Raises:
            RuntimeError: If this context is not a run's own: `get_current_context` gives that.
        """
        if not hasattr(self, "_stop"):
            raise RuntimeError(
                "only the context of a run can be waited for: call get_current_context() in a "
                "task function or in the input"
            )
        await self._stop.wait()


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
    """Return the context of the run in whose task function or input this is called.

    ``None`` outside of a run.
    """
    return current_context.get()
