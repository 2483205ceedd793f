"""Error handlers that many need. Apart, since `logging` is slow to import."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

from .context import get_current_context

# The number of the item that a handler is asked about, of a batch that of its first.
asked_about: ContextVar[int | None] = ContextVar("conveyor_asked_about", default=None)


class LoggingErrorHandler:
    """Logs each error with its traceback; the item itself is never logged.

    The records have the same extra fields as all others of the library: ``pipeline_id``, ``stage``
    and ``item_index``.

    Args:
        logger: Where to; ``None`` means the logger ``conveyor``.
        level: A level of `logging`, ``logging.ERROR`` by default.
        carry_on: True skips the item; false (the default) leaves it to ``on_error``.
    """

    __module__ = "conveyor"

    def __init__(
        self,
        logger: logging.Logger | None = None,
        level: int = logging.ERROR,
        *,
        carry_on: bool = False,
    ) -> None:
        self._logger = logging.getLogger("conveyor") if logger is None else logger
        self._level = level
        self._carry_on = carry_on

    async def handle_error(
        self, error: Exception, item: Any, task_name: str, attempt: int
    ) -> tuple[bool, Any]:
        """Log `error`, and answer ``(carry_on, None)``."""
        context = get_current_context()
        self._logger.log(
            self._level,
            "task %r failed at attempt %d",
            task_name,
            attempt,
            exc_info=error,
            extra={
                "pipeline_id": None if context is None else context.pipeline_id,
                "stage": task_name,
                "item_index": asked_about.get(),
            },
        )
        return self._carry_on, None
