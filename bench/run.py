"""Measures modelkeep beside its peers, interleaved. bench/README.md says what is compared and how."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import measure
import peers
from cases import CASES, FEW_FILES, SMALL, Bench, Sizes

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "RESULTS.md"
APT = ["curl", "nginx-light", "rclone", "restic", "rsync", "strace", "time"]


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which [default: all]: {', '.join(CASES)}")
    parser.add_argument("--runs", type=int, default=5, help="rounds of each [default: 5]")
    parser.add_argument("--small", action="store_true", help="small sizes, to see whether it works: no figures")
    data = ROOT / "bench" / "data"
    parser.add_argument("--data", type=Path, default=data, metavar="DIR", help="[default: bench/data]")
    parser.add_argument("--write-results", action="store_true", help="write what was run into bench/RESULTS.md")
    parser.add_argument("--install", action="store_true", help=f"apt-get install {' '.join(APT)}; dvc and hf into DIR/venv")
    parser.add_argument("--keep", action="store_true", help="leave the data there")
    given = parser.parse_args()
    for name in given.names:
        if name not in CASES:
            parser.error(f"no benchmark is called {name}; there are {', '.join(CASES)}")
    if given.small and given.write_results:
        parser.error("results of --small are not worth writing down")
    return given


def install(data):
    if os.name == "posix" and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-q", *APT], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "venv", data / "venv"], check=True)
    subprocess.run([data / "venv" / "bin" / "pip", "install", "-q", "dvc", "huggingface_hub"], check=True)


def programs():
    """The binary that is measured, the ideal, a Hub to fetch from and a Drive, built if need be."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    ours = Path(os.environ.get("MODELKEEP_BIN", target / "release" / "modelkeep")).resolve()
    if not ours.is_file():
        sys.exit(f"{ours} is not there\nhint: cargo build --release, or set MODELKEEP_BIN")
    ideal = target / "release" / "examples" / "ideal"
    if shutil.which("cargo"):
        build = ["cargo", "build", "--release", "--locked", "-q", "-p", "modelkeep-remote", "--example", "ideal"]
        subprocess.run(build, cwd=ROOT, check=True)
        build = ["cargo", "build", "--release", "--locked", "-q", "-p", "modelkeep-testkit", "--bins"]
        subprocess.run(build, cwd=ROOT, check=True)
    elif not ideal.is_file():
        sys.exit(f"{ideal} is not there, and cargo is not on PATH")
    return ours, ideal.resolve(), (target / "release").resolve()


def interpreter():
    """That of the environment with the wheel, which `cargo xtask test` makes."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    # Not resolved: a link to the system's Python is what makes it another environment.
    return Path(os.environ.get("MODELKEEP_PYTHON", target / "venv" / "bin" / "python")).absolute()


def commit():
    said = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return said.stdout.strip() or "unknown"


def header(bench, left_out, folder):
    tools = [bench.ours, bench.ideal, *bench.peers.values()]
    lines = ["## Machine and programs", "", *(f"- {line}" for line in measure.machine(folder)), ""]
    lines += ["| program | version | what it does |", "|---|---|---|"]
    lines += [f"| {tool.name} | {tool.version()} | {tool.note} |" for tool in tools]
    lines += [f"| {name} | left out | {why} |" for name, why in left_out.items()]
    return "\n".join(lines)


INTRODUCTION = """# Results

Written by `python3 bench/run.py --write-results`; `bench/README.md` says what is compared and what not. Each round runs
every program once, one after the other, with the page cache warm and nothing waiting to be written; ratios are of the
medians and are what counts, seconds are this machine's.
"""


def write_results(head, sections):
    """Puts what was run in place of what stood there of the same name; what was not run stays."""
    old = {}
    if RESULTS.is_file():
        for part in re.split(r"^(?=## )", RESULTS.read_text(), flags=re.MULTILINE)[1:]:
            old[part.splitlines()[0].removeprefix("## ")] = part.strip()
    merged = {**old, **sections}
    text = [INTRODUCTION.strip(), head, *(merged[name] for name in CASES if name in merged)]
    RESULTS.write_text("\n\n".join(text) + "\n")
    print(f"written: {RESULTS}")


def main():
    given = arguments()
    data = given.data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    if given.install:
        install(data)
    ours, ideal, fakes = programs()
    folder = data / f"run-{datetime.now():%Y%m%d-%H%M%S}"
    runner = measure.Runner(folder / "home", f"{data / 'venv' / 'bin'}:{os.environ['PATH']}")
    found, left_out = peers.find(runner)
    bench = Bench(
        runner=runner,
        ideal=peers.Ideal(runner, ideal),
        ours=peers.Modelkeep(runner, ours),
        hub=fakes / "fake-hub",
        fake_drive=fakes / "fake-drive",
        python=interpreter(),
        peers=found,
        folder=folder,
        runs=given.runs,
        sizes=SMALL if given.small else Sizes(),
    )
    head = header(bench, left_out, folder)
    print(head)
    sections, missed, failed = {}, 0, []
    begun = time.monotonic()
    try:
        for name in [name for name in CASES if not given.names or name in given.names]:
            print(f"\n## {name}")
            started = time.monotonic()
            try:
                result = CASES[name](bench)
            except measure.Failed as error:
                failed.append(name)
                print(f"failed: {error}", file=sys.stderr)
                continue
            command = f"python3 bench/run.py {name} --runs {given.runs}"
            when = f"{datetime.now(timezone.utc):%Y-%m-%d}, {commit()}, `{command}`"
            sections[name] = f"## {name}\n\n{when}\n\n{result.text()}"
            missed += sum(not goal.met for goal in result.goals)
            print(f"\n{result.text()}\n({time.monotonic() - started:.0f} s)")
            if name in FEW_FILES and not given.keep:
                shutil.rmtree(folder / name)
                measure.sync()
                time.sleep(5)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{len(sections)} measured in {time.monotonic() - begun:.0f} s, {missed} goals not met", end="")
    print(f", failed: {', '.join(failed)}" if failed else "")
    if left_out:
        print("left out: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    if given.write_results:
        write_results(head, sections)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
