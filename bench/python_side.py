"""What `python_face.py` runs in the environment that has the wheel; says what it took as JSON.

    python python_side.py import
    python python_side.py upload WORKSPACE SOURCE
    python python_side.py download WORKSPACE DEST
    python python_side.py train FOLDER ROUNDS STEPS
"""

import gc
import json
import os
import sys
import time
import warnings
from pathlib import Path

MODEL = "bench-v1"


def seconds(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def import_it():
    def work():
        import modelkeep  # noqa: F401

    return {"seconds": seconds(work)}


def manager(workspace):
    from modelkeep import GoogleDriveManager

    return GoogleDriveManager(workspace=workspace, progress=False)


def upload(workspace, source):
    ours = manager(workspace)
    return {"seconds": seconds(lambda: ours.upload_model(source, MODEL))}


def download(workspace, dest):
    ours = manager(workspace)
    return {"seconds": seconds(lambda: ours.download_model(MODEL, dest))}


def train(folder, rounds, steps):
    """The time of a step with the callback and without, in turns, with a checkpoint as often as the Trainer's default."""
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from modelkeep.integrations.transformers import ModelkeepCallback

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python/tests"))
    from training import adapter, data

    folder, rounds, steps = Path(folder), int(rounds), int(steps)

    class Stopwatch(TrainerCallback):
        """From the end of the first step to the end of the last: with all that happens between, saving included."""

        def on_step_end(self, args, state, control, **more):
            self.last = time.perf_counter()
            if state.global_step == 1:
                self.first = self.last

    sizes = {"hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4, "num_attention_heads": 4}
    model = adapter(LlamaForCausalLM(LlamaConfig(vocab_size=64, max_position_embeddings=64, **sizes)))
    rows = data(steps * 4)

    def run(name, callbacks):
        watch = Stopwatch()
        arguments = TrainingArguments(
            str(folder / name),
            max_steps=steps,
            logging_steps=10,
            save_total_limit=2,
            per_device_train_batch_size=4,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        gc.collect()
        os.sync()
        Trainer(model, arguments, train_dataset=rows, callbacks=[*callbacks, watch]).train()
        return (watch.last - watch.first) / (steps - 1)

    run("warm", [])
    taken = {"without": [], "with": []}
    for round in range(rounds):
        # Who goes first changes, for a machine gets slower or faster over time.
        for which in ("with", "without") if round % 2 else ("without", "with"):
            callbacks = [ModelkeepCallback("bench-v2", remote=folder / "store", progress=False)]
            taken[which].append(run(f"{which}-{round}", callbacks if which == "with" else []))
    return taken


def main():
    warnings.simplefilter("ignore")
    name, *arguments = sys.argv[1:]
    work = {"import": import_it, "upload": upload, "download": download, "train": train}[name]
    # What the libraries print is no answer.
    answer, sys.stdout = sys.stdout, sys.stderr
    json.dump(work(*arguments), answer)


if __name__ == "__main__":
    main()
