"""The example notebooks run from end to end, with a real kernel, and write what they say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modelkeep import Workspace

pytestmark = [pytest.mark.full, pytest.mark.filterwarnings("default")]

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "examples/notebooks").glob("*.ipynb"))


def run(path: Path) -> str:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": os.getcwd()}}).execute()
    return json.dumps(notebook)


def test_the_four_notebooks(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Workspace.init(remote=drive)
    assert [path.stem for path in NOTEBOOKS] == ["01_training", "02_inference", "03_benchmark", "04_analysis"]
    shown = [run(path) for path in NOTEBOOKS]
    assert all("<table" in output for output in shown), "results are tables"
    results = Path("results")
    answers = json.loads((results / "inference_results/test_batch_001.json").read_text())
    assert answers["model"] == "banking-v1" and len(answers["answers"]) == 3
    assert "tokens_per_second" in (results / "benchmarks/inference_speed.csv").read_text()
    assert "weights_bytes" in (results / "benchmarks/memory_usage.csv").read_text()
    assert json.loads((results / "benchmarks/quality_metrics.json").read_text())["perplexity"] > 0
    workspace = Workspace()
    (model,) = workspace.list(status="deployed")
    assert model.id == "banking-v1" and "perplexity" in model.metrics
    # Run again, as people do: it goes on, and nothing breaks.
    run(NOTEBOOKS[1])
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        assert not any(cell.get("outputs") for cell in cells), f"{path.name} is kept without outputs"
