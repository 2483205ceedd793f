"""Pipelines, streams and reports in a real Jupyter kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

CELLS = [
    """
from conveyor import batch_task, single_task

@single_task(task_name="<fetch>", concurrency_limit=2)
async def fetch(item):
    return item + 1

@batch_task(max_size=2)
def total(items):
    return sum(items)

fetch | total
""",
    "stream = (fetch | total)(range(4))\nstream",
    "await stream.collect()",
    "stream",
    "stream.statistics()",
]


# The libraries that start the kernel have warnings of their own.
@pytest.mark.filterwarnings("ignore")
def test_a_notebook_shows_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(
        notebook, timeout=30, kernel_name="python3", resources=resources
    )
    client.execute()

    pipeline, fresh, results, over, report = (the_output_of(cell) for cell in notebook.cells)
    assert pipeline["text/plain"] == "<Pipeline <fetch> | total>"
    assert "<b>&lt;fetch&gt;</b>" in pipeline["text/html"]
    assert "max_size=2" in pipeline["text/html"]
    assert "Stream, not started" in fresh["text/html"]
    assert results == {"text/plain": "[3, 7]"}
    assert over["text/plain"] == "<Stream of <fetch> | total: over>"
    assert "Stream, over" in over["text/html"]
    assert report["text/plain"].splitlines()[2].split()[:3] == ["stage", "received", "emitted"]
    assert "<table>" in report["text/html"]


def the_output_of(cell: Any) -> Any:
    """Return the one output of a cell, by media type."""
    [output] = cell["outputs"]
    return dict(output["data"])
