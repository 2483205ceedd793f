"""Stream work through async Python: plain functions become the stages of a pipeline."""

import typing as _typing

if _typing.TYPE_CHECKING:
    from ._decorators import batch_task as batch_task
    from ._decorators import resource as resource
    from ._decorators import single_task as single_task
    from ._model.batch_info import BatchInfo as BatchInfo
    from ._model.batch_info import get_current_batch as get_current_batch
    from ._model.context import PipelineContext as PipelineContext
    from ._model.context import get_current_context as get_current_context
    from ._model.errors import BatchError as BatchError
    from ._model.errors import EmptyInputError as EmptyInputError
    from ._model.errors import ErrorHandler as ErrorHandler
    from ._model.errors import StreamConsumedError as StreamConsumedError
    from ._model.errors import TooManyFailures as TooManyFailures
    from ._model.failure import Failure as Failure
    from ._model.figures import LatencyStatistics as LatencyStatistics
    from ._model.figures import RateLimitStatistics as RateLimitStatistics
    from ._model.figures import StageStatistics as StageStatistics
    from ._model.figures import StreamFigures as StreamFigures
    from ._model.handlers import LoggingErrorHandler as LoggingErrorHandler
    from ._model.instrument import Instrument as Instrument
    from ._model.instrument import RunInfo as RunInfo
    from ._model.instrument import StageInfo as StageInfo
    from ._model.modes import ExecutionMode as ExecutionMode
    from ._model.rate_limit import RateLimit as RateLimit
    from ._observe.live import live as live
    from ._observe.live import progress as progress
    from ._observe.statistics import StreamStatistics as StreamStatistics
    from ._observe.telemetry import telemetry as telemetry
    from ._observe.trace.plot import plot_timeline as plot_timeline
    from ._observe.trace.trace import Trace as Trace
    from ._observe.trace.trace import record_trace as record_trace
    from ._pipeline import Pipeline as Pipeline
    from ._pipeline import Task as Task
    from ._signals import stop_on_signals as stop_on_signals
    from ._stream import Stream as Stream
else:
    from importlib import import_module as _import_module

    # Every name is imported when it is first used, as anyio's are: code that only describes
    # pipelines loads no engine and no event loop.
    _NAMES = {
        "_decorators": (
            "batch_task",
            "resource",
            "single_task",
        ),
        "_model.batch_info": (
            "BatchInfo",
            "get_current_batch",
        ),
        "_model.context": (
            "PipelineContext",
            "get_current_context",
        ),
        "_model.errors": (
            "BatchError",
            "EmptyInputError",
            "ErrorHandler",
            "StreamConsumedError",
            "TooManyFailures",
        ),
        "_model.failure": ("Failure",),
        "_model.figures": (
            "LatencyStatistics",
            "RateLimitStatistics",
            "StageStatistics",
            "StreamFigures",
        ),
        "_model.handlers": ("LoggingErrorHandler",),
        "_model.instrument": (
            "Instrument",
            "RunInfo",
            "StageInfo",
        ),
        "_model.modes": ("ExecutionMode",),
        "_model.rate_limit": ("RateLimit",),
        "_observe.live": (
            "live",
            "progress",
        ),
        "_observe.statistics": ("StreamStatistics",),
        "_observe.telemetry": ("telemetry",),
        "_observe.trace.plot": ("plot_timeline",),
        "_observe.trace.trace": (
            "Trace",
            "record_trace",
        ),
        "_pipeline": (
            "Pipeline",
            "Task",
        ),
        "_signals": ("stop_on_signals",),
        "_stream": ("Stream",),
    }
    _WHERE = {name: module for module, names in _NAMES.items() for name in names}
    __all__ = tuple(sorted(_WHERE))

    def __getattr__(name: str) -> _typing.Any:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(_import_module(f".{_WHERE[name]}", __name__), name)
        # Documentation says conveyor.single_task, not where it happens to be written. Classes say
        # so themselves, since a traceback may name one that nobody has looked up here.
        value.__module__ = __name__
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
