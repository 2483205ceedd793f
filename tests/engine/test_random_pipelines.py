"""Random pipelines of all kinds of stage together, and what plain Python makes of them.

A case is drawn: the stages, what is around them, and how the results are read. It runs on the
engine, which is watched from everywhere meanwhile: from inside the functions, from the consumer,
by an instrument. Then a model in plain Python does the same, one stage after the other, and the
two are compared: results, order, errors, counters.

What depends on the moment the model is told. Each stage keeps a journal of the units that its
function was called with. In order, only a batch stage that goes by time needs it; as completed,
all stages do, and nothing may come from nowhere, be lost, or come twice.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections import Counter, defaultdict, deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from _helpers import all_blocked, passing
from conveyor import (
    BatchError,
    Failure,
    Instrument,
    Pipeline,
    RateLimit,
    RunInfo,
    StageStatistics,
    Stream,
    StreamStatistics,
    Task,
    TooManyFailures,
    batch_task,
    get_current_batch,
    resource,
    single_task,
)
from test_fast_paths import FAST_PATHS, check_times, set_clock

pytestmark = pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")

# What runs the cases. Another engine, or another way of running this one, is one more line.
ENGINES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {"today": lambda patch: None}


# What is drawn. A value is a number of the input, or a tuple: the stage that made it, which of
# the values it made of the same unit this is, and what it was made of. So no two are equal. A
# stage that keeps its lists whole makes lists of such values.

Value = Any


def number_of(value: Value) -> int:
    """Return the sum of all numbers in a value. What becomes of it depends on that alone."""
    if isinstance(value, int):
        return value
    return sum(number_of(part) for part in value if part is not None)


class Bad(Exception):  # noqa: N818 - short, as it stands in every example
    """What a function raises. Its `args` are what went wrong, in which stage, and for what."""


class Inside(Exception):  # noqa: N818 - as `Bad` has none
    """What a stream is aborted with."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What both kinds of stage have.

    Attributes:
        form: How the function is written.
        waits: How many seconds it waits, by the number of what it gets: ``None`` for not at all,
            and 0 for one turn of the loop. A form that cannot wait does not.
        limit: Its ``concurrency_limit``.
        on_error: Its policy.
        answers: What its ``error_handler`` answers, by the number of what failed; empty without.
        attempts: How many tries there are.
        delay: How many seconds lie between them.
        timeout: A try may take so many seconds.
        max_failures: How many items may be done without.
        rated: Whether it is under the run's rate limit.
        inputs: Whether the function has a side input.
    """

    form: str
    waits: tuple[int | None, ...]
    limit: int
    on_error: str
    answers: tuple[str, ...]
    attempts: int
    delay: int
    timeout: int | None
    max_failures: int | None
    rated: bool
    inputs: bool

    def wait(self, unit: Any) -> int | None:
        return self.waits[number_of(unit) % len(self.waits)]

    def answer(self, what: Any) -> str:
        return self.answers[number_of(what) % len(self.answers)] if self.answers else "pass"

    def shape(self, unit: Any) -> str:
        """Return what the function gives for a unit: one value, a list or a generator."""
        raise NotImplementedError

    def trouble(self, unit: Any) -> str:
        """Return what goes wrong with a unit; an empty text if nothing does."""
        raise NotImplementedError

    def values(self, index: int, unit: Any) -> list[Value | None]:
        """Return what the stage number `index` gives for a unit if all goes well."""
        raise NotImplementedError

    @property
    def can_fail(self) -> bool:
        raise NotImplementedError

    @property
    def counts_failures(self) -> bool:
        """Whether it may have a ``max_failures``, its own or the run's."""
        return self.on_error != "fail" or bool(self.answers)

    def fate(self, unit: Any) -> tuple[str, int]:
        """Return how a unit ends, an empty text if well, and after how many tries."""
        match self.trouble(unit):
            case "bad":
                return "bad", self.attempts
            case "late":
                return "bad", 1  # a generator that has given something is not tried again
            case "flaky":
                return ("", 2) if self.attempts > 1 else ("bad", 1)
            case "slow" if self.timeout is not None and self.form not in ("def", "generator"):
                return "TimeoutError", self.attempts
            case _:
                return "", 1

    def given(self, index: int, unit: Any) -> list[Value | None]:
        """Return what a unit gives before its end, whichever that is."""
        values = self.values(index, unit)
        if self.trouble(unit) == "late":
            return values[:1]
        return [] if self.fate(unit)[0] else values

    def options(self, run: Run, work: Work) -> dict[str, Any]:
        handler = work.handle if self.form == "def" else work.handle_later
        return {
            "task_name": f"stage{work.index}",
            "concurrency_limit": self.limit,
            "on_error": self.on_error,
            "error_handler": handler if self.answers else None,
            "retry_attempts": self.attempts,
            "retry_delay": self.delay,
            "retry_jitter": False,
            "timeout": self.timeout,
            "max_failures": self.max_failures,
            "rate_limit": run.rate if self.rated else None,
        }


# What a single task does with an item, and what goes wrong with that.
ACTIONS: dict[str, tuple[str, str]] = {
    "one": ("one", ""),
    "nothing": ("one", ""),
    "list": ("list", ""),
    "empty list": ("list", ""),
    "many": ("list", ""),
    "generator": ("generator", ""),
    "flaky": ("one", "flaky"),
    "slow": ("one", "slow"),
    "bad": ("one", "bad"),
    "bad generator": ("generator", "bad"),
    "flaky generator": ("generator", "flaky"),
    "late generator": ("generator", "late"),
}


@dataclass(frozen=True, kw_only=True)
class Single(Step):
    """A single task.

    Attributes:
        table: What it does, by the number of the item.
        spread: Its option.
        keys: How many there are; 0 for a stage without.
        per_key: Its option.
        refuses_some: Whether some items have no key.
    """

    table: tuple[str, ...]
    spread: bool | None
    keys: int
    per_key: int
    refuses_some: bool

    def action(self, value: Value) -> str:
        return self.table[number_of(value) % len(self.table)]

    def shape(self, unit: Any) -> str:
        return "generator" if "generator" in self.form else ACTIONS[self.action(unit)][0]

    def trouble(self, unit: Any) -> str:
        return ACTIONS[self.action(unit)][1]

    def values(self, index: int, unit: Any) -> list[Value | None]:
        match self.action(unit):
            case "nothing":
                return [None]
            case "empty list" if self.spread is not False:  # kept whole they would all be equal
                return []
            case "many":
                return [(index, n, unit) for n in range(5)]
            case "list" | "generator" | "bad generator" | "flaky generator" | "late generator":
                return [(index, 0, unit), None, (index, 1, unit)]
            case _:
                return [(index, 0, unit)]

    def key(self, value: Value) -> int:
        return number_of(value) % self.keys

    def refuses(self, value: Value) -> bool:
        return self.refuses_some and self.keys > 0 and number_of(value) % 5 == 4

    @property
    def can_fail(self) -> bool:
        return self.refuses_some or any(ACTIONS[action][1] for action in self.table)

    @property
    def fan(self) -> int:
        """How many results an item has at most."""
        counts = {"nothing": 0, "empty list": 0, "many": 5, "one": 1, "flaky": 1, "slow": 1}
        return max(1, *(counts.get(action, 2) for action in self.table))

    @property
    def is_one_to_one(self) -> bool:
        """Whether every item gives one result, and nothing else can come of it."""
        return set(self.table) == {"one"} and not self.refuses_some


