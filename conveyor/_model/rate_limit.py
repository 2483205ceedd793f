"""`RateLimit`: how fast calls may follow one another."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Self, final

from .._engine.rates.bucket import Bucket
from .checks import check_amount

if TYPE_CHECKING:
    from .._engine.rates.throttle import Throttle
    from .figures import RateLimitStatistics


@final
class RateLimit:
    """How much may be done in a time, by all who share it.

    It is given to tasks as ``rate_limit=``, and any number of tasks, pipelines and runs may share
    one, also in several event loops, one after another or in several threads::

        api = RateLimit(10)  # calls a second
        tokens = RateLimit(90_000, per=60, burst=10_000)

        @single_task(rate_limit=api)
        async def fetch(url: str) -> Page: ...

        @single_task(rate_limit=tokens, cost=estimate)
        async def ask(prompt: str) -> Answer: ...

    Think of a bucket that holds `burst`, is full at first, and gets `rate` every `per` seconds
    until it is full again. A call takes its cost out of it, 1 unless the task's ``cost`` says
    otherwise, and starts when that is there. So in any span of ``t`` seconds calls with costs
    of ``burst + rate * t / per`` start at most. A call that costs more than `burst` starts when
    the bucket is full, and leaves a debt that has to be made up for before the next.

    Who comes first starts first, whatever it costs. Between event loops of several threads there
    is no such order.

    A copy of a task or of a pipeline shares its limit, also a deep one. To another process it is
    pickled as a limit of its own, with the same settings and a full bucket: processes share none.

    Args:
        rate: How much comes in every `per` seconds.
        per: Seconds; 1 by default.
        burst: How much may start at once after a pause, in the unit of the costs. 1 by default:
            single calls are spread evenly, ``per / rate`` seconds apart at the least. That leaves
            nothing over for later, so time by which an event loop is late is lost: from tens a
            second on, allow for a few at once.

    Raises:
        TypeError: If one of them is no number.
        ValueError: If one of them is not above 0, or not finite.
    """

    __module__ = "conveyor"

    __slots__ = ("__weakref__", "_bucket", "_lock", "_throttle")

    def __init__(self, rate: float, per: float = 1.0, burst: float = 1.0) -> None:
        self._bucket = Bucket(
            check_amount("rate", rate), check_amount("per", per), check_amount("burst", burst)
        )
        self._lock = Lock()
        self._throttle: Throttle | None = None

    def __repr__(self) -> str:
        return f"RateLimit({self.rate!r}, per={self.per!r}, burst={self.burst!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return RateLimit, (self.rate, self.per, self.burst)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self  # two of them would let twice as much through

    @property
    def rate(self) -> float:
        """How much comes in every `per` seconds. It can be set, from any thread.

        A new rate holds at once, also for those who wait.
        """
        return self._bucket.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self.throttle.change(check_amount("rate", rate))

    @property
    def per(self) -> float:
        """Seconds in which `rate` comes in."""
        return self._bucket.per

    @property
    def burst(self) -> float:
        """How much may start at once after a pause."""
        return self._bucket.burst

    async def acquire(self, cost: float = 1) -> None:
        """Wait until `cost` may be spent, and spend it.

        Tasks do this by themselves. It is for other code that is to share their limit, such as
        the generator that a pipeline reads from.

        A checkpoint if it has to wait. Cancelled while it waits, it has spent nothing, and who is
        next goes on.

        Raises:
            TypeError: If `cost` is no number.
            ValueError: If `cost` is not above 0, or not finite.
        """
        await self.throttle.acquire(check_amount("cost", cost))

    def pause(self, seconds: float) -> None:
        """Let nothing start for that many seconds, counted from now.

        What runs goes on. The bucket fills meanwhile, so what starts afterwards is a burst at
        most. Of several pauses the one that ends last counts. It may be called from any thread.

        Raises:
            TypeError: If `seconds` is no number.
            ValueError: If `seconds` is below 0, or not finite.
        """
        self.throttle.pause(check_amount("seconds", seconds, zero=True))

    def statistics(self) -> RateLimitStatistics:
        """Return how it stands: a frozen snapshot, made when this is called."""
        return self.throttle.statistics()

    @property
    def throttle(self) -> Throttle:
        """The part that waits, for the engine. It is made when it is first used."""
        if self._throttle is None:
            from .._engine.rates.throttle import Throttle  # to describe needs no event loop

            with self._lock:
                if self._throttle is None:
                    self._throttle = Throttle(self._bucket)
        return self._throttle
