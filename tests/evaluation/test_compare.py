import json
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import write_evaluation
from PIL import Image

from parrot.cli import main
from parrot.errors import ParrotError
from parrot.evaluation.comparison.compare import compare, compare_evaluations, load
from parrot.evaluation.samples import read_evaluation
from parrot.evaluation.scoring.statistics import mcnemar
from parrot.tracking import track_pipeline, track_stage
from parrot.tracking.store import connect


def good(language: str, run: str, index: int) -> bool:
    return run == "seeing" and index % 10 != 0


def worse_in_chinese(language: str, run: str, index: int) -> bool:
    return good(language, run, index) and not (language == "zh" and index % 4 == 1)


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write_evaluation(tmp_path / "a", good)


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return write_evaluation(tmp_path / "b", worse_in_chinese)


def change(file: Path, edit: Callable[[str], str]) -> None:
    file.write_text(edit(file.read_text(encoding="utf-8")), encoding="utf-8")


def test_the_table_tells_where_the_difference_is(
    a: Path, b: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["compare", str(a), str(b)])
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.startswith(("overall", "en", "zh", "co"))}
    assert rows["en"].split()[1:5] == ["40", "90.0", "90.0", "+0.0"]
    assert rows["zh"].split()[1:5] == ["40", "90.0", "65.0", "+25.0"]
    assert rows["overall"].split()[1:5] == ["80", "90.0", "77.5", "+12.5"]
    assert rows["colour"].split()[1:5] == ["40", "80.0", "80.0", "+0.0"]
    assert rows["count"].split()[1:5] == ["40", "100.0", "75.0", "+25.0"]
    assert {name for name, line in rows.items() if "*" in line} == {"zh", "overall", "count"}
    assert rows["zh"].split()[-2:] == ["0.0020", "0.0039"]  # 10 pairs to none: 2 / 1024; twice that
    assert lines[-1].startswith("5 comparisons (1 overall, 2 language, 2 category)")


def test_json_and_plot_hold_the_same(a: Path, b: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "difference.json"
    comparisons = compare(str(a), str(b), "seeing", output)
    tree = json.loads(output.read_text())
    assert tree["settings"] == json.loads((a / "settings.json").read_text())
    assert [row["name"] for row in tree["comparisons"]] == ["overall", "en", "zh", "colour", "count"]
    zh = tree["comparisons"][2]
    assert (zh["questions"], zh["only_a"], zh["only_b"], zh["p"]) == (40, 10, 0, mcnemar(10, 0))
    assert zh["difference"] == comparisons[2].difference._asdict()
    with Image.open(output.with_suffix(".png")) as plot:
        assert plot.format == "PNG" and plot.width > 300
        assert "Software" not in plot.info
    before = output.with_suffix(".png").read_bytes()
    compare(str(a), str(b), "seeing", output)
    assert output.with_suffix(".png").read_bytes() == before


def test_swapping_a_and_b_turns_the_signs_round(a: Path, b: Path) -> None:
    first, second = read_evaluation(a), read_evaluation(b)
    for one, other in zip(
        compare_evaluations(first, second, "seeing"),
        compare_evaluations(second, first, "seeing"),
        strict=True,
    ):
        assert (one.a, one.b, one.p, one.p_holm) == (other.b, other.a, other.p, other.p_holm)
        value, low, high = one.difference
        assert other.difference == pytest.approx((-value, -high, -low), abs=1e-6)


def test_the_order_of_the_lines_does_not_matter(a: Path, b: Path) -> None:
    before = compare_evaluations(read_evaluation(a), read_evaluation(b), "seeing")
    change(b / "predictions.jsonl", lambda text: "".join(reversed(text.splitlines(keepends=True))))
    assert compare_evaluations(read_evaluation(a), read_evaluation(b), "seeing") == before


def test_another_run_can_be_compared(a: Path, b: Path) -> None:
    compared = compare_evaluations(read_evaluation(a), read_evaluation(b), "blind")
    assert all(one.difference == (0, 0, 0) and one.p == 1 for one in compared)
    with pytest.raises(ParrotError, match=r"--run letter: no such answers in .*; it has seeing, blind"):
        compare_evaluations(read_evaluation(a), read_evaluation(b), "letter")


def test_every_setting_that_differs_is_named_with_both_values(a: Path, b: Path) -> None:
    tree = json.loads((b / "settings.json").read_text())
    tree["prompts"]["seeing"]["version"] = "2"
    tree["benchmark"]["en"]["sha256"] = "ab"
    del tree["benchmark"]["zh"]["file"]
    (b / "settings.json").write_text(json.dumps(tree))
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(a), str(b)])
    told = str(stop.value.code).splitlines()
    assert told[0].startswith(f"parrot compare: {a} (A) and {b} (B) cannot be compared; ")
    assert sorted(told[1:]) == [
        '  benchmark.en.sha256: absent in A, "ab" in B',
        '  benchmark.zh.file: "mmmb_zh.tsv" in A, absent in B',
        '  prompts.seeing.version: "1" in A, "2" in B',
    ]


