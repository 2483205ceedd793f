"""How long to wait before another try. Pure: no waiting, no clock."""

from __future__ import annotations

from collections.abc import Callable

from .._spec import Spec


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


def deserves_retry(spec: Spec, error: Exception) -> bool:
    """Say whether ``retry_on`` covers `error`."""
    kinds = spec.retry_on
    if isinstance(kinds, type | tuple):
        return isinstance(error, kinds)
    return bool(kinds(error))
