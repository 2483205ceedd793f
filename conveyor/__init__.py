"""Stream work through async Python: plain functions become the stages of a pipeline."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._context import ExecutionMode, PipelineContext, get_current_context
from ._decorators import batch_task, resource, single_task
from ._errors import EmptyInputError, ErrorHandler, StreamConsumedError
from ._pipeline import Pipeline, Task

if _TYPE_CHECKING:
    from ._failure import Failure
    from ._handlers import LoggingErrorHandler
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

# What takes long to import is imported when it is first used, the engine with its event loop above
# all: who describes pipelines needs neither.
_LATER = {
    "Failure": "_failure",
    "LoggingErrorHandler": "_handlers",
    "StageStatistics": "_stats",
    "Stream": "_stream",
    "StreamStatistics": "_stats",
}


def __getattr__(name: str) -> _Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(f".{_LATER[name]}", __name__), name)
    value.__module__ = __name__
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# Tracebacks and documentation say conveyor.Pipeline, not where it happens to be written.
for _name in __all__:
    if _name not in _LATER:
        globals()[_name].__module__ = __name__
del _name  # pyright: ignore[reportPossiblyUnboundVariable]  # __all__ is not empty
