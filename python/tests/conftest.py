"""A sealed machine for each test: its own home, its own caches, no settings of the developer's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of a user who never used modelkeep, in an empty project folder."""
    for name in list(os.environ):
        if name.startswith(("MODELKEEP_", "XDG_", "COLAB_", "CODESPACE", "HF_", "TRANSFORMERS_")) and name != "MODELKEEP_BIN":
            monkeypatch.delenv(name)
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(project)
    yield home


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A folder for a store that is not there yet."""
    return tmp_path / "drive"


@pytest.fixture
def simulation(machine: Path) -> Path:
    """Where the simulation is, once somebody asked for it."""
    return machine / ".local/share/modelkeep/simulation/default"


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Path]:
    """Makes a training output: a LoRA adapter as peft writes it, with a benchmark and a checkpoint."""

    def make(name: str = "output", *, seed: int = 1, accuracy: float = 0.952) -> Path:
        folder = tmp_path / "project" / name
        (folder / "checkpoint-500").mkdir(parents=True)
        random = numpy.random.default_rng(seed)
        layer = "base_model.model.model.layers.0.self_attn.q_proj"
        tensors = {
            f"{layer}.lora_A.weight": random.standard_normal((8, 64), dtype=numpy.float32),
            f"{layer}.lora_B.weight": random.standard_normal((64, 8), dtype=numpy.float32),
        }
        save_file(tensors, folder / "adapter_model.safetensors")
        save_file(tensors, folder / "checkpoint-500" / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
        config |= {"base_model_name_or_path": "meta-llama/Llama-2-7b-hf", "revision": "main"}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        (folder / "benchmark.json").write_text(json.dumps({"accuracy": accuracy, "eval_loss": 0.098}))
        (folder / "empty.txt").touch()
        return folder

    return make


@pytest.fixture
def output(train: Callable[..., Path]) -> Path:
    """One training output, `./output`."""
    return train()
