"""Partitions made by a Dask cluster: a scheduler and two workers, each a process of its own."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread

import numpy as np
import PIL.Image
import pytest
from small_sources import World, changed, conversation, digests, small_world

from parrot.data import executors
from parrot.data.prepare import prepare
from parrot.errors import ParrotError

pytest.importorskip("distributed")
ROOT = Path(__file__).parents[2]


@dataclass
class Cluster:
    address: str
    workers: list[subprocess.Popen[bytes]]


def start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """In a folder that is not the project's, as on another machine."""
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *command, "--no-dashboard"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def address(file: Path) -> str:
    deadline = time.monotonic() + 120
    while not (file.exists() and file.stat().st_size):
        assert time.monotonic() < deadline, "the scheduler does not begin"
        time.sleep(0.05)
    return str(json.loads(file.read_text())["address"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    scheduler = start(
        folder, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
    )
    where = address(file)
    workers = [start(folder, "worker", where, "--no-nanny", "--nthreads", "1") for _ in range(2)]
    yield Cluster(where, workers)
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


def noisy(number: int) -> bytes:
    """A picture that takes some time to decode."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (900, 900), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(file, "JPEG", quality=50)
    return file.getvalue() + b"%d" % number


def prepared_by(world: World, cluster: Cluster) -> World:
    return replace(world, speed=changed(world.speed, cluster=cluster.address))


def test_two_workers_make_the_same_bytes(tmp_path: Path, cluster: Cluster) -> None:
    world = small_world(tmp_path)
    talk = tmp_path / "talk" / "en.json"
    talk.write_text(talk.read_text().replace('"Number 3."', '" "'), encoding="utf-8")
    world.prepare_source("talk")
    first = digests(world.prepared("align"))
    assert prepared_by(world, cluster).prepare_source("talk")["rejected"] == {"total": 1, "empty text": 1}
    assert digests(world.prepared("align")) == first
    world.mix_split()
    mixed = digests(world.mixture("align"))
    prepared_by(world, cluster).mix_split()
    assert digests(world.mixture("align")) == mixed


@pytest.mark.parametrize("what", ["code", "tokenizers", "numpy"])
def test_a_worker_with_other_code_or_libraries_is_refused(
    what: str, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(executors._HERE, what, "other")
    with pytest.raises(ParrotError, match=rf"has {what} \S+, here other: what they make might differ; start"):
        prepared_by(small_world(tmp_path), cluster).prepare_source("talk")


def test_formats_count_as_code(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    formats = tmp_path / "sources" / "formats.yaml"
    seen = set()
    for text in ("a: 1", "a: 2"):
        formats.write_text(text)
        seen.add(executors._code_digest(tmp_path))
    assert len(seen) == 2


def test_a_worker_that_does_not_see_the_folder_is_refused(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = prepared_by(small_world(tmp_path), cluster)
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "elsewhere")
    with pytest.raises(ParrotError, match=r"does not see \S+/elsewhere \(No such file"):
        world.prepare_source("talk")


def test_who_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_PATIENCE", 1)
    world = small_world(tmp_path)
    for address_, message in (
        ("tcp://127.0.0.1:9", r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        ("what://", "no Dask scheduler answers at what://"),
    ):
        with pytest.raises(ParrotError, match=message):
            prepared_by(world, Cluster(address_, [])).prepare_source("talk")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ParrotError, match=r"Dask is not installed; `pip install '.\[dask\]'`"):
        prepared_by(world, Cluster("tcp://127.0.0.1:9", [])).prepare_source("talk")


def test_a_scheduler_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_PATIENCE", 2)
    file = tmp_path / "scheduler.json"
    scheduler = start(
        tmp_path, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
    )
    try:
        alone = Cluster(address(file), [])
        with pytest.raises(ParrotError, match="has no workers; start `dask worker tcp://127"):
            prepared_by(small_world(tmp_path), alone).prepare_source("talk")
    finally:
        scheduler.terminate()
        scheduler.wait()


def test_a_scheduler_that_is_lost_in_the_middle_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    scheduler = start(
        tmp_path, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
    )
    where = address(file)
    worker = start(tmp_path, "worker", where, "--no-nanny", "--nthreads", "1", "--death-timeout", "5")

    def items() -> Iterator[int]:
        yield 60
        scheduler.kill()

    try:
        with pytest.raises(ParrotError, match=r"the scheduler at tcp://\S+ was lost; start it"):
            speed = changed(small_world(tmp_path).speed, cluster=where)
            list(executors.in_order(items(), time.sleep, lambda _: False, speed))
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()


def test_a_worker_killed_in_the_middle_of_a_partition_costs_no_byte(tmp_path: Path, cluster: Cluster) -> None:
    pictures = {f"{number}.jpg": noisy(number) for number in range(60)}
    world = small_world(tmp_path).only([conversation(number) for number in range(60)], pictures)
    world = replace(world, prepare=changed(world.prepare, partition_records=20))
    world.prepare_source("only")
    first = digests(world.prepared("align"))
    work = tmp_path / "work"

    def kill() -> None:
        deadline = time.monotonic() + 120
        # Until both have begun to write.
        while len(list(work.glob(".part-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.002)
        cluster.workers[0].kill()

    killer = Thread(target=kill)
    killer.start()
    prepare(
        world.languages, world.images, world.prepare, world.sources, prepared_by(world, cluster).speed,
        source="only", output=world.prepared("align") / "only", metrics=tmp_path / "only.json", work=work,
    )  # fmt: skip
    killer.join()
    assert cluster.workers[0].wait() == -9
    assert cluster.workers[1].poll() is None
    assert digests(world.prepared("align")) == first
    assert not list(work.glob(".part-*"))
