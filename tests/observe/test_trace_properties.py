"""The trace of any run is one that viewers read, and each result can be followed back in it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor import Failure, record_trace
from test_properties import (
    Bad,
    Setting,
    Stage,
    any_stages,
    build,
    free_stages,
    quiet_settings,
    settings,
)
from test_trace import check

pytestmark = pytest.mark.backends("asyncio", "asyncio-shuffled", "trio")

modes = st.sampled_from(("ordered", "as_completed"))


@given(stages=any_stages, setting=settings, mode=modes, leave=st.none() | st.integers(0, 4))
async def test_every_event_is_well_formed_however_the_run_ends(
    stages: list[Stage], setting: Setting, mode: str, leave: int | None
) -> None:
    stream = setting.apply(build(stages)).with_execution_mode(mode)(setting.source())
    count = 0
    with record_trace(stream) as trace, contextlib.suppress(Bad):
        async with stream:
            async for result in stream:
                if count == leave:
                    break
                count += not isinstance(result, Failure)
    check(trace.events)
    calls = [event for event in trace.events if event.get("cat") == "call"]
    assert not any(event["args"].get("unfinished") for event in calls)
    delivered = sum(event.get("cat") == "result" for event in trace.events)
    assert delivered in (count, count + 1)  # one more if it was the last that was read


@given(stages=free_stages, setting=quiet_settings, mode=modes, random=st.random_module())
async def test_a_result_is_followed_back_to_its_item_of_the_input(
    stages: list[Stage], setting: Setting, mode: str, random: object
) -> None:
    stream = setting.apply(build(stages)).with_execution_mode(mode)(setting.source())
    with record_trace(stream) as trace:
        results: list[Any] = await setting.consume(stream)
    check(trace.events)
    told = [event["args"]["from"] for event in trace.events if event.get("cat") == "result"]
    items = [result[0] for result in results if not isinstance(result, Failure)]
    assert len(told) == len(items)
    for origins, item in zip(told, items, strict=True):
        assert item in origins
