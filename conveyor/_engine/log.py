"""The library's logger. No handler is installed."""

from __future__ import annotations

import logging

logger = logging.getLogger("conveyor")


def lost(error: BaseException) -> None:
    """Note an error that nobody is left to receive."""
    logger.debug("an error that nobody receives: %r", error, exc_info=error)
