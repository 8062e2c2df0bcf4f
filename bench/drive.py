"""A Google Drive on this machine: how fast a large file goes there and back, and what many small ones cost."""

import json
import shutil
import subprocess
import time
from urllib.parse import quote
from urllib.request import Request, urlopen

import material
import peers
from measure import MIB, Failed, Step, bytes_text, seconds_text, spread
from rounds import Arena, Contender, Goal, Result, median, sent, table

TOKEN = "valid-token"
UPLOADED = "uploaded"
BEARER = f"Authorization: Bearer {TOKEN}"


class Drive:
    """`fake-drive` with its files below `folder`."""

    def __init__(self, program, folder, runner):
        folder.mkdir(parents=True)
        env = {**runner.env, "TMPDIR": str(folder)}
        self.process = subprocess.Popen([str(program)], env=env, stdout=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        if not first.startswith("listening on "):
            raise Failed("fake-drive does not listen")
        self.url = first.split()[-1]
        self.env = {"MODELKEEP_GDRIVE_ENDPOINT": self.url, "MODELKEEP_GDRIVE_TOKEN": TOKEN}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, method, path, body=None, headers=None):
        """An answer of the API, with its headers."""
        data = None if body is None else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **(headers or {})}
        with urlopen(Request(self.url + path, data, given, method=method)) as answer:
            text = answer.read()
            return json.loads(text) if text else {}, answer.headers

    def session(self, size):
        """The address of a resumable session for a new file."""
        headers = {"X-Upload-Content-Length": str(size)}
        _, answer = self.ask("POST", "/upload/drive/v3/files?uploadType=resumable", {"name": UPLOADED}, headers)
        return answer["Location"]

    def media(self, name):
        """The address of the bytes of the newest file of that name."""
        query = quote(f"name = '{name}' and trashed = false")
        found, _ = self.ask("GET", f"/drive/v3/files?q={query}&pageSize=10&orderBy=createdTime+desc")
        return f"{self.url}/drive/v3/files/{found['files'][0]['id']}?alt=media"

    def forget(self, name):
        """Deletes what is called so in the root folder, so that the disk does not fill."""
        query = quote(f"'root' in parents and name = '{name}'")
        found, _ = self.ask("GET", f"/drive/v3/files?q={query}&pageSize=1000")
        for file in found["files"]:
            self.ask("DELETE", f"/drive/v3/files/{file['id']}")

    def latency(self, milliseconds):
        self.ask("POST", "/_fake/latency", {"milliseconds": milliseconds})

    def count(self):
        """Calls since the last time: how many, their units, and how many were under way at once."""
        counted, _ = self.ask("GET", "/_fake/calls")
        self.ask("DELETE", "/_fake/calls")
        return counted["count"], counted["units"], counted["at_once"]


class Modelkeep:
    """Ours, with a store on that Drive."""

    def __init__(self, tool, drive):
        self.tool, self.drive = tool, drive

    def workspace(self, place, folder):
        argv = [self.tool.program, "init", place / "work", "--remote", f"gdrive:{folder}"]
        self.tool.runner.quiet(argv, env=self.drive.env)

    def step(self, place, *words):
        step = self.tool.command(place, *words)
        return Step(step.argv, env=self.drive.env)