def test_missing_and_changed_questions_are_counted_and_the_first_are_named(a: Path, b: Path) -> None:
    def cut(text: str) -> str:
        lines = text.splitlines(keepends=True)[:-8]
        lines[3] = lines[3].replace('"cluster": "1"', '"cluster": "x"')
        return "".join(lines)

    change(b / "predictions.jsonl", cut)
    with pytest.raises(ParrotError) as told:
        compare_evaluations(read_evaluation(a), read_evaluation(b), "seeing")
    assert str(told.value).splitlines()[1:] == [
        "  questions only in A: 8 (zh 32, zh 33, zh 34, zh 35, zh 36, …)",
        "  questions of another category, answer or cluster: 1 (en 3)",
    ]


def test_the_output_must_be_json_and_nothing_is_read_before(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match=r"--output x\.txt: must end in \.json"):
        compare("nothing", "nothing", "seeing", Path("x.txt"))


def test_what_is_neither_folder_nor_run_is_refused() -> None:
    with pytest.raises(ParrotError, match="artifacts/nothing: neither a folder nor an MLflow run"):
        load("artifacts/nothing")


@pytest.mark.usefixtures("tracked_folder")
def test_runs_of_mlflow_are_found_by_their_own_and_by_their_parents_id(tmp_path: Path) -> None:
    with track_pipeline() as parent:
        for hit in (good, worse_in_chinese):  # the second time as after a retry
            folder = write_evaluation(tmp_path / hit.__name__ / "evaluation", hit)
            with track_stage("evaluate", {}) as stage:
                stage.log_artifact(folder)
        with track_stage("package", {}):
            pass
    client, experiment = connect()  # the pipeline has sent what its stages noted
    stages = client.search_runs([experiment], "attributes.run_name = 'evaluate'")
    newest = max(stages, key=lambda run: run.info.start_time).info.run_id
    of_stage, of_pipeline = load(f"runs:/{newest}"), load(str(parent.id))
    assert of_stage.name == f"runs:/{newest}"
    assert of_stage.samples == of_pipeline.samples
    assert of_stage.samples == read_evaluation(tmp_path / "worse_in_chinese" / "evaluation").samples


@pytest.mark.usefixtures("tracked_folder")
def test_runs_without_evaluation_and_unknown_runs_are_named() -> None:
    with track_stage("prepare", {}) as stage:
        pass
    with pytest.raises(ParrotError, match=f"neither run {stage.id} nor a child .* folder 'evaluation'"):
        load(f"runs:/{stage.id}")
    with pytest.raises(ParrotError, match=f"run {'0' * 32} cannot be read"):
        load("0" * 32)


def test_without_a_store_none_is_made(tracked_folder: Path) -> None:
    (tracked_folder / "mlflow.db").unlink()
    with pytest.raises(ParrotError, match=r"mlflow\.db: no MLflow store to take run"):
        load("0" * 32)
    assert not list(tracked_folder.iterdir())
