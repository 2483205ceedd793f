"""The likeliest mistakes. At run time each gets a sentence; type checkers object before that.

As in wrong.py, a comment that hides no error is one itself.
"""

from __future__ import annotations

from conveyor import PipelineContext, single_task


@single_task
async def inc(number: int) -> int:
    return number + 1


pipeline = inc | inc


async def misused() -> None:
    await pipeline([1])  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await pipeline  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await inc  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    async for _ in pipeline:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    async with inc:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    with inc:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    with pipeline([1]):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    for _ in pipeline([1]):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        pass
    inc(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    inc([5], 6)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    inc()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await pipeline.collect()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    pipeline.with_context({"buffer_size": 3})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def right() -> None:
    pipeline.with_context(PipelineContext(buffer_size=3), max_parallelism=2)
    inc(data=[1])
