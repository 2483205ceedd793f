"""The library's logger. No handler is installed."""

from __future__ import annotations

import logging

logger = logging.getLogger("conveyor")


def annotate(error: BaseException, note: str) -> None:
    """Add `note` to an error, unless it has it: one object may be raised in several runs."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def lost(error: BaseException) -> None:
    """Note an error that nobody is left to receive."""
    logger.debug("an error that nobody receives: %r", error, exc_info=error)
