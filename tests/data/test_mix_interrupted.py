"""What a full disk or a kill leaves of a mixture."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from full_disks import full_database, full_disk
from small_sources import (
    changed,
    digests,
    instruction,
    small_world,
)

from parrot.data import screening
from parrot.data.screening import Taken
from parrot.errors import ParrotError


@pytest.mark.parametrize(
    ("call", "full"),
    [
        ("screening.pa.ipc.new_file", full_disk),
        ("mix.Repeats.add", full_disk),
        ("mix.FirstSeen.earlier", full_database),
        ("mix.write_balance", full_disk),
        ("mix.write_json", full_disk),
        ("shards.seal", full_disk),
        ("reject_tables.RejectsWriter._write", full_disk),
    ],
)
def test_a_full_disk_is_a_sentence_and_leaves_the_old_outputs(
    call: str, full: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [instruction(number) | {"id": str(number % 20)} for number in (*range(21), 3)]
    world = small_world(tmp_path).only(items)
    assert world.run()["duplicates"] == 1
    before = digests(world.mixture("align")), digests(tmp_path / "metrics")
    monkeypatch.setattr(f"parrot.data.{call}", full)
    with pytest.raises(ParrotError, match=r"no space left while writing .*; free some there and start again"):
        world.mix_split(seed=2)
    assert (digests(world.mixture("align")), digests(tmp_path / "metrics")) == before


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from small_sources import small_world
from parrot.data import mix as module
def killed(folder, tables):
    next(tables)
    os.kill(os.getpid(), signal.SIGKILL)
world = small_world(Path({folder!r}))
world.run()
module.write_index = killed
world.mix_split(seed=2)
"""


def test_a_killed_run_leaves_the_old_mixture_and_the_next_the_same_bytes(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(killed))
    killed.mkdir()
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    whole.mkdir()
    world = small_world(whole)
    world.run()
    mixture = killed / "mixtures" / "align"
    assert digests(mixture) == digests(world.mixture("align"))
    assert len(list(mixture.parent.iterdir())) == 2  # what was half written lies beside it …
    replace(world, folder=killed).mix_split(seed=2)
    assert [path.name for path in mixture.parent.iterdir()] == ["align"]  # … until the next run
    world.mix_split(seed=2)
    assert digests(mixture) == digests(world.mixture("align"))


def test_any_number_of_processes_gives_the_same_bytes_and_partitions_that_are_done_stay_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path)
    world = replace(world, prepare=changed(world.prepare, partition_records=7))
    world.run()
    first = digests(world.mixture("align"))
    several = replace(world, speed=changed(world.speed, prepare_processes=2))
    work = tmp_path / "work"
    several.mix_split(work=work)
    assert digests(world.mixture("align")) == first
    done = sorted(work.rglob("*.arrow"))
    assert len(done) == 5  # of 20 records in one language and 10 in the other
    done[1].unlink()
    screened: list[Taken] = []
    screen_part = screening._screen_part

    def noting(screen: screening.Screen, folder: Path, part: Taken) -> None:
        screened.append(part)
        screen_part(screen, folder, part)

    monkeypatch.setattr(screening, "_screen_part", noting)
    world.mix_split(work=work)
    assert [part.number for part in screened] == [1]
    assert digests(world.mixture("align")) == first
