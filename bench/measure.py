"""Runs one command and says what it took. Knows processes; does not know what is compared."""

import os
import re
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20


class Failed(Exception):
    """A command did not do what it was run for; nothing that was measured counts."""


@dataclass
class Step:
    """One command of what is measured."""

    argv: list
    cwd: Path | None = None
    env: dict = field(default_factory=dict)


@dataclass
class Sample:
    """What one run took."""

    seconds: float = 0.0
    cpu: float = 0.0
    # Bytes that went through read and write calls (copies inside the kernel count as both); None where unknown.
    read: int | None = None
    written: int | None = None
    peak: int | None = None  # resident bytes
    then_sync: float = 0.0  # what a flush of all right after took: what the command left for later
    output: str = ""

    def add(self, other):
        self.seconds += other.seconds
        self.cpu += other.cpu
        self.read = None if other.read is None or self.read is None else self.read + other.read
        self.written = None if other.written is None or self.written is None else self.written + other.written
        self.peak = max(self.peak or 0, other.peak or 0) or None
        self.output += other.output


class Runner:
    """Starts commands in an environment of our own: own HOME, nothing inherited."""

    def __init__(self, home, path):
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.env = {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "USER": "bench", "LOGNAME": "bench"}
        self.timer = shutil.which("time", path=path)

    def environment(self, step):
        return {**self.env, **step.env}

    def quiet(self, argv, cwd=None, env=None):
        """Runs what is not measured; gives what it said as `.stdout` and `.stderr`."""
        done = subprocess.run(
            [str(word) for word in argv],
            cwd=cwd,
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise Failed(f"{' '.join(map(str, argv))}\n{done.stdout}{done.stderr}")
        return done

    def measure(self, steps, memory=False):
        """All steps, one after the other, as one sample. With `memory`, its peak, and no time worth reading."""
        total = Sample(read=0, written=0)
        for step in steps:
            total.add(self._one(step, memory))
        return total

    def _one(self, step, memory):
        argv = [str(word) for word in step.argv]
        report = self.home / "peak.txt"
        if memory and self.timer:
            # A child of this Python would begin with the peak of this Python; `time` is a small parent.
            argv = [self.timer, "-o", str(report), "-f", "%M", *argv]
        out, err = self.home / "out.txt", self.home / "err.txt"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            begun = time.perf_counter()
            child = subprocess.Popen(
                argv,
                cwd=step.cwd,
                env=self.environment(step),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                close_fds=False,
            )
            peak = _watch_peak(child.pid) if memory and not self.timer else None
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            seconds = time.perf_counter() - begun
        # Ended and not yet waited for: its counts are all there, and still to be read.
        read, written = _bytes_through(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise Failed(f"exit {child.returncode}: {' '.join(argv)}\n{_text(out)}{_text(err)}")
        if memory and self.timer:
            peak = int(report.read_text().split()[-1]) * 1024
            read = written = None
        return Sample(seconds, usage.ru_utime + usage.ru_stime, read, written, peak, 0.0, _text(out))

    def start_time(self, argv):
        """From starting a program to its end, by the leanest call there is."""
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        begun = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, self.env, file_actions=quiet)
        _, status = os.waitpid(pid, 0)
        seconds = time.perf_counter() - begun
        if status != 0:
            raise Failed(f"{argv} failed")
        return Sample(seconds)


def _text(path):
    return path.read_text(errors="replace")


def _bytes_through(pid):
    try:
        text = Path(f"/proc/{pid}/io").read_text()
    except OSError:
        return None, None
    found = dict(line.split(": ") for line in text.splitlines())
    return int(found["rchar"]), int(found["wchar"])


def _watch_peak(pid):
    """The peak as the system counts it, looked at until the end (may miss what rises in the last millisecond)."""
    peak = 0
    while True:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return peak or None
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        if found is None:
            return peak or None
        peak = max(peak, int(found[1]) * 1024)
        time.sleep(0.001)


def sync():
    """Flushes all there is, so that nobody pays for what another left behind; how long it took."""
    begun = time.perf_counter()
    os.sync()
    return time.perf_counter() - begun


def warm(folder):
    """Reads all of it, so that it is in the page cache."""
    buffer = bytearray(MIB)
    for root, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(root, name), "rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def spread(values):
    """Minimum, median, maximum."""
    return min(values), statistics.median(values), max(values)


def seconds_text(seconds):
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def bytes_text(count):
    if count is None:
        return "?"
    if count >= MIB:
        return f"{count / MIB:.1f} MiB"
    return f"{count / 1024:.1f} KiB"


def machine(data):
    """What the figures are from, as lines."""
    info = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", info, re.MULTILINE)
    words = flags[1].split() if flags else []
    memory = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    system = os.uname()
    return [
        f"{os.cpu_count()} cores, {found[1] if found else system.machine}, "
        f"SHA-NI {'yes' if 'sha_ni' in words else 'no'}",
        f"{int(memory[1]) / MIB:.0f} GiB memory" if memory else "memory unknown",
        f"{system.sysname} {system.release}",
        "file system " + file_system(data),
    ]


def file_system(path):
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        if Path(path).resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, f"{kind} ({options})")
    return best[1]
