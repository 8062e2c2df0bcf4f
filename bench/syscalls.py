"""Bytes by system call and by file, from strace: what a command read, wrote and had copied inside the kernel."""

import re
import shutil
import subprocess
from pathlib import Path

TRACED = "read,readv,pread64,preadv,write,writev,pwrite64,pwritev,copy_file_range,sendfile,splice,ioctl"
CALL = re.compile(r"^(\w+)\((\d+)<(.*?)>(?:\(deleted\))?, (.*)\) += (-?\d+)")
SECOND = re.compile(r"(\d+)<(.*?)>")


def available(path):
    return shutil.which("strace", path=path)


def count(runner, step, places):
    """Runs the step under strace. `places` maps a word to the folder it stands for; what is outside is `other`."""
    strace = available(runner.env["PATH"])
    folder = runner.home / "strace"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    argv = [strace, "-ff", "-y", "-s", "0", "-e", f"trace={TRACED}", "-o", folder / "calls"]
    subprocess.run(
        [str(word) for word in [*argv, *step.argv]],
        cwd=step.cwd,
        env=runner.environment(step),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    totals = {}

    def add(what, path, amount):
        named = [name for name, place in places.items() if Path(path).is_relative_to(place)]
        key = (what, named[0] if named else "other")
        bytes_, calls = totals.get(key, (0, 0))
        totals[key] = (bytes_ + amount, calls + 1)

    for file in folder.iterdir():
        for line in file.read_text(errors="replace").splitlines():
            found = CALL.match(line)
            if not found:
                continue
            name, _, path, rest, result = found.groups()
            amount = int(result)
            if amount < 0:
                continue
            if name == "ioctl":
                if "CLONE" in rest:
                    add("cloned (calls)", path, 0)
            elif name in ("copy_file_range", "sendfile", "splice"):
                # sendfile names its target first, the others second.
                second = SECOND.search(rest)
                into = path if name == "sendfile" or second is None else second[2]
                add("copied in the kernel", into, amount)
            else:
                add("read" if "read" in name else "written", path, amount)
    return totals
