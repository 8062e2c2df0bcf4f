"""The benchmarks, by name. Each makes its own data, runs its rounds and says what its goals came to."""

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import partial

import drive
import eventlog
import fetching
import material
import measure
import peers
import python_face
import serving
import space
import syscalls
from measure import MIB, Failed, Step, bytes_text, seconds_text, spread, sync
from rounds import Arena, Contender, Goal, Result, at_most, faster_than, median, sent, size_of, table

# A file younger than this when it was hashed is hashed again at the next push: it may have changed within a tick.
RACY_SECONDS = 3


@dataclass
class Sizes:
    large: int = 1024 * MIB
    shard: int = 256 * MIB
    small: int = 10_000
    models: int = 1000
    starts: int = 50
    repos: tuple = (200, 50)
    tree: int = 50_000
    million: int = 1_000_000
    drive_files: int = 1000


SMALL = Sizes(32 * MIB, 8 * MIB, 500, 100, 10, (10, 5), 1000, 5000, 100)


@dataclass
class Bench:
    """What a benchmark is given."""

    runner: object
    ideal: peers.Ideal
    ours: peers.Modelkeep
    hub: object
    fake_drive: object
    python: object
    peers: dict
    folder: object
    runs: int
    sizes: Sizes

    def arena(self, name, runs=None):
        return Arena(self.runner, self.folder / name, runs or self.runs)

    def tools(self, *names):
        """The ideal, ourselves, and those of the named peers that are here."""
        return [self.ideal, self.ours, *(self.peers[name] for name in names if name in self.peers)]


def pushing(tools, source):
    """Contenders that push `source` for the first time."""
    total = size_of(source)
    return [
        Contender(
            tool.name,
            partial(tool.prepare, source),
            partial(tool.push, source),
            check=sent(total) if isinstance(tool, peers.Modelkeep) else lambda sample: None,
        )
        for tool in tools
    ]


def push_large(bench):
    arena = bench.arena("push-large")
    source = material.large(arena.folder / "model", bench.sizes.large)
    samples = arena.rounds(pushing(bench.tools("rclone", "dvc", "restic"), source), [source])
    goals = [at_most(samples, 1.05, "ideal"), *faster_than(samples, 2, "rclone")]
    goals += [*faster_than(samples, 4, "dvc"), *faster_than(samples, 4, "restic")]
    about = f"First push of one file of {bytes_text(bench.sizes.large)} to a fresh store in a folder."
    return Result("push-large", about, table(samples, "ideal"), goals)


def push_shards(bench):
    arena = bench.arena("push-shards")
    source = material.shards(arena.folder / "model", bench.sizes.shard)
    samples = arena.rounds(pushing(bench.tools("rclone", "dvc", "restic"), source), [source])
    about = f"First push of four files of {bytes_text(bench.sizes.shard)} each to a fresh store in a folder."
    return Result("push-shards", about, table(samples, "ideal"), [at_most(samples, 0.8, "ideal")])


def push_small(bench):
    arena = bench.arena("push-small")
    source = material.small(arena.folder / "model", bench.sizes.small)
    tools = bench.tools("rsync", "rclone", "restic", "dvc")
    samples = arena.rounds(pushing(tools, source), [source], few_files=False)
    about = f"First push of {bench.sizes.small:,} files of 4 KiB, a hundred to a folder, to a fresh store."
    return Result("push-small", about, table(samples, "ideal"), [at_most(samples, 1.3, "ideal")])


def push_unchanged(bench):
    arena = bench.arena("push-unchanged", max(bench.runs, 10))
    source = material.small(arena.folder / "model", bench.sizes.small)
    time.sleep(RACY_SECONDS)

    def contender(tool):
        def prepare(place):
            tool.prepare(source, place)
            bench.runner.measure(tool.push(source, place))

        check = sent(0) if isinstance(tool, peers.Modelkeep) else lambda sample: None
        return Contender(tool.name, prepare, partial(tool.again, source), check=check)

    tools = bench.tools("rsync", "rclone", "rclone by time")
    samples = arena.rounds([contender(tool) for tool in tools], [source], once=True, few_files=False)
    goals = [at_most(samples, 2.5, "ideal"), *faster_than(samples, 1, "rsync")]
    about = (
        f"The same {bench.sizes.small:,} files of 4 KiB pushed again, nothing changed. "
        "The ideal only walks the tree and looks at each file."
    )
    return Result("push-unchanged", about, table(samples, "ideal"), goals)


