"""Makes caches as Hugging Face's programs make them, and as they are found in the wild."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

OLD = 1_770_000_000  # 2026-02-02: long unused, on the day that commands are run


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def commit(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


class Repo:
    """One repository's folder in the cache."""

    def __init__(self, hub: Path, name: str) -> None:
        self.hub = hub
        self.folder = hub / name
        for part in ("blobs", "refs", "snapshots"):
            (self.folder / part).mkdir(parents=True)

    def blob(self, content: bytes, name: str | None = None) -> Path:
        """A blob; small ones are called as git calls them, large ones by their SHA-256."""
        name = name or (sha256(content) if len(content) > 64 else git_sha1(content))
        path = self.folder / "blobs" / name
        if not path.exists():
            path.write_bytes(content)
            os.utime(path, (OLD, OLD))
        return path

    def revision(self, revision: str, files: dict[str, bytes], *refs: str) -> Path:
        """A snapshot of links, and refs to it."""
        snapshot = self.folder / "snapshots" / revision
        snapshot.mkdir()
        for name, content in files.items():
            link = snapshot / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(self.blob(content), link.parent))
        for ref in refs:
            self.ref(ref, revision)
        return snapshot

    def ref(self, name: str, holds: str) -> Path:
        path = self.folder / "refs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(holds)
        return path


def weights(seed: int, size: int = 100_000) -> bytes:
    return bytes([seed]) * size


def ordinary(hub: Path) -> Repo:
    """Two revisions that share their weights, one of them without a name; folders; a data set beside it."""
    repo = Repo(hub, "models--org--bert")
    shared = weights(1)
    repo.revision(commit("bert 1"), {"config.json": b"{}", "model.safetensors": shared, "onnx/a/b.bin": weights(2)})
    repo.revision(
        commit("bert 2"), {"config.json": b'{"v": 2}', "model.safetensors": shared, "vocab.txt": b""}, "main", "refs/pr/1"
    )
    other = Repo(hub, "datasets--org--data")
    other.revision(commit("data"), {"train.csv": weights(3, 5000)}, "main")
    Repo(hub, "models--gpt2").revision(commit("gpt2"), {"model.safetensors": weights(4)}, "main")
    return repo


def odd(hub: Path) -> None:
    """Whatever theirs warns about, and whatever it takes without a word."""
    repo = Repo(hub, "models--odd--lost-blob")
    repo.revision(commit("lost"), {"model.bin": weights(5), "config.json": b"{}"}, "main")
    repo.blob(weights(5)).unlink()
    Repo(hub, "models--odd--lost-ref").ref("main", commit("nowhere"))
    newline = Repo(hub, "models--odd--newline")
    newline.revision(commit("newline"), {"a": weights(6)})
    newline.ref("main", commit("newline") + "\n")
    Repo(hub, "models--odd--file-in-snapshots").folder.joinpath("snapshots", "note.txt").write_text("mine")
    bare = Repo(hub, "models--odd--no-snapshots")
    bare.blob(weights(7))
    (bare.folder / "snapshots").rmdir()
    (hub / "models--odd--refs-file").mkdir()
    (hub / "models--odd--refs-file" / "snapshots").mkdir()
    (hub / "models--odd--refs-file" / "refs").write_text("x")
    (hub / "version.txt").write_text("1")
    (hub / "mine").mkdir()
    (hub / "mine" / "notes.md").write_text("keep me")
    (hub / "models--odd--link").symlink_to(hub / "gone")
    (hub / "apps--a--b").mkdir()
    # No warning about these.
    (hub / ".DS_Store").write_text("")
    (hub / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    (hub / ".locks" / "models--org--bert").mkdir(parents=True)
    plain = Repo(hub, "models--odd--no-links")
    for n in (1, 2):
        snapshot = plain.folder / "snapshots" / commit(f"plain {n}")
        snapshot.mkdir()
        (snapshot / "model.bin").write_bytes(weights(8))
    absolute = Repo(hub, "models--odd--absolute")
    absolute.revision(commit("absolute"), {}, "main").joinpath("w").symlink_to(absolute.blob(weights(9)))
    outside = hub.parent / "elsewhere"
    outside.mkdir(exist_ok=True)
    (outside / "w").write_bytes(weights(10))
    linked = Repo(hub, "models--odd--outside")
    blob = linked.folder / "blobs" / sha256(weights(10))
    blob.symlink_to(outside / "w")
    linked.revision(commit("outside"), {}, "main").joinpath("w").symlink_to(f"../../blobs/{blob.name}")
    orphans = Repo(hub, "models--odd--orphans")
    orphans.revision(commit("orphans"), {"a": weights(11, 70)}, "main")
    orphans.blob(weights(12))
    orphans.blob(weights(13, 500), sha256(weights(13)) + ".0a1b2c3d.incomplete")
    Repo(hub, "models--odd--empty-revision").revision(commit("empty"), {}, "main")
    Repo(hub, "kernels--org--fast").revision(commit("kernel"), {"k.so": weights(14)}, "main")
    deep = Repo(hub, "models--a--b--c--d")
    deep.revision("not-a-commit", {"x/y/z/w.bin": weights(15)}, "a/b/c")


def shared_store(hub: Path) -> None:
    """The store of Xet payloads that newer versions share between repositories."""
    store = hub / "blobs"
    store.mkdir()
    (store / ".huggingface-shared-blobs").write_text("1\n")
    for seed, users in ((20, ("models--xet--a", "models--xet--b")), (21, ()), (22, None)):
        content = weights(seed)
        digest = sha256(b"xet" + content)
        payload = store / digest[:2] / digest
        payload.parent.mkdir(exist_ok=True)
        payload.write_bytes(content)
        lines = []
        for user in users or ():
            repo = Repo(hub, user)
            blob = repo.folder / "blobs" / sha256(content)
            blob.symlink_to(os.path.relpath(payload, blob.parent))
            snapshot = repo.revision(commit(user), {"config.json": b"{}"}, "main")
            (snapshot / "model.safetensors").symlink_to(f"../../blobs/{blob.name}")
            lines.append(f"{user}/blobs/{blob.name}\n")
        # Without a list, nobody may remove the payload.
        if users is not None:
            payload.with_name(f"{digest}.refs").write_text("".join(lines))
