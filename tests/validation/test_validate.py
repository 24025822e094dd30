"""The stage: a stamp for good records, and for others a list of what is wrong and no stamp."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from full_disks import full_disk
from talks import IMAGES, LANGUAGES, LIMITS, MAX_LENGTH, TWO, change, good, say
from written_mixtures import SHARD, MixedRecord, write_mixture

from parrot.config import Images, ParrotArchitecture, Speed, Validate
from parrot.data.accounting import Account, write_balance
from parrot.data.checksums import SealedFile
from parrot.data.shards import write_index
from parrot.errors import ParrotError
from parrot.validation.measures import STORED
from parrot.validation.validate import validate

MODEL = ParrotArchitecture(
    architecture="parrot", projector="linear", vision_feature_layer=-1, max_length=MAX_LENGTH
)


def run(
    folder: Path,
    records: list[MixedRecord] | None = None,
    limits: Validate = LIMITS,
    images: Images = IMAGES,
    processes: int = 1,
) -> dict[str, Any]:
    if records is not None:
        write_mixture(folder, records)
    return validate(
        LANGUAGES,
        images,
        limits,
        MODEL,
        Speed(workers=0, inference_batch_size=1, inference_processes=1, prepare_processes=processes),
        split="sft",
        prepared=folder / "prepared",
        mixture=folder / "mixture",
        reports=folder / "reports",
        metrics=folder / "metrics.json",
        stamp=folder / "stamp.json",
        work=folder / "work",
    )


def failures(folder: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pq.read_table(folder / "reports/contract_failures.parquet").to_pylist()
    return rows


def test_good_data_gets_a_stamp(tmp_path: Path) -> None:
    metrics = run(tmp_path, good())
    assert metrics == {
        "records": 40,
        "contract_failures": 0,
        "expectations": 5,
        "failed_expectations": 0,
        "language_share": {"en": 0.75, "zh": 0.25},
        "source_share": {"talk": 1.0},
        "text_only_share": 0.0,
        "duplicate_share": 0.0,
        "mean_text_bytes": metrics["mean_text_bytes"],
        "mean_turns": 2.0,
        "drift": 0.0,
    }
    assert json.loads((tmp_path / "metrics.json").read_text()) | {"drift": 0.0} == metrics
    stamp = json.loads((tmp_path / "stamp.json").read_text())
    assert (stamp["passed"], stamp["records"]) == (True, 40)
    assert failures(tmp_path) == []
    assert "5 of 5 expectations hold" in (tmp_path / "reports/data_docs/index.html").read_text()
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"


def test_the_stamp_depends_on_the_data_alone(tmp_path: Path) -> None:
    stamps = []
    twice = [replace(item, copies=2) for item in good()]
    for name, records in {"a": good(), "b": good(), "fewer": good()[:-1], "other index": twice}.items():
        run(tmp_path / name, records, LIMITS.model_copy(update={"min_records": 20 + len(stamps)}))
        stamps.append((tmp_path / name / "stamp.json").read_text())
    assert stamps[0] == stamps[1]
    assert len(set(stamps)) == 3


def test_a_breach_stops_it(tmp_path: Path) -> None:
    (tmp_path / "stamp.json").write_text("of an earlier run")
    wordless = say(("user", "<image>\nWhat?"), ("assistant", " "))
    with pytest.raises(ParrotError) as error:
        run(tmp_path, change(3, messages=wordless)(good()))
    assert str(error.value).splitlines() == [
        f"breaches of the contract: 1, all listed in {tmp_path / 'reports/contract_failures.parquet'}:",
        f"  {tmp_path / 'prepared' / SHARD}: record r3 of talk: "
        "empty_texts: every message must have text, found 1",
        "correct the data or its sources, or the limits in params.yaml's `validate`",
    ]
    assert [(row["shard"], row["record"], row["field"]) for row in failures(tmp_path)] == [
        (SHARD, "r3", "empty_texts")
    ]
    assert not (tmp_path / "stamp.json").exists()
    assert (tmp_path / "reports/data_docs/index.html").exists()
    assert json.loads((tmp_path / "metrics.json").read_text())["contract_failures"] == 1


def test_a_name_that_comes_again_stops_it(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match=r"record r4 of talk: id: source and id must be unique, found r4"):
        run(tmp_path, change(7, id="r4")(change(3, id="r4")(good())))
    assert [(row["record"], row["field"]) for row in failures(tmp_path)] == [("r4", "id")] * 2


def test_a_missed_expectation_stops_it(tmp_path: Path) -> None:
    (tmp_path / "stamp.json").write_text("of an earlier run")
    with pytest.raises(ParrotError) as error:
        run(tmp_path, [*good()[:2], *(replace(item, language="zh") for item in good()[2:])])
    assert str(error.value).splitlines() == [
        f"expectations missed: 1, see {tmp_path / 'reports/data_docs/index.html'}:",
        "  share of en: 0.5 to 0.9; found 0.025",
        "correct the data or its sources, or the limits in params.yaml's `validate`",
    ]
    assert not (tmp_path / "stamp.json").exists()
    assert json.loads((tmp_path / "metrics.json").read_text())["failed_expectations"] == 1


def test_a_split_without_images_is_measured(tmp_path: Path) -> None:
    texts = [
        replace(item, messages=say(("user", item.id), ("assistant", "It.")), images=()) for item in good()
    ]
    metrics = run(tmp_path, texts, LIMITS.model_copy(update={"max_text_only_share": 1.0}))
    assert metrics["text_only_share"] == 1.0


def test_many_failures_are_counted_and_few_are_shown(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match="breaches of the contract: 40") as error:
        run(tmp_path, [replace(item, messages=TWO) for item in good()])
    assert str(error.value).count("unplaced_images") == 5
    assert len(failures(tmp_path)) == 40


def test_a_damaged_shard_stops_it(tmp_path: Path) -> None:
    write_mixture(tmp_path, good())
    shard = tmp_path / "prepared" / SHARD
    shard.write_bytes(shard.read_bytes().replace(b"Number 7", b"Number 8", 1))
    with pytest.raises(ParrotError, match=r"damaged: 'messages' of row group 0 .* run the stage"):
        run(tmp_path)
    assert not (tmp_path / "stamp.json").exists()


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("call", "full"),
    [
        ("metadata.pa.ipc.new_file", full_disk),
        ("repeated.Repeats.add", full_disk),
        ("validate._FailuresWriter.add", full_disk),
        ("expectations.make_offline", full_disk),
    ],
)
def test_a_full_disk_is_a_sentence_and_no_stamp(
    call: str, full: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, good())
    before = files(tmp_path)
    monkeypatch.setattr(f"parrot.validation.{call}", full)
    with pytest.raises(ParrotError, match=r"no space left while writing .*; free some there and start again"):
        run(tmp_path)
    assert before.pop("stamp.json")  # data that nobody has looked through may not be trained on
    assert files(tmp_path) == before


def test_any_number_of_processes_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What breaks the contract, repeats others nearly and is in another language is found in all of them."""
    monkeypatch.setattr("parrot.data.shards.INDEX_ROWS", 15)  # three row groups
    long = " ".join(f"word{number}" for number in range(60))
    records = change(17, messages=say(("user", "<image>?"), ("assistant", long)))(good())
    records = change(39, messages=say(("user", "<image>?"), ("assistant", long.upper())))(records)
    records = change(39, images=records[17].images, id="r38")(change(20, positions=0)(records))
    english = "A small heron that stands by the river and waits, without moving, for a fish to come near."
    records = change(20, messages=say(("user", "<image>?"), ("assistant", english)))(records)
    limits = LIMITS.model_copy(update={"max_near_duplicate_share": 1.0, "max_other_language_share": 1.0})
    write_mixture(tmp_path, records)
    found = []
    for processes in (1, 2):
        with pytest.raises(ParrotError, match=r"breaches of the contract: 2,") as error:
            run(tmp_path, limits=limits, processes=processes)
        found.append((files(tmp_path), str(error.value)))
    assert found[0] == found[1]
    doubts = pq.read_table(tmp_path / "reports" / "doubts.parquet").to_pylist()
    assert {row["check"] for row in doubts} == {"nearly repeats an earlier record", "should be in zh"}


