"""One run of a pipeline for the command line: results out, failures aside, and how it ended."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import Any

from .._model.failure import Failure
from .._pipeline import Pipeline
from .._stream import Stream
from .failures import DeadLetters
from .input import Items
from .messages import ReportedError, describe, say
from .output import Output
from .stopping import Interrupts, Stopping
from .writing import UnwritableError, Writer


class Work:
    """Runs a pipeline once.

    Args:
        pipeline: The pipeline.
        items: Its input.
        output: Where results go.
        writer: What makes text of them.
        letters: Who writes down what fails; ``None`` to tell of it on standard error.
        progress: Whether to show the run as it goes.
        interrupts: Hears the signals before the run and after it.

    Attributes:
        stream: The run.
        signal: The signal that has stopped it; ``None`` if there was none.
    """

    def __init__(
        self,
        pipeline: Pipeline[Any, Any],
        items: Items,
        output: Output,
        writer: Writer,
        *,
        letters: DeadLetters | None,
        progress: bool,
        interrupts: Interrupts,
    ) -> None:
        stream: Any = pipeline(items)
        stream._give_on()  # if the command fails before it is read, that is said already
        self.stream: Stream[Any] = stream
        self.signal: int | None = None
        self._output = output
        self._writer = writer
        self._letters = letters
        self._progress = progress
        self._interrupts = interrupts
        self._last = pipeline.stages[-1].name
        self._written = 0
        self._failures = 0
        self._unwritable = 0

    @property
    def failed(self) -> int:
        """How many items have failed and were left out."""
        skipped = sum(stage.skipped for stage in self.stream.statistics().stages)
        return self._failures + self._unwritable + skipped

    async def run(self) -> None:
        """Run it to its end.

        Raises:
            AbortedError: If a second signal has ended it.
            ClosedOutputError: If nobody reads the output any more.
            ReportedError: If input or output is in trouble.
            Exception: What the pipeline failed with.
        """
        stream = self.stream
        if self._letters is not None:
            self._letters.failed = stream.abort
            stream.add_instrument(self._letters.watch)
        async with AsyncExitStack() as stack:
            stopping = Stopping(stream, self._interrupts, self._output.give_up)
            with suppress(NotImplementedError):  # asyncio on Windows knows no signals
                await stack.enter_async_context(stopping)
            if self._progress:
                from .._observe.live import live

                await stack.enter_async_context(live(stream))
            await stack.enter_async_context(stream)
            try:
                await self._write(stream)
            finally:
                self.signal = stopping.signal

    async def _write(self, stream: Any) -> None:
        while results := await stream._ready():  # all that are there: one at least
            texts: list[str] = []
            unwritable: ReportedError | None = None
            for result in results:
                try:
                    text = self._text(result)
                except ReportedError as error:
                    unwritable = error
                    break
                if text is not None:
                    texts.append(text)
            if texts:
                await self._output.write("".join(texts).encode(), len(texts))
            if unwritable is not None:
                raise unwritable
        if end := self._writer.end():
            await self._output.write(end.encode(), 0)
        await self._output.flush(last=True)

    def _text(self, result: Any) -> str | None:
        """Return what is to be written of a result, ``None`` if it failed.

        Raises:
            ReportedError: If it cannot be written, and nobody writes down what fails.
        """
        if isinstance(result, Failure):
            self._tell(result)
            return None
        letters = self._letters
        origins = () if letters is None else letters.delivered()
        try:
            text = self._writer.encode(result)
        except UnwritableError as error:
            if letters is None:
                raise ReportedError(
                    f"result {self._written} of stage {self._last!r} (counted from 0) cannot be "
                    f"written: {error}"
                ) from None
            self._unwritable += 1
            letters.unwritable(origins, self._last, result, error)
            return None
        self._written += 1
        return text

    def _tell(self, failure: Failure[Any]) -> None:
        self._failures += 1
        if self._letters is None:
            tries = "1 attempt" if failure.attempts == 1 else f"{failure.attempts} attempts"
            say(f"Failed: stage {failure.task_name!r}, {tries}: {describe(failure.error)}")
