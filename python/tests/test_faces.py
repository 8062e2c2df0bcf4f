"""The command line and Python are two faces of the same operations: none has what the other lacks."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import typing
from pathlib import Path
from typing import Any

import pytest

from modelkeep import Workspace, results
from modelkeep._result import Result, ResultList, _fields

ROOT = Path(__file__).resolve().parents[2]
# Read before a test's sealed machine hides the variables of ours.
PROGRAM = os.environ.get("MODELKEEP_BIN", str(ROOT / "target/debug/modelkeep"))

METHODS = {"change": "deploy", "config-item": "config_get", "remote": "remote_show"}
"""Methods that are not called as their report is."""
NOT_IN_PYTHON = {
    "demo": "tells a story at a terminal",
    "login": "needs a person at a browser; a program gives `credentials`",
}


def modelkeep(*arguments: str) -> Any:
    done = subprocess.run([PROGRAM, *arguments, "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


REPORTS = modelkeep("schema")["reports"]


@pytest.mark.parametrize("report", REPORTS)
def test_every_report_is_a_method_with_the_same_fields(report: str) -> None:
    if report in NOT_IN_PYTHON:
        assert not hasattr(Workspace, report)
        return
    method = getattr(Workspace, METHODS.get(report, report.replace("-", "_")), None)
    assert method is not None, f"`{report}` has no method: see CONTRIBUTING.md, Add a command"
    kind = typing.get_type_hints(method)["return"]
    if report == "watch":
        kind = kind._item  # The command prints one report a line; a call returns them all.
    schema = modelkeep("schema", report)
    compare(report, kind, schema, schema.get("$defs", {}))


def compare(where: str, kind: type, schema: Any, definitions: Any) -> None:
    """The fields of a class against a schema, and below."""
    properties = schema["properties"]
    if issubclass(kind, ResultList):
        assert kind._rows in properties, where
        items = resolve(properties[kind._rows]["items"], schema, definitions)
        return compare(f"{where}.{kind._rows}", kind._item, items, definitions)
    assert issubclass(kind, Result)
    assert set(_fields(kind)) == set(properties), f"{where}: {kind.__name__} in results.py has other fields"
    for name, inner in properties.items():
        for below in (inner, inner.get("items", {}), *inner.get("anyOf", ())) if isinstance(inner, dict) else ():
            found = resolve(below, schema, definitions)
            if isinstance(found, dict) and "properties" in found:
                part = kind._parts.get(name)
                assert part is not None, f"{where}.{name}: {kind.__name__} does not say what it holds"
                if part is not kind:  # A pull of a base model within a pull.
                    compare(f"{where}.{name}", part, found, definitions)


def resolve(schema: Any, root: Any, definitions: Any) -> Any:
    reference = schema.get("$ref") if isinstance(schema, dict) else None
    if reference is None:
        return schema
    return root if reference == "#" else definitions[reference.rsplit("/", 1)[-1]]


def test_every_command_is_a_method() -> None:
    listed = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout
    body = listed.partition("Commands:\n")[2].partition("\n\n")[0]
    commands = [line.split()[0] for line in body.splitlines() if line.startswith("  ") and line[2] != " "]
    assert "push" in commands
    # Families of methods, and what a terminal alone has.
    families = {"remote": "remotes", "log": "log_append", "cache": "cache_status"}
    families |= {"file": "file_list", "guard": "guard_check"}
    left_out = {"completions", "schema", "help", "serve", *NOT_IN_PYTHON}
    missing = [name for name in commands if name not in left_out and not hasattr(Workspace, families.get(name, name))]
    assert not missing, f"{missing} have no method in modelkeep/workspace: see CONTRIBUTING.md, Add a command"


def test_every_result_is_exported() -> None:
    for _, method in inspect.getmembers(Workspace):
        hints = typing.get_type_hints(method) if inspect.isroutine(method) else {}
        kind = hints.get("return")
        if isinstance(kind, type) and issubclass(kind, (Result, ResultList)):
            assert getattr(results, kind.__name__) is kind
