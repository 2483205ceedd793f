"""The program of a worker process. Its parent is in `processes.py`.

It has a socket for its standard input, gets requests there and answers each, both as a length and
that many bytes, until there are no more.
"""

from __future__ import annotations

import math
import os
import pickle
import runpy
import signal
import socket
import struct
import sys
import time
from types import ModuleType
from typing import IO, Any

from .outcome import outcome_of, pack_error
from .parcel import call, try_out

LENGTH = struct.Struct("!Q")
NAME = "__mp_main__"  # as in multiprocessing: `if __name__ == "__main__":` is false there


def main(held: tuple[int, ...] = ()) -> None:
    """Serve requests until there are no more.

    Args:
        held: The signals that were held back for as long as nothing could handle them.
    """
    parent = _socket()
    requests = parent.makefile("rb")
    sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 - as long as the process
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    interrupts = _Interrupts()
    if held:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
    try:
        _send(parent, outcome_of("main", _prepare, _receive(requests)))
        interrupts.take_over()
        while request := _receive(requests):
            name, packed, item, interruptible, sent = pickle.loads(request)
            if item is None:
                answer = try_out(name, packed)
            else:
                since = sent if interruptible else None
                answer = _answer(interrupts, since, name, packed, item)
            _send(parent, answer)
    except ConnectionError:
        return  # the parent is gone


def _socket() -> socket.socket:
    """Take the socket away from standard input, where functions might read from it."""
    if sys.platform == "win32":
        return socket.fromshare(sys.stdin.buffer.read())
    parent = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    return parent


def _send(parent: socket.socket, message: bytes) -> None:
    parent.sendall(LENGTH.pack(len(message)) + message)


def _receive(requests: IO[bytes]) -> bytes:
    """Return one message; an empty one if there are no more."""
    header = requests.read(LENGTH.size)
    if len(header) < LENGTH.size:
        return b""
    (length,) = LENGTH.unpack(header)
    return requests.read(length)


# --- the main module of the program


def _prepare(request: bytes) -> None:
    if not request:
        return
    argv, kind, main = pickle.loads(request)
    sys.argv = argv
    here = sys.modules["__main__"]
    module = ModuleType(NAME)
    here.__dict__["conveyor_prepares"] = True  # see `is_preparing`
    if kind == "name":
        module.__dict__.update(runpy.run_module(main, run_name=NAME, alter_sys=True))
    elif kind == "path":
        module.__dict__.update(runpy.run_path(main, run_name=NAME))
    sys.modules["__main__"] = sys.modules[NAME] = module


def is_preparing() -> bool:
    """Return whether this is a worker that is about to run the main module of its program.

    Workers of `multiprocessing` are asked as well.
    """
    if getattr(sys.modules["__main__"], "conveyor_prepares", False):
        return True
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)


# --- Ctrl-C


class _Interrupts:
    """Lets Ctrl-C, which a terminal sends to all processes, interrupt functions alone."""

    def __init__(self) -> None:
        self.allowed = False
        self.last = -math.inf  # when it came, by a clock that all processes share
        self.take_over()

    def take_over(self) -> None:
        """Handle the signal, unless it is ignored, or handled by the program in its own way."""
        if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, *_: object) -> None:
        self.last = time.monotonic()
        if self.allowed:
            raise KeyboardInterrupt


def _answer(interrupts: _Interrupts, since: float | None, *request: Any) -> bytes:
    """Call a function. If it is interrupted after `since`, that is its outcome."""
    try:
        interrupts.allowed = since is not None
        try:
            if since is not None and interrupts.last > since:
                raise KeyboardInterrupt  # it came while the request was on its way
            return call(*request)
        finally:
            interrupts.allowed = False
    except KeyboardInterrupt as error:  # a moment before the function began, or after it ended
        interrupts.allowed = False
        return pack_error(error)
