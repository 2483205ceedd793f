"""One running stage: intake, workers, window. The only scheduler.

Workers, not a task an item: they are started on demand, up to the task's limit, and live as
long as the stage. Idle ones sleep on the input link. As long as the function does not suspend, one
worker does everything. When it is suspended, it makes others runnable first, if more units wait.

The rule that nothing can get stuck on: *if a unit could be started, some worker is on its way
to look for it.* A worker looks whenever it is done with a unit, and `Stage.look` sends others when
one is suspended, and when something comes in a new list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context, copy_context
from functools import partial
from time import perf_counter
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, create_task_group
from anyio.lowlevel import checkpoint_if_cancelled

from .._model.awaiting import is_awaitable
from .._model.batch_info import current_batch
from .._model.figures import StageStatistics
from .._model.spec import BatchSpec, SingleSpec
from .books.times import MANY, Times
from .books.watch import Seat, StageWatch
from .calls.caller import Caller, Kind, Tries, kinds_for
from .intake.batches import Batches
from .intake.items import EMPTY, Intake, Items
from .intake.keyed import Entry, Keyed
from .log import first_of
from .loop import host
from .loop.drive import drive
from .loop.host import is_brief
from .loop.later import Later
from .loop.leftover import absorb
from .loop.turn import SLICE
from .outlet import Outlet
from .results.budget import Failures
from .results.delivery import Delivery
from .signals import Bypass, Failed
from .worker import DONE, IDLE, Counts, Worker

if TYPE_CHECKING:
    from .link import Link
    from .supervisor import Supervisor


def is_changed(context: Context) -> bool:
    """Whether a context variable has another value in the running task than in `context`.

    Values are compared, and it is the user's code that does so.
    """
    try:
        return copy_context() != context
    except Exception:
        return True


class Stage:
    """A task inside a run.

    In order, with units numbered at the entrance (`_admitted`)::

        order.next <= _admitted <= order.next + _window

    so units that run and results that wait for their turn are `_window` at most together. While
    the outlet has a backlog no unit is started.

    While a worker flows (see there), `_admitted` and ``order.next`` stay behind by what it has
    taken since: `_catch_up` puts that right before anybody else can look.
    """

    def __init__(
        self, caller: Caller, index: int, inlet: Link, link: Link, supervisor: Supervisor
    ) -> None:
        self.spec = spec = caller.spec
        self.index = index
        self.final: Bypass | None = None  # the error that is the last thing to leave the stage
        self.is_over = False  # whether it has done all that it was to do
        self.counts = Counts()
        self._inlet = inlet
        self._caller = caller
        self.log = caller.log
        self._clock = caller.clock
        self._times = caller.times
        self._watch = None if supervisor.watch is None else StageWatch(supervisor.watch, index)
        # Whether calls are timed here: what is around a function does that by itself.
        self._bare = caller.times is not None and self._watch is None and caller.is_bare
        self._supervisor = supervisor
        self._window = spec.limit + supervisor.context.buffer_size
        self.outlet = Outlet(
            link,
            ordered=supervisor.ordered,
            window=self._window,
            opened=self.look,
            stuck=self._stuck,
            watch=self._watch,
        )
        # Whether what a worker calls is sure to give a coroutine.
        self._awaits = spec.is_async or self._watch is not None or not caller.is_bare
        self.kinds = kinds_for(spec, last=index == supervisor.stages - 1, awaited=self._awaits)
        # Whose limit it is, the limit, and what tells how many items have come.
        self.failures: list[tuple[str, Failures, Callable[[], int]]] = [*supervisor.failures]
        if spec.max_failures is not None:
            allowed = Failures(spec.max_failures)
            self.failures.insert(0, (str(self), allowed, lambda: self.received))
        self._limit = spec.limit
        self._keyed: Keyed | None = None
        self._intake: Intake
        if isinstance(spec, BatchSpec):
            self._intake = Batches(inlet, spec, supervisor.clock, self)
        elif isinstance(spec, SingleSpec) and spec.key is not None:
            self._intake = self._keyed = Keyed(
                inlet,
                spec,
                room=supervisor.context.buffer_size,
                window=self._window,
                order=self.outlet.order,
            )
        else:
            self._intake = Items(inlet)
        self._admitted = 0
        self._passed = 0  # of these, what only passes the stage by
        self._flowing: Worker | None = None
        self._interrupted = 0.0  # when a flow was, last
        # What it goes through, which others find in the link again once it has been interrupted.
        self._burst: list[Any] = []
        self._ahead: Iterator[Any] = iter(())
        self._held = 0  # how many items were taken from the link and not begun, when it caught up
        self._timer: CancelScope | None = None  # of a worker that sleeps until a batch is due
        self._yielding = 0  # workers that let other stages run
        self._closing = False  # no further unit is started
        self._failed_at: float = math.inf
        self._workers: set[Worker] = set()
        # Around what is left to do once the workers are gone; rarely there is anything.
        self._scope: CancelScope | None = None
        self._group = create_task_group()
        self._entered = False  # whether the group is, which has nothing to cancel before
        self._spawn_context = copy_context()

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        return f"stage {self.spec.name!r} ({self.index + 1} of {self._supervisor.stages})"

    @property
    def received(self) -> int:
        """How many items have come. Behind by some while a worker flows."""
        if isinstance(self._intake, Items):
            return self._admitted - self._passed
        return self._intake.received

    def statistics(self) -> StageStatistics:
        if self._flowing is not None:  # it is the user's function that asks
            self._catch_up(self._flowing)
        counts, caller = self.counts, self._caller
        busy = [worker for worker in self._workers if DONE < worker.position < IDLE]
        now = self._clock()
        times = Times(self._limit) if self._times is None else self._times
        times.note(now)
        times.fold()
        return StageStatistics(
            name=self.spec.name,
            received=self.received,
            emitted=self.outlet.emitted,
            filtered=counts.filtered,
            skipped=counts.skipped,
            failed=counts.failed,
            retried=caller.retried,
            dropped=self._intake.dropped,
            cancelled=counts.cancelled,
            running=len(busy),
            queued=len(self._inlet) + (self._keyed.set_aside if self._keyed is not None else 0),
            filling=self._intake.waiting if isinstance(self._intake, Batches) else 0,
            waiting=self.outlet.held_back,
            throttled=caller.waiting,
            batches=self._intake.started if isinstance(self._intake, Batches) else 0,
            slots=self._limit,
            busy=times.busy,
            full=times.full,
            starved=times.starved,
            blocked=times.blocked,
            occupied=times.occupied
            + (sum(now - each.began for each in busy) if self._times is not None else 0.0),
            held=times.held,
            throttled_for=caller.throttled_for,
            crowded_for=caller.crowded_for,
            paused_for=caller.paused_for,
            delayed_for=caller.delayed_for,
            latency=times.latency.statistics(),
            generators=caller.generators,
            keyed=self._keyed is not None,
            executor=self.spec.runs_in,
        )

    def left(self) -> tuple[int, int, int]:
        """Return what an end before its time has left: calls cut off, items not begun, results."""
        results = self.outlet.held_back + len(self.outlet.backlog)
        items = len(self._inlet) - self._inlet.bypasses
        if isinstance(self._intake, Batches):
            items += self._intake.waiting
        elif self._keyed is not None:
            items += self._keyed.set_aside
        return self.counts.cancelled, items, results

    def forget(self) -> None:
        """Let go of all items and results. The run is over."""
        self._intake.forget()
        self.outlet.forget()
        self.final = None

    def cancel(self) -> None:
        """End the stage at once: what it holds is given up."""
        self._closing = True
        if self._entered:
            self._group.cancel_scope.cancel()
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> None:
        """Run to the end of the input, or to the error that ends the run.

        Whatever goes wrong is told to the run, and not raised: with other stages that fail as well,
        a group would come out, and asyncio ends the whole program on a `SystemExit` of a task.
        """
        try:
            await self._run()
        except BaseException as error:  # noqa: ASYNC103 - raised on, or handed to the consumer
            while isinstance(error, BaseExceptionGroup):  # our own group's: workers raise no others
                error = error.exceptions[0]
            self._supervisor.leave(error, self)

    async def _run(self) -> None:
        # Workers start from here, not from the context of the worker that happens to start
        # them: what a function sets there is not inherited by chance.
        self._spawn_context = copy_context()
        try:
            if self._closing:  # cancelled before it began
                return
            async with self._group:
                self._entered = True
                self._inlet.arrived = self.look
                await self.work(self._hire())
            if self._group.cancel_scope.cancel_called:
                return
            if self.final is not None:
                self.outlet.put(self._admitted, self.final)
            if self.outlet.backlog:
                self._scope = CancelScope()
                with self._scope:
                    await self.outlet.flush()
                if self.outlet.backlog:  # it was cancelled
                    return
            self.is_over = True
        finally:
            if self._times is not None:
                self._times.finish(self._clock())
            self._inlet.arrived = self._inlet.wake  # there is no group any more to spawn in
            self.outlet.link.close_sender()
            if self.log.debugs:
                self._log_end()

    def _log_end(self) -> None:
        now = self.statistics()
        self.log.debug("%s ends: %d received, %d emitted", self, now.received, now.emitted)

    # Workers

    def _hire(self) -> Worker:
        worker = Worker()
        self._workers.add(worker)
        self._inlet.coming += 1
        return worker

    def _spawn(self) -> None:
        spawn = partial(self._group.start_soon, name=f"conveyor {self}")
        self._spawn_context.run(spawn, Later, self.work, self._hire())

    def look(self, many: int = 1) -> None:
        """If units could be started, see that up to `many` workers are on their way to do it.

        One as a rule, who sends the next: those at work are often back within a turn of the loop,
        and whoever finds nothing was woken in vain.
        """
        inlet, times = self._inlet, self._times
        if times is not None and times.is_starved:
            times.feed(self._clock())
        many = min(many, len(inlet) + (len(self._keyed.ready) if self._keyed is not None else 0))
        if inlet.coming >= many or self._closing or self._is_gate_closed():
            return
        while inlet.coming < many:
            if not inlet.wake():
                if len(self._workers) >= self._limit:
                    return
                self._spawn()

    def dropped(self, numbers: Sequence[int]) -> None:
        """Note that nothing will come of items."""
        if self._watch is not None:
            self._watch.dropped(numbers)

    def see_to(self, due: float) -> None:
        """See that a worker looks for a batch at `due`, if one is free: `look` sees items alone."""
        if self._timer is not None and self._timer.deadline <= due:
            return
        if not self._inlet.coming and not self._inlet.wake() and len(self._workers) < self._limit:
            self._spawn()

    @property
    def is_idle(self) -> bool:
        """Whether no call runs."""
        return not any(DONE < worker.position < IDLE for worker in self._workers)

    @property
    def is_stopped(self) -> bool:
        """Whether the input ends because the stream was told to stop."""
        return self._supervisor.stop.is_set

    @property
    def is_let_run(self) -> bool:
        """Whether others, who may have more to give, only let this one run."""
        return self._supervisor.turn.waiting > self._yielding

    def _is_gate_closed(self) -> bool:
        """Say whether no unit may be started.

        That is while a result cannot leave, while others of the run are let run, and while the
        window is full. Who opens the gate is a worker, which then looks for a unit itself.
        """
        order = self.outlet.order
        return (
            bool(self.outlet.backlog)
            or self._yielding > 0
            or (order is not None and self._admitted - order.next >= self._window)
            or (self._keyed is not None and self._keyed.is_full)
        )

    def _suspended(self, worker: Worker, request: object) -> None:
        """Put everything in order: from here on others run."""
        worker.suspended = True
        if self._flowing is worker:
            self.interrupt()
        inlet = self._inlet
        if inlet.blocked is not None:
            inlet.unblock()
        many = 1
        if worker.fresh:
            worker.fresh = False
            if not is_brief(request):
                # It was sent, found something, and waits: what is left would have to wait as well.
                many = max(len(inlet), 1)
        if inlet.coming < many and (
            inlet.taken or inlet.open is not None or self._keyed is not None
        ):
            self.look(many)

    async def work(self, worker: Worker) -> None:
        """Be a worker of the stage, for as long as there is work."""
        self._inlet.coming -= 1
        times = self._times
        if times is not None:
            times.wake(self._clock())
        with worker.scope:
            try:
                await checkpoint_if_cancelled()  # it may have been sent for as all is ending
                await drive(self._serve(worker), partial(self._suspended, worker))
            except BaseException as error:  # noqa: ASYNC103 - raised on, or handed to the consumer
                if DONE < worker.position < IDLE:
                    self.counts.cancelled += 1
                    if times is not None:
                        times.occupied += self._clock() - worker.began
                    if worker.seat is not None:
                        worker.seat.watch.end(worker.seat, cancelled=True)
                self._supervisor.leave(error, self)
            finally:
                if times is not None:
                    times.rest(self._clock())
                self._workers.discard(worker)
                if worker.spent and not self._closing:
                    self._spawn()
                if not self._workers:  # the group ends with the last of them
                    self._closing = True

    async def _serve(self, worker: Worker) -> None:
        inlet, intake, outlet = self._inlet, self._intake, self.outlet
        taken, link, send = inlet.taken, outlet.link, outlet.link.send_nowait
        order, backlog, plain = outlet.order, outlet.backlog, self.kinds.plain
        window, turn = self._window, self._supervisor.turn
        times, clock, watch = self._times, self._clock, self._watch
        seat = worker.seat = None if watch is None else Seat(watch)
        call = self._caller.plan(seat, lambda: self._number_of(worker))
        bare = self._bare
        if isinstance(intake, Batches):
            call = intake.around(call)
        items = isinstance(intake, Items)
        flows = items and watch is None
        keyed = self._keyed
        entry: Entry | None = None
        if not items:
            current_batch.set(None)  # as it is again after each batch
        context, cancelling = copy_context(), host.cancelling()
        unit: Any = None
        result: Any = None
        more = True
        turn.begin(worker)
        real = clock is perf_counter
        now = worker.began = clock()
        try:
            while not self._closing:
                if (
                    backlog
                    or self._yielding
                    or (order is not None and self._admitted - order.next >= window)
                ):  # `_is_gate_closed`, without a call
                    if not more:
                        return  # who opens the gate sends others
                    if times is not None and not self._yielding:
                        times.block(clock())
                    unit = result = entry = None  # nothing of the last one stays while it sleeps
                    more = await self._sleep(worker, math.inf)
                    continue
                if times is not None and times.is_blocked:
                    times.unblock(clock())
                if (
                    flows
                    and not worker.suspended
                    and len(taken or inlet.open or ()) > 1  # else it is not worth it
                    and len(link) < link.size
                    and not inlet.bypasses
                    and (order is None or order.next == self._admitted)
                ):
                    unit = result = None  # the last one
                    unit, result = await self._flow(worker, call, context, cancelling)
                    if unit is EMPTY:
                        if cancelling() and await absorb():
                            worker.began = clock()
                        if worker.spent:
                            break
                        if perf_counter() > turn.end:
                            await self._give_way()
                            worker.began = clock()
                        continue
                    position = int(worker.position)
                    number = worker.number
                else:
                    # What `Items.take` does, in the place where every item passes.
                    unit = taken.popleft() if taken and items else intake.take()
                    if unit is EMPTY:
                        if times is not None:
                            times.is_starved = True
                        if not more:
                            return
                        result = entry = None
                        more = await self._sleep(worker, intake.due)
                        continue
                    if keyed is None:
                        position = self._admitted
                        self._admitted = position + 1
                    else:
                        entry = unit
                        assert entry is not None
                        unit, position = entry.item, entry.position
                    if type(unit) is Bypass:
                        await self._pass_by(position, unit)
                        worker.began = clock()
                        continue
                    if items:
                        number = position - self._passed
                    else:
                        number = unit.numbers if entry is None else entry.number
                        worker.began = clock()  # to take it was work as well
                    worker.position = position
                    worker.number = number
                    worker.suspended = False
                    if watch is not None and seat is not None:
                        watch.begin(seat, position, number)
                    try:
                        result = call(unit) if entry is None else entry.failed or call(unit)
                        if type(result) is CoroutineType:
                            result = await result
                    except Exception as error:
                        result = Failed(error, 1)

                if cancelling():
                    await absorb()
                kind = None if type(result) in plain else self.kinds[type(result)]
                if times is not None:
                    now = clock()
                    seconds = now - worker.began
                    if not worker.suspended:
                        times.held += seconds
                    if kind is not None or seat is not None:
                        if bare and kind is not Kind.GENERATOR and kind is not Kind.AWAIT:
                            times.latency.add(seconds)
                    elif bare:  # the usual way
                        worker.began = now
                        times.calls.append(seconds)
                        if len(times.calls) >= MANY:
                            times.fold()
                    else:
                        worker.began = now
                        times.occupied += seconds
                if kind is not None or seat is not None:
                    await Delivery(self, position, number, seat).deliver(unit, result)
                    if cancelling():
                        await absorb()
                    now = clock()
                    if times is not None:
                        times.occupied += now - worker.began
                        worker.began = now
                elif order is None:
                    if backlog or not send(result):
                        backlog.append(result)
                elif position == order.next:
                    if backlog or not send(result):
                        backlog.append(result)
                    order.next = position + 1
                    if order.waiting:
                        outlet.release()
                        worker.began = clock()
                else:
                    order.waiting[position] = (result,)
                if watch is not None and seat is not None:
                    watch.end(seat, cancelled=False)
                worker.position = DONE
                if keyed is not None and entry is not None:
                    keyed.done(entry)
                if backlog and not outlet.flushing:
                    await outlet.flush()
                    now = worker.began = clock()
                if not items:
                    current_batch.set(None)
                if worker.spent or is_changed(context):
                    worker.spent = True
                    break
                if times is None or not real:
                    now = perf_counter()
                if worker.suspended or turn.holder is not worker:
                    turn.holder = worker  # `Turn.begin`, without a call
                    turn.end = now + SLICE
                elif now > turn.end:
                    await self._give_way()
                    worker.began = clock()
        finally:
            # The frame may live on, in the traceback of an error: it knows who called it.
            unit = result = entry = None

    async def _flow(
        self,
        worker: Worker,
        call: Callable[[Any], Any],
        context: Context,
        cancelling: Callable[[], int],
    ) -> tuple[Any, Any]:
        """Take items and send their results for as long as nothing but that is to be done.

        The fast twin of the rest of `_serve`: while the function does not suspend, nobody else
        runs, so what is true at the beginning stays true, and the books can wait.

        Returns:
            An item with a result that has to be dealt with, at the worker's position; or `EMPTY`.
        """
        inlet, link, counts = self._inlet, self.outlet.link, self.counts
        plain, awaits = self.kinds.plain, self._awaits
        asks = cancelling is not int  # a call for each item that always gives 0 is worth saving
        append: Any = link.appender()
        turn, times = self._supervisor.turn, self._times
        if turn.holder is not worker:
            turn.begin(worker)
        end = turn.end
        self._burst = burst = inlet.take()
        self._held = held = len(burst)
        room = link.size - len(link)
        if room < held:
            inlet.taken.extend(burst[room:])
            del burst[room:]
        self._ahead = ahead = iter(burst)
        first, whole = self._admitted, False
        usual: type | None = None  # the type of the result before, as most are alike
        unit: Any = None
        result: Any = None
        self._flowing = worker
        try:
            for unit in ahead:
                try:
                    result = call(unit)
                    if awaits:
                        result = await result
                except Exception as error:
                    result = Failed(error, 1)
                if worker.suspended:
                    return unit, result
                kind = type(result)
                if kind is usual:
                    append(result)
                elif kind in plain:
                    usual = kind
                    append(result)
                elif result is None:
                    counts.filtered += 1
                else:
                    return unit, result
                try:
                    if copy_context() != context or (asks and cancelling()) or perf_counter() > end:
                        worker.spent = is_changed(context)
                        break
                except Exception:  # two values could not be compared
                    worker.spent = True
                    break
            whole = True
        finally:
            unit = result = append = None  # see `_serve`
            if self._flowing is worker:
                self._catch_up(worker)
                self._flowing = None
            if times is not None and not whole:  # the last is still in hand
                earlier = int(worker.position) - first
                if earlier:
                    until = self._interrupted if worker.suspended else self._clock()
                    seconds = times.quick(earlier, until - worker.began)
                    times.flow(seconds, earlier, 0.0, self._bare)
                    worker.began += seconds
        if times is not None:
            now = self._clock()
            late = now - end if self._clock is perf_counter else 0.0
            times.flow(now - worker.began, held - len(inlet.taken), late, self._bare)
            worker.began = now
        worker.position = DONE
        if self.outlet.order is not None:
            self.outlet.order.next = self._admitted
        return EMPTY, None

    def _stuck(self, stuck: bool) -> None:
        """Note that results cannot leave, or that they can again."""
        times = self._times
        if times is not None:
            (times.block if stuck else times.unblock)(self._clock())

    def interrupt(self) -> None:
        """End the flow of a worker, if there is one, as what it relies on is about to change."""
        worker, self._flowing = self._flowing, None
        if worker is not None:
            self._interrupted = self._clock()
            worker.suspended = True
            self._catch_up(worker)

    def _catch_up(self, worker: Worker) -> None:
        """Note what a flowing worker has done: all it took has left, but for the last.

        The rest is put back, so its flow ends with the item in hand.
        """
        self.outlet.link.commit()
        if rest := [*self._ahead]:
            self._inlet.taken.extendleft(rest[::-1])
        self._burst.clear()
        taken = len(self._inlet.taken)
        if taken == self._held:
            return
        self._admitted += self._held - taken
        self._held = taken
        worker.position = self._admitted - 1
        worker.number = self._admitted - 1 - self._passed
        if self.outlet.order is not None:
            self.outlet.order.next = self._admitted - 1

    def _number_of(self, worker: Worker) -> int:
        """Return the number of the item in hand, of a batch that of the first."""
        if self._flowing is worker:
            self._catch_up(worker)
        return first_of(worker.number)

    async def _sleep(self, worker: Worker, due: float) -> bool:
        """Sleep until there may be something to do; false once the input has ended."""
        worker.position = IDLE
        times, suspended = self._times, worker.suspended
        if times is not None:
            times.rest(worker.began)  # which is just now: it has nothing in hand
        try:
            if self._timer is not None and due < self._timer.deadline:
                self._timer.deadline = due
            if due == math.inf or self._timer is not None:
                return await self._inlet.sleep()
            self._timer = CancelScope(deadline=due)
            try:
                with self._timer:
                    return await self._inlet.sleep()
                return True
            finally:
                self._timer = None
        finally:
            if times is not None:
                worker.began = self._clock()
                times.wake(worker.began)
            worker.fresh = True
            # Whether its function suspends is what that tells, and it did not while it slept.
            worker.suspended = suspended
            self._supervisor.turn.begin(worker)

    # Calls off the usual path

    async def attempt(self, start: Callable[[], Any]) -> Any:
        """Return what `start` returns, awaited if it can be, or `Failed`."""
        times, began = self._times, self._clock()
        try:
            result = start()
            if is_awaitable(result):
                result = await result
        except Exception as error:
            result = Failed(error, 1)
        await absorb()
        if times is not None and self._bare and self.kinds[type(result)] is not Kind.GENERATOR:
            times.latency.add(self._clock() - began)
        return result

    async def call(self, unit: Any, seat: Seat | None, number: int) -> Any:
        """Call the function once more, with its tries."""
        return await self.attempt(lambda: self._caller.plan(seat, lambda: number)(unit))

    def tries(self, unit: Any, seat: Seat | None, number: int) -> Tries:
        return Tries(self._caller, unit, seat, lambda: number)

    async def breathe(self, who: object) -> None:
        """Let others run if `who` has worked for long. Sometimes a checkpoint."""
        if self._supervisor.turn.is_over(who):
            await self._give_way()
            self.look()

    async def _give_way(self) -> None:
        # Nobody else of this stage may use the time: it is for what has left the stage.
        times = self._times
        self._yielding += 1
        if times is not None:
            times.rest(self._clock())
        try:
            await self._supervisor.turn.give_way()
        finally:
            self._yielding -= 1
            if times is not None:
                times.wake(self._clock())

    # Endings

    async def _pass_by(self, position: int, bypass: Bypass) -> None:
        self._passed += 1
        self._inlet.bypasses -= 1
        if bypass.error is not None:
            self.final = bypass  # the last of the input: it leaves after all that was before it
            self._closing = True
            return
        self.outlet.settle(position, (bypass,))
        await self.outlet.flush()

    def fail(self, position: int, error: Exception) -> None:
        """End the run in an error, in its place: what is before it is still delivered."""
        if self.outlet.order is None:
            self._supervisor.fail(error)
            return
        self._supervisor.note(error)
        if position > self._failed_at:
            return
        self._failed_at = position
        self.final = Bypass(error=error)
        if self._keyed is not None:
            self._keyed.cut(position)  # items before this one may be set aside
        else:
            self._closing = True
        self.outlet.cut(position)
        for worker in self._workers:
            if worker.position > position:
                worker.scope.cancel()
        self._supervisor.cancel_above(self.index)
