"""Every profile composes; `demo` is the committed params.yaml; changes are not overwritten unsaid."""

import re
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides  # what `dvc exp run -S` does

from parrot.config import Params
from parrot.errors import ParrotError
from parrot.params import load_params
from parrot.profiles import compose, list_profiles, profile_names, write_profile

ROOT = Path(__file__).parents[1]
PROFILES = sorted(path.stem for path in (ROOT / "conf").glob("*.yaml"))
REAL = [name for name in PROFILES if name not in ("demo", "smollm2")]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's conf/ and params.yaml."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(name: str, text: str) -> None:
    Path("conf", f"{name}.yaml").write_text(text, encoding="utf-8")


def test_the_committed_params_are_the_demo() -> None:
    assert compose("demo") == Path("params.yaml").read_text(encoding="utf-8")


def test_the_profiles_of_the_issue_are_there() -> None:
    named = {"demo", "smollm2", "parrot-7b", "parrot-14b", "parrot-qwen2-7b", "multimodal-gpt"}
    assert named <= set(profile_names())


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_valid_and_keeps_its_form_in_an_experiment(name: str) -> None:
    write_profile(name)
    load_params()
    before = Path("params.yaml").read_text(encoding="utf-8")
    apply_overrides("params.yaml", ["sft.learning_rate=0.125"])
    now = Path("params.yaml").read_text(encoding="utf-8")
    [changed] = [line for line, old in zip(now.splitlines(), before.splitlines(), strict=True) if line != old]
    assert changed.startswith("  learning_rate: 0.125")
    assert load_params().sft.learning_rate == 0.125


@pytest.mark.parametrize("name", REAL)
def test_a_real_profile_has_nothing_of_the_demo(name: str) -> None:
    text, demo = compose(name), load_params()
    for word in ("picture_world", "picture-world", "muon", "demo"):
        assert word not in text
    params = written(name)
    assert not set(params.sources) & set(demo.sources)
    for section in ("backbones", "sources", "model", "align", "sft", "package"):
        assert getattr(params, section) != getattr(demo, section)


def written(name: str) -> Params:
    write_profile(name, force=True)
    return load_params()


def test_the_paper_s_numbers() -> None:
    params = written("parrot-7b")
    for training, batch, deepspeed in (
        (params.align.training, 256, "zero2"),
        (params.sft.training, 128, "zero3"),
    ):
        assert training.launch
        per_step = training.batch_size * training.gradient_accumulation_steps * training.launch.processes
        assert per_step == batch
        assert training.deepspeed == f"parrot/training/deepspeed/{deepspeed}.json"
        assert (ROOT / training.deepspeed).is_file()
        assert training.bf16 and training.gradient_checkpointing and training.optimizer == "adamw"
        assert (training.warmup_steps, training.weight_decay) == (0.03, 0.0)
    assert params.align.training.learning_rate == 1e-3
    assert params.sft.learning_rate == params.sft.language_model_learning_rate == 2e-5
    assert params.sft.moe and (params.sft.moe.num_experts, params.sft.moe.intermediate_size) == (6, 4096)
    assert (params.model.vision_feature_layer, params.model.max_length) == (-2, 2048)
    assert [
        source.language for source in params.sources.values() if source.split == "sft"
    ] == params.languages


def test_profiles_are_listed_with_what_they_are_and_which_params_are() -> None:
    lines = list_profiles()
    for name in PROFILES:
        [line] = [line for line in lines if line.startswith(f"{name} ")]
        assert len(line.split(maxsplit=1)[1]) > 20
    assert lines[-1] == "params.yaml is demo"
    write_profile("smollm2")
    assert list_profiles()[-1] == "params.yaml is smollm2"
    Path("params.yaml").unlink()
    assert "there is no params.yaml" in list_profiles()[-1]


def test_changes_are_listed_and_not_overwritten() -> None:
    file = Path("params.yaml")
    apply_overrides(str(file), ["sft.learning_rate=0.002", "+sources.mine.split=sft"])
    changed = file.read_text(encoding="utf-8")
    lost = ["  sft.learning_rate: 0.002 (demo: 0.001)", "  sources.mine.split: sft (demo: not there)"]
    assert list_profiles()[-3:] == ["params.yaml is demo, with changes", *lost]
    for name in ("demo", "smollm2"):
        with pytest.raises(ParrotError, match=r"params\.yaml was changed since a profile wrote it") as error:
            write_profile(name)
        assert str(error.value).splitlines()[1:] == lost
    assert file.read_text(encoding="utf-8") == changed
    write_profile("demo", force=True)
    assert file.read_text(encoding="utf-8") == compose("demo")