def drive_large(bench):
    """One large file to a Drive on this machine and back, beside curl, which checks nothing and keeps nothing."""
    arena = bench.arena("drive-large")
    curl = shutil.which("curl", path=bench.runner.env["PATH"])
    if curl is None:
        raise Failed("curl is not on PATH, and is what this is compared with")
    size = bench.sizes.large
    source = material.large(arena.folder / "model", size)
    file, name = source / "model.safetensors", "model.safetensors"
    with Drive(bench.fake_drive, arena.folder / "up", bench.runner) as there:
        ours = Modelkeep(bench.ours, there)

        def sending(place):
            return [Step([curl, "-sS", "-f", "-o", "/dev/null", "-H", BEARER, "-T", file, there.session(size)])]

        def push(place):
            return [ours.step(place, "push", source, peers.MODEL)]

        def pushed(sample):
            sent(size)(sample)
            there.forget("store")

        up = [
            Contender("curl -T", lambda place: None, sending, check=lambda sample: there.forget(UPLOADED)),
            Contender("modelkeep", lambda place: ours.workspace(place, "store"), push, check=pushed),
        ]
        print("  up")
        up_ = arena.rounds(up, [source])
        place = arena.place(arena.runs, "memory-up")
        ours.workspace(place, "store")
        peak_up = bench.runner.measure(push(place), memory=True).peak
    with Drive(bench.fake_drive, arena.folder / "down", bench.runner) as there:
        ours = Modelkeep(bench.ours, there)
        place = arena.place(arena.runs, "store")
        ours.workspace(place, "store")
        bench.runner.measure([ours.step(place, "push", source, peers.MODEL)])
        url = there.media(name)

        def fetched(place):
            return [curl, "-sS", "-f", "-H", BEARER, "-o", place / name, url]

        def pull(place):
            return [ours.step(place, "pull", peers.MODEL, "--to", place / "back")]

        # A workspace that never saw the source: the file cannot be taken from where it was pushed.
        down = [
            Contender("curl", lambda place: None, lambda place: [Step(fetched(place))]),
            Contender(
                "curl, flushed",
                lambda place: None,
                lambda place: [Step(fetched(place)), Step(["sync", place / name])],
            ),
            Contender("modelkeep", lambda place: ours.workspace(place, "store"), pull),
        ]
        print("  down")
        inner = Arena(bench.runner, arena.folder / "pulled", arena.runs)
        down_ = inner.rounds(down, [arena.folder / "down"])
        place = arena.place(arena.runs, "memory-down")
        ours.workspace(place, "store")
        peak_down = bench.runner.measure(pull(place), memory=True).peak
    goals = [
        _rate(up_, "curl -T", 0.7, "up"),
        _rate(down_, "curl", 0.7, "down"),
        *(
            Goal(f"{what}: under 96 MiB", bytes_text(peak), peak < 96 * MIB)
            for what, peak in (("push", peak_up), ("pull", peak_down))
        ),
    ]
    about = (
        f"One file of {bytes_text(size)} to `fake-drive` over loopback (no TLS) and back; the server writes and hashes what comes. "
        "modelkeep hashes too, compares with the server's SHA-256, commits, shows and writes the registry; pulling, it flushes "
        "before a file has its name. curl sends the file as one request of a session that was begun for it, and checks nothing."
    )
    lines = ["Up:", "", *table(up_, "curl -T"), "", "Down:", "", *table(down_, "curl")]
    return Result("drive-large", about, lines, goals)


def _rate(samples, peer, limit, what):
    """The goal that `modelkeep` moves bytes at `limit` × the rate of `peer` or more."""
    share = median(samples, peer) / median(samples, "modelkeep")
    by_round = [b.seconds / a.seconds for a, b in zip(samples["modelkeep"], samples[peer], strict=True)]
    text = f"{what}: {limit} × the rate of {peer} or more"
    return Goal(text, f"{share:.2f} × (by round {min(by_round):.2f} to {max(by_round):.2f})", share >= limit)


LATENCY = 0.1


def drive_small(bench):
    """Many small files to a Drive that answers each call a tenth of a second later: calls are what counts."""
    arena = bench.arena("drive-small")
    files = bench.sizes.drive_files
    source = material.small(arena.folder / "model", files)
    # A file that is younger when it was hashed is hashed again at the next push.
    time.sleep(3)
    counted = {"first": [], "again": [], "list": []}
    with Drive(bench.fake_drive, arena.folder / "drive", bench.runner) as there:
        ours = Modelkeep(bench.ours, there)
        taken = {name: [] for name in counted}
        for run in range(arena.runs):
            place = arena.place(run, "modelkeep")
            ours.workspace(place, f"round-{run}")
            there.latency(int(LATENCY * 1000))
            there.count()
            push = ours.step(place, "push", source, peers.MODEL)
            for name, step in (("first", push), ("again", push), ("list", ours.step(place, "list"))):
                taken[name].append(bench.runner.measure([step]).seconds)
                counted[name].append(there.count())
            there.latency(0)
            print(f"  round {run + 1} of {arena.runs}: {seconds_text(taken['first'][-1])}, {counted['first'][-1]}")
    calls = max(calls for calls, _, _ in counted["first"])
    at_once = min(at_once for _, _, at_once in counted["first"])
    took = spread(taken["first"])[1]
    bound = 1.2 * calls / at_once * LATENCY
    warm = max(calls for name in ("again", "list") for calls, _, _ in counted[name])
    goals = [
        Goal("8 calls at once or more", str(at_once), at_once >= 8),
        Goal("at most 1.1 calls a file", f"{calls / files:.3f} ({calls} calls)", calls <= 1.1 * files),
        Goal(f"at most 1.2 × calls ÷ concurrency × latency ({bound:.1f} s)", seconds_text(took), took <= bound),
        Goal("the same push again, and a list: at most 2 calls each", str(warm), warm <= 2),
    ]
    lines = ["| | min | median | max | calls | units | at once |", "|---|--:|--:|--:|--:|--:|--:|"]
    said = {"first": "first push", "again": "the same push again", "list": "list"}
    for name, seconds in taken.items():
        lines.append(f"| {said[name]} | " + " | ".join([*map(seconds_text, spread(seconds)), *map(str, counted[name][-1])]) + " |")
    about = f"{files:,} files of 4 KiB to `fake-drive`, which answers each call {LATENCY * 1000:.0f} ms later than it could."
    return Result("drive-small", about, [*lines, "", f"Rounds: {arena.runs}."], goals)
