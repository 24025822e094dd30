import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from parrot import cli
from parrot.catalog.facts import fact_of, known_facts, origin_of
from parrot.catalog.needs import Need, describe, needs_of
from parrot.config import Source
from parrot.data.sources.formats import format_of
from parrot.errors import ParrotError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("profile", "count"), [("parrot-7b", 9), ("multimodal-gpt", 11)])
def test_a_profile_names_all_its_data_with_what_is_known_of_them(profile: str, count: int) -> None:
    needs = needs_of(profile)
    assert len(needs) == count
    for need in needs:
        format_of(need.name, need.source.format)
        assert need.source.expected, need.name
        assert need.fact, need.name
        assert need.fact.license
        for missing in need.missing():
            assert missing.origin or need.fact.by_hand, f"{need.name}: {missing.path}"


def test_the_papers_seventeen_are_named() -> None:
    parrot = {need.name for need in needs_of("parrot-7b")}
    assert parrot == {"llava_pretrain", "laion", "cc12m", "llava_finetune",
                      *(f"sharegpt4v_{language}" for language in ("zh", "pt", "ar", "tr", "ru"))}  # fmt: skip
    authors = {need.name for need in needs_of("multimodal-gpt")} - {"llava_pretrain"}
    assert authors == {"aokvqa", "coco_captions", "ocrvqa", "llava_detail", "llava_reasoning",
                       "llava_dialogue", "cc_sbu_align", "dolly", "alpaca_gpt4", "baize"}  # fmt: skip


def test_what_the_hub_serves_is_pinned_and_called_as_it_is_known() -> None:
    for name, fact in known_facts().items():
        for origin in filter(None, (fact.file, fact.pictures)):
            assert origin.url or (origin.revision and "*" not in str(origin.file)), name
        if fact.file and "llava-" not in name:
            served = fact.file.member or fact.file.file or str(fact.file.url)
            assert Path(served).name == name
        assert fact.file or "file" in fact.unconfirmed or fact.by_hand, name


def test_a_file_of_the_same_name_in_another_format_is_another_data_set() -> None:
    settings = {"split": "sft", "path": "mine/dataset.json", "images": "mine", "language": "en"}
    assert fact_of(Source.model_validate(settings | {"format": "ocrvqa"}))
    own = Source.model_validate(settings | {"format": "llava", "origin": {"hub": "me/it", "file": "a.json"}})
    assert fact_of(own) is None
    assert origin_of(own) == own.origin


def test_list_says_what_is_missing_and_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data/dolly").mkdir(parents=True)
    Path("data/dolly/databricks-dolly-15k.jsonl").touch()
    cli.main(["data", "list", "dolly", "aokvqa", "cc_sbu_align", "--profile", "multimodal-gpt"])
    told = capsys.readouterr().out
    assert "dolly (sft, 15,011 entries): there\n" in told
    assert "license: CC BY-SA 3.0" in told
    assert "aokvqa (sft, 17,056 entries): missing" in told
    assert "data/coco/train2017.zip: `parrot data get aokvqa` fetches it from http://images.coco" in told
    assert "data/cc_sbu_align/image: by hand from https://huggingface.co/datasets/Vision-CAIR/cc_sbu" in told
    assert "  unconfirmed: entries, license, size of the pictures\n" in told
    assert "fetches it from Vision-CAIR/cc_sbu_align at e554e33b8d619753ba4b7a7a273fd3a39659ac93\n" in told
    assert "train2017.zip: what is newest, and from then on the same\n" in told
    cli.main(["data", "list"])
    assert "captions (align, entries not counted): missing" in capsys.readouterr().out


def test_archives_folders_in_them_and_patterns_of_files(tmp_path: Path) -> None:
    settings = {"split": "sft", "format": "chat", "language": "en"}
    places = {"path": "x", "files": "*.parquet", "images": "p.zip/train2017"}
    need = Need("it", Source.model_validate(settings | places), ("en",))
    assert [(missing.path, missing.is_folder) for missing in need.missing()] == [
        (Path("x"), True), (Path("p.zip"), False),
    ]  # fmt: skip
    Path("x").mkdir()
    Path("x/0.parquet").touch()
    Path("p.zip").touch()
    assert list(need.missing()) == []
    assert list(describe(need)) == ["it (sft, entries not counted): there"]


def test_each_language_has_its_own_origin() -> None:
    settings = {"split": "sft", "format": "llava", "path": "x", "files": "{language}.json", "images": "x.zip"}
    served: dict[str, dict[str, str]] = {
        "file": {"hub": "me/it", "file": "all/{language}.json"},
        "url": {"url": "https://me.example/{language}.json"},
        "member": {"url": "https://me.example/all.zip", "member": "{language}.json"},
    }
    for key, origin in served.items():
        need = Need("it", Source.model_validate(settings | {"origin": origin}), ("en", "zh"))
        found = [(one.path.name, getattr(one.origin, key)) for one in need.missing() if one.origin]
        name = origin[key].replace
        assert found == [(f"{one}.json", name("{language}", one)) for one in ("en", "zh")]
    one_file = settings | {"origin": {"hub": "me/it", "file": "all.json"}}
    with pytest.raises(ValidationError, match="origin: would put one file under every language"):
        Source.model_validate(one_file)


def test_an_unknown_source_or_profile(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="no source 'dolli'; there are captions"):
        cli.main(["data", "get", "dolli"])
    with pytest.raises(ParrotError, match="no profile 'parrot-8b'"):
        needs_of("parrot-8b")


def test_nothing_behind_data_provides_what_data_dvc_names(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr("parrot.pipeline.data_versions.provide_data", lambda: called.append("provided"))
    cli.main(["data"])
    assert called == ["provided"]
    with pytest.raises(SystemExit):
        cli.main(["data", "gett"])
    assert called == ["provided"]


def test_who_reads_may_stop_reading() -> None:
    call = "from parrot.cli import main; main()"
    script = f"'{sys.executable}' -uc '{call}' data list --profile parrot-7b | head -1"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.startswith("llava_pretrain") and not done.stderr