@dataclass(frozen=True, kw_only=True)
class Batch(Step):
    """A batch task.

    Attributes:
        max_size: Its option, as are those of the same names below.
        result: What the function returns for a batch.
        bad: An item whose number is divisible by it is bad; 0 if none is.
        fault: What goes wrong with a batch that has a bad item.
        keys: How many there are for ``by``; 0 for a stage without.
    """

    max_size: int
    min_size: int
    max_wait: int | None
    drop_remainder: bool
    flush_when_idle: bool
    result: str
    bad: int
    fault: str
    keys: int
    max_open: int
    max_weight: int | None

    def is_bad(self, value: Value) -> bool:
        return bool(self.bad) and number_of(value) % self.bad == 0

    def shape(self, unit: Any) -> str:
        return {"whole": "one", "nothing": "one", "generator": "generator"}.get(self.result, "list")

    def trouble(self, unit: Any) -> str:
        return self.fault if any(map(self.is_bad, unit)) else ""

    def values(self, index: int, unit: Any) -> list[Value | None]:
        match self.result:
            case "whole":
                return [(index, 1, *unit)]
            case "nothing":
                return [None]
            case "double":
                return [(index, n, item) for item in unit for n in range(2)]
            case "generator":
                return [value for item in unit for value in ((index, 0, item), None)]
            case _:
                return [self.each(index, item) for item in unit]

    def each(self, index: int, item: Value) -> Value | None:
        """Return what comes of an item, where each has a result of its own."""
        return None if self.result == "some" and number_of(item) % 2 else (index, 0, item)

    def key(self, value: Value) -> int | None:
        return number_of(value) % self.keys if self.keys else None

    def weight(self, value: Value) -> int:
        return number_of(value) % 4

    @property
    def goes_by_time(self) -> bool:
        """Whether the moment has a say in which items stand together."""
        return self.max_wait is not None or self.flush_when_idle

    @property
    def can_fail(self) -> bool:
        return self.bad > 0

    @property
    def fan(self) -> int:
        return 2 if self.result == "double" else 1

    @property
    def is_one_to_one(self) -> bool:
        return self.result in ("map", "generator") and not (self.bad or self.drop_remainder)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is around the stages. `shut` names the fast paths that are not there."""

    source: str
    count: int
    fails: bool
    source_waits: tuple[int | None, ...]
    mode: Literal["ordered", "as_completed"]
    buffer_size: int
    max_parallelism: int | None
    max_failures: int | None
    timing: bool
    watched: bool
    rate: float
    burst: int
    clock: str
    shut: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How the results are read, and how that comes to its end.

    Attributes:
        way: Read by a loop, in a block, each by another task, with a limit of time in a block, or
            all of them collected.
        pauses: How many seconds the consumer waits after a result, as the functions do.
        looks: Whether everybody looks at the statistics meanwhile.
        ending: What is done to end it before its time, if anything.
        at: After how many results, or calls; for ``"cancel"``, seconds.
        inside: Whether a function does it.
    """

    way: str
    pauses: tuple[int | None, ...]
    looks: bool
    ending: str
    at: int
    inside: bool


