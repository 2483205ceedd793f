"""Stream work through async Python: plain functions become the stages of a pipeline."""

from ._context import ExecutionMode, PipelineContext, get_current_context
from ._decorators import batch_task, resource, single_task
from ._errors import (
    EmptyInputError,
    ErrorHandler,
    Failure,
    LoggingErrorHandler,
    StreamConsumedError,
)
from ._pipeline import Pipeline, Task
from ._stats import StageStatistics, StreamStatistics
from ._stream import Stream

__all__ = (
    "EmptyInputError",
    "ErrorHandler",
    "ExecutionMode",
    "Failure",
    "LoggingErrorHandler",
    "Pipeline",
    "PipelineContext",
    "StageStatistics",
    "Stream",
    "StreamConsumedError",
    "StreamStatistics",
    "Task",
    "batch_task",
    "get_current_context",
    "resource",
    "single_task",
)

# Tracebacks and documentation say conveyor.Stream, not where it happens to be written.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name  # pyright: ignore[reportPossiblyUnboundVariable]  # __all__ is not empty
