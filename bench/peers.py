"""How each program stores a folder, stores it again, stores its next version and brings it back.

Every method makes what must be there before (repositories, workspaces) and returns the steps that are measured.
Each run has a place of its own: nothing is ever removed before the end, for creating after removing is slow on ext4.
"""

import shutil

from measure import Step

MODEL = "bench-v1"


class Tool:
    name = ""
    words = ["--version"]
    # What a reader must know to compare: said in the table of versions.
    note = ""

    def __init__(self, runner, program):
        self.runner = runner
        self.program = program

    def version(self):
        said = self.runner.quiet([self.program, *self.words]).stdout.strip().splitlines()
        return said[0] if said else "?"

    def prepare(self, source, place):
        """Everything up to the first push."""

    def push(self, source, place):
        raise NotImplementedError

    def again(self, source, place):
        """The same push once more."""
        return self.push(source, place)

    def changed(self, source, place, name):
        """Told that a file of the source was written anew; not measured."""

    def version2(self, source, place, name):
        """The push after `name` was written anew."""
        return self.push(source, place)


class Ideal(Tool):
    name = "ideal"
    note = "one thread, copies and hashes (SHA-256) with 128 KiB buffers, flushes as modelkeep does; keeps no log"

    def version(self):
        return "crates/modelkeep-remote/examples/ideal.rs"

    def push(self, source, place):
        return [Step([self.program, "copy", "--sync", source, place / "out"])]

    def again(self, source, place):
        return [Step([self.program, "stat", source])]

    def version2(self, source, place, name):
        kept = ["--kept", place / "out", "--changed", name]
        return [Step([self.program, "copy", "--sync", *kept, source, place / "out2"])]

    def pull(self, stored, place):
        return [Step([self.program, "copy", "--sync", stored, place / "back"])]


class Modelkeep(Tool):
    name = "modelkeep"
    note = "copies, hashes, flushes, commits, shows, writes the registry; every version stays"

    def workspace(self, place, tree):
        self.runner.quiet([self.program, "init", place / "work", "--remote", f"folder:{tree}"])

    def command(self, place, *words):
        return Step([self.program, "--workspace", place / "work", "--json", *words])

    def prepare(self, source, place):
        self.workspace(place, place / "remote")

    def push(self, source, place):
        return [self.command(place, "push", source, MODEL)]

    def pull(self, place):
        return [self.command(place, "pull", MODEL, "--to", place / "back")]


class Rclone(Tool):
    name = "rclone"
    words = ["version"]
    note = "copies, then hashes both sides (MD5); flushes nothing; keeps no version 1"
    flags = ["--checksum"]

    def copy(self, source, target):
        config = self.runner.home / "rclone.conf"
        config.touch()
        return [Step([self.program, "--config", config, "copy", *self.flags, source, target])]

    def push(self, source, place):
        return self.copy(source, place / "out")

    def pull(self, stored, place):
        return self.copy(stored, place / "back")


class RcloneByTime(Rclone):
    name = "rclone by time"
    note = "rclone without --checksum: compares size and time only"
    flags = []


class Rsync(Tool):
    name = "rsync"
    note = "rsync -a: by size and time, hashes nothing that is stored, flushes nothing; version 2 with --link-dest"

    def push(self, source, place):
        return [Step([self.program, "-a", f"{source}/", f"{place}/out/"])]

    def version2(self, source, place, name):
        return [Step([self.program, "-a", f"--link-dest={place}/out", f"{source}/", f"{place}/out2/"])]


class Restic(Tool):
    name = "restic"
    words = ["version"]
    note = "cuts into chunks, hashes (SHA-256), compresses, encrypts, flushes its packs; every version stays"

    def command(self, place, *words):
        env = {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(place / "cache")}
        return Step([self.program, "-r", place / "repository", "-q", *words], env=env)

    def prepare(self, source, place):
        step = self.command(place, "init")
        self.runner.quiet(step.argv, env=step.env)

    def push(self, source, place):
        return [self.command(place, "backup", source)]


class Dvc(Tool):
    name = "dvc"
    note = "dvc add + dvc push: hashes (MD5), copies into its cache and from there to the remote; flushes nothing"

    def env(self, place):
        return {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(place / "site"), "NO_COLOR": "1"}

    def prepare(self, source, place):
        folder = place / "repository"
        # It takes only what is inside its repository: a copy, made before the measuring.
        shutil.copytree(source, folder / "model")
        for words in (
            ["init", "-q", "--no-scm"],
            ["config", "core.analytics", "false"],
            ["config", "core.check_update", "false"],
            ["remote", "add", "-q", "-d", "store", place / "remote"],
        ):
            self.runner.quiet([self.program, *words], cwd=folder, env=self.env(place))

    def push(self, source, place):
        folder, env = place / "repository", self.env(place)
        return [Step([self.program, *words], folder, env) for words in (["add", "-q", "model"], ["push", "-q"])]

    def changed(self, source, place, name):
        target = place / "repository" / "model" / name
        target.unlink()
        shutil.copyfile(source / name, target)


class Copy(Tool):
    name = "cp"
    note = "checks and flushes nothing"

    def pull(self, stored, place):
        return [Step([self.program, "-r", stored, place / "back"])]


class Hf(Tool):
    name = "hf"
    words = ["version", "-q"]
    note = "hf cache ls: scan_cache_dir() of huggingface_hub"


class Program(Tool):
    """One that is only started."""

    def __init__(self, runner, program, name, words):
        super().__init__(runner, program)
        self.name = name
        self.words = words


# Looked for on PATH. The second word is what installs it.
PEERS = {
    "rclone": (Rclone, "apt-get install rclone"),
    "rclone by time": (RcloneByTime, "apt-get install rclone"),
    "rsync": (Rsync, "apt-get install rsync"),
    "restic": (Restic, "apt-get install restic"),
    "dvc": (Dvc, "pip install dvc"),
    "hf": (Hf, "pip install huggingface_hub"),
    "cp": (Copy, "apt-get install coreutils"),
}


def find(runner):
    """The peers that are here, and why the others are not."""
    found, left_out = {}, {}
    for name, (kind, install) in PEERS.items():
        program = shutil.which(name.split()[0], path=runner.env["PATH"])
        if program is None:
            left_out[name] = f"not on PATH ({install}, or --install)"
        else:
            tool = kind(runner, program)
            try:
                tool.version()
            except Exception as error:  # Whatever keeps it from starting is the reason it is left out.
                left_out[name] = f"{program} does not start: {str(error).splitlines()[-1]}"
            else:
                found[name] = tool
    return found, left_out

