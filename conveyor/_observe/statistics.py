"""The public statistics of a run: the engine's figures, and what people read from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._model.figures import StreamFigures

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


@dataclass(frozen=True, slots=True)
class StreamStatistics(StreamFigures):
    """A snapshot of one run. Printed, it is a table, and a sentence that names the bottleneck.

    Attributes:
        pipeline_id: The run's name, as in its context.
        stages: One entry a stage, from first to last.
        queued: Results that wait for the consumer.
        total: How many items the input has; ``None`` if it does not say.
        read: Items that were read from the input.
        delivered: What the consumer has got: results, and failures that came with them.
        elapsed: Seconds since the run began, until its end if it is over.
        input_waited: Seconds in which the run waited for its input to give the next item.
        consumer_waited: Seconds in which the consumer waited for a result. In the rest of the
            time the run waited for the consumer, or worked ahead.
        execution_mode: ``"ordered"`` or ``"as_completed"``.
        max_parallelism: As in the run's context.
        timed: Whether the times were measured, see `PipelineContext.timing`.
        over: Whether the run has ended.
        named: Whether somebody has chosen `pipeline_id`. One that was made up is not shown.
        input_held: Seconds, of `input_waited`, in which nothing else could run: a plain iterator,
            or an async one that gave an item without having waited, had the event loop to itself.
        cpu_time: Seconds of processor time that this process has used meanwhile, in all of its
            threads, whatever they worked on; its child processes aside. Times of processors are 0
            where the event loop has a clock of its own, as a virtual one.
        loop_cpu_time: Seconds, of these, in the thread of the event loop.
        processors: How many processors this process may use; ``None`` if that is not known.
        free_threaded: Whether threads run Python code side by side, as they do without a GIL.
    """

    __module__ = "conveyor"

    @property
    def bottleneck(self) -> str:
        """What took most of the time, and how that shows, in one sentence without a full stop.

        It is for people, and its wording may change. Where nothing stands out, where the run was
        not timed, or has taken less than 0.01 seconds so far, it says so.
        """
        from .report.bottleneck import find_bottleneck

        return find_bottleneck(self).sentence

    @property
    def progress(self) -> float | None:
        """Which share of the work is done, from 0 to 1; ``None`` if the input has no length.

        It is the share of the input that has come in, times the share of that which each stage is
        done with and has passed on. It is 1 once all of the input is delivered, whatever
        was filtered, unpacked or left out. It may fall, when an item turns out to be many.
        """
        from .report.progress import progress_of

        return progress_of(self)

    @property
    def remaining(self) -> float | None:
        """How many seconds it will take if all goes on as it did; 0 if the run has ended.

        ``None`` if that cannot be told: the input has no length, or nothing is done yet.
        """
        from .report.progress import remaining_of

        return remaining_of(self)

    def to_mermaid(self) -> str:
        """Return the pipeline as a Mermaid flowchart, with the numbers of this moment.

        On the edges stands how many items have passed, and how many wait. What limits the run is
        of the class ``bottleneck``. Any task name is safe in it.
        """
        from .report.graph import run_graph, to_mermaid

        return to_mermaid(run_graph(self))

    def to_dot(self) -> str:
        """Return the same as `to_mermaid`, in the language of Graphviz."""
        from .report.graph import run_graph, to_dot

        return to_dot(run_graph(self))

    def __str__(self) -> str:
        """Return the report: a table of at most 100 columns, and what limits the run."""
        from .report.table import report_text

        return report_text(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from .report.colour import report  # only rich calls this, so it is there

        yield from report(self, options.max_width)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from .report.html import report

        return {"text/plain": str(self), "text/html": report(self)}
