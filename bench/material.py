"""What is pushed: files of random bytes, made fast. Knows sizes and names only."""

import json
import os

MIB = 1 << 20
HEADER = 256


def safetensors(path, size):
    """A valid safetensors file of exactly that size: one tensor of bytes that do not compress."""
    length = size - HEADER
    header = {"weights": {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}}
    text = json.dumps(header, separators=(",", ":")).encode().ljust(HEADER - 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        while length > 0:
            length -= file.write(os.urandom(min(length, 8 * MIB)))


def large(folder, size):
    folder.mkdir(parents=True)
    safetensors(folder / "model.safetensors", size)
    return folder


def shard(nth):
    return f"model-{nth + 1:05}-of-00004.safetensors"


def shards(folder, size):
    folder.mkdir(parents=True)
    for nth in range(4):
        safetensors(folder / shard(nth), size)
    return folder


def small(folder, count, size=4096):
    """Files of 4 KiB, a hundred to a folder."""
    bytes_ = os.urandom(count * size)
    for nth in range(count):
        below = folder / f"part-{nth // 100:03}"
        if nth % 100 == 0:
            below.mkdir(parents=True)
        (below / f"file-{nth:05}.dat").write_bytes(bytes_[nth * size : (nth + 1) * size])
    return folder
