"""How long to wait before another try. Pure: no waiting, no clock."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from ..._model.errors import BatchError
from ..._model.spec import Spec


def retry_delay(spec: Spec, attempt: int, random: Callable[[], float]) -> float:
    """Return the seconds to wait after the failed try number `attempt`, counted from 1.

    ``retry_delay * 2**(attempt - 1)`` with exponential backoff, else ``retry_delay``;
    at most ``retry_max_delay``; with jitter a random share of that, from 0 to all of it
    ("full jitter", Marc Brooker, "Exponential Backoff And Jitter", AWS 2015).
    """
    delay = spec.retry_delay
    if spec.retry_exponential_backoff:
        # The exponent is bounded so that the float cannot overflow before min() is reached.
        delay *= 2.0 ** min(attempt - 1, 1000)
    delay = min(delay, spec.retry_max_delay)
    return delay * random() if spec.retry_jitter else delay


def asked_delay(error: Exception, named: Iterable[Exception] | None = None) -> float:
    """Return the seconds for which a service asked to be left alone; 0 if it did not.

    That is a finite number above 0 in ``error.retry_after``; anything else asks for nothing.

    Args:
        error: The error of a try.
        named: The errors of single items that count as well, of which the one that asks for the
            most decides. ``None`` means all those in a `BatchError`.
    """
    if named is None:
        named = error.errors.values() if isinstance(error, BatchError) else ()
    return max(map(_asked, (error, *named)))


def _asked(error: Exception) -> float:
    try:
        seconds = getattr(error, "retry_after", None)
    except Exception:  # a property of the user's, which must not take the error's place
        return 0.0
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return 0.0
    return float(seconds) if 0 < seconds <= sys.float_info.max else 0.0


def deserves_retry(spec: Spec, error: Exception) -> bool:
    """Say whether ``retry_on`` covers `error`."""
    kinds = spec.retry_on
    if isinstance(kinds, type | tuple):
        return isinstance(error, kinds)
    return bool(kinds(error))
