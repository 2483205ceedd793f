"""Retry delays without a loop: the formula, its bounds, and which errors deserve another try."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor import BatchError
from conveyor._engine.calls.backoff import asked_delay, deserves_retry, retry_delay
from conveyor._model.spec import SingleSpec


def spec(**options: Any) -> SingleSpec:
    """Return the description of a task with these options."""
    return SingleSpec(func=print, **options)


def never() -> float:
    raise AssertionError("without jitter nothing is random")


seconds = st.just(0.0) | st.floats(1e-9, 1e6)
attempts = st.integers(1, 10_000)
shares = st.floats(0, 1, exclude_max=True)


def test_the_delays_double_up_to_a_minute_unless_told_otherwise() -> None:
    plain = spec(retry_jitter=False)
    delays = [retry_delay(plain, attempt, never) for attempt in range(1, 10)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_first_delay_is_retry_delay() -> None:
    assert retry_delay(spec(retry_jitter=False, retry_delay=0.25), 1, never) == 0.25


def test_without_backoff_all_delays_are_the_same() -> None:
    constant = spec(retry_jitter=False, retry_exponential_backoff=False, retry_delay=3)
    assert {retry_delay(constant, attempt, never) for attempt in range(1, 20)} == {3}


def test_retry_max_delay_bounds_a_constant_delay_too() -> None:
    options = {"retry_jitter": False, "retry_exponential_backoff": False}
    assert retry_delay(spec(**options, retry_delay=90), 1, never) == 60
    assert retry_delay(spec(**options, retry_delay=90, retry_max_delay=100), 1, never) == 90


@given(delay=seconds, most=seconds, attempt=attempts)
def test_without_jitter_the_formula_holds(delay: float, most: float, attempt: int) -> None:
    plain = spec(retry_jitter=False, retry_delay=delay, retry_max_delay=most)
    exact = min(Fraction(delay) * 2 ** (attempt - 1), Fraction(most))
    assert retry_delay(plain, attempt, never) == exact


@given(delay=seconds, most=seconds, attempt=attempts, backoff=st.booleans(), share=shares)
def test_with_jitter_the_delay_is_the_share_that_was_drawn(
    delay: float, most: float, attempt: int, backoff: bool, share: float
) -> None:
    options = {
        "retry_delay": delay,
        "retry_max_delay": most,
        "retry_exponential_backoff": backoff,
    }
    full = retry_delay(spec(**options, retry_jitter=False), attempt, never)
    jittered = retry_delay(spec(**options), attempt, lambda: share)
    assert jittered == full * share
    assert 0 <= jittered <= full <= most


@given(delay=seconds, most=seconds, attempt=attempts)
def test_delays_never_get_shorter_from_one_try_to_the_next(
    delay: float, most: float, attempt: int
) -> None:
    plain = spec(retry_jitter=False, retry_delay=delay, retry_max_delay=most)
    assert retry_delay(plain, attempt, never) <= retry_delay(plain, attempt + 1, never)


@pytest.mark.parametrize("attempt", [1024, 10**6, 10**12])
def test_even_a_late_try_has_a_finite_delay(attempt: int) -> None:
    assert retry_delay(spec(retry_jitter=False), attempt, never) == 60
    assert retry_delay(spec(retry_jitter=False, retry_delay=0), attempt, never) == 0
    assert math.isfinite(retry_delay(spec(), attempt, lambda: 0.5))


def test_each_delay_draws_once() -> None:
    drawn = iter([0.5, 0.25, 1 / 8])
    delays = [retry_delay(spec(), attempt, lambda: next(drawn)) for attempt in (1, 2, 3)]
    assert delays == [0.5, 0.5, 0.5]


class SpecialError(OSError):
    """Of the kind that a test names."""


@pytest.mark.parametrize(
    ("retry_on", "error", "deserves"),
    [
        (Exception, ValueError(), True),
        (Exception, ExceptionGroup("", [ValueError()]), True),
        (OSError, OSError(), True),
        (OSError, SpecialError(), True),
        (SpecialError, OSError(), False),
        (OSError, TimeoutError(), True),
        ((OSError, KeyError), KeyError(), True),
        ((OSError, KeyError), LookupError(), False),
        ((), ValueError(), False),
        (lambda error: error.args == (503,), OSError(503), True),
        (lambda error: error.args == (503,), OSError(404), False),
        (lambda error: [], ValueError(), False),
        (lambda error: "yes", ValueError(), True),
    ],
)
def test_retry_on_is_types_or_a_predicate(
    retry_on: type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], Any],
    error: Exception,
    deserves: bool,
) -> None:
    assert deserves_retry(spec(retry_on=retry_on), error) is deserves


class SlowDown(Exception):  # noqa: N818 - short, as it stands in every example
    def __init__(self, retry_after: Any) -> None:
        self.retry_after = retry_after


class Broken(Exception):  # noqa: N818 - likewise
    @property
    def retry_after(self) -> float:
        raise LookupError("no header")


@pytest.mark.parametrize("seconds", [30, 0.5, 1e-9, 10**6, 1.7e308])
def test_a_number_of_seconds_is_asked_for(seconds: float) -> None:
    asked = asked_delay(SlowDown(seconds))
    assert asked == seconds
    assert type(asked) is float


@pytest.mark.parametrize(
    "value", ["30", None, math.inf, -math.inf, math.nan, -1, 0, True, [1], 10**400, 1j, int]
)
def test_anything_else_asks_for_nothing(value: Any) -> None:
    assert asked_delay(SlowDown(value)) == 0


def test_an_error_that_cannot_tell_asks_for_nothing() -> None:
    assert asked_delay(Broken()) == 0
    assert asked_delay(ValueError()) == 0


def test_of_several_errors_the_one_that_asks_for_the_most_decides() -> None:
    errors = {0: SlowDown(3), 2: SlowDown(7), 3: ValueError()}
    error = BatchError(errors)
    assert asked_delay(error) == 7
    assert asked_delay(error, [errors[0], errors[3]]) == 3
    assert asked_delay(error, []) == 0
    error.retry_after = 5  # type: ignore[attr-defined]  # of the whole batch
    assert asked_delay(error) == 7
    assert asked_delay(error, [errors[0]]) == 5
