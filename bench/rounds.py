"""Interleaving: every contender once a round, in places of their own; and what a table of it says."""

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import measure
from measure import bytes_text, seconds_text, spread, sync


@dataclass
class Contender:
    """One that takes part: `prepare` is not measured, what `steps` returns is."""

    name: str
    prepare: Callable
    steps: Callable
    changed: Callable = lambda place: None
    check: Callable = lambda sample: None


@dataclass
class Goal:
    """What is asked for, and what was found."""

    text: str
    found: str
    met: bool


@dataclass
class Result:
    """One benchmark's outcome, as Markdown."""

    name: str
    about: str
    lines: list = field(default_factory=list)
    goals: list = field(default_factory=list)

    def text(self):
        goals = [f"- {'met' if goal.met else 'NOT MET'}: {goal.text}: {goal.found}" for goal in self.goals]
        return "\n".join([self.about, "", *self.lines, *([""] if goals else []), *goals])


class Arena:
    """Runs rounds in `folder`."""

    def __init__(self, runner, folder, runs):
        self.runner = runner
        self.folder = folder
        self.runs = runs
        self.removed = 0
        folder.mkdir(parents=True)

    def place(self, run, name):
        place = self.folder / f"round-{run}" / name.replace(" ", "-")
        place.mkdir(parents=True)
        return place

    def rounds(self, contenders, warm, once=False, change=None, memory=False, few_files=True):
        """Samples by contender. `once`: prepared and pushed to before the first round only."""
        samples = {contender.name: [] for contender in contenders}
        places = {}
        for run in range(self.runs):
            begun_with = shutil.disk_usage(self.folder).free
            if run == 0 or not once:
                places = {contender.name: self.place(run, contender.name) for contender in contenders}
                for contender in contenders:
                    contender.prepare(places[contender.name])
                if change is not None:
                    change(run)
                    for contender in contenders:
                        contender.changed(places[contender.name])
            for folder in warm:
                measure.warm(folder)
            for contender in contenders:
                steps = contender.steps(places[contender.name])
                sync()
                sample = self.runner.measure(steps, memory)
                sample.then_sync = sync()
                contender.check(sample)
                samples[contender.name].append(sample)
            print(f"  round {run + 1} of {self.runs}: " + ", ".join(_one(samples, name, memory) for name in samples))
            if few_files and not once:
                self._make_room(run, begun_with - shutil.disk_usage(self.folder).free)
        return samples

    def _make_room(self, run, used):
        """Removes this round's few large files only when the next rounds would not fit, and lets the disk settle."""
        if shutil.disk_usage(self.folder).free < 2 * used + (4 << 30):
            shutil.rmtree(self.folder / f"round-{run}")
            sync()
            time.sleep(5)


def _one(samples, name, memory):
    last = samples[name][-1]
    return f"{name} {bytes_text(last.peak) if memory else seconds_text(last.seconds)}"


def table(samples, reference):
    """Times, ratios of the medians to `reference`, and what went through the calls."""
    base = spread([sample.seconds for sample in samples[reference]])[1]
    lines = [
        f"| | min | median | max | × {reference} | CPU | read | written | flushing after |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, taken in samples.items():
        low, middle, high = spread([sample.seconds for sample in taken])
        cpu = spread([sample.cpu for sample in taken])[1]
        after = spread([sample.then_sync for sample in taken])[1]
        cells = [
            name,
            *map(seconds_text, (low, middle, high)),
            f"{middle / base:.2f}",
            seconds_text(cpu),
            bytes_text(taken[-1].read),
            bytes_text(taken[-1].written),
            seconds_text(after),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", f"Rounds: {len(samples[reference])}."]


def at_most(samples, limit, reference, name="modelkeep"):
    """The goal that `name` takes at most `limit` × what `reference` takes."""
    ratio = median(samples, name) / median(samples, reference)
    by_round = [a.seconds / b.seconds for a, b in zip(samples[name], samples[reference], strict=True)]
    text = f"{name} ≤ {limit} × {reference}"
    return Goal(text, f"{ratio:.2f} (by round {min(by_round):.2f} to {max(by_round):.2f})", ratio <= limit)


def faster_than(samples, times, peer, name="modelkeep"):
    """The goal that `name` is at least `times` faster than `peer`; none where the peer is not here."""
    if peer not in samples:
        return []
    ratio = median(samples, peer) / median(samples, name)
    return [Goal(f"{times} × faster than {peer}", f"{ratio:.2f} ×", ratio >= times)]


def median(samples, name):
    return spread([sample.seconds for sample in samples[name]])[1]


def sent(expected):
    """A check that a push sent what it should, within the size of what it says of itself."""

    def check(sample):
        report = json.loads(sample.output)
        if report["sent_bytes"] != expected:
            raise measure.Failed(f"modelkeep sent {report['sent_bytes']} bytes and should have sent {expected}")

    return check


def size_of(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
