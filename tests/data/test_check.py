"""`parrot data check` and `parrot data repair`, as a person calls them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checked import write_records
from small_sources import changed, conversation, instruction, small_world, write_json_list

from parrot.cli import main
from parrot.config import Params
from parrot.data.reject_tables import REJECTS
from parrot.data.repair import take_back, write_out
from parrot.errors import ParrotError
from parrot.params import load_params

BROKEN = conversation(1, "What is it?") | {"id": "odd"}


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines."""
    code: Any = 0
    try:
        main(["data", "check", *arguments])
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    if not isinstance(code, int):
        return 1, [*captured.out.splitlines(), code]
    return code, captured.out.splitlines()


@pytest.fixture
def odd(tmp_path: Path) -> list[str]:
    """The flags for a file whose record at 1 is broken."""
    path = write_records(tmp_path, BROKEN)
    return ["--format", "llava", "--annotations", str(path), "--images", str(tmp_path / "images.zip")]


def test_a_broken_record_is_a_line_and_ends_with_1(
    odd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(capsys, *odd) == (1, [
        "en 1: id odd: conversations: placeholders: 0 <image> for 1 images",
        "        1  placeholders",
        "        1  of 3 records are broken",
    ])  # fmt: skip
    code, lines = check(capsys, *odd, "--json")
    reason = "placeholders: 0 <image> for 1 images"
    row = {"language": "en", "position": 1, "id": "odd", "field": "conversations", "reason": reason}
    assert (code, json.loads("".join(lines))) == (
        1,
        {"read": 3, "broken": [row], "reasons": {"placeholders": 1}},
    )


def test_clean_records_end_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_records(tmp_path, conversation(1))
    flags = ["--format", "llava", "--annotations", str(path), "--images", str(tmp_path / "images.zip")]
    assert check(capsys, *flags) == (0, ["        0  of 3 records are broken"])
    assert check(capsys, *flags, "--json")[0] == 0


def test_a_broken_file_is_a_sentence_behind_what_was_found(
    odd: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(odd[3])
    path.write_text(path.read_text()[:-20])
    code, lines = check(capsys, *odd)
    assert code == 1
    assert lines[0].startswith("en 1: id odd: conversations: placeholders")
    assert "broken JSON" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name a source of params.yaml, or give --format and --annotations"),
        (["nobody"], "params.yaml: sources: has no nobody, but"),
        (["--format", "llava"], "give --format and --annotations"),
        (["--format", "lava", "--annotations", "x"], "did you mean 'llava'"),
        (["--format", "llava", "--annotations", "nowhere.json"], "nowhere.json: not found"),
    ],
)
def test_what_cannot_be_checked_is_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, [line] = check(capsys, *arguments)
    assert (code, sentence in line) == (1, True), line


def test_a_source_of_params_is_checked_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path).only([instruction(0), instruction(1) | {"output": ""}])
    params: Params = load_params().model_copy(update={"sources": world.sources})
    monkeypatch.setattr("parrot.params.load_params", lambda: params)
    code, lines = check(capsys, "only")
    assert (code, lines[0]) == (1, "en 1: id 1: output: empty text")


