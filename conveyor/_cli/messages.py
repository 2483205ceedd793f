"""What the command says on standard error, each in one line."""

from __future__ import annotations

import logging
import sys
import traceback
from contextlib import suppress


class ReportedError(Exception):
    """Ends the command, and its message says all: neither its type nor its notes add anything."""


class AbortedError(Exception):
    """A second signal has ended the run."""


def say(text: str) -> None:
    """Write a line to standard error; if nobody can read it, that is no error."""
    # Closed, or not there at all, or a signal has come in the middle of a line.
    with suppress(OSError, ValueError, AttributeError, RuntimeError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def describe(error: BaseException) -> str:
    """Return an error in one line: type, message and notes."""
    if isinstance(error, ReportedError):
        return one_line(str(error))
    text = one_line(_bare(error))
    notes = [one_line(note) for note in getattr(error, "__notes__", ())]
    return f"{text} [{'; '.join(notes)}]" if notes else text


def one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def say_error(error: BaseException, *, with_traceback: bool) -> None:
    """Tell of the error that ends the command, with all of its traceback if that is wanted."""
    if with_traceback and not isinstance(error, ReportedError):
        say("".join(traceback.format_exception(error)).rstrip())
    say(f"Error: {describe(error)}")


class LogLines(logging.Handler):
    """While entered, says what the library logs, unless somebody else has seen to that.

    Args:
        skipped: Whether to tell of each item that is skipped: not where they go into a file.
        with_traceback: Whether errors come with their tracebacks.
    """

    def __init__(self, *, skipped: bool, with_traceback: bool) -> None:
        super().__init__(logging.WARNING)
        self._skipped = skipped
        self._with_traceback = with_traceback
        self._logger = logging.getLogger("conveyor")

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and record.levelno == logging.WARNING and not self._skipped:
            return
        if error is not None and self._with_traceback:
            say("".join(traceback.format_exception(error)).rstrip())
        text = record.getMessage() if error is None else f"{record.getMessage()}: {_bare(error)}"
        say(f"{record.levelname.capitalize()}: {one_line(text)}")

    def __enter__(self) -> None:
        if not self._logger.hasHandlers():
            self._logger.addHandler(self)

    def __exit__(self, *exc_info: object) -> None:
        self._logger.removeHandler(self)


def _bare(error: BaseException) -> str:
    kind, message = type(error).__qualname__, message_of(error)
    return f"{kind}: {message}" if message else kind


def message_of(error: BaseException) -> str:
    """Return the message of an error, whoever has written its class."""
    try:
        return str(error)
    except Exception:
        return "(an error whose message cannot be shown)"
