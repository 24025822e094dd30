"""What became of every entry is said, and what is missing is named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_sources import (
    changed,
    digests,
    instruction,
    picture,
    question,
    small_backbones,
    small_world,
    turns,
    write_tsv,
)

from parrot.data.accounting import Account
from parrot.data.reject_tables import RejectsWriter, read_rejects
from parrot.errors import ParrotError


def test_too_many_rejects_stop_it_and_leave_the_table(tmp_path: Path) -> None:
    items: list[Any] = [*(instruction(number) for number in range(20)), 7, *map(instruction, range(3))]
    world = small_world(tmp_path).only(items)
    with pytest.raises(ParrotError) as error:
        world.run()
    table = world.mixture("align") / "rejects.parquet"
    assert str(error.value) == (
        "align: 4 of 24 entries rejected, max_reject_share allows 0.1; mostly "
        f"duplicate (3), wrong type (1); all are listed in {table}"
    )
    assert len(world.rejects()) == 4
    assert list(digests(world.mixture("align"))) == ["rejects.parquet"]
    assert json.loads((tmp_path / "metrics" / "align.json").read_text())["rejects"]["total"] == 4
    assert replace(world, mix=changed(world.mix, max_reject_share=0.5)).mix_split()["records"] == 20


def test_rejects_that_are_damaged_or_of_another_run_are_named(tmp_path: Path) -> None:
    world = small_world(tmp_path).only([*map(instruction, range(20)), 7])
    world.prepare_source("only")
    table = world.prepared("align") / "only" / "rejects.parquet"
    whole, [listed] = table.read_bytes(), read_rejects(table)
    damaged = bytearray(whole)
    damaged[whole.index(b"wrong type")] ^= 1
    table.write_bytes(damaged)
    with pytest.raises(ParrotError, match=r"rejects\.parquet: damaged: 'reason' of row group 0"):
        world.mix_split()
    for rows in ([], [listed, listed]):
        with RejectsWriter(table) as rejects:
            for row in rows:
                rejects.add(row)
        with pytest.raises(ParrotError, match=rf"lists {len(rows)} entries, but 1 were rejected"):
            world.mix_split()


def test_a_source_that_is_missing_or_was_removed_is_named(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    with pytest.raises(ParrotError, match="align/talk: not found; run the stage prepare@talk first"):
        world.mix_split()
    world.run()
    shutil.copytree(world.prepared("align") / "talk", world.prepared("align") / "gone")
    with pytest.raises(ParrotError, match=r"align/gone: is no source of mix.align; .* delete it"):
        world.mix_split()


def test_missing_inputs_say_how_to_get_them(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    world.run()
    before = digests(world.mixture("align"))
    (tmp_path / "mmmb" / "en.tsv").unlink()
    with pytest.raises(ParrotError, match=r"mmmb: holds no .tsv \(mix.benchmarks\)"):
        world.mix_split()
    (tmp_path / "mmmb").rmdir()
    with pytest.raises(ParrotError, match=r"mmmb: not found.*`parrot data`"):
        world.mix_split()
    small_backbones(tmp_path / "backbones")["vision"].rename(tmp_path / "elsewhere")
    write_tsv(tmp_path / "mmmb" / "en.tsv", [question(1, picture(1))])
    with pytest.raises(ParrotError, match="vision: not found; run the stage backbone first"):
        world.mix_split()
    assert digests(world.mixture("align")) == before


def test_no_entries_at_all(tmp_path: Path) -> None:
    world = small_world(tmp_path).only([instruction(1)], mixed={"weight": 0.1})
    with pytest.raises(ParrotError, match=r"mix.align: its sources hold no entries"):
        world.run()


def account(**counts: int) -> dict[str, int]:
    """As the metrics have it; what is not told is 0."""
    return {name: counts.get(name, 0) for name in Account.__slots__}


def test_of_every_entry_it_is_said_what_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept, mended by prepare or cut, rejected by either stage, repeated, not drawn: they add up."""
    items: list[Any] = [instruction(number) for number in range(20)]
    items += [instruction(3), instruction(4)]  # deduplicated, if the other is drawn
    items += [instruction(30) | {"output": ""}, 7]  # rejected by prepare
    items += [instruction(31) | {"instruction": "a " * 900}]  # too long
    turns_ = [{"from": "human", "value": text} for text in ("Hi.", "What?")] + [
        {"from": "gpt", "value": "It."}
    ]
    world = small_world(tmp_path).only(items)
    world = replace(world, prepare=changed(world.prepare, max_reject_share=0.5))
    world = replace(world, mix=changed(world.mix, max_reject_share=0.5))
    whole = world.run()["balance"]["only"]
    assert whole == account(read=25, kept=20, rejected=3, deduplicated=2)
    assert "mix align: only: 25 read = 20 kept + 0 mended + 3 rejected + 2 dedup" in capsys.readouterr().err
    for mixed in ({"samples": 9}, {"weight": 0.4}):
        some = replace(world, mix=changed(world.mix, align={"only": mixed})).mix_split()["balance"]["only"]
        assert some["sampled_away"] in (15, 16)
        assert sum(some.values()) == 2 * some["read"] == 50
    talks = [{"conversations": turns_}, {"conversations": turns("What?", "It.")}]
    mended = small_world(tmp_path / "talks").only(talks, format="llava")
    assert mended.prepare_source("only")["mended"]["total"] == 1
    assert mended.mix_split()["balance"]["only"]["mended"] == 1
    [row] = pq.read_table(mended.prepared("align") / "only" / "mended.parquet").to_pylist()
    assert (row["position"], json.loads(row["entry"])) == (0, talks[0])


def test_what_the_format_leaves_out_is_accounted_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it stands in the file, behind the last entry that is wanted, too."""
    items: list[Any] = [instruction(number) | {"part": "b" if number % 5 else "a"} for number in range(23)]
    form = {
        "columns": {"prompt": "instruction", "query": "input", "response": "output"}, "only": {"part": ["a"]}
    }  # fmt: skip
    world = small_world(tmp_path).only(items, format=form)
    found = world.run()["balance"]["only"]
    assert found == account(read=23, kept=5, left_out=18)
    assert "mix align: only: 23 read = 5 kept + " in capsys.readouterr().err
    assert json.loads((world.mixture("align") / "balance.json").read_text()) == {"only": found}
    half = replace(world, mix=changed(world.mix, align={"only": {"samples": 2}})).mix_split()
    assert (half["balance"]["only"]["sampled_away"], half["balance"]["only"]["left_out"]) == (3, 18)
