"""Streams for code without an event loop: it waits while one runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, TypeVar

import anyio
from anyio.from_thread import start_blocking_portal

from ._engine import host
from ._stream import Stream

T = TypeVar("T")


def check(method: str, instead: str, backend: object) -> None:
    """Refuse what cannot work.

    Raises:
        TypeError: If `backend` is no string.
        ValueError: If there is no such backend.
        RuntimeError: If an event loop runs in this thread: it would stand still.
    """
    allowed = "backend must be 'asyncio' or 'trio'"
    if not isinstance(backend, str):
        raise TypeError(f"{allowed}, not {backend!r}")
    if backend not in ("asyncio", "trio"):
        raise ValueError(f"{allowed}, not {backend!r}")
    if host.is_running():
        raise RuntimeError(
            f"{method}() waits in a thread without an event loop, and one runs in this thread: "
            f"use {instead}"
        )


def run(stream: Stream[T], backend: str, options: Mapping[str, Any] | None) -> list[T]:
    """Run a stream to its end, in an event loop in this thread, and return all results."""
    return anyio.run(stream.collect, backend=backend, backend_options=dict(options or {}))


def iterate(
    stream: Stream[T], backend: str, options: Mapping[str, Any] | None
) -> Generator[T, None, None]:
    """Yield the results of a stream that runs in an event loop in a thread of its own.

    All is over when the generator has ended or is closed: the block and the thread.
    """
    with (
        start_blocking_portal(backend, dict(options or {}), name="conveyor run") as portal,
        portal.wrap_async_context_manager(stream),
    ):
        source: Any = stream  # what it has ready is no affair of its users
        while results := portal.call(source._ready):
            yield from results  # noqa: ASYNC101 - a plain generator: the scopes are in the thread
