"""What turns a function into a task."""
from __future__ import annotations
from typing import Any
from ._pipeline import Task
from ._spec import BatchSpec, SingleSpec, make_spec

def single_task(func: Any = None, /, **options: Any) -> Any:
    def decorate(func: Any) -> Any:
        return Task(make_spec(SingleSpec, func, options))
    return decorate if func is None else decorate(func)

def batch_task(**options: Any) -> Any:
    def decorate(func: Any) -> Any:
        return Task(make_spec(BatchSpec, func, options))
    return decorate

def resource(factory: Any) -> Any:
    from ._engine.inputs import Resource
    return Resource(factory)
