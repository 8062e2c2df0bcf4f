"""What README and guide show in Python is run as it stands there, in order."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAINING = "from modelkeep.integrations.transformers"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/guide/python.md", "docs/guide/training.md"])
def test_it_does_what_it_says(page: str, output: Path, drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = blocks(page)
    assert found
    if page == "README.md":  # Its reader has a store by then; the guide's names its own.
        monkeypatch.setenv("MODELKEEP_REMOTE", str(drive))
    names: dict[str, object] = {}
    for block in found:
        ast.parse(block)
        if not block.startswith(TRAINING):  # These need a trainer: test_training.py has one.
            exec(compile(block, page, "exec"), names)


@pytest.mark.full
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", ["README.md", "docs/guide/training.md"])
def test_the_trainings_that_are_shown(page: str, drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import adapter, base, data, trainer

    monkeypatch.setenv("MODELKEEP_REMOTE", str(drive))
    (block,) = (block for block in blocks(page) if block.startswith(TRAINING))
    given = trainer(adapter(base()), "output", [])
    names: dict[str, object] = {"Trainer": type(given), "model": given.model, "arguments": given.args, "rows": data()}
    block = block.replace("Trainer(...,", "Trainer(model, arguments, train_dataset=rows,")
    exec(compile(block + ("" if ".train(" in block else "trainer.train()\n"), page, "exec"), names)
    assert list((drive / "models/finetuned").glob("banking-v3/adapter_model.safetensors"))
