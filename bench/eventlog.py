"""A store's log with many models, written as the program would (FORMAT.md): the pushes themselves are not there."""

import hashlib
import json
import os
import time
from datetime import datetime, timezone


class Log:
    """Adds events to the log of a tree that `modelkeep init` made, each building on the one before."""

    def __init__(self, tree):
        self.folder = tree / ".modelkeep" / "log"
        self.snapshots = tree / ".modelkeep" / "snapshots"
        self.writer = os.urandom(8).hex()
        self.clock = (int(time.time() * 1000) - 86_400_000) << 16
        self.events = {}
        self.last = None

    def add(self, body):
        self.clock += 1000 << 16
        at = datetime.fromtimestamp((self.clock >> 16) / 1000, timezone.utc)
        event = {
            "format": 1,
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "by": "bench@bench",
            "parents": [self.last] if self.last else [],
            **body,
        }
        text = json.dumps(event, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.last = f"{self.clock:016x}-{self.writer}-{digest}"
        (self.folder / f"{self.last}.json").write_text(text)
        self.events[self.last] = text

    def push(self, model, number):
        files = [
            {"path": path, "size_bytes": size, "sha256": os.urandom(32).hex()}
            for path, size in (("adapter_config.json", 700), ("adapter_model.safetensors", 16 << 20))
        ]
        canonical = "modelkeep manifest 1\n" + "".join(
            f"{file['sha256']} {file['size_bytes']} {file['path']}\n" for file in files
        )
        revision = hashlib.sha256(canonical.encode()).hexdigest()[:40]
        self.add({
            "kind": "pushed",
            "txn": os.urandom(16).hex(),
            "model": model,
            "model_kind": "finetuned",
            "revision": revision,
            "number": number,
            "files": len(files),
            "size_bytes": sum(file["size_bytes"] for file in files),
            "facts": {
                "type": "LoRA adapter",
                "base_model": "llama2-7b",
                "training_date": "2026-02-10",
                "metrics": {"accuracy": 0.9 + number / 1000, "loss": 0.25},
            },
            "manifest": files,
        })
        return revision

    def snapshot(self):
        """All events so far in one file, as a committing client writes it from time to time."""
        text = json.dumps({"format": 1, "events": self.events}, separators=(",", ":"))
        self.snapshots.mkdir(exist_ok=True)
        (self.snapshots / f"{hashlib.sha256(text.encode()).hexdigest()}.json").write_text(text)


def fill(tree, models, revisions, labels=0):
    """So many models with so many pushes each, then labels for the first ones; how many events that makes."""
    log = Log(tree)
    newest = {}
    for number in range(1, revisions + 1):
        for nth in range(models):
            newest[nth] = log.push(f"adapter-{nth:04}", number)
    for nth in range(labels):
        model = nth % models
        log.add({
            "kind": "labelled",
            "model": f"adapter-{model:04}",
            "label": f"label-{nth}",
            "revision": newest[model],
        })
    log.snapshot()
    return len(log.events)
