"""Stream work through async Python: plain functions become the stages of a pipeline."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from ._batch import BatchInfo, get_current_batch
    from ._context import ExecutionMode, PipelineContext, get_current_context
    from ._decorators import batch_task, resource, single_task
    from ._errors import (
        BatchError,
        EmptyInputError,
        ErrorHandler,
        StreamConsumedError,
        TooManyFailures,
    )
    from ._failure import Failure
    from ._handlers import LoggingErrorHandler
    from ._instrument import Instrument, RunInfo, StageInfo
    from ._live import live, progress
    from ._pipeline import Pipeline, Task
    from ._plot import plot_timeline
    from ._rate import RateLimit
    from ._signals import stop_on_signals
    from ._stats import (
        LatencyStatistics,
        RateLimitStatistics,
        StageStatistics,
        StreamStatistics,
    )
    from ._stream import Stream
    from ._telemetry import telemetry
    from ._trace import Trace, record_trace

__all__ = (
    "BatchError",
    "BatchInfo",
    "EmptyInputError",
    "ErrorHandler",
    "ExecutionMode",
    "Failure",
    "Instrument",
    "LatencyStatistics",
    "LoggingErrorHandler",
    "Pipeline",
    "PipelineContext",
    "RateLimit",
    "RateLimitStatistics",
    "RunInfo",
    "StageInfo",
    "StageStatistics",
    "Stream",
    "StreamConsumedError",
    "StreamStatistics",
    "Task",
    "TooManyFailures",
    "Trace",
    "batch_task",
    "get_current_batch",
    "get_current_context",
    "live",
    "plot_timeline",
    "progress",
    "record_trace",
    "resource",
    "single_task",
    "stop_on_signals",
    "telemetry",
)

# Every name is imported when it is first used, as anyio's are: who imports this, and describes
# pipelines with it, pays for no engine and no event loop.
_WHERE = {
    "BatchError": "_errors",
    "BatchInfo": "_batch",
    "EmptyInputError": "_errors",
    "ErrorHandler": "_errors",
    "ExecutionMode": "_context",
    "Failure": "_failure",
    "Instrument": "_instrument",
    "LatencyStatistics": "_stats",
    "LoggingErrorHandler": "_handlers",
    "Pipeline": "_pipeline",
    "PipelineContext": "_context",
    "RateLimit": "_rate",
    "RateLimitStatistics": "_stats",
    "RunInfo": "_instrument",
    "StageInfo": "_instrument",
    "StageStatistics": "_stats",
    "Stream": "_stream",
    "StreamConsumedError": "_errors",
    "StreamStatistics": "_stats",
    "Task": "_pipeline",
    "TooManyFailures": "_errors",
    "Trace": "_trace",
    "batch_task": "_decorators",
    "get_current_batch": "_batch",
    "get_current_context": "_context",
    "live": "_live",
    "plot_timeline": "_plot",
    "progress": "_live",
    "record_trace": "_trace",
    "resource": "_decorators",
    "single_task": "_decorators",
    "stop_on_signals": "_signals",
    "telemetry": "_telemetry",
}


def __getattr__(name: str) -> _Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(f".{_WHERE[name]}", __name__), name)
    # Documentation says conveyor.single_task, not where it happens to be written. Classes say so
    # themselves, since a traceback may name one that nobody has looked up here.
    value.__module__ = __name__
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
