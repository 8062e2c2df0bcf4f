"""The Python package beside the command that came in the same wheel, and what the training callback adds to a step."""

import json
import shutil
import subprocess
from pathlib import Path

import material
import peers
from measure import MIB, Failed, Sample, Step, bytes_text, seconds_text, spread, sync
from rounds import Goal, Result, at_most, median

SIDE = Path(__file__).with_name("python_side.py")
IMPORT_LIMIT = 0.05
FACE_LIMIT = 1.05
STEP_LIMIT = 1.02
# A peak may differ from another by what allocators do, and not by the size of a model.
FLAT = 16 * MIB
# Two checkpoints at the 500 steps that the Trainer saves after by itself.
STEPS = 1200


def find(python, runner):
    """The interpreter of an environment that has the wheel, and whether a training can run there."""
    if python is None or not Path(python).is_file():
        raise Failed("no Python with the wheel: cargo xtask test --full makes target/venv, or set MODELKEEP_PYTHON")
    runner.quiet([python, "-c", "import modelkeep"])
    trains = subprocess.run([python, "-c", "import peft, torch, transformers"], env=runner.env, capture_output=True)
    return trains.returncode == 0


def python_face(bench):
    python, runner = bench.python, bench.runner
    trains = find(python, runner)
    arena = bench.arena("python-face")
    ours = peers.Modelkeep(runner, Path(python).with_name("modelkeep"))

    def side(*words):
        return Step([python, SIDE, *words])

    def asked(*words):
        """What it says of itself: the call alone, without the start of an interpreter."""
        return Sample(json.loads(runner.measure([side(*words)]).output)["seconds"])

    asked("import")  # Its byte code is written the first time.
    imports = {"import modelkeep": [asked("import") for _ in range(bench.sizes.starts)]}
    source = material.large(arena.folder / "model", bench.sizes.large)
    faces = {name: [] for name in ("push", "upload_model", "pull", "download_model")}
    for run in range(arena.runs):
        command, package = (arena.place(run, face) for face in ("command", "package"))
        for place in (command, package):
            ours.prepare(source, place)
        work = {
            "push": lambda: runner.measure(ours.push(source, command)),
            "upload_model": lambda: asked("upload", package / "work", source),
            "pull": lambda: runner.measure(ours.pull(command)),
            "download_model": lambda: asked("download", package / "work", package / "back"),
        }

        def clear():
            """Memory for the next one's pages: whoever finds none waits for the kernel, and the order would decide."""
            for place in (command, package):
                shutil.rmtree(place / "back", ignore_errors=True)

        for pair in (("push", "upload_model"), ("pull", "download_model")):
            for name in pair if run % 2 == 0 else reversed(pair):
                sync()
                faces[name].append(work[name]())
                clear()
        # Few and large: the disk is not endless.
        shutil.rmtree(command.parent)
        print(f"  round {run + 1} of {arena.runs}: " + ", ".join(f"{n} {seconds_text(t[-1].seconds)}" for n, t in faces.items()))
    found = median(imports, "import modelkeep")
    goals = [
        Goal(f"import modelkeep under {seconds_text(IMPORT_LIMIT)}", seconds_text(found), found < IMPORT_LIMIT),
        at_most(faces, FACE_LIMIT, "push", "upload_model"),
        at_most(faces, FACE_LIMIT, "pull", "download_model"),
    ]
    taken = {**imports, **faces}
    more, goal = memory(arena, ours, side, source)
    goals.append(goal)
    if trains:
        folder = arena.place(arena.runs, "training")
        steps = json.loads(runner.measure([side("train", folder, max(arena.runs, 7), STEPS)]).output)
        named = {f"a step {which} the callback": [Sample(one) for one in times] for which, times in steps.items()}
        taken.update(named)
        goals.append(at_most(named, STEP_LIMIT, "a step without the callback", "a step with the callback"))
    else:
        more += ["", "The training is left out: there is no torch, transformers and peft beside the wheel."]
    lines = ["| | min | median | max |", "|---|--:|--:|--:|"]
    for name, samples in taken.items():
        lines.append(f"| {name} | " + " | ".join(map(seconds_text, spread([one.seconds for one in samples]))) + " |")
    about = (
        f"One file of {bytes_text(bench.sizes.large)} stored and brought back by the command and by the package of one wheel, "
        "each with a store of its own. The command is timed as a process, from its start to its end; the package is timed "
        f"as a call, without the start of Python. A training of {STEPS} steps on the CPU (4 layers of 128) writes a "
        "checkpoint every 500, as the Trainer does by itself, and logs every 10, with the callback and without in turns."
    )
    return Result("python-face", about, [*lines, *more], goals)


def memory(arena, ours, side, source):
    """The peak of the whole interpreter that uploads a large model, and of one that uploads a small one."""
    small = material.large(arena.folder / "small", MIB)
    peaks = {}
    for name, path in (("large", source), ("small", small)):
        peaks[name] = []
        for run in range(min(arena.runs, 3)):
            place = arena.place(f"memory-{run}", name)
            ours.prepare(path, place)
            steps = [side("upload", place / "work", path), side("download", place / "work", place / "back")]
            peaks[name].append(arena.runner.measure(steps, memory=True).peak)
            shutil.rmtree(place)
    large, least = (spread(peaks[name])[1] for name in ("large", "small"))
    text = f"Peak memory of Python that stores and brings back: {bytes_text(large)}, and {bytes_text(least)} with 1 MiB."
    goal = Goal("memory flat: as much for a small model", f"{(large - least) / MIB:+.1f} MiB", large - least < FLAT)
    return ["", text], goal
