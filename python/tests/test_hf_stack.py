"""The libraries that people train with, with no network: a real model and a LoRA adapter on it, loaded by name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fake_hub import FakeHub, Machine, here, hub, start
from real_model import model_path

__all__ = ["here", "hub", "start"]
pytestmark = pytest.mark.full

BASE = "acme/minilm"
# Some numbers that only these weights give.
SIGN = """
def sign(model, tokenizer):
    import torch
    model.eval()
    with torch.no_grad():
        hidden = model(**tokenizer("a transfer of 500", return_tensors="pt")).last_hidden_state
    return [round(value, 4) for value in hidden[0, 0, :8].tolist()]
"""
TRAIN = f"""
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoTokenizer
{SIGN}
torch.manual_seed(7)
base, tokenizer = AutoModel.from_pretrained("{BASE}"), AutoTokenizer.from_pretrained("{BASE}")
config = LoraConfig(r=4, target_modules=["query", "value"], task_type="FEATURE_EXTRACTION", init_lora_weights=False)
model = get_peft_model(base, config)
model.save_pretrained("output")
tokenizer.save_pretrained("output")
print(json.dumps(sign(model, tokenizer)))
"""


@pytest.fixture
def trained(here: Machine, hub: FakeHub, drive: Path) -> tuple[Machine, list[float]]:
    """A workspace with an adapter in its store, an empty cache, and what the adapter answers."""
    shutil.copytree(model_path(), hub.root / BASE)
    here.modelkeep("init", "--remote", str(drive), "--name", "banking")
    here.modelkeep("fetch", BASE)
    answer: list[float] = here.python(TRAIN)
    here.modelkeep("push", "output", "banking-v2", "--label", "prod")
    return here, answer


def load(here: Machine, adapter: str, **named: str) -> Any:
    code = f"""
from peft import PeftModel
from transformers import AutoModel, AutoTokenizer
{SIGN}
base = AutoModel.from_pretrained("{BASE}")
tokenizer = AutoTokenizer.from_pretrained("{adapter}", **{named})
print(json.dumps(sign(PeftModel.from_pretrained(base, "{adapter}", **{named}), tokenizer)))
"""
    return here.python(code, offline=True)


def test_a_version_and_its_base_load_by_name_with_no_network(trained: tuple[Machine, list[float]]) -> None:
    here, answer = trained
    shutil.rmtree(here.cache)
    brought = here.modelkeep("pull", "banking-v2", "--into", "hf-cache", "--with-base")
    assert brought["base_fetched"]["repo"] == BASE, "the store does not have it, the Hub does"
    assert here.hub
    here.hub.stop()
    for named in ({}, {"revision": "latest"}, {"revision": "prod"}, {"revision": brought["revision"]}):
        assert load(here, "banking/banking-v2", **named) == answer, named
    # As files in the workspace, too.
    folder = here.modelkeep("pull", "banking-v2", offline=True)["path"]
    assert load(here, folder) == answer


def test_the_base_comes_from_the_store_when_the_hub_is_away(trained: tuple[Machine, list[float]]) -> None:
    here, answer = trained
    commit = here.modelkeep("fetch", BASE, "--store")["commit"]
    assert here.hub
    here.hub.stop()
    shutil.rmtree(here.cache)
    brought = here.modelkeep("pull", "banking-v2", "--with-base", offline=True)
    assert brought["base"]["repo"] == BASE and Path(brought["base"]["path"]).name == commit
    assert load(here, brought["path"]) == answer
    shutil.rmtree(here.cache)
    assert here.modelkeep("fetch", f"{BASE}@{commit}", offline=True)["source"] == "remote"