def test_large_pictures_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parrot.data.shards.GROUP_ROWS", 2)
    run(tmp_path, good())
    before, read, most = files(tmp_path), SealedFile.read, 0

    def noted(file: SealedFile, groups: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        nonlocal most
        table = read(file, groups, columns)
        most = max(most, table.nbytes if columns == STORED else 0)
        return table

    monkeypatch.setattr(SealedFile, "read", noted)
    monkeypatch.setattr("parrot.validation.metadata._BYTES_TOGETHER", 6000)
    run(tmp_path)
    assert 1000 < most < 8000
    assert files(tmp_path) == before


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from parrot.validation import expectations
expectations.make_offline = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from test_validate import run
run(Path({folder!r}))
"""


def test_a_killed_run_leaves_no_stamp_and_the_next_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path, good())
    before = files(tmp_path)
    script = KILLED.format(paths=[path for path in sys.path if path], folder=str(tmp_path))
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    left = files(tmp_path)
    assert before.keys() - left.keys() == {"stamp.json"}
    assert left.items() >= {name: before[name] for name in before if name != "stamp.json"}.items()
    run(tmp_path)
    assert files(tmp_path) == before


def test_nothing_to_validate(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match=r"balance\.json: not readable .*; run the stage mix"):
        run(tmp_path)
    write_mixture(tmp_path, good())
    write_index(tmp_path / "mixture", [])
    with pytest.raises(ParrotError, match=r"mixture: a mixture of no records; correct params\.yaml's `mix`"):
        run(tmp_path)


def test_records_that_no_account_knows_stop_it(tmp_path: Path) -> None:
    write_mixture(tmp_path, good())
    write_balance(tmp_path / "mixture", {"talk": Account(41, 41, 0, 0, 0, 0)})
    with pytest.raises(ParrotError, match=r"mixture: talk: 40 records, its balance says 41; run the"):
        run(tmp_path)
    write_balance(tmp_path / "mixture", {"talk": Account(41, 40, 0, 0, 0, 0)})
    with pytest.raises(ParrotError, match=r"balance\.json: talk: an entry was lost or counted twice: 41"):
        run(tmp_path)
