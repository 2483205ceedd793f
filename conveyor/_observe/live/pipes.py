"""What becomes of a console that cannot be written to."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_HOOK = "on_broken_pipe"


class BrokenPipes:
    """While entered, a console raises `BrokenPipeError` where rich would end the process.

    Rich calls ``on_broken_pipe``, which redirects the standard output and raises `SystemExit`: out
    of the picture, or of what somebody logs to the same console, that would end the run. Several
    views of one console may come and go in any order.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before: object = None  # of the console's own attributes; its class has another
        self._entered = False

    def __call__(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def enter(self) -> None:
        self._entered = True
        attributes = vars(self._console)
        self._before = attributes.get(_HOOK)
        attributes[_HOOK] = self

    def leave(self) -> None:
        self._entered = False
        attributes = vars(self._console)
        before = attributes.get(_HOOK)
        while isinstance(before, BrokenPipes) and not before._entered:
            before = before._before
        if before is None:
            attributes.pop(_HOOK, None)
        else:
            attributes[_HOOK] = before


def forget(console: Console) -> None:
    """Drop what could not be written: else rich would try it again before what comes next."""
    quiet, console.quiet = console.quiet, True
    try:
        with console:
            pass
    finally:
        console.quiet = quiet