def push_version2(bench):
    arena = bench.arena("push-version2")
    source = material.shards(arena.folder / "model", bench.sizes.shard)
    name = material.shard(2)
    time.sleep(RACY_SECONDS)
    size = bench.sizes.shard

    def contender(tool):
        def prepare(place):
            tool.prepare(source, place)
            bench.runner.measure(tool.push(source, place))

        return Contender(
            tool.name,
            prepare,
            lambda place: tool.version2(source, place, name),
            lambda place: tool.changed(source, place, name),
            sent(size) if isinstance(tool, peers.Modelkeep) else lambda sample: None,
        )

    def rewrite(run):
        material.safetensors(source / name, size)
        time.sleep(RACY_SECONDS)

    contenders = [contender(tool) for tool in bench.tools("rsync", "restic", "dvc")]
    samples = arena.rounds(contenders, [source], change=rewrite)
    lines = table(samples, "ideal")
    goals = []
    if syscalls.available(bench.runner.env["PATH"]):
        place = arena.place(bench.runs, "counted")
        bench.ours.prepare(source, place)
        bench.runner.measure(bench.ours.push(source, place))
        rewrite(bench.runs)
        sync()
        where = {"source": source, "store": place / "remote", "workspace": place / "work"}
        [step] = bench.ours.push(source, place)
        totals = syscalls.count(bench.runner, step, where)
        lines += ["", "modelkeep's system calls by where the file is (strace, one run of its own):", ""]
        lines += ["| | where | bytes | calls |", "|---|---|--:|--:|"]
        for (what, named), (amount, calls) in sorted(totals.items()):
            lines.append(f"| {what} | {named} | {bytes_text(amount)} | {calls} |")
        slack = MIB // 4
        goals += [
            _bytes_goal("reads the changed file once", totals.get(("read", "source"), (0, 0))[0], size, slack),
            _bytes_goal("writes it once, and a few KiB", totals.get(("written", "store"), (0, 0))[0], size, slack),
        ]
    else:
        lines += ["", "No strace on PATH: only the sums of the table's read and written columns are known."]
    about = (
        f"Version 2 with one of four files of {bytes_text(size)} written anew in place. The ideal hashes and copies "
        "that one, has the kernel copy the other three, and flushes all four. modelkeep's sent_bytes was "
        f"{size:,} in every round."
    )
    return Result("push-version2", about, lines, goals)


def _bytes_goal(text, found, expected, slack):
    more = found - expected
    return Goal(f"{text} ({bytes_text(expected)})", f"{more / 1024:+.1f} KiB beside it", 0 <= more <= slack)


def memory(bench):
    arena = bench.arena("memory", min(bench.runs, 3))
    large = material.large(arena.folder / "large", bench.sizes.large)
    small = material.small(arena.folder / "small", bench.sizes.small)
    count = f"{bench.sizes.small:,}"
    rows, goals = [], []

    def add(what, samples, limit):
        for name, taken in samples.items():
            low, middle, high = spread([sample.peak or 0 for sample in taken])
            rows.append(f"| {what} | {name} | {bytes_text(low)} | {bytes_text(middle)} | {bytes_text(high)} |")
            if name == "modelkeep":
                goals.append(Goal(f"{what}: under {limit} MiB", bytes_text(high), high < limit * MIB))

    print("  push, one file")
    tools = bench.tools("rsync", "rclone", "restic", "dvc")
    inner = Arena(bench.runner, arena.folder / "push-large", arena.runs)
    add(f"push of {bytes_text(bench.sizes.large)}", inner.rounds(pushing(tools, large), [], memory=True), 32)
    print(f"  push, {count} files")
    inner = Arena(bench.runner, arena.folder / "push-small", arena.runs)
    pushed = inner.rounds(pushing(tools, small), [], memory=True, few_files=False)
    add(f"push of {count} files", pushed, 48)
    for source, what, limit in ((large, bytes_text(bench.sizes.large), 32), (small, f"{count} files", 48)):
        print(f"  pull, {what}")
        inner = Arena(bench.runner, arena.folder / f"pull-{source.name}", arena.runs)
        pulled = inner.rounds(pulling(bench, inner, source, "rclone"), [], memory=True, few_files=source is large)
        add(f"pull of {what}", pulled, limit)
    lines = ["| work | | min | median | max |", "|---|---|--:|--:|--:|", *rows]
    how = "`/usr/bin/time`" if bench.runner.timer else "VmHWM in /proc, looked at each millisecond"
    about = f"Peak resident memory, by {how}; of several commands in a row the highest."
    return Result("memory", about, lines, goals)


