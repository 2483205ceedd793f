"""One running stage: intake, workers, window. The only scheduler.

Workers, not a task an item: they are started on demand, up to the task's limit, and live as
long as the stage. Idle ones sleep on the input link. A worker that has taken an item
makes one other runnable before it calls the function, if more items wait: if the function
suspends, the other goes on; if it does not, the first drains the rest by itself.

The rule that nothing can get stuck on: *if a unit could be started, some worker
is on its way to look for it.* A worker looks whenever it is done with a unit. One that sleeps
is woken by what is sent into an empty link, by `nudge`, by the end of the input, and, if it is the
keeper of the gate, when the gate opens.
"""

from __future__ import annotations

import inspect
import math
from contextvars import copy_context
from functools import partial
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, Event, create_task_group

from .._context import current_context
from .._spec import BatchSpec
from .._stats import StageStatistics
from .call import Caller, Tries, kinds_for
from .deliver import Delivery
from .intake import EMPTY, Batches, Intake, Items
from .later import Later
from .outlet import Outlet
from .signals import Bypass, Failed
from .turn import SLICE

if TYPE_CHECKING:
    from .link import Link
    from .run import Shared

IDLE = math.inf  # position of a worker with nothing in hand: every error is before it
DONE = -1  # position of a worker whose unit is delivered: no error is before it


class Worker:
    """One task of a stage.

    Attributes:
        scope: Around all it does; cancelled when an earlier unit has failed.
        position: Of the unit in hand, or `IDLE`, or `DONE`.
    """

    __slots__ = ("position", "scope")

    def __init__(self) -> None:
        self.scope = CancelScope()
        self.position: float = IDLE


