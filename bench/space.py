"""How much is where: the HF cache as it is counted, and a workspace as it is measured, beside `du` and `hf`."""

import hashlib
import os

import measure
from measure import MIB, Step, bytes_text, spread
from rounds import Arena, Contender, Goal, Result, at_most, faster_than, median, table

# Nobody phones home while it is measured.
HF = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def hub(folder, repos, files):
    """A cache as Hugging Face's programs make it: each repository one revision, its files links into blobs."""
    for n in range(repos):
        repo = folder / f"models--org--model-{n:03}"
        commit = hashlib.sha1(b"%d" % n).hexdigest()
        snapshot = repo / "snapshots" / commit
        for path in (repo / "blobs", repo / "refs", snapshot):
            path.mkdir(parents=True)
        for m in range(files):
            blob = hashlib.sha256(b"%d/%d" % (n, m)).hexdigest()
            (repo / "blobs" / blob).write_bytes(b"x" * 100)
            (snapshot / f"file-{m:02}.bin").symlink_to(f"../../blobs/{blob}")
        (repo / "refs" / "main").write_text(commit)


def tree(folder, files):
    """A workspace: code, dependencies and data in folders of a hundred files, some nested."""
    for n in range(files // 100):
        top = ("src", "node_modules", "data", ".venv/lib/python3.11/site-packages")[n % 4]
        inner = folder / top / f"package-{n // 16:05}" / f"part-{n:05}"
        inner.mkdir(parents=True)
        for m in range(100):
            (inner / f"file-{m:02}").write_bytes(b"x" * (m * 10))


def cache_scan(bench):
    arena = bench.arena("cache-scan", max(bench.runs, 10))
    home = arena.folder / "hf"
    repos, files = bench.sizes.repos
    hub(home / "hub", repos, files)
    step = Step([bench.ours.program, "cache", "status", "--json"], env={"HF_HOME": str(home), **HF})
    contenders = [
        Contender("modelkeep", lambda place: None, lambda place: [step]),
        Contender("du", lambda place: None, lambda place: [Step(["du", "-s", home / "hub"])]),
    ]
    if "hf" in bench.peers:
        listing = Step([bench.peers["hf"].program, "cache", "ls"], env={"HF_HOME": str(home), **HF})
        contenders.append(Contender("hf", lambda place: None, lambda place: [listing]))
    samples = arena.rounds(contenders, [home], once=True, few_files=False)
    peak = spread([bench.runner.measure([step], memory=True).peak or 0 for _ in range(5)])[2]
    goals = [*faster_than(samples, 1, "du"), *faster_than(samples, 10, "hf")]
    goals.append(Goal("memory under 48 MiB", bytes_text(peak), peak < 48 * MIB))
    about = (
        f"`modelkeep cache status` on a cache of {repos} repositories with {files} files each, beside `du -s` of the same "
        "folder and `hf cache ls`. modelkeep and hf count what revisions link to and read refs; du adds up blocks."
    )
    return Result("cache-scan", about, table(samples, "du"), goals)


def status(bench):
    arena = bench.arena("status", max(bench.runs, 10))
    work = arena.folder / "work"
    bench.runner.quiet([bench.ours.program, "init", work, "--remote", f"folder:{arena.folder / 'remote'}"])
    tree(work, bench.sizes.tree)
    ours = Step([bench.ours.program, "--workspace", work, "status", "--json"])
    contenders = [
        Contender("modelkeep", lambda place: None, lambda place: [ours]),
        Contender("du", lambda place: None, lambda place: [Step(["du", "-s", work])]),
    ]
    samples = arena.rounds(contenders, [], once=True, few_files=False)
    about = (
        f"`modelkeep status` of a workspace of {bench.sizes.tree:,} files (and the remote, in a folder) beside `du -s` of "
        "the workspace. Warm: each has read it before."
    )
    return Result("status", about, table(samples, "du"), [at_most(samples, 1.0, "du")])


def status_million(bench):
    arena = bench.arena("status-million", 1)
    work = arena.folder / "work"
    bench.runner.quiet([bench.ours.program, "init", work, "--remote", f"folder:{arena.folder / 'remote'}"])
    tree(work, bench.sizes.million)
    # One flat folder of very many, and one of very many folders: what a walk must not keep in memory.
    for n in range(bench.sizes.million // 10):
        (work / "data" / "flat").mkdir(exist_ok=True)
        (work / "data" / "flat" / f"{n}").touch()
    for n in range(bench.sizes.million // 20):
        os.makedirs(work / "src" / "wide" / f"{n}")
    ours = Step([bench.ours.program, "--workspace", work, "status", "--json"])
    peak = bench.runner.measure([ours], memory=True).peak or 0
    seconds = {"modelkeep": [], "du": []}
    for _ in range(3):
        seconds["modelkeep"].append(bench.runner.measure([ours]))
        seconds["du"].append(bench.runner.measure([Step(["du", "-s", work])]))
    goals = [Goal("memory under 200 MiB", bytes_text(peak), peak < 200 * MIB)]
    goals.append(Goal("as fast as du", f"{median(seconds, 'du') / median(seconds, 'modelkeep'):.2f} ×", median(seconds, "modelkeep") <= median(seconds, "du")))
    count = bench.sizes.million + bench.sizes.million // 10
    lines = [f"Peak memory {bytes_text(peak)}; three runs each:", ""]
    lines += [f"- {name}: {', '.join(measure.seconds_text(s.seconds) for s in taken)}" for name, taken in seconds.items()]
    return Result("status-million", f"`modelkeep status` of a workspace of {count:,} files.", lines, goals)