def pulling(bench, arena, source, *names):
    """Contenders that bring `source` back from a store that was filled before, each into a fresh place."""
    store = arena.folder / "store"
    bench.ours.prepare(source, store)
    bench.runner.measure(bench.ours.push(source, store))
    # A workspace that never saw the source: the files cannot be taken from where they were pushed.
    ours = Contender("modelkeep", lambda place: bench.ours.workspace(place, store / "remote"), bench.ours.pull)
    stored = store / "remote" / "models" / "finetuned" / peers.MODEL

    def other(tool):
        return Contender(tool.name, lambda place: None, lambda place: tool.pull(stored, place))

    here = [bench.peers[name] for name in names if name in bench.peers]
    return [other(bench.ideal), ours, *map(other, here)]


def pull_large(bench):
    arena = bench.arena("pull-large")
    source = material.large(arena.folder / "model", bench.sizes.large)
    contenders = pulling(bench, arena, source, "cp", "rclone")
    samples = arena.rounds(contenders, [arena.folder / "store" / "remote" / "models"])
    about = (
        f"One file of {bytes_text(bench.sizes.large)} brought back from a folder into a fresh directory by a workspace "
        "with an empty cache. The ideal copies, hashes and flushes, as modelkeep does; cp and rclone flush nothing."
    )
    return Result("pull-large", about, table(samples, "ideal"))