@dataclass(frozen=True, kw_only=True)
class Case:
    """All that is drawn."""

    steps: tuple[Single | Batch, ...]
    setting: Setting
    reader: Reader

    @property
    def count(self) -> int:
        """How many items there are: less if each of them becomes many."""
        return min(self.setting.count, 200 // math.prod(step.fan for step in self.steps))

    @property
    def is_ordered(self) -> bool:
        return self.setting.mode == "ordered"

    @property
    def input_fails(self) -> bool:
        return self.setting.fails and "generator" in self.setting.source

    @property
    def hides_its_order(self) -> bool:
        """Whether not even the journals know the order of batches.

        That is where batches of several keys are ready at moments that only the engine knows, and
        wait for a slot of the run's: calls need not begin in the order in which they get theirs.
        """
        return self.setting.max_parallelism is not None and any(
            isinstance(step, Batch) and step.goes_by_time and step.keys for step in self.steps
        )

    def may_exceed(self, index: int) -> bool:
        """Whether one failure too many of this stage may end the run."""
        step = self.steps[index]
        limits = (step.max_failures, self.setting.max_failures)
        return step.can_fail and step.counts_failures and limits != (None, None)

    @property
    def may_end_early(self) -> bool:
        """Whether an error may end the run, or a part of it."""
        stages = range(len(self.steps))
        fatal = any(step.can_fail and step.on_error == "fail" for step in self.steps)
        return fatal or any(map(self.may_exceed, stages))

    def is_quiet(self, index: int) -> bool:
        """Whether nothing but results can leave this stage: neither failures nor errors."""
        return not (self.input_fails or any(step.can_fail for step in self.steps[: index + 1]))


READY = ("list", "tuple", "range", "set", "generator")  # inputs that never wait
WAITS = (None, None, 0, 1, 3)
FORMS = ("def", "async", "async", "lambda", "awaitable", "generator", "async generator")
GOOD = (
    *("one", "one", "one", "list", "list", "generator", "generator"),
    "many",
    "nothing",
    "empty list",
)


def some(choices: Sequence[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(choices), min_size=1, max_size=most).map(tuple)


def one_of(*choices: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(choices)


def draw_common(draw: st.DrawFn, forms: Sequence[str], policies: Sequence[str]) -> dict[str, Any]:
    on_error = draw(st.sampled_from(policies))
    answers = draw(some(("pass", "save", "skip", "raise"))) if draw(one_of(0, 0, 0, 1)) else ()
    bounded = on_error != "fail" or answers
    form = draw(st.sampled_from(forms))
    return {
        "form": form,
        "waits": draw(some(WAITS)),
        "limit": draw(one_of(1, 2, 3, 100)),
        "on_error": on_error,
        "answers": answers,
        "attempts": draw(one_of(1, 1, 2, 3)),
        "delay": draw(one_of(0, 1)),
        "timeout": draw(one_of(None, None, 7)),
        "max_failures": draw(one_of(*[None] * 8, 0, 1, 4)) if bounded else None,
        # When a generator function is called is not known to it.
        "rated": draw(one_of(False, False, False, True)) and "generator" not in form,
        "inputs": draw(one_of(False, False, False, True)),
    }


@st.composite
def singles(draw: st.DrawFn) -> Single:
    actions = [*GOOD, *ACTIONS] if draw(st.booleans()) else GOOD
    keys = draw(one_of(0, 0, 0, 1, 2, 3))
    return Single(
        **draw_common(draw, FORMS, ("fail", *["skip_item", "emit_failure"] * 2)),
        table=draw(some(actions, 5)),
        spread=draw(one_of(None, None, True, False)),
        keys=keys,
        per_key=draw(one_of(1, 2)) if keys else 1,
        refuses_some=bool(keys) and draw(one_of(False, False, True)),
    )


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    policies = ("fail", *["skip_item", "skip_batch", "emit_failure"] * 2)
    results = ("map", "map", "map", "some", "whole", "double", "generator", "generator", "nothing")
    result = draw(st.sampled_from(results))
    faults = ["bad", "flaky", "slow"]
    faults += ["late"] if result == "generator" else []
    faults += ["named"] if result in ("map", "some", "nothing") else []
    max_size = draw(st.integers(1, 4))
    keys = draw(one_of(0, 0, 0, 2, 3))
    max_weight = draw(one_of(None, None, None, 3, 6))
    return Batch(
        **draw_common(draw, ("def", "async", "async", "lambda", "awaitable"), policies),
        max_size=max_size,
        min_size=draw(st.integers(1, max_size)),
        max_wait=draw(one_of(None, None, None, 0, 2, 10**6)),
        drop_remainder=not keys and max_weight is None and draw(one_of(False, False, True)),
        flush_when_idle=draw(one_of(False, False, False, True)),
        result=result,
        bad=draw(one_of(0, 0, 3, 5)),
        fault=draw(st.sampled_from(faults)),
        keys=keys,
        max_open=draw(one_of(1, 2, 100)),
        max_weight=max_weight,
    )


running_settings = st.builds(
    Setting,
    source=one_of(
        *("list", "tuple", "range", "set", "generator", "generator"),
        *("async generator", "async generator", "stream"),
    ),
    count=st.integers(0, 30),
    fails=one_of(False, False, True),
    source_waits=some(WAITS),
    mode=one_of("ordered", "as_completed"),
    buffer_size=one_of(1, 2, 3, 10, 100),
    max_parallelism=one_of(None, None, None, 1, 2),
    max_failures=one_of(*[None] * 10, 0, 3),
    timing=st.booleans(),
    watched=one_of(False, False, True),
    rate=one_of(0.5, 2, 4),
    burst=one_of(1, 2),
    clock=one_of("still", "still", "hurried"),
    shut=st.just(frozenset()) | st.frozensets(st.sampled_from(sorted(FAST_PATHS))),
)


def readers(ways: Sequence[str], endings: Sequence[str]) -> st.SearchStrategy[Reader]:
    return st.builds(
        Reader,
        way=st.sampled_from(ways),
        pauses=some((None, None, None, 0, 1)),
        looks=st.booleans(),
        ending=st.sampled_from(endings),
        at=one_of(1, 2, 3, 5, 8, 13, 0),
        inside=st.booleans(),
    )


def cases(ways: Sequence[str], endings: Sequence[str]) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        steps=st.lists(singles() | singles() | batches(), min_size=1, max_size=4).map(tuple),
        setting=running_settings,
        reader=readers(ways, endings),
    )


# The functions


async def pause(seconds: int | None) -> None:
    """Wait; with 0 for one turn of the loop, and with ``None`` not at all."""
    if seconds is not None:
        await anyio.sleep(seconds)


class Ready:
    """An awaitable that is no coroutine."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._start().__await__()


class Work:
    """The function of one stage, and what it knows of its own calls.

    Attributes:
        units: The journal: what the function was called with, in the order of the first calls. A
            single item stands there as a list of one, also if it never got to the function, since
            it has no key.
        came: The items in the order in which their keys were asked for.
    """

    def __init__(self, run: Run, index: int, step: Single | Batch) -> None:
        self.run = run
        self.index = index
        self.step = step
        self.units: list[list[Value]] = []
        self.came: list[Value] = []
        self.busy = 0
        self._busy_keys: Counter[Any] = Counter()
        self._seen: set[str] = set()
        self._tries: Counter[str] = Counter()

    def task(self) -> Task[Any, Any]:
        step = self.step
        options = step.options(self.run, self)
        decorate: Any
        if isinstance(step, Single):
            options |= {"spread": step.spread, "per_key": step.per_key}
            decorate = single_task(**options, key=self.key if step.keys else None)
        else:
            options |= {
                "max_size": step.max_size,
                "min_size": step.min_size,
                "max_wait": step.max_wait,
                "drop_remainder": step.drop_remainder,
                "flush_when_idle": step.flush_when_idle,
                "max_weight": step.max_weight,
                "weight": None if step.max_weight is None else step.weight,
                "by": step.key if step.keys else None,
                "max_open": step.max_open if step.keys else None,
            }
            decorate = batch_task(**options)
        functions: dict[str, Any] = {
            "def": self.plain,
            "async": self.waiting,
            "lambda": lambda *args: self.waiting(*args),
            "awaitable": lambda *args: Ready(partial(self.waiting, *args)),
            "generator": self.generator,
            "async generator": self.async_generator,
        }
        task = decorate(functions[step.form])
        return task.with_inputs(self.run.side_input) if step.inputs else task

    def plain(self, unit: Any, *inputs: Any) -> Any:
        with self.call(unit, inputs) as nth:
            return self.result(unit, nth)

    async def waiting(self, unit: Any, *inputs: Any) -> Any:
        with self.call(unit, inputs) as nth:
            await self.take_time(unit)
            return self.result(unit, nth)

    def generator(self, unit: Any, *inputs: Any) -> Iterator[Any]:
        with self.call(unit, inputs) as nth:
            pass
        yield from self.steps(unit, nth)

    async def async_generator(self, unit: Any, *inputs: Any) -> AsyncIterator[Any]:
        with self.call(unit, inputs) as nth:
            await self.take_time(unit)
        steps = self.async_steps(unit, nth)
        try:
            async for value in steps:
                yield value
        finally:
            await steps.aclose()

    async def take_time(self, unit: Any) -> None:
        await pause(self.step.wait(unit))
        if self.step.trouble(unit) == "slow":
            await anyio.sleep(10)

    def result(self, unit: Any, nth: int) -> Any:
        shape = self.step.shape(unit)
        if shape == "generator":
            makes = self.async_steps if number_of(unit) % 2 else self.steps
            return makes(unit, nth)
        self.fail(unit, nth)
        values = self.step.values(self.index, unit)
        return values if shape == "list" else values[0]

    def steps(self, unit: Any, nth: int) -> Iterator[Any]:
        with self.slot(unit), self.run.opened():
            self.fail(unit, nth)
            for value in self.step.given(self.index, unit):
                with self.run.part():
                    pass
                yield value
            if self.step.trouble(unit) == "late":
                raise Bad("bad", self.index, unit)

    async def async_steps(self, unit: Any, nth: int) -> AsyncGenerator[Any]:
        with self.slot(unit), self.run.opened():
            try:
                self.fail(unit, nth)
                for value in self.step.given(self.index, unit):
                    with self.run.part():
                        await pause(self.step.wait(unit))
                    yield value  # noqa: ASYNC119 - the run closes it
                if self.step.trouble(unit) == "late":
                    raise Bad("bad", self.index, unit)
            finally:
                with anyio.CancelScope(shield=True):
                    await checkpoint()

    def fail(self, unit: Any, nth: int) -> None:
        """Raise what is to be raised at the `nth` try."""
        step = self.step
        match step.trouble(unit):
            case "bad":
                raise Bad("bad", self.index, unit)
            case "flaky" if nth == 1:
                raise Bad("bad", self.index, unit)
            case "named":
                assert isinstance(step, Batch)
                errors = {
                    place: Bad("bad", self.index, item)
                    for place, item in enumerate(unit)
                    if step.is_bad(item)
                }
                results = [step.each(self.index, item) for item in unit if not step.is_bad(item)]
                raise BatchError(errors, None if step.result == "nothing" else results)
            case _:
                pass

    def handle(self, error: Exception, what: Any, name: str, attempt: int) -> tuple[bool, Any]:
        match self.step.answer(what):
            case "save":
                return True, (self.index, 9, what)
            case "skip":
                return True, None
            case "raise":
                raise Bad("handler", self.index, what)
            case _:
                return False, None

    async def handle_later(self, *args: Any) -> tuple[bool, Any]:
        await checkpoint()
        return self.handle(*args)

    def key(self, value: Value) -> int:
        assert isinstance(self.step, Single)
        self.came.append(value)
        if self.step.refuses(value):
            self.note([value])
            raise Bad("key", self.index, value)
        return self.step.key(value)

    # What is noted and checked meanwhile

    @property
    def set_aside(self) -> float:
        """How many items wait for their key; not a number if it cannot be told from outside."""
        if self.came and (self.step.rated or self.run.case.setting.max_parallelism is not None):
            return math.nan  # calls that have begun may wait for something else
        return max(len(self.came) - len(self.units), 0)

    def is_ready(self, stage: StageStatistics, waiting: float) -> bool:
        """Whether a call could begin, with so many items in front; false if that is not known."""
        step = self.step
        if isinstance(step, Single):
            return waiting > 0 and self.set_aside < self.run.case.setting.buffer_size
        if step.keys or step.max_weight is not None:
            return False
        at_once = step.max_wait == 0 or (step.flush_when_idle and not stage.running)
        return waiting + stage.filling >= (step.min_size if at_once else step.max_size)

    @contextmanager
    def call(self, unit: Any, inputs: tuple[Any, ...]) -> Generator[int]:
        """Be around a call of the function, which is told at which try it is."""
        run = self.run
        run.expect(inputs == ((run.token,) if self.step.inputs else ()), "inputs", inputs)
        if self.step.rated:
            run.starts.append(anyio.current_time())
        self.note(unit if isinstance(self.step, Batch) else [unit])
        self._tries[repr(unit)] += 1
        nth = self._tries[repr(unit)]
        with self.slot(unit), run.part():
            run.called()
            yield nth

    def note(self, items: list[Value]) -> None:
        """Note what has begun; further tries, and the halves of a batch, are known already."""
        names = set(map(repr, items))
        is_first = not names & self._seen
        self.run.expect(is_first or names <= self._seen, "some of them once more", items)
        if isinstance(self.step, Batch):
            self.check_batch(self.step, items, is_first=is_first)
        if is_first:
            self._seen |= names
            self.units.append([*items])

    def check_batch(self, step: Batch, items: list[Value], *, is_first: bool) -> None:
        expect, info = self.run.expect, get_current_batch()
        assert info is not None
        expect(info.size == len(items) <= step.max_size, "size", info, items)
        expect({step.key(item) for item in items} == {info.key}, "key", info, items)
        if step.max_weight is not None and len(items) > 1:
            weight = sum(map(step.weight, items))
            expect(weight <= step.max_weight, "weight", weight, items)
        may = {
            "size": not is_first or len(items) == step.max_size,
            "weight": step.max_weight is not None,
            "time": step.max_wait is not None and (not is_first or len(items) >= step.min_size),
            "idle": step.flush_when_idle and (not is_first or len(items) >= step.min_size),
            "open": step.keys > step.max_open,
            "end": True,
            "stop": self.run.stopped,
        }
        expect(may[info.trigger], "trigger", info, items)

    @contextmanager
    def slot(self, unit: Any) -> Generator[None]:
        """Be at work for as long as a call runs, or as a generator lives."""
        step, key = self.step, None
        self.busy += 1
        self.run.expect(self.busy <= step.limit, "limit", self.busy, step.limit)
        if isinstance(step, Single) and step.keys:
            key = step.key(unit)
            self._busy_keys[key] += 1
            self.run.expect(self._busy_keys[key] <= step.per_key, "per key", unit)
        try:
            yield
        finally:
            self.busy -= 1
            self._busy_keys[key] -= 1

    def check_keys(self, step: Single) -> None:
        """Compare the order in which items came with that of the calls, key by key.

        Not of those that may run side by side and had to wait for a slot of the run's: they have
        got theirs in order, but which of them goes on first is the event loop's affair.
        """
        if step.per_key > 1 and self.run.case.setting.max_parallelism is not None:
            return
        came, called = (
            [value for value in values if not step.refuses(value)]
            for values in (self.came, [unit[0] for unit in self.units])
        )
        for key in range(step.keys):
            mine = [value for value in called if step.key(value) == key]
            theirs = [value for value in came if step.key(value) == key]
            self.run.expect(mine == theirs[: len(mine)], "order of a key", mine, theirs)


# The run


class Run:
    """A case on the engine: what was noted, and what was found wrong meanwhile.

    Attributes:
        got: The results.
        error: What reading has ended in.
        is_waiting: Whether the consumer waits for a result.
        stopped: Whether the stream was told to stop.
        early: Whether it was ended before its time, so that results may be missing.
        open: How many inputs, generators and side inputs are open.
        starts: When the calls under the rate limit began.
        last: The statistics in the end; ``None`` if the stream is gone by then.
        problems: What was found wrong. In a function it could not be raised: it would be skipped.
    """

    def __init__(self, case: Case) -> None:
        setting = case.setting
        self.case = case
        self.got: list[Any] = []
        self.error: Exception | None = None
        self.is_waiting = False
        self.stopped = False
        self.early = False
        self.open = 0
        self.starts: list[float] = []
        self.last: StreamStatistics | None = None
        self.problems: list[str] = []
        self.watcher: Watcher | None = None
        self.token = object()
        self.side_input: Any = resource(self.lend)
        self.rate = RateLimit(setting.rate, burst=setting.burst)
        self._parts = 0
        self._calls = 0
        self.works = [Work(self, index, step) for index, step in enumerate(case.steps)]
        # Nobody but the consumer keeps the stream: when it is dropped the run has to end.
        self._stream: Callable[[], Stream[Any] | None] = lambda: None

    def expect(self, holds: bool, what: str, *values: Any) -> None:
        if not holds:
            self.problems.append(" ".join(map(str, (what, *values))))

    def start(self) -> Stream[Any]:
        setting = self.case.setting
        pipeline: Pipeline[Any, Any] = Pipeline(*[work.task() for work in self.works]).with_context(
            execution_mode=setting.mode,
            buffer_size=setting.buffer_size,
            max_parallelism=setting.max_parallelism,
            max_failures=setting.max_failures,
            timing=setting.timing,
            instruments=[partial(Watcher, self)] if setting.watched else [],
        )
        stream = pipeline(self.data())
        self._stream = weakref.ref(stream)
        return stream

    @contextmanager
    def opened(self) -> Generator[None]:
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    @contextmanager
    def lend(self) -> Generator[object]:
        with self.opened():
            yield self.token

    @contextmanager
    def part(self) -> Generator[None]:
        """Be one of those whose number ``max_parallelism`` bounds."""
        self._parts += 1
        most = self.case.setting.max_parallelism
        self.expect(most is None or self._parts <= most, "parallelism", self._parts)
        try:
            yield
        finally:
            self._parts -= 1

    # The input

    def data(self) -> Any:
        items = range(self.case.count)
        match self.case.setting.source:
            case "list":
                return [*items]
            case "tuple":
                return (*items,)
            case "set":
                return {*items}
            case "generator":
                return self.read()
            case "async generator":
                return self.read_slowly()
            case "stream":
                return passing.with_context(buffer_size=self.case.setting.buffer_size)(items)
            case _:
                return items

    def read(self) -> Iterator[int]:
        with self.opened():
            yield from range(self.case.count)
            if self.case.input_fails:
                raise Bad("input")

    async def read_slowly(self) -> AsyncIterator[int]:
        waits = self.case.setting.source_waits
        with self.opened():
            try:
                for item in range(self.case.count):
                    await pause(waits[item % len(waits)])
                    yield item  # noqa: ASYNC119 - the run closes it
                await pause(waits[-1])
                if self.case.input_fails:
                    raise Bad("input")
            finally:
                with anyio.CancelScope(shield=True):
                    await checkpoint()

    # The consumer

    async def read_all(self) -> None:
        """Read as the reader does, to whichever end."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.look_when_quiet)
            try:
                await self.read_to_an_end()
            except (Bad, Inside, TimeoutError, TooManyFailures) as error:
                self.error = error
            group.cancel_scope.cancel()

    async def look_when_quiet(self) -> None:
        """Look at moments at which nothing else happens: all others sleep for whole quarters."""
        begin = anyio.current_time()
        for seconds in range(40):  # not for ever, or a deadlock would never be found
            await anyio.sleep_until(begin + seconds + 1 / 8)
            stream = self._stream()
            if stream is not None:
                self.check_quiet(stream.statistics())
            del stream

    async def read_to_an_end(self) -> None:
        if self.case.reader.ending == "break":
            await self.break_off()
            return
        stream = self.start()
        try:
            await self.read_in_its_way(stream)
        finally:
            await stream.aclose()
            self.last = stream.statistics()

    async def break_off(self) -> None:
        """Leave the loop that alone has the stream."""
        async for result in self.start():
            self.take(result)
            if len(self.got) > self.case.reader.at:
                self.early = True
                break
        await all_blocked()  # it cleans up in the background

    @property
    def is_at_work(self) -> bool:
        """Whether anything is open, or a function runs."""
        return self.open > 0 or any(work.busy for work in self.works)

    async def read_in_its_way(self, stream: Stream[Any]) -> None:
        reader = self.case.reader
        if reader.way == "collect":
            self.act(stream)
            self.got += map(plain, await stream.collect())
        elif reader.way in ("block", "limits"):
            async with stream:
                await self.read_results(stream)
        else:
            await self.read_results(stream)

    async def read_results(self, stream: Stream[Any]) -> None:
        reader = self.case.reader
        if reader.ending != "cancel":
            await self.read_on(stream)
            return
        with anyio.move_on_after(reader.at) as scope:
            await self.read_on(stream)
        self.early = scope.cancelled_caught

    async def read_on(self, stream: Stream[Any]) -> None:
        """Read until the end, or until it is time to end it."""
        reader = self.case.reader
        advance = {"tasks": elsewhere, "limits": in_time}.get(reader.way, at_once)

        async def take_next() -> None:
            self.is_waiting = True
            try:
                self.take(await anext(stream))
            finally:
                self.is_waiting = False

        if self.act(stream):
            return
        while True:
            try:
                await advance(take_next)
            except StopAsyncIteration:
                return
            self.look()
            if self.act(stream):
                return
            await pause(reader.pauses[len(self.got) % len(reader.pauses)])

    def take(self, result: Any) -> None:
        self.got.append(plain(result))

    def act(self, stream: Stream[Any]) -> bool:
        """End it if it is time to; true if nothing more is to be read."""
        reader = self.case.reader
        if reader.inside or reader.at != len(self.got):
            return False
        if reader.ending == "leave":
            self.early = True
            return True
        self.end(stream)
        return False

    def called(self) -> None:
        """Look and act from inside a function."""
        reader = self.case.reader
        self._calls += 1
        if self._calls % 2:
            self.look()
        stream = self._stream()
        if reader.inside and self._calls == reader.at + 1 and stream is not None:
            self.end(stream)

    def end(self, stream: Stream[Any]) -> None:
        ending = self.case.reader.ending
        if ending in ("stop", "let stop", "stop soon"):
            self.stopped = True
            self.early = ending == "stop soon"
            timeout = 2 if self.early else None
            stream.stop(timeout, interrupt_input=ending != "let stop")
        elif ending == "abort":
            self.early = True
            stream.abort(Inside())

    def look(self) -> None:
        """Look at the statistics, at whatever moment."""
        stream = self._stream()
        if self.case.reader.looks and stream is not None:
            now = stream.statistics()
            self.check_moment(now)
            if self.case.reader.way != "collect":
                self.expect(now.delivered == len(self.got), "delivered", now.delivered)

    # What holds at every moment

    def check_moment(self, now: StreamStatistics) -> None:
        self.check_links(now)
        for work, stage in zip(self.works, now.stages, strict=True):
            step = work.step
            self.expect(stage.received >= 0, "received", stage)
            self.expect(0 <= stage.running <= step.limit, "running", stage)
            self.expect(now.over or work.busy <= stage.running, "at work", work.busy, stage)
            self.expect(self.case.is_ordered or stage.waiting == 0, "waiting", stage)
            if step.is_one_to_one:
                inside = stage.received - stage.emitted
                self.expect(0 <= inside <= self.bound(step), "inside", inside, stage)

    def bound(self, step: Single | Batch) -> int:
        """Return how many items a stage may hold."""
        units = step.limit + self.case.setting.buffer_size
        if isinstance(step, Single):
            return units
        return (units + (min(step.max_open, step.keys) if step.keys else 1)) * step.max_size

    def check_links(self, now: StreamStatistics) -> None:
        """Compare what a stage gave with what the next has got, and what waits between them."""
        case, expect = self.case, self.expect
        sent = [now.read, *(stage.emitted for stage in now.stages)]
        got = [*((stage.received, stage.queued, stage.keyed) for stage in now.stages)]
        values = sum(not is_failure(value) for value in self.got)
        quiet = case.is_quiet(len(case.steps) - 1)
        got.append((now.delivered if quiet else values, now.queued, False))
        is_collected = case.reader.way == "collect"
        for place, (gave, (received, queued, keyed)) in enumerate(zip(sent, got, strict=True)):
            last = place == len(case.steps)
            # What is set aside for its key counts as received and as queued.
            most = case.setting.buffer_size * (2 if keyed else 1)
            expect(0 <= queued <= most, "queued", place, queued)
            expect(received <= gave, "received more", place, gave, received, queued)
            if not quiet and (now.over or (is_collected and last)):
                continue  # what an error has left is forgotten in the end
            in_hand = place == 0  # the input may have one that is not in the link
            expect(gave <= received + queued + in_hand, "lost", place, gave, received, queued)
            if not keyed and case.is_quiet(place - 1):
                expect(gave >= received + queued, "too many", place, gave, received, queued)

    # What holds when all wait

    def check_quiet(self, now: StreamStatistics) -> None:
        """See that nothing waits that could go on."""
        case, expect = self.case, self.expect
        if now.over or self.early or case.may_end_early:
            return
        waiting = [
            stage.queued - work.set_aside
            for work, stage in zip(self.works, now.stages, strict=True)
        ]
        # A sender that found a link full may wait until it is half empty.
        have_room = [number <= case.setting.buffer_size // 2 for number in (*waiting, now.queued)]
        if have_room[0] and case.setting.source in READY and not self.stopped:
            expect(now.read == case.count, "not read", now.read)
        expect(not (self.is_waiting and now.queued), "not taken", now.queued)
        for work, stage in zip(self.works, now.stages, strict=True):
            if have_room[work.index + 1] and not self.is_full(work, stage):
                ready = work.is_ready(stage, waiting[work.index])
                expect(not ready, "not begun", waiting[work.index], stage)
                if work.step.is_one_to_one and isinstance(work.step, Single):
                    kept = stage.received - stage.running - stage.waiting - work.set_aside
                    expect(not stage.emitted < kept, "not sent", stage)

    def is_full(self, work: Work, stage: StageStatistics) -> bool:
        """Whether a stage may begin nothing more, as far as can be told from outside."""
        step = work.step
        if stage.running == step.limit:
            return True
        if not self.case.is_ordered or not stage.running:
            return False
        # Results may wait for their turn, and who can say how many items they come from?
        if isinstance(step, Single) and step.is_one_to_one:
            return stage.received - stage.emitted == self.bound(step)
        return True


async def at_once(take_next: Callable[[], Awaitable[None]]) -> None:
    """Take the next result as usual."""
    await take_next()


async def elsewhere(take_next: Callable[[], Awaitable[None]]) -> None:
    """Take the next result in a task of its own."""
    errors: list[Exception] = []

    async def take() -> None:
        try:
            await take_next()
        except Exception as error:
            errors.append(error)

    async with anyio.create_task_group() as group:  # noqa: ASYNC112 - it is to be another task
        group.start_soon(take)
    if errors:
        raise errors.pop()


async def in_time(take_next: Callable[[], Awaitable[None]]) -> None:
    """Take the next result, and give up for a while when it takes long."""
    for _ in range(10):
        with anyio.move_on_after(1):
            await take_next()
            return
    await take_next()


def describe(error: BaseException) -> tuple[Any, ...]:
    return error.args if isinstance(error, Bad) else (type(error).__name__,)


def plain(result: Any) -> Any:
    """Return a failure in a form that can be compared."""
    if not isinstance(result, Failure):
        return result
    return "failure", result.item, describe(result.error), result.task_name, result.attempts


def is_failure(value: Any) -> bool:
    return isinstance(value, tuple) and value[0] == "failure"


class Watcher(Instrument):
    """Checks whether what it is told fits together."""

    def __init__(self, run: Run, info: RunInfo) -> None:
        super().__init__(info)
        count = len(info.stages)
        self.run_of_case = run
        self.slots: list[dict[int, list[int]]] = [{} for _ in range(count)]
        self.begun: list[set[int]] = [set() for _ in range(count)]
        self.settled: list[set[int]] = [set() for _ in range(count)]
        self.sent = [0] * count
        self.held = [0] * count  # units that have begun and are not settled
        self.delivered = 0
        self.ended = 0
        run.watcher = self

    def expect(self, holds: bool, what: str, *values: Any) -> None:
        self.run_of_case.expect(holds, f"instrument: {what}", *values)

    def call_started(self, stage: int, items: Sequence[int], slot: int) -> None:
        case, slots = self.run_of_case.case, self.slots[stage]
        self.expect(not self.begun[stage] & {*items}, "begun again", stage, items)
        self.expect({*range(slot)} <= slots.keys(), "not the lowest slot", stage, slot)
        self.expect(slot not in slots and slot < case.steps[stage].limit, "slot", stage, slot)
        self.begun[stage] |= {*items}
        slots[slot] = [*items]
        self.held[stage] += 1
        most = case.steps[stage].limit + case.setting.buffer_size
        self.expect(self.held[stage] <= most, "too many inside", stage, self.held[stage])

    def try_ended(
        self,
        stage: int,
        items: Sequence[int],
        slot: int,
        attempt: int,
        seconds: float,
        error: BaseException | None,
    ) -> None:
        step = self.run_of_case.case.steps[stage]
        self.expect(1 <= attempt <= step.attempts, "attempt", stage, attempt)
        self.expect({*items} <= {*self.slots[stage].get(slot, ())}, "a try of", stage, items)

    def call_ended(self, stage: int, items: Sequence[int], slot: int, *, cancelled: bool) -> None:
        self.expect(self.slots[stage].pop(slot, None) == [*items], "end of", stage, items)

    def result_sent(self, stage: int, items: Sequence[int]) -> None:
        self.expect({*items} <= self.begun[stage] - self.settled[stage], "sent", stage, items)
        self.sent[stage] += 1

    def items_settled(self, stage: int, items: Sequence[int]) -> None:
        self.expect(not self.settled[stage] & {*items}, "settled again", stage, items)
        self.settled[stage] |= {*items}
        self.held[stage] -= {*items} <= self.begun[stage]

    def result_delivered(self) -> None:
        self.delivered += 1

    def run_ended(self, error: BaseException | None) -> None:
        self.ended += 1
        self.expect(not any(self.slots), "calls that have not ended", self.slots)

    def check_end(self, run: Run, *, well: bool) -> None:
        self.expect(self.ended == 1, "ended", self.ended)
        if run.case.reader.way != "collect":
            self.expect(self.delivered == len(run.got), "delivered", self.delivered)
        if well and run.last is not None:
            for index, stage in enumerate(run.last.stages):
                settled = self.settled[index]
                self.expect(settled == {*range(stage.received)}, "settled", index, settled)
                self.expect(self.sent[index] == stage.emitted, "sent", index, stage)


# The model


class EndedError(Exception):
    """The run ends here, in the model: in `args[0]`, with the note `args[1]`."""


class Twin:
    """A stage in plain Python.

    Attributes:
        out: What has left it; failures as `plain` makes them.
        counts: Its counters.
        spared: How many items were done without.
        errors: As completed, what may end the run; in order the first is raised.
        left: How many items are not in the journal, where that is used.
    """

    def __init__(self, case: Case, index: int, *, strict: bool, fatal: str | None) -> None:
        self.step = case.steps[index]
        self.index = index
        self.out: list[Any] = []
        self.counts: Counter[str] = Counter()
        self.spared = 0
        self.errors: list[tuple[Any, ...]] = []
        self.left = 0
        self._name = f"stage 'stage{index}' ({index + 1} of {len(case.steps)})"
        self._strict = strict
        self._fatal = fatal
        spread = getattr(self.step, "spread", True)
        self._spreads = index + 1 < len(case.steps) if spread is None else spread

    def take(self, values: list[Any], journal: list[list[Value]]) -> None:
        """Do what the stage does with what comes."""
        step = self.step
        self.counts["received"] = sum(not is_failure(value) for value in values)
        if not self._strict or (isinstance(step, Batch) and step.goes_by_time):
            self.take_by_journal(values, journal)
            return
        grouped = group(step, values) if isinstance(step, Batch) else each(values)
        for unit, numbers in grouped:
            if numbers:
                self.begin(unit, numbers)
            else:
                self.out.append(unit)

    def take_by_journal(self, values: list[Any], journal: list[list[Value]]) -> None:
        passing = [value for value in values if is_failure(value)]
        numbers = {repr(v): n for n, v in enumerate(v for v in values if not is_failure(v))}
        self.out += passing
        begun = [repr(value) for unit in journal for value in unit]
        assert set(begun) <= numbers.keys(), ("out of nowhere", self.index, begun, numbers)
        assert len(begun) == len(set(begun)), ("twice", self.index, begun)
        self.left = len(numbers) - len(begun)
        step = self.step
        if self._strict and isinstance(step, Batch):
            if not step.keys:
                journal = sorted(journal, key=lambda unit: numbers[repr(unit[0])])
            self.check_journal(step, journal, numbers)
        for unit in journal:
            if isinstance(step, Single):
                self.begin(unit[0], [numbers[repr(unit[0])]])
            else:
                self.begin(unit, [numbers[repr(value)] for value in unit])

    def check_journal(
        self, step: Batch, journal: list[list[Value]], numbers: dict[str, int]
    ) -> None:
        """In order, batches are made of what comes, one item after the other; by keys, of each."""
        begun: dict[Any, list[int]] = defaultdict(list)
        came: dict[Any, list[int]] = defaultdict(list)
        keys = {repr(value): step.key(value) for unit in journal for value in unit}
        for unit in journal:
            begun[step.key(unit[0])] += [numbers[repr(value)] for value in unit]
        for name, number in numbers.items():
            if name in keys:
                came[keys[name]].append(number)
        assert begun == came, ("not in their order", self.index, journal)

    def begin(self, unit: Any, numbers: list[int]) -> None:
        self.counts["batches"] += isinstance(self.step, Batch)
        if isinstance(self.step, Single) and self.step.refuses(unit):
            self.decide(unit, numbers, ("key", self.index, unit), 1)
        else:
            self.call(unit, numbers)

    def call(self, unit: Any, numbers: list[int]) -> None:
        """Call the function, with its tries."""
        step, counts = self.step, self.counts
        if isinstance(step, Batch) and step.trouble(unit) == "named":
            self.call_with_names(step, unit, numbers)
            return
        ending, tries = step.fate(unit)
        values, shape = step.given(self.index, unit), step.shape(unit)
        counts["retried"] += tries - 1
        if shape == "generator" and not (isinstance(step, Batch) and ending == "TimeoutError"):
            counts["generators"] += tries  # a batch function is slow before it makes one
        self.give([values] if shape == "list" and not (self._spreads or ending) else values)
        if ending:
            error = (ending, self.index, unit) if ending == "bad" else (ending,)
            self.decide(unit, numbers, error, tries, given=bool(values))

    def call_with_names(self, step: Batch, unit: list[Value], numbers: list[int]) -> None:
        """Call a function that names the bad items: they alone are tried again."""
        bad = [item for item in unit if step.is_bad(item)]
        self.counts["retried"] += step.attempts - 1
        if step.result == "nothing":
            self.counts["filtered"] += len(bad) < len(unit)
        for item, number in zip(unit, numbers, strict=True):
            if item in bad:
                self.decide(item, [number], ("bad", self.index, item), step.attempts)
            elif step.result != "nothing":
                self.give([step.each(self.index, item)])

    def give(self, values: Iterable[Value | None]) -> None:
        for value in values:
            self.counts["filtered" if value is None else "emitted"] += 1
            if value is not None:
                self.out.append(value)

    def decide(
        self,
        what: Any,
        numbers: list[int],
        error: tuple[Any, ...],
        tries: int,
        *,
        given: bool = False,
    ) -> None:
        """Do what is to be done with an item, or a batch, whose last try failed."""
        step, counts, size = self.step, self.counts, len(numbers)
        answer = step.answer(what)
        if answer == "raise":
            error = ("handler", self.index, what)
        is_left = answer in ("pass", "raise")  # to the policy
        if is_left and step.on_error == "skip_item" and size > 1 and not given:
            self.call(what[: size // 2], numbers[: size // 2])
            self.call(what[size // 2 :], numbers[size // 2 :])
            return
        counts["failed"] += size
        if answer == "save":
            self.give([(self.index, 9, what)])
            return
        if is_left and step.on_error == "fail":
            self.end(error, numbers)
            return
        self.spared += size
        if self.where(numbers) == self._fatal:
            self.end(("TooManyFailures",), numbers)
        if is_left and step.on_error == "emit_failure":
            self.out.append(("failure", what, error, f"stage{self.index}", tries))
        else:
            counts["skipped"] += size

    def end(self, error: tuple[Any, ...], numbers: list[int]) -> None:
        if self._strict:
            raise EndedError(error, self.where(numbers))
        self.errors.append(error)

    def where(self, numbers: list[int]) -> str:
        first, last, size = numbers[0], numbers[-1], len(numbers)
        if size == 1:
            return f"{self._name}, item {first}"
        if last - first >= size:
            return f"{self._name}, batch of {size} of the items {first} to {last}"
        return f"{self._name}, batch of items {first} to {last}"


def each(values: list[Any]) -> Iterator[tuple[Any, list[int]]]:
    """Yield items with their numbers, and failures without."""
    number = 0
    for value in values:
        if is_failure(value):
            yield value, []
        else:
            yield value, [number]
            number += 1


def group(step: Batch, values: list[Any]) -> Iterator[tuple[Any, list[int]]]:
    """Yield batches with the numbers of their items, as they are full, and failures as they come.

    A remainder that is to be dropped is left out.
    """
    filling: dict[Any, list[tuple[Value, int]]] = {}
    full: deque[list[tuple[Value, int]]] = deque()
    ceiling = step.max_weight or math.inf

    def weight(batch: list[tuple[Value, int]]) -> int:
        return sum(step.weight(value) for value, _ in batch)

    for value, numbers in each(values):
        if not numbers:
            yield value, []
            continue
        key = step.key(value)
        if key in filling and weight(filling[key]) + step.weight(value) > ceiling:
            full.append(filling.pop(key))
        batch = filling.setdefault(key, [])
        batch.append((value, numbers[0]))
        if len(batch) == step.max_size or weight(batch) >= ceiling:
            full.append(filling.pop(key))
        elif step.keys and len(filling) > step.max_open:
            full.append(filling.pop(next(iter(filling))))
        while full:
            batch = full.popleft()
            yield [value for value, _ in batch], [number for _, number in batch]
    for batch in filling.values():
        if not (step.drop_remainder and len(batch) < step.min_size):
            yield [value for value, _ in batch], [number for _, number in batch]


class Model:
    """What has to come of a run.

    Args:
        run: The run. The model reads its journals, where the moment decides.
        items: What was read.
        error: What the input ended in, if it failed.
        strict: Whether the order is known. Otherwise every stage goes by its journal.

    Attributes:
        results: All results; strictly, those before the error.
        error: Strictly, what the run ends in.
        note: What that error has to say about where it was raised.
    """

    def __init__(
        self, run: Run, items: list[Any], error: tuple[Any, ...] | None, *, strict: bool
    ) -> None:
        fatal = run.error.__notes__[0] if isinstance(run.error, TooManyFailures) else None
        case = run.case
        self.error, self.note = error, f"input, item {len(items)}"
        self.results = items
        self.twins: list[Twin] = []
        for index, work in enumerate(run.works):
            twin = Twin(case, index, strict=strict, fatal=fatal)
            self.twins.append(twin)
            try:
                twin.take(self.results, work.units)
            except EndedError as ended:
                self.error, self.note = ended.args
            self.results = twin.out

    @property
    def errors(self) -> list[tuple[Any, ...]]:
        """What may end the run when the first error in time does."""
        return [error for twin in self.twins for error in twin.errors]


# The judgement


def judge(run: Run) -> None:
    case = run.case
    items, ending = what_was_read(run)
    strict = case.is_ordered and not (hides_an_end(run) or case.hides_its_order)
    model = Model(run, items, ending, strict=strict)
    error = None if run.error is None else describe(run.error)
    note(f"got {run.got}, {error}")
    note(f"expected {model.results}, {model.error}")
    # An error of the input comes last: all that was read went through, unless a stage has failed.
    well = not run.early and (
        error is None or (error == ("input",) and not (model.errors or hides_an_end(run)))
    )
    if strict:
        check_order(run, model, error, well=well)
    else:
        check_completed(run, model, error, well=well)
    check_failures(run, model, well=well)
    check_rate(run)
    for work in run.works:
        if isinstance(work.step, Single) and work.step.keys:
            work.check_keys(work.step)
    if run.last is not None:
        check_statistics(run, model, run.last, well=well)
    if run.watcher is not None:
        run.watcher.check_end(run, well=well)
    run.expect(not run.is_at_work, "left at work", run.open)
    assert not run.problems, run.problems


def what_was_read(run: Run) -> tuple[list[int], tuple[Any, ...] | None]:
    """Return the items that were read, and what the input ended in."""
    case = run.case
    items = [*range(case.count)]
    ending = ("input",) if case.input_fails else None
    if not run.stopped:
        return items, ending
    assert run.last is not None
    items = items[: run.last.read]
    failed = run.error is not None and describe(run.error) == ("input",)
    return items, ending if failed else None  # it may have been stopped before it failed


def hides_an_end(run: Run) -> bool:
    """Whether too many failures may have ended a stage without the consumer's knowledge.

    Then a batch further down was closed before it was full, and only the journals know which.
    """
    case, error = run.case, run.error
    stages = [index for index in range(len(case.steps)) if case.may_exceed(index)]
    if isinstance(error, TooManyFailures):
        return any(f"({index + 1} of" not in error.__notes__[0] for index in stages)
    if error is not None and describe(error) == ("input",) and case.is_ordered:
        return False  # it came after everything else
    return bool(stages) and (run.early or error is not None)


def check_order(run: Run, model: Model, error: Any, *, well: bool) -> None:
    lines = zip(apart(run.case, run.got), apart(run.case, model.results), strict=True)
    for place, (got, expected) in enumerate(lines):
        if run.case.reader.way == "collect" and error is not None:
            continue  # they are given up
        if well or (place == 0 and not run.early):
            assert got == expected
        else:
            assert got == expected[: len(got)]
    if not run.early:
        assert error == model.error
    elif error is not None:
        assert error in (("Inside",), model.error)
    if run.error is not None and error == model.error:
        assert model.note in run.error.__notes__


def apart(case: Case, results: list[Any]) -> list[list[Any]]:
    """Return the results in parts, each of which keeps its order.

    A failure that passes a batch stage which goes by time comes before or after a batch.
    """
    timed = [isinstance(step, Batch) and step.goes_by_time for step in case.steps]
    parts: list[list[Any]] = [[] for _ in range(len(timed) + 1)]
    for result in results:
        passed = sum(timed[int(result[3][5:]) + 1 :]) if is_failure(result) else 0
        parts[passed].append(result)
    return parts


def check_completed(run: Run, model: Model, error: Any, *, well: bool) -> None:
    got, expected = counted(run.got), counted(model.results)
    if run.case.reader.way != "collect" or error is None:
        assert got == expected if well else got <= expected
    if error is None:
        assert run.early or not model.errors
    else:
        allowed = [*model.errors, model.error, ("TooManyFailures",)]
        assert error in allowed or (run.early and error == ("Inside",))


def counted(results: list[Any]) -> Counter[str]:
    return Counter(map(repr, results))


def check_failures(run: Run, model: Model, *, well: bool) -> None:
    """See that too many failures end the run, and no fewer do."""
    case, total = run.case, 0
    for step, twin in zip(case.steps, model.twins, strict=True):
        total += twin.spared
        run.expect(
            not well or step.max_failures is None or twin.spared <= step.max_failures,
            "too many failures",
            twin.index,
        )
    most = case.setting.max_failures
    run.expect(not well or most is None or total <= most, "too many failures in all", total)
    if isinstance(run.error, TooManyFailures):
        limits = [*(step.max_failures for step in case.steps), most]
        allowed = min(limit for limit in limits if limit is not None)
        run.expect(run.error.failed > allowed, "not too many failures", run.error)
        run.expect(total >= run.error.failed or case.is_ordered, "fewer failures", run.error)


def check_rate(run: Run) -> None:
    rate, burst = run.case.setting.rate, run.case.setting.burst
    for first, begin in enumerate(run.starts):
        for last, end in enumerate(run.starts[first:], first):
            most = burst + rate * (end - begin) + 1e-6
            run.expect(last - first + 1 <= most, "rate", run.starts)


COUNTERS = ("received", "emitted", "filtered", "skipped", "failed", "retried", "batches")


def check_statistics(run: Run, model: Model, last: StreamStatistics, *, well: bool) -> None:
    run.check_moment(last)
    assert last.over
    if run.case.setting.timing:
        check_times(last)
    if run.case.reader.way != "collect":
        assert last.delivered == len(run.got)
    for before, after in zip(last.stages, last.stages[1:], strict=False):
        assert after.received <= before.emitted
    for stage, twin in zip(last.stages, model.twins, strict=True):
        assert stage.running == 0
        if well:
            assert stage.queued == stage.filling == stage.waiting == stage.throttled == 0
            check_counters(run, stage, twin)


def check_counters(run: Run, stage: StageStatistics, twin: Twin) -> None:
    mine = {name: getattr(stage, name) for name in (*COUNTERS, "generators")}
    theirs = {name: twin.counts[name] for name in (*COUNTERS, "generators")}
    run.expect(mine == theirs, "counters", stage.name, mine, theirs)
    step = twin.step
    if isinstance(step, Batch):
        dropped = stage.received - sum(map(len, run.works[twin.index].units))
        run.expect(stage.dropped == dropped, "dropped", stage)
        run.expect(not dropped or (step.drop_remainder and dropped < step.min_size), "lost", stage)
    else:
        run.expect(twin.left == 0, "lost", stage)
    came = run.works[twin.index].came
    run.expect(not came or len(came) == stage.received, "keys asked for", stage)


# The tests


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("conveyor").disabled = True  # pytest keeps what is logged
    try:
        yield
    finally:
        logging.getLogger("conveyor").disabled = False


def some_of(share: float) -> Callable[[Any], Any]:
    """Have fewer examples than others, or more, whatever the profile says."""
    usual = hypothesis_settings.default
    assert usual is not None
    return hypothesis_settings(max_examples=int(usual.max_examples * share))


async def run_and_judge(case: Case, engine: str) -> None:
    run = Run(case)
    with pytest.MonkeyPatch.context() as patch:
        ENGINES[engine](patch)
        set_clock(patch, case.setting.clock)
        for path in case.setting.shut:
            FAST_PATHS[path](patch)
        await run.read_all()
    judge(run)


on_every_engine = pytest.mark.parametrize("engine", ENGINES)
WAYS = ("loop", "block", "tasks", "limits")


@on_every_engine
@some_of(1.5)
@given(case=cases((*WAYS, "collect"), ("",)), random=st.random_module())
async def test_read_to_its_end_it_is_the_model(case: Case, engine: str, random: object) -> None:
    await run_and_judge(case, engine)


@on_every_engine
@some_of(1)
@given(case=cases((*WAYS, "collect"), ("stop", "let stop")), random=st.random_module())
async def test_told_to_stop_it_gives_all_that_was_read(
    case: Case, engine: str, random: object
) -> None:
    await run_and_judge(case, engine)


@on_every_engine
@some_of(1)
@given(
    case=cases(WAYS, ("break", "leave", "cancel", "abort", "stop soon")),
    random=st.random_module(),
)
async def test_ended_before_its_time_it_gives_a_beginning(
    case: Case, engine: str, random: object
) -> None:
    await run_and_judge(case, engine)