class Stage:
    """A task inside a run.

    In order, with units numbered at the entrance (`_admitted`)::

        order.next <= _admitted <= order.next + _window

    so units that run and results that wait for their turn are `_window` at most together. While
    the outlet has a backlog no unit is started.
    """

    def __init__(self, caller: Caller, index: int, inlet: Link, link: Link, shared: Shared) -> None:
        self.spec = spec = caller.spec
        self.index = index
        self.final: Bypass | None = None  # the error that is the last thing to leave the stage
        self.counts = Counts()
        self._inlet = inlet
        self.outlet = Outlet(link, ordered=shared.ordered, opened=self._wake_keeper)
        self._caller = caller
        self._shared = shared
        self.kinds = kinds_for(spec, last=index == shared.stages - 1)
        self._batch = isinstance(spec, BatchSpec)
        self._intake: Intake = (
            Batches(inlet, spec, shared.clock) if isinstance(spec, BatchSpec) else Items(inlet)
        )
        self._window = spec.limit + shared.context.buffer_size
        self._admitted = 0
        self._passed = 0  # of these, what only passes the stage by
        self._keeper: Event | None = None  # there while a worker waits for the gate to open
        self._timed = False  # whether a worker sleeps until a batch is due
        self._yielding = 0  # workers that let other stages run
        self._closing = False  # no further unit is started
        self._failed_at: float = math.inf
        self._workers: set[Worker] = set()
        self._idle = 0  # workers that sleep on the input, or are on their way to it
        self._scope = CancelScope()
        self._group = create_task_group()
        self._spawn_context = copy_context()

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        return f"stage {self.spec.name!r} ({self.index + 1} of {self._shared.stages})"

    def statistics(self) -> StageStatistics:
        counts = self.counts
        return StageStatistics(
            name=self.spec.name,
            received=self._intake.received if self._batch else self._admitted - self._passed,
            emitted=self.outlet.emitted,
            filtered=counts.filtered,
            skipped=counts.skipped,
            failed=counts.failed,
            retried=self._caller.retried,
            dropped=self._intake.dropped,
            running=sum(DONE < worker.position < IDLE for worker in self._workers),
            queued=len(self._inlet),
        )

    def cancel(self) -> None:
        """End the stage at once: what it holds is given up."""
        self._closing = True
        self._scope.cancel()

    async def run(self) -> None:
        """Run to the end of the input, or to the error that ends the run."""
        current_context.set(self._shared.context)
        # Workers start from here, not from the context of the worker that happens to start
        # them: what a function sets there is not inherited by chance.
        self._spawn_context = copy_context()
        try:
            with self._scope:
                async with self._group:
                    await self.work(self._hire())
                if self.final is not None:
                    self.outlet.put(self.final)
                await self.outlet.flush()
        finally:
            self.outlet.link.close_sender()

    # Workers

    def _hire(self) -> Worker:
        worker = Worker()
        self._workers.add(worker)
        self._idle += 1
        return worker

    def _spawn(self) -> None:
        spawn = partial(self._group.start_soon, name=f"conveyor {self}")
        self._spawn_context.run(spawn, Later, self.work, self._hire())

    async def work(self, worker: Worker) -> None:
        """Be a worker of the stage, for as long as there is work."""
        self._idle -= 1
        with worker.scope:
            try:
                await self._serve(worker)
            except BaseException as error:  # noqa: ASYNC103 - raised on, or handed to the consumer
                self._shared.leave(error)
            finally:
                self._workers.discard(worker)
                self._wake_keeper()

    async def _serve(self, worker: Worker) -> None:
        inlet, intake, kinds, outlet = self._inlet, self._intake, self.kinds, self.outlet
        taken, send = inlet.taken, outlet.link.send_nowait
        order, backlog = outlet.order, outlet.backlog
        limit, window, turn = self.spec.limit, self._window, self._shared.turn
        call = self._caller.plan()
        items = not self._batch
        more = True
        turn.begin(worker)
        while not self._closing:
            if (
                backlog
                or self._yielding
                or (order is not None and self._admitted - order.next >= window)
            ):  # the gate is closed
                if self._keeper is None:
                    await self._keep_gate(worker)
                elif not more:
                    return
                else:
                    more = await self._sleep(worker, math.inf)
                continue
            # What `Items.take` does, in the place where every item passes.
            unit = taken.popleft() if taken and items else intake.take()
            if inlet.blocked is not None:
                inlet.unblock()
            if unit is EMPTY:
                if not more:
                    return
                more = await self._sleep(worker, intake.due)
                continue
            position = self._admitted
            self._admitted = position + 1
            if type(unit) is Bypass:
                await self._pass_by(position, unit)
                continue
            number = position - self._passed if items else intake.received - len(unit)
            worker.position = position

            # Somebody has to look for the next unit, should the function suspend.
            if self._idle:
                if taken and inlet.open is None:
                    inlet.nudge()
            elif self._keeper is not None:
                self._wake_keeper()
            elif len(self._workers) < limit:
                self._spawn()

            try:
                result = call(unit)
                if type(result) is CoroutineType:
                    result = await result
            except Exception as error:
                result = Failed(error, 1)

            if kinds[type(result)] is not None:
                await Delivery(self, position, number).deliver(unit, result)
            elif order is None:
                if backlog or not send(result):
                    backlog.append(result)
            elif position == order.next:
                if backlog or not send(result):
                    backlog.append(result)
                order.next = position + 1
                if order.waiting:
                    outlet.release()
            else:
                order.waiting[position] = (result,)
            worker.position = DONE
            if backlog and not outlet.flushing:
                await outlet.flush()
            if turn.holder is not worker:
                turn.begin(worker)
            elif perf_counter() - turn.since > SLICE:
                await self._give_way()

    async def _sleep(self, worker: Worker, due: float) -> bool:
        """Sleep until there may be something to do; false once the input has ended."""
        worker.position = IDLE
        self._idle += 1
        try:
            if due == math.inf or self._timed:
                return await self._inlet.receive()
            self._timed = True
            try:
                with CancelScope(deadline=due):
                    return await self._inlet.receive()
                return True
            finally:
                self._timed = False
        finally:
            self._idle -= 1
            self._shared.turn.begin(worker)

    # Calls off the usual path

    async def attempt(self, result: Any) -> Any:
        """Return what `result` is worth, awaited if it can be, or `Failed`."""
        try:
            return await result if inspect.isawaitable(result) else result
        except Exception as error:
            return Failed(error, 1)

    async def call(self, unit: Any) -> Any:
        """Call the function once more, with its tries."""
        try:
            result = self._caller.plan()(unit)
        except Exception as error:
            return Failed(error, 1)
        return await self.attempt(result)

    def tries(self, unit: Any) -> Tries:
        return Tries(self._caller, unit)

    async def breathe(self, who: object) -> None:
        """Let others run if `who` has worked for long. Sometimes a checkpoint."""
        if self._shared.turn.is_over(who):
            await self._give_way()
            self._wake_keeper()

    async def _give_way(self) -> None:
        # Nobody else of this stage may use the time: it is for what has left the stage.
        self._yielding += 1
        try:
            await self._shared.turn.give_way()
        finally:
            self._yielding -= 1

    # The gate is closed while a result cannot leave, while others of the run are let run, and while
    # the window is full. Whoever opens it looks for a unit next, or wakes the keeper.

    async def _keep_gate(self, worker: Worker) -> None:
        worker.position = IDLE
        event = self._keeper = Event()
        try:
            await event.wait()
        finally:
            if self._keeper is event:
                self._keeper = None

    def _wake_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.set()
            self._keeper = None

    # Endings

    async def _pass_by(self, position: int, bypass: Bypass) -> None:
        self._passed += 1
        if bypass.error is not None:
            self.final = bypass  # the last of the input: it leaves after all that was before it
            self._closing = True
            return
        self.outlet.settle(position, (bypass,))
        await self.outlet.flush()

    def fail(self, position: int, error: Exception) -> None:
        """End the run in an error, in its place: what is before it is still delivered."""
        if self.outlet.order is None:
            self._shared.fail(error)
            return
        self._shared.note(error)
        if position > self._failed_at:
            return
        self._failed_at = position
        self.final = Bypass(error=error)
        self._closing = True
        self.outlet.order.cut(position)
        for worker in self._workers:
            if worker.position > position:
                worker.scope.cancel()
        self._shared.cancel_above(self.index)


class Counts:
    """What is counted where it happens; everything else is derived when it is asked for."""

    __slots__ = ("failed", "filtered", "skipped")

    def __init__(self) -> None:
        self.filtered = 0
        self.skipped = 0
        self.failed = 0