def test_rejects_are_written_out_repaired_and_taken_back(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    items = [instruction(number) for number in range(20)]
    items[7]["output"] = items[11]["output"] = "caf\ufffd"
    for lines in (False, True):
        world = small_world(tmp_path / str(lines)).only(items)
        path = Path(world.sources["only"].path)
        if lines:
            path.write_text("\n".join(map(json.dumps, items)) + "\n")
        assert world.prepare_source("only")["rejected"] == {"total": 2, "broken text": 2}
        file = path.parent / "repairs.jsonl"
        arguments = (file, "only", world.sources["only"], world.images, world.languages)
        assert write_out(world.prepared("align") / "only" / REJECTS, file) == 2
        with pytest.raises(ParrotError, match=r"repairs.jsonl: is there already"):
            write_out(world.prepared("align") / "only" / REJECTS, file)
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert [(row["position"], row["entry"]) for row in rows] == [(7, items[7]), (11, items[11])]
        with pytest.raises(ParrotError, match=r"line 1: still broken: output: broken text"):
            take_back(*arguments)
        before = path.read_bytes()
        rows[0]["entry"]["output"] = "Seven."
        file.write_text(json.dumps(rows[0]) + "\n")  # the other one's line is deleted
        assert take_back(*arguments) == {path: 1}
        assert path.with_name(path.name + ".original").read_bytes() == before
        assert world.prepare_source("only")["rejected"] == {"total": 1, "broken text": 1}
        rows[1]["entry"]["output"] = "Eleven."
        file.write_text(json.dumps(rows[1]) + "\n")
        take_back(*arguments)
        assert path.with_name(path.name + ".original").read_bytes() == before
        metrics = world.prepare_source("only")
        assert (metrics["kept"], metrics["rejected"]) == (20, {"total": 0})


def test_entries_that_nobody_repaired_stay_as_they_are(tmp_path: Path) -> None:
    whole, broken = json.dumps(instruction(0)), '{"instruction": "Say 1.", "output": "1"'
    twice = '{"instruction": "Say 2.",  "output": "2", "output": "two", "input": ""}'
    for lines in (False, True):
        world = small_world(tmp_path / str(lines)).only([])
        world = replace(world, prepare=changed(world.prepare, max_reject_share=0.9))
        path = Path(world.sources["only"].path)
        odd = json.dumps(instruction(3) | {"output": ""})
        given = [whole, twice, odd, broken, twice, whole][: None if lines else 3]
        path.write_text("\n".join(given) + "\n" if lines else f"[{', '.join(given)}]")
        world.prepare_source("only")
        file = tmp_path / f"{lines}.jsonl"
        write_out(world.prepared("align") / "only" / REJECTS, file)
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        last = {"instruction": "Say 2.", "output": "two", "input": ""}
        entries = [last, json.loads(odd), broken, last]
        assert [row["entry"] for row in rows] == entries[: None if lines else 2]
        write_json_list(file, [rows[1] | {"entry": instruction(3)}])
        take_back(file, "only", world.sources["only"], world.images, ["en"])
        given[2] = json.dumps(instruction(3))
        assert path.read_text() == ("\n".join(given) + "\n" if lines else "[\n" + ",\n".join(given) + "\n]\n")


def test_repairs_that_belong_nowhere_are_refused(tmp_path: Path) -> None:
    world = small_world(tmp_path).only([instruction(0)])
    path = Path(world.sources["only"].path)
    before = path.read_bytes()
    for row, sentence in (
        ({"language": "en", "position": 9, "entry": instruction(9)}, "has 1 entries, none has position 9"),
        ({"language": "xx", "position": 0, "entry": instruction(9)}, "line 1: lacks"),
        ({"position": 0, "entry": instruction(9)}, "line 1: lacks `language`, `position` or `entry`"),
        ({"language": "en", "position": "0", "entry": instruction(9)}, "line 1: lacks `language`, `pos"),
    ):
        file = write_json_list(tmp_path / "repairs.jsonl", [row])
        with pytest.raises(ParrotError, match=sentence):
            take_back(file, "only", world.sources["only"], world.images, ["en"])
        assert path.read_bytes() == before


def test_half_a_copy_is_never_taken_for_the_publishers_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(tmp_path).only([instruction(0)])
    path = Path(world.sources["only"].path)
    row = {"language": "en", "position": 0, "entry": instruction(9)}
    arguments = (
        write_json_list(tmp_path / "a.jsonl", [row]),
        "only",
        world.sources["only"],
        world.images,
        ["en"],
    )
    before = path.read_bytes()

    def killed(_: Path, target: Path) -> None:
        target.write_bytes(b"[{")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("parrot.data.repair.shutil.copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            take_back(*arguments)
    assert path.read_bytes() == before
    take_back(*arguments)
    assert path.with_name(path.name + ".original").read_bytes() == before
