"""Models loaded by name through `modelkeep serve`, by unmodified transformers and peft: a real model and a real adapter."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_hub import FakeHub, start
from real_model import model_path
from serving import Counting, Machine, Serving, modelkeep, serve

__all__ = ["serve", "start"]

pytestmark = pytest.mark.full

# Prints numbers that depend on every weight.
LOAD = """
import torch
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(argv[0], revision=argv[1])
model = AutoModel.from_pretrained(argv[0], revision=argv[1])
with torch.no_grad():
    hidden = model(**tokenizer("a bank is not a river", return_tensors="pt")).last_hidden_state
result = [round(float(x), 5) for x in hidden[0].mean(0)[:8]]
"""

ADAPT = """
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel
torch.manual_seed(7)
model = AutoModel.from_pretrained(argv[0])
model = get_peft_model(model, LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=False))
model.peft_config["default"].base_model_name_or_path = argv[2]
model.save_pretrained(argv[1])
result = None
"""

LOAD_ADAPTER = """
import torch
from peft import PeftModel
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(argv[2] if argv[2:] else argv[0])
model = PeftModel.from_pretrained(AutoModel.from_pretrained(argv[0]), argv[1])
with torch.no_grad():
    hidden = model(**tokenizer("a bank is not a river", return_tensors="pt")).last_hidden_state
result = [round(float(x), 5) for x in hidden[0].mean(0)[:8]]
"""


@pytest.fixture
def hub(machine: Path, drive: Path, serve: Callable[..., Serving], tmp_path: Path) -> Serving:
    modelkeep("init", "--remote", drive, "--name", "banking")
    modelkeep("push", model_path(), "minilm", "--kind", "base", "--label", "prod")
    adapter = tmp_path / "adapter"
    Machine(tmp_path / "trainer", "http://127.0.0.1:9").python(ADAPT, str(model_path()), str(adapter), "banking/minilm")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (model_path() / name).exists():
            (adapter / name).write_bytes((model_path() / name).read_bytes())
    modelkeep("push", adapter, "minilm-lora")
    return serve()


def test_a_model_loads_by_name(hub: Serving, tmp_path: Path) -> None:
    local = Machine(tmp_path / "local", "http://127.0.0.1:9").python(LOAD, str(model_path()), "main")
    user = Machine(tmp_path / "user", hub.url)
    for revision in ("latest", "prod", "1", "main"):
        assert user.python(LOAD, "banking/minilm", revision) == local, revision
    # With a warm cache no content is asked for, and of each file at most once whether it is still the same.
    before = len(hub.requests())
    assert user.python(LOAD, "banking/minilm", "prod") == local
    asked = [line for line in hub.requests()[before:] if "/resolve/" in line]
    assert all(line.startswith("HEAD ") for line in asked), asked
    # And what is here loads without any server.
    offline = Machine(tmp_path / "user", "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert offline.python(LOAD, "banking/minilm", "prod") == local


def test_a_warm_cache_costs_no_more_than_at_the_hub(
    hub: Serving, start: Callable[..., FakeHub], tmp_path: Path
) -> None:
    theirs = start()
    shutil.copytree(model_path(), theirs.root / "banking/minilm")
    asked = {}
    for name, url in (("ours", hub.url), ("theirs", theirs.url)):
        counting = Counting(url)
        user = Machine(tmp_path / name, counting.url)
        user.python(LOAD, "banking/minilm", "main")
        counting.asked.clear()
        user.python(LOAD, "banking/minilm", "main")
        asked[name] = dict(counting.asked)
        counting.stop()
    more = {what: count - asked["theirs"].get(what, 0) for what, count in asked["ours"].items()}
    assert all(count <= 1 for count in more.values()), asked
    assert not any(what.startswith("GET ") and what != "GET the rest" for what in asked["ours"]), asked


def test_an_adapter_loads_with_its_base(hub: Serving, tmp_path: Path) -> None:
    user = Machine(tmp_path / "user", hub.url)
    with_adapter: Any = user.python(LOAD_ADAPTER, "banking/minilm", "banking/minilm-lora")
    without = user.python(LOAD, "banking/minilm", "main")
    local = Machine(tmp_path / "local", "http://127.0.0.1:9")
    assert with_adapter == local.python(LOAD_ADAPTER, str(model_path()), str(tmp_path / "adapter"))
    assert with_adapter != without
    # An adapter has no config.json; its tokenizer is found all the same.
    assert user.python(LOAD_ADAPTER, "banking/minilm", "banking/minilm-lora", "banking/minilm-lora") == with_adapter
