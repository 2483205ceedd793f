"""The questions by name, in the order of the results."""

from __future__ import annotations

from .base import Question
from .batches import Batches
from .bounds import Bounds
from .cores import Cores
from .first_result import FirstResult
from .many_waiting import ManyWaiting
from .memory import Memory
from .mixed_times import MixedTimes
from .overhead import Overhead
from .scaling import Scaling
from .start_up import StartUp
from .switching import Switching
from .timing import Timing
from .waiting import Waiting

QUESTIONS: dict[str, Question] = {
    question.name: question
    for question in (
        Overhead(),
        Switching(),
        Waiting(),
        ManyWaiting(),
        Batches(),
        MixedTimes(),
        FirstResult(),
        Bounds(),
        Memory(),
        Scaling(),
        Cores(),
        Timing(),
        StartUp(),
    )
}
