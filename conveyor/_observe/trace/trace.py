"""Traces: every call of a run, to be looked at in a viewer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import IO, Any, final

from ..._files import WholeFile, checked_path
from ..._model.instrument import Instrument, RunInfo
from ..._stream import Stream
from .events import Event, Recorder

_HEAD = '{"traceEvents": ['
_TAIL = '\n], "displayTimeUnit": "ms"}\n'


@final
class Trace:
    """What `record_trace` has recorded of a run.

    Attributes:
        path: The file that it is written to; ``None`` if it is kept in memory.
        events: The events so far, as dicts in the Chrome trace-event format. Empty if they are
            written to a file.
    """

    __module__ = "conveyor"

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self.events: list[Event] = []

    def __repr__(self) -> str:
        where = f"{len(self.events)} events" if self.path is None else f"in {self.path!r}"
        return f"<Trace: {where}>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what is kept in memory to a file, whole or not at all. It blocks while it writes.

        Args:
            path: Where. A file that is there is replaced.

        Raises:
            RuntimeError: If the events are written to a file already.
            OSError: If nothing can be written there.
        """
        if self.path is not None:
            raise RuntimeError(f"this trace is written to {self.path!r}, and not kept in memory")
        with WholeFile(path, newline="\n") as file:
            write = _Writer(file)
            for event in self.events:
                write(event)
            write.end()


def record_trace(
    stream: Stream[Any], path: str | os.PathLike[str] | None = None
) -> AbstractContextManager[Trace]:
    """Return a block that records every call of a stream's run.

    ::

        stream = pipeline(data)
        with record_trace(stream, "trace.json"):
            async for result in stream: ...

    The file is in the Chrome trace-event format, which https://ui.perfetto.dev opens, and
    `plot_timeline` draws. It appears whole when the block ends, also when the run has failed; what
    was there before is replaced. When the block ends before the run does, recording ends there.

    Events are written as they come, so what is kept in memory is no more than what is inside the
    run. Without a `path` all of them are kept, in the `Trace` that the block gives: about 2 kB for
    every item at every stage.

    Entering and leaving are no checkpoints. Both work on the file, and so does the run, about
    every fiftieth call: as a rule that does not take long.

    Args:
        stream: The stream, which has not been started.
        path: Where the file is to be; ``None`` (the default) keeps the trace in memory.

    Raises:
        TypeError: If `stream` is no stream, or `path` no path.
        RuntimeError: On entering, if the stream has been started.
        OSError: On entering, if no file can be written there; on leaving, if writing it has
            failed, unless the block itself has.
    """
    if not isinstance(stream, Stream):
        raise TypeError(
            'record_trace takes a stream, as in record_trace(pipeline(data), "trace.json"), '
            f"not {stream!r}"
        )
    return _Recording(stream, None if path is None else checked_path(path))


class _Recording(AbstractContextManager[Trace]):
    def __init__(self, stream: Stream[Any], path: str | None) -> None:
        # Until it is entered: the stream has this, and who drops a stream means to end it.
        self._stream: Stream[Any] | None = stream
        self._trace = Trace(path)
        self._file = None if path is None else WholeFile(path, newline="\n")
        self._writer: _Writer | None = None
        self._recorder: Recorder | None = None
        self._over = False

    def __enter__(self) -> Trace:
        stream, self._stream = self._stream, None
        if stream is None:
            raise RuntimeError("a trace is recorded once: call record_trace again")
        if self._file is not None:
            self._writer = _Writer(self._file.open(), self._file.discard)
        try:
            stream.add_instrument(self._make)
        except BaseException:
            if self._file is not None:
                self._file.discard()
            raise
        return self._trace

    def give_up(self, error: OSError) -> bool:
        """Remove a file that is being written, for `error`; return whether there was one."""
        if self._over or self._writer is None or self._writer.failed:
            return False
        self._writer.give_up(error)
        return True

    def _make(self, run: RunInfo) -> Instrument:
        if self._over:  # the stream was started after the block
            return Instrument(run)
        write: Callable[[Event], None] = self._trace.events.append
        self._recorder = Recorder(run, write if self._writer is None else self._writer)
        return self._recorder

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over = True
        if self._recorder is not None:
            self._recorder.stop()
        if self._file is None or self._writer is None:
            return
        try:
            self._writer.end()
            self._file.commit()
        except OSError as error:
            self._file.discard()
            if exc is None:
                raise
            exc.add_note(f"The trace could not be written: {error}")


class _Writer:
    """Writes events to a file, one a line. After an error it does no more, and `end` raises it.

    Args:
        file: The file.
        discard: Called after an error. If the disk is full, others may need the room.
    """

    def __init__(self, file: IO[str], discard: Callable[[], None] | None = None) -> None:
        self._file = file
        self._discard = discard
        self._error: OSError | None = None
        # As it is: Perfetto refuses what JSON escapes beyond U+FFFF.
        self._encode = json.JSONEncoder(
            ensure_ascii=False, check_circular=False, separators=(",", ":")
        ).encode
        self._before = _HEAD + "\n"

    def __call__(self, event: Event) -> None:
        if self._error is not None:
            return
        try:
            self._file.write(self._before + self._encode(event))
        except OSError as error:
            self.give_up(error)
        self._before = ",\n"

    @property
    def failed(self) -> bool:
        return self._error is not None

    def give_up(self, error: OSError) -> None:
        self._error = error
        if self._discard is not None:
            self._discard()

    def end(self) -> None:
        if self._error is not None:
            raise self._error
        self._file.write(_TAIL if self._before == ",\n" else _HEAD + _TAIL)
