"""What a batch function may know of its batch beside the items."""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, TypeAlias

Trigger: TypeAlias = Literal["size", "weight", "time", "idle", "open", "end", "stop"]


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """A batch that a task's function is working on.

    Attributes:
        trigger: Why it started. ``"size"``: it has ``max_size`` items. ``"weight"``: it has
            reached ``max_weight``, or the next item would have exceeded it. ``"time"``: its oldest
            item has waited for ``max_wait``. ``"idle"``: the task had nothing to do
            (``flush_when_idle``). ``"open"``: it was the oldest of more than ``max_open``.
            ``"end"``: the input has ended, or an error has ended it. ``"stop"``: the stream was
            told to stop.
        size: How many items the function was called with. A half that is tried because of
            ``on_error="skip_item"``, and the items of a `BatchError` that are tried again, have the
            trigger and the key of their batch, and a size of their own.
        key: What ``by`` returned for its items; ``None`` without ``by``.
    """

    __module__ = "conveyor"

    trigger: Trigger
    size: int
    key: Hashable = None


# The fields of a `BatchInfo`, which is only made for those who ask.
Known: TypeAlias = tuple[Trigger, int, Hashable]

current_batch: ContextVar[Known | None] = ContextVar("conveyor_batch", default=None)


def get_current_batch() -> BatchInfo | None:
    """Return what is known of the batch whose function calls this, ``None`` outside of one."""
    known = current_batch.get()
    return None if known is None else BatchInfo(*known)


def narrow(size: int) -> None:
    """Say that the function is called with a part of the batch, of so many items."""
    known = current_batch.get()
    if known is not None:
        trigger, _, key = known
        current_batch.set((trigger, size, key))
