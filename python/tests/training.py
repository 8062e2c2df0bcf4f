"""A tiny training for tests, run as a script of its own: ``python training.py STORE [OPTION=VALUE]…``.

A Llama made from a config, a LoRA adapter by peft, a few steps on the CPU. Prints a line of JSON for each thing that
happened.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
import warnings
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from modelkeep.integrations.transformers import ModelkeepCallback, last_checkpoint

CONFIG = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def base() -> Any:
    """The base model, the same each time."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**CONFIG, max_position_embeddings=64))


def adapter(model: Any) -> Any:
    return get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))


def data(rows: int = 64) -> list[dict[str, Any]]:
    torch.manual_seed(1)
    return [{"input_ids": row, "labels": row} for row in (torch.randint(0, 64, (16,)) for _ in range(rows))]


def trainer(model: Any, output: str, callbacks: list[Any], **options: Any) -> Trainer:
    given = {"max_steps": 12, "save_steps": 4, "logging_steps": 2, "per_device_train_batch_size": 2, "seed": 3}
    quiet = {"report_to": [], "use_cpu": True, "disable_tqdm": True}
    arguments = TrainingArguments(output, **{**given, **quiet, **options})
    rows = data()
    return Trainer(model, arguments, train_dataset=rows, eval_dataset=rows[:4], callbacks=callbacks)


def tell(**happened: Any) -> None:
    # In one piece: another thread tells as well.
    sys.stdout.write(json.dumps(happened) + "\n")
    sys.stdout.flush()


class Telling(TrainerCallback):
    """Tells of each step, and can wait in one, with all before it stored: for whoever wants to kill the training there."""

    def __init__(self, hold: int | None, before: ModelkeepCallback | None) -> None:
        self.hold, self.before = hold, before

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        tell(step=state.global_step)
        if state.global_step == self.hold:
            if self.before is not None:
                self.before.wait()
                tell(settled=True)
            threading.Event().wait()  # It is killed meanwhile.

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        tell(saved=state.global_step)


def main(store: str, **given: str) -> None:
    warnings.filterwarnings("ignore")
    options: dict[str, Any] = {}
    if "fake" in given:  # A token for each time it is asked for.

        def token() -> str:
            asked = urllib.request.Request(
                f"{given['fake']}/_fake/token",
                json.dumps({"account": "me@example.com", "client": "app", "scope": given["scope"]}).encode(),
                {"content-type": "application/json"},
            )
            with urllib.request.urlopen(asked) as answer:
                tell(token=True)
                return str(json.load(answer)["access_token"])

        options["credentials"] = token
    hold = int(given["hold"]) if "hold" in given else None
    callback = ModelkeepCallback("banking-v3", remote=store, progress=False, **options)
    resume = last_checkpoint("banking-v3", "output", remote=store, progress=False, **options)
    tell(resume=resume)
    limit = int(given["limit"]) if "limit" in given else None
    telling = Telling(hold, callback if "settle" in given else None)
    training = trainer(adapter(base()), "output", [callback, telling], save_total_limit=limit)
    training.train(resume_from_checkpoint=resume)
    tell(stored=[item.checkpoint for item in callback.stored], revision=callback.result and callback.result.revision)


if __name__ == "__main__":
    main(sys.argv[1], **dict(pair.split("=", 1) for pair in sys.argv[2:]))
