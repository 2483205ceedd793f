"""What is found to limit a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What may limit a run."""

    SLOTS = "slots"
    LOOP = "event loop"
    GIL = "GIL"
    PROCESSORS = "processors"
    RATE = "rate limit"
    PAUSE = "pause"
    RETRIES = "retries"
    PARALLELISM = "max_parallelism"
    ORDER = "order"
    INPUT = "input"
    CONSUMER = "consumer"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What limits a run.

    Attributes:
        kind: What it is.
        sentence: That and the reason, without a full stop.
        advice: What helps, as a sentence or two; empty if there is nothing to say.
        share: For which share of the time it did so, from 0 to 1.
        stage: Where, if it is in a stage; counted from 0.
    """

    kind: Kind
    sentence: str
    advice: str = ""
    share: float = 0.0
    stage: int | None = None