def start(bench):
    words = [("true",), ("git", "--version"), ("rsync", "--version"), ("restic", "version"), ("rclone", "version")]
    words += [("dvc", "--version")]
    programs = {"modelkeep --version": [str(bench.ours.program), "--version"]}
    for name, *rest in words:
        program = shutil.which(name, path=bench.runner.env["PATH"])
        if program is not None and (name in ("true", "git") or name in bench.peers):
            programs[" ".join([name, *rest])] = [program, *rest]
    samples = {name: [] for name in programs}
    for _ in range(bench.sizes.starts):
        for name, argv in programs.items():
            samples[name].append(bench.runner.start_time(argv))
    found = median(samples, "modelkeep --version")
    goal = Goal("modelkeep --version under 5 ms", seconds_text(found), found < 0.005)
    lines = ["| | min | median | max |", "|---|--:|--:|--:|"]
    for name, taken in samples.items():
        cells = map(seconds_text, spread([sample.seconds for sample in taken]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    about = f"From starting a program to its end, {bench.sizes.starts} times each; `true` is what starting costs here."
    return Result("start", about, lines, [goal])


def guard(bench):
    """A hook is waited for at every commit: 1,000 files are staged, in a repository that has 2,000."""
    repository = bench.folder / "guard"
    repository.mkdir()

    def git(*args):
        identity = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        subprocess.run(["git", *identity, *args], cwd=repository, check=True, stdout=subprocess.DEVNULL)

    def write(files):
        for n in range(files):
            path = repository / f"d{n % 50}" / f"f{n}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(os.urandom(3000))

    git("init", "-q")
    write(2000)
    git("add", "-A")
    git("commit", "-q", "-m", "one")
    write(1000)
    git("add", "-A")
    program = str(bench.ours.program)
    programs = {
        "modelkeep guard check": ["/bin/sh", "-c", f"cd '{repository}' && exec '{program}' guard check -q"],
        "git diff --cached --stat": [shutil.which("git"), "-C", str(repository), "diff", "--cached", "--stat"],
    }
    samples = {name: [] for name in programs}
    for _ in range(bench.sizes.starts):
        for name, argv in programs.items():
            samples[name].append(bench.runner.start_time(argv))
    found = median(samples, "modelkeep guard check")
    goal = Goal("1,000 staged files under 100 ms", seconds_text(found), found < 0.1)
    lines = ["| | min | median | max |", "|---|--:|--:|--:|"]
    for name, taken in samples.items():
        cells = map(seconds_text, spread([sample.seconds for sample in taken]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    about = f"1,000 of 2,000 files of 3 kB are staged; {bench.sizes.starts} times each. git compares them and judges nothing."
    return Result("guard", about, lines, [goal])


def list_models(bench):
    folder = bench.folder / "list"
    ours, runner = bench.ours, bench.runner
    revisions = 5

    def tree(name, models, pushes, labels=0):
        place = folder / name
        place.mkdir(parents=True)
        ours.workspace(place, place / "remote")
        events = eventlog.fill(place / "remote", models, pushes, labels)
        report = json.loads(runner.quiet(ours.command(place, "list").argv).stdout)
        numbers = {model["number"] for model in report["models"]}
        if len(report["models"]) != models or numbers != {pushes}:
            raise Failed(f"list shows {len(report['models'])} models, pushes {numbers}; not {models}, {pushes}")
        return place, events

    def listing(place):
        # As a person calls it: the table, not JSON.
        return Step([ours.program, "--workspace", place / "work", "list"])

    def cold(place, run):
        fresh = place / f"fresh-{run}"
        ours.workspace(fresh, place / "remote")
        return listing(fresh)

    def calls(step):
        said = runner.quiet([*step.argv, "-v"]).stderr
        return int(re.search(r"^(\d+) calls? to", said, re.MULTILINE)[1])

    rows, goals = [], []
    for name, models, pushes, labels in (
        ("many", bench.sizes.models, revisions, 0),
        ("forty", min(40, bench.sizes.models), 24, 40),
    ):
        place, events = tree(name, models, pushes, labels)
        sync()
        what = f"{models:,} models, {events:,} events"
        warm = [runner.measure([listing(place)]).seconds for _ in range(max(bench.runs, 20))]
        steps = [cold(place, run) for run in range(bench.runs)]
        sync()
        empty = [runner.measure([step]).seconds for step in steps]
        warm_calls, empty_calls = calls(listing(place)), calls(cold(place, bench.runs))
        for cache, taken, count in (("warm", warm, warm_calls), ("empty", empty, empty_calls)):
            rows.append(f"| {what} | {cache} | " + " | ".join(map(seconds_text, spread(taken))) + f" | {count} |")
        middle = spread(warm)[1]
        if name == "many":
            goals.append(Goal(f"{what}, warm: under 50 ms", seconds_text(middle), middle < 0.05))
        else:
            goals.append(Goal(f"{what}, empty: at most 6 remote calls", str(empty_calls), empty_calls <= 6))
    lines = ["| store | cache | min | median | max | calls to the store |", "|---|---|--:|--:|--:|--:|", *rows]
    about = "`modelkeep list` as a table. The log is written by the benchmark in the program's format."
    return Result("list", about, lines, goals)


def fetch(bench):
    """One large file from a Hub on this machine into an empty cache."""
    arena = bench.arena("fetch")
    root = arena.folder / "hub"
    source = material.large(root / fetching.REPO, bench.sizes.large)
    hub = fetching.Hub(bench.hub, root, bench.runner)
    try:
        tools = fetching.contenders(bench.runner, bench.ours.program, hub)
        taking = [Contender(name, lambda place: None, steps) for name, steps in tools.items()]
        samples = arena.rounds(taking, [source])
    finally:
        hub.stop()
    about = (
        f"A model of one file of {bytes_text(bench.sizes.large)} from `fake-hub` over loopback into an empty cache. modelkeep checks "
        "SHA-256 and flushes before the model has its name; hf checks the length alone; curl checks nothing and asks for no list."
    )
    goals = [at_most(samples, 1.0, "hf download")] if "hf download" in samples else []
    return Result("fetch", about, table(samples, "curl" if "curl" in samples else "modelkeep"), goals)


CLIENTS = 32
REQUESTS = 200


def serve(bench):
    """One file from a folder store, beside servers that check nothing and know no versions."""
    arena = bench.arena("serve")
    source = material.large(arena.folder / "model", bench.sizes.large)
    (source / "config.json").write_text("{}")
    bench.ours.prepare(source, arena.folder)
    bench.runner.measure(bench.ours.push(source, arena.folder))
    root = next((arena.folder / "remote").rglob("model.safetensors")).parent
    # The first answer is of a file that was not checked yet.
    cold = []
    for _ in range(3):
        server = serving.modelkeep(bench.runner, bench.ours.program, arena.folder / "work", SERVED)
        measure.warm(root)
        cold.append(bench.runner.measure([drained(server)]).seconds)
        server.stop()
    ours = serving.modelkeep(bench.runner, bench.ours.program, arena.folder / "work", SERVED)
    others = [
        serving.nginx(bench.runner, root, "model.safetensors", arena.folder / "nginx"),
        serving.http_server(bench.runner, root, "model.safetensors"),
    ]
    servers = [ours, *filter(None, others)]
    try:
        serving.drain(ours.url)
        contenders = [Contender(one.name, lambda place: None, lambda place, one=one: [drained(one)]) for one in servers]
        samples = arena.rounds(contenders, [root], once=True)
        waits = [serving.first_byte(ours.url.replace("model.safetensors", "config.json")) for _ in range(REQUESTS)]
        large = [serving.first_byte(ours.url) for _ in range(REQUESTS)]
        before = ours.peak()
        begun = time.perf_counter()
        came = serving.crowd(ours.url, CLIENTS)
        took = time.perf_counter() - begun
        peak = ours.peak()
    finally:
        for server in servers:
            server.stop()
    best = min((one.name for one in servers[1:]), key=lambda name: median(samples, name))
    share = median(samples, best) / median(samples, ours.name)
    whole = min(came) > bench.sizes.large
    goals = [
        Goal(f"0.8 × as fast as {best} or more", f"{share:.2f} ×", share >= 0.8),
        Goal(f"under 128 MiB with {CLIENTS} clients", bytes_text(peak), peak < 128 * MIB and whole),
        Goal("first byte of a small file in under 5 ms at the median", seconds_text(spread(waits)[1]), spread(waits)[1] < 0.005),
    ]
    lines = table(samples, best)
    lines += [
        "",
        f"- The first time, when all of it is checked against its SHA-256: {seconds_text(spread(cold)[1])} at the median of 3.",
        f"- First byte of 2 bytes: {' / '.join(map(seconds_text, spread(waits)))}, of {bytes_text(bench.sizes.large)}: "
        f"{' / '.join(map(seconds_text, spread(large)))} (minimum, median, maximum of {REQUESTS}).",
        f"- {CLIENTS} clients at once, in one Python process: {sum(came) / took / MIB:.0f} MiB/s in all; "
        f"peak memory {bytes_text(before)} before, {bytes_text(peak)} after.",
    ]
    about = (
        f"One file of {bytes_text(bench.sizes.large)} from a folder store over loopback, fetched with curl into nothing. "
        "nginx uses sendfile; neither it nor Python's http.server checks anything."
    )
    return Result("serve", about, lines, goals)


SERVED = f"/{peers.MODEL}/resolve/main/model.safetensors"


def drained(server):
    return Step(["curl", "-s", "-f", "-o", "/dev/null", server.url])


# Those that make many files come last, so that nothing of theirs is removed before the others create.
CASES = {
    "push-large": push_large,
    "push-shards": push_shards,
    "push-version2": push_version2,
    "pull-large": pull_large,
    "start": start,
    "list": list_models,
    "fetch": fetch,
    "drive-large": drive.drive_large,
    "cache-scan": space.cache_scan,
    "status": space.status,
    "push-unchanged": push_unchanged,
    "push-small": push_small,
    "drive-small": drive.drive_small,
    "guard": guard,
    "memory": memory,
    "serve": serve,
    "python-face": python_face.python_face,
    "status-million": space.status_million,
}

# Made of a few large files: removed when the benchmark is over, for the disk is not endless.
FEW_FILES = {"push-large", "push-shards", "push-version2", "pull-large", "serve", "fetch", "drive-large", "python-face"}
