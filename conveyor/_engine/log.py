"""The library's logger. No handler is installed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

logger = logging.getLogger("conveyor")


class Log:
    """Logs for one run, or for one of its stages: every record says where it comes from.

    It has the extra fields ``pipeline_id``, ``stage`` (the task's name) and ``item_index`` (the
    number of the item at that stage, of a batch that of its first). What there is none of is
    ``None``.
    """

    __slots__ = ("_pipeline_id", "_stage")

    def __init__(self, pipeline_id: str | None = None, stage: str | None = None) -> None:
        self._pipeline_id = pipeline_id
        self._stage = stage

    def of(self, stage: str) -> Log:
        """Return the log of a stage of this run."""
        return Log(self._pipeline_id, stage)

    @property
    def debugs(self) -> bool:
        """Whether anybody wants to know how a run goes when all is well."""
        return logger.isEnabledFor(logging.DEBUG)

    def debug(
        self,
        message: str,
        *args: object,
        item: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        self._log(logging.DEBUG, message, args, item, error)

    def warning(
        self,
        message: str,
        *args: object,
        item: int | None = None,
        error: BaseException | None = None,
    ) -> None:
        self._log(logging.WARNING, message, args, item, error)

    def error(self, message: str, *args: object, error: BaseException) -> None:
        self._log(logging.ERROR, message, args, None, error)

    def lost(self, error: BaseException) -> None:
        """Note an error that nobody is left to receive."""
        self._log(logging.DEBUG, "an error that nobody receives: %r", (error,), None, error)

    def _log(
        self,
        level: int,
        message: str,
        args: tuple[object, ...],
        item: int | None,
        error: BaseException | None,
    ) -> None:
        where = {"pipeline_id": self._pipeline_id, "stage": self._stage, "item_index": item}
        logger.log(level, message, *args, exc_info=error, extra=where, stacklevel=3)


NOWHERE = Log()


def first_of(number: int | Sequence[int]) -> int:
    """Return the number of an item, or that of the first of a batch."""
    return number if isinstance(number, int) else number[0]


def annotate(error: BaseException, note: str) -> None:
    """Add `note` to an error, unless it has it: one object may be raised in several runs.

    An exception that takes no notes, as a frozen dataclass does not, stays as it is.
    """
    with suppress(Exception):
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
