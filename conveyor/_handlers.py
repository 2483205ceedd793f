"""Error handlers that many need. Apart, since `logging` is slow to import."""

from __future__ import annotations

import logging
from typing import Any


class LoggingErrorHandler:
    """Logs each error with its traceback; the item itself is never logged.

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
        self._logger.log(
            self._level, "task %r failed at attempt %d", task_name, attempt, exc_info=error
        )
        return self._carry_on, None
