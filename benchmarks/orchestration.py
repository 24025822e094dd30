"""What the flow costs over `dvc repro`, side by side: with nothing to do, for each stage, and while one runs.

    python benchmarks/orchestration.py [--project FOLDER] [--repeats 3] [--output FILE.json]

In a project of its own: stages that do nothing, so that only what runs them is left to be measured. With
--project, a finished pipeline, the run with nothing to do is measured there instead. A Prefect server is
started before, and its start is not counted. Seconds mean something on an idle machine; those of processor
time, of the command and all that it starts, nearly anywhere.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

STAGES = 8
DVC = [sys.executable, "-m", "dvc"]
FLOW = [sys.executable, "-m", "flows.pipeline", "--no-publish"]
ROOT = Path(__file__).parents[1]
PORT = 4299
START_SECONDS = 900.0
IDLE_SECONDS = 60.0


def environment(folder: Path, **more: str) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if name not in ("PARROT_FLOW", "DVC_STAGE")}
    paths = {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return {**given, **paths, "DVC_NO_ANALYTICS": "1", "PREFECT_HOME": str(folder / ".prefect"), **more}


def make_chain(folder: Path) -> None:
    """Stages, one after the other, each of which copies a line."""
    names = ["source", *(f"made{number}" for number in range(STAGES))]
    lines = [
        f"  {after}: {{cmd: cp {before} {after}, deps: [{before}], outs: [{after}]}}"
        for before, after in pairwise(names)
    ]
    (folder / "dvc.yaml").write_text("\n".join(["stages:", *lines, ""]))
    (folder / "idle").mkdir()
    sleep = f"sleep {IDLE_SECONDS + 60:.0f} && cp ../source slept"
    (folder / "idle/dvc.yaml").write_text(
        f"stages:\n  sleeper: {{cmd: {sleep}, deps: [../source], outs: [slept]}}\n"
    )
    (folder / "source").write_text("0\n")
    shutil.copy(ROOT / "prefect.toml", folder)
    subprocess.run([*DVC, "init", "--quiet", "--no-scm"], cwd=folder, env=environment(folder), check=True)


class Cost(NamedTuple):
    seconds: float
    processor: float
    """Seconds of processor time, of all processes together."""


def cost(command: list[str], folder: Path, **more: str) -> Cost:
    began, before = time.monotonic(), os.times()
    done = subprocess.run(
        command, cwd=folder, env=environment(folder, **more), capture_output=True, text=True
    )
    took, after = time.monotonic() - began, os.times()
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    children = [times.children_user + times.children_system for times in (before, after)]
    return Cost(took, children[1] - children[0])


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def server(folder: Path) -> Iterator[str]:
    api = f"http://127.0.0.1:{PORT}/api"
    command = [str(Path(sys.executable).parent / "prefect"), "server", "start", "--port", str(PORT)]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(f"{api}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{api}: the server that was started does not answer")
            time.sleep(0.3)
        yield api
    finally:
        process.terminate()
        process.wait()


class Idle(NamedTuple):
    """Shares of one core while a stage runs."""

    server: float
    """Of the server that the flow has started for itself."""
    flow: float


def idle_shares(folder: Path) -> Idle:
    command = [*FLOW, "idle:sleeper"]
    flow = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL)
    try:
        own = psutil.Process(flow.pid)
        while not any("sleep" in child.name() for child in own.children(recursive=True)):
            if flow.poll() is not None:
                sys.exit("the flow with a server of its own has ended before its stage ran")
            time.sleep(0.5)
        time.sleep(20)  # what a start leaves to be done
        children = own.children(recursive=True)
        (served,) = [child for child in children if "uvicorn" in " ".join(child.cmdline())]
        before = [sum(process.cpu_times()[:2]) for process in (served, own)]
        time.sleep(IDLE_SECONDS)
        after = [sum(process.cpu_times()[:2]) for process in (served, own)]
        return Idle(*((end - start) / IDLE_SECONDS for start, end in zip(before, after, strict=True)))
    finally:
        flow.terminate()
        flow.wait()


def compare(folder: Path, at: Path, repeats: int) -> dict[str, Cost]:
    """Medians: all stages, then nothing to do, by DVC and by the flow in turn."""
    seen: dict[str, list[Cost]] = {"all repro": [], "all flow": [], "repro": [], "flow": []}
    with server(folder) as api:
        cost(FLOW, folder, PREFECT_API_URL=api)  # MLflow's store is made
        for number in range(repeats):
            (folder / "source").write_text(f"{2 * number + 1}\n")
            seen["all repro"].append(cost([*DVC, "repro"], folder))
            (folder / "source").write_text(f"{2 * number + 2}\n")
            seen["all flow"].append(cost(FLOW, folder, PREFECT_API_URL=api))
            seen["repro"].append(cost([*DVC, "repro"], at))
            seen["flow"].append(cost(FLOW, at, PREFECT_API_URL=api))
    return {name: Cost(*map(median, zip(*values, strict=True))) for name, values in seen.items()}


def table(costs: dict[str, Cost], idle: Idle) -> str:
    """The flow's own cost beside what it may be."""
    rows = [("", "dvc repro", "flow", "its own", "at most")]
    for unit, of_run, of_stage in (("seconds", "6", "3"), ("processor", "", "")):
        all_repro, all_flow, repro, flow = (getattr(costs[name], unit) for name in costs)
        stage, by_flow = all_repro / STAGES, all_flow / STAGES
        what = "s" if unit == "seconds" else "s of processor time"
        for label, one, other, most in (
            ("nothing to do", repro, flow, of_run),
            (f"each of {STAGES} stages", stage, by_flow, of_stage),
        ):
            rows.append((f"{label}, {what}", f"{one:.2f}", f"{other:.2f}", f"{other - one:.2f}", most))
    rows.append(
        ("while a stage runs, the flow's own server, % of a core", "", "", f"{100 * idle.server:.2f}", "2")
    )
    rows.append(("while a stage runs, the flow itself, % of a core", "", "", f"{100 * idle.flow:.2f}", ""))
    return "\n".join(f"{row[0]:<60}" + "".join(f"{cell:>11}" for cell in row[1:]) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, help="a finished pipeline in which there is nothing to do")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_chain(folder)
        costs, idle = compare(folder, args.project or folder, args.repeats), idle_shares(folder)
    print(table(costs, idle))
    if args.output:
        result = {name: of._asdict() for name, of in costs.items()} | {"idle": idle._asdict()}
        args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