def test_a_changed_comment_counts_too() -> None:
    file = Path("params.yaml")
    file.write_text(file.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    with pytest.raises(ParrotError, match=r"comments or form \(demo has the same values\)"):
        write_profile("demo")


def test_params_of_no_profile_are_not_overwritten() -> None:
    file = Path("params.yaml")
    file.write_text(file.read_text(encoding="utf-8").partition("\n")[2], encoding="utf-8")
    assert list_profiles()[-1] == "params.yaml was not written by one of these"
    with pytest.raises(ParrotError, match="was changed since a profile wrote it"):
        write_profile("smollm2")


def test_a_changed_profile_is_written_anew_without_force() -> None:
    add("mine", "about: mine\nparts: [demo]\nseed: 2\n")
    write_profile("mine")
    add("mine", "about: mine\nparts: [demo]\nseed: 3\n")
    assert list_profiles()[-2:] == [
        "params.yaml is mine, conf/ has changed since: `parrot profile mine` writes it anew",
        "  seed: 2 (mine: 3)",
    ]
    write_profile("mine")
    assert load_params().seed == 3


def test_mappings_merge_and_all_else_is_replaced_with_its_comment() -> None:
    add(
        "mine",
        "about: mine\nparts: [demo]\n# of the profile, not of the values\n"
        "threads: 2                          # two\n\n\nlanguages: [en, tr]\n"
        "validate:\n  english_share: [0.1, 0.2]\n"
        "sft:\n  lora:\n    rank: 4                         # small\n    alpha: 4\n    dropout: 0.5\n\n"
        "    target_modules: [q_proj]\n",
    )
    params, text = written("mine"), Path("params.yaml").read_text(encoding="utf-8")
    assert (params.threads, params.languages, params.validate_.english_share) == (2, ["en", "tr"], [0.1, 0.2])
    assert params.sft.lora and params.sft.moe and params.validate_.min_records == 100
    assert "\nlanguages:\n- en\n- tr\nseed: 1 " in text
    assert "\nthreads: 2                          # two\n\nspeed:" in text
    assert "english_share:\n  - 0.1\n  - 0.2\n" in text  # what was said of other values went with them
    assert "    dropout: 0.5\n    target_modules:\n    - q_proj\n  moe:" in text


def test_a_tagged_mapping_takes_the_place_of_the_other() -> None:
    add("mine", "about: mine\nparts: [demo]\nevaluate:\n  files: {en: a.tsv}\nlanguages: [en]\n")
    assert len(written("mine").evaluate.files) == 6
    add("mine", "about: mine\nparts: [demo]\nevaluate:\n  files: !replace {en: a.tsv}\nlanguages: [en]\n")
    assert written("mine").evaluate.files == {"en": "a.tsv"}
    assert "!replace" not in Path("params.yaml").read_text(encoding="utf-8")


def test_a_text_of_several_paragraphs_stays_as_it_is() -> None:
    add("mine", "about: mine\nparts: [demo]\npackage:\n  limits: |-\n    One.\n\n    Two.\n\nseed: 2\n")
    params = written("mine")
    assert (params.package.limits, params.seed) == ("One.\n\nTwo.", 2)
    assert not re.search(r"\n\n\n", Path("params.yaml").read_text(encoding="utf-8"))


def test_one_s_own_model_and_data_are_a_few_lines() -> None:
    """As docs/profiles.md shows it."""
    page = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(# conf/mine.yaml\n.*?)```", page, re.DOTALL)
    add("mine", example)
    params = written("mine")
    assert set(params.sources) == {"captions", "talks"}
    assert set(params.hub) == {"vision", "language"}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("mine", "parts: [demo]\nsft: {moe: {num_expert: 6}}", "mine.yaml: sft.moe.num_expert: unknown key"),
        ("parts/base", "seed: 1\nimages: {min_pixel: 3}", "parts/base.yaml: images.min_pixel: unknown"),
        ("mine", "parts: [demo]\nhub: {a: {repo: b, revision: }}", "mine.yaml: hub.a.revision: fill in the"),
        ("mine", "parts: [demo]\nmodel: {architecture: flamingo}", "demo.yaml: model.projector: unknown"),
        ("mine", "parts: [demo]\nmodel: {architecture: x}", "mine.yaml: model.architecture: Input should"),
        ("mine", "parts: [parts/base]", "mine.yaml: hub: missing"),
        ("mine", "parts: [parts/bas]", "mine.yaml: parts: there is no conf/parts/bas.yaml"),
        ("mine", "parts: demo", "mine.yaml: parts: a list of files in conf/ is expected"),
        ("mine", "parts: [mine]", "mine.yaml: parts: mine → mine: it would be a part of itself"),
        ("mine", "seed: 1\nseed: 2", "mine.yaml: not readable as YAML: found duplicate key \"seed\""),
        ("mine", "seed: [1", "mine.yaml: not readable as YAML: "),
        ("mine", "- 1", "mine.yaml: expected sections"),
        ("mine", "", "mine.yaml: expected sections"),
    ],
)  # fmt: skip
def test_what_is_wrong_names_file_and_key(name: str, text: str, sentence: str) -> None:
    add("mine", "about: mine\nparts: [demo]\n")
    add(name, text)
    before = Path("params.yaml").read_bytes()
    with pytest.raises(ParrotError) as error:
        write_profile("mine")
    assert f"conf/{sentence}" in str(error.value)
    assert Path("params.yaml").read_bytes() == before


def test_an_unknown_profile_is_named_with_those_that_are_there() -> None:
    with pytest.raises(ParrotError, match="no profile 'parrot-7'; did you mean 'parrot-7b'"):
        write_profile("parrot-7")
    with pytest.raises(ParrotError, match="no profile 'zzz'; there are demo, multimodal-gpt"):
        write_profile("zzz")
    with pytest.raises(ParrotError, match="no profile 'parts/base'"):
        write_profile("parts/base")
