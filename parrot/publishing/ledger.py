"""The ledger: one JSON line for each verdict, publication and way back, in the order in which they happened.

It stands beside what it tells of (`publish.folder`), and not in git: what is published is no state of the
code, and a clone at another commit must read the same ledger. Clones that publish to one place share it by
naming one `publish.folder`. A line is written before the registry's alias moves, so that a step that was
killed and is done again finds what it was about.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from parrot.errors import ParrotError
from parrot.files import naming_full_disk
from parrot.pipeline.processes import file_lock

LEDGER = "ledger.jsonl"
Event = Literal["verdict", "publication", "rollback", "repair"]
Entry = Mapping[str, Any]
"""`time` (UTC; the order is that of the lines, whatever clocks did), `event`, `name` of the model, facts."""

_CHANGES = {"publication", "rollback"}
"""What changes which version is shown."""


def read_ledger(path: Path) -> list[Entry]:
    """All lines; a last one that was cut off, as a killed process leaves it, is said and left out.

    Raises:
        ParrotError: another line is broken.
    """
    if not path.exists():
        return []
    with file_lock(path):
        entries, cut = _parse(path, path.read_bytes())
    if cut:
        print(f"{path}: the last line is cut off and does not count: {_start(cut)}", file=sys.stderr)
    return entries


def append(
    path: Path, event: Event, name: str, facts: Mapping[str, Any], details: Mapping[str, Any] | None = None
) -> bool:
    """Write a line behind the others, unless what was said last already says it: the step was done again.

    A last line that was cut off is said and repaired: what is left of it becomes part of a line of its own.

    Args:
        details: what may differ when a step is done again.

    Returns:
        Whether a line was written.

    Raises:
        ParrotError: another line is broken, or the disk is full.
    """
    with file_lock(path), naming_full_disk(path), path.open("r+b", buffering=0) as file:
        content = file.read()
        entries, cut = _parse(path, content)
        told = {"event": event, "name": name, **facts}
        last = _last(entries, event, name)
        if all(key in last and last[key] == value for key, value in told.items()):
            return False
        lines = [{**told, **(details or {})}]
        if cut:
            print(f"{path}: the last line was cut off and is repaired: {_start(cut)}", file=sys.stderr)
            lines.insert(0, {"event": "repair", "name": name, "cut": _start(cut)})
        now = datetime.now(UTC).isoformat(timespec="seconds")
        text = "".join(json.dumps({"time": now, **line}, ensure_ascii=False) + "\n" for line in lines)
        file.seek(len(content) - len(cut))
        rest = text.encode()
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(len(content))
            raise
        return True


def held_back(entries: Sequence[Entry], name: str) -> dict[str, str]:
    """Weights -> the version that a person went back from, and that nobody has published since."""
    held: dict[str, str] = {}
    for entry in entries:
        if entry["name"] == name and entry["event"] in _CHANGES:
            held.pop(entry["weights"], None)
            if entry.get("hold") and entry["replaced"]:
                held[entry["replaced"]["weights"]] = entry["replaced"]["version"]
    return held


def shown(entries: Sequence[Entry], name: str) -> Entry | None:
    """The line that tells which version is shown: the last publication or way back."""
    return next((one for one in reversed(entries) if one["name"] == name and one["event"] in _CHANGES), None)


def promised(entries: Sequence[Entry], name: str) -> list[Entry]:
    """Verdicts since the last change that let a version be published, of which no publication tells: it
    waits for a person, or was killed."""
    found: list[Entry] = []
    for entry in (one for one in entries if one["name"] == name):
        if entry["event"] in _CHANGES:
            found = []
        elif entry["event"] == "verdict" and entry.get("decision") == "PROMOTE" and entry.get("version"):
            found = [*(one for one in found if one["version"] != entry["version"]), entry]
    return found


def published_before(entries: Sequence[Entry], name: str, version: str) -> str | None:
    """The version that this one replaced when it was published."""
    for entry in reversed(entries):
        if (entry["event"], entry["name"], entry.get("version")) == ("publication", name, version):
            return entry["replaced"] and str(entry["replaced"]["version"])
    return None


def _last(entries: Sequence[Entry], event: Event, name: str) -> Entry:
    """The line that one of this event would repeat: behind a way back nothing is a repetition."""
    kinds = {event, "rollback"} | (_CHANGES if event == "rollback" else set())
    for entry in reversed(entries):
        if entry["name"] == name and entry["event"] in kinds:
            return entry
    return {}


def _parse(path: Path, content: bytes) -> tuple[list[Entry], bytes]:
    """The lines, and what there is behind the last whole one."""
    *whole, cut = content.split(b"\n")
    entries: list[Entry] = []
    for number, line in enumerate(whole, start=1):
        try:
            entry = json.loads(line)
            entries.append({**entry, "event": entry["event"], "name": entry["name"]})
        except (ValueError, TypeError, KeyError):
            raise ParrotError(
                f"{path}: line {number}: no line of a ledger ({_start(line)}); restore it, or take it out"
            ) from None
    return entries, cut


def _start(line: bytes) -> str:
    return line.decode(errors="replace")[:200]
