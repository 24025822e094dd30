"""`params.yaml`: what is committed is valid; what is wrong is said with file and key."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from parrot.config import Mixed
from parrot.errors import ParrotError
from parrot.params import load_params, read_params_tree

ROOT = Path(__file__).parents[1]


def test_the_committed_file_is_valid() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.languages == ["en", "zh", "pt", "ar", "tr", "ru"]


def change(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    for part in parents:
        tree = tree[part]
    if value is None:
        del tree[last]
    else:
        tree[last] = value


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("sft.learnin_rate", 1.0, "sft.learnin_rate: unknown key; did you mean 'learning_rate'?"),
        ("sources.captions.formt", "x", "sources.captions.formt: unknown key; did you mean 'format'?"),
        ("sources.captions.format", 3, "sources.captions.format: the name of a known format or"),
        ("sources.captions.format", {"colums": {}}, "captions.format.colums: unknown key; did you mean"),
        ("sources.captions.format", {"columns": {"mesage": "x"}}, "columns.mesage: unknown key; did"),
        ("sources.captions.format", {"columns": {"response": "a"}}, "columns: `prompt` is needed beside"),
        ("sources.captions.origin", {"hub": "a/b"}, "sources.captions.origin: either `hub` and `file`, or"),
        ("mix.sft.instructions", {"weigt": 1.0}, "mix.sft.instructions.weigt: unknown key; did you"),
        ("mix.sft.instructions", {"weight": 0}, "mix.sft.instructions.weight: Input should be"),
        ("mix.sft.instructions", "all", "mix.sft.instructions: a weight such as 1.0 is expected"),
        ("zzz", 1, "zzz: unknown key; known here: languages, seed"),
        ("sft.learning_rate", "fast", "sft.learning_rate: Input should be a valid number (found 'fast')"),
        ("sft.learning_rate", -1.0, "sft.learning_rate: Input should be greater than 0 (found -1.0)"),
        ("sft.moe.num_experts", 2.5, "sft.moe.num_experts: Input should be a valid integer"),
        ("sft.moe.residual", "sum", "sft.moe.residual: Input should be 'token', 'released' or 'none'"),
        ("sft.lora", {"rnk": 1}, "sft.lora.rnk: unknown key; did you mean 'rank'?"),
        ("model.architecture", "llava", "model.architecture: Input should be 'parrot' or 'flamingo'"),
        ("model.architecture", None, "model.architecture: missing"),
        ("model.architecture", "flamingo", "model.projector: unknown key; known here: vision_feature_layer"),
        ("model.architecture", "flamingo", "model.resampler_depth: missing"),
        ("model.resampler_depth", 6, "model.resampler_depth: unknown key"),
        ("model.projctor", "linear", "model.projctor: unknown key; did you mean 'projector'?"),
        ("model.projector", "mlp", "model.projector: String should match pattern"),
        ("seed", "one", "seed: Input should be a valid integer (found 'one')"),
        ("align", None, "align: missing"),
        ("align.training.max_steps", None, "align.training.max_steps: missing"),
        ("languages", ["en", 3], "languages.1: Input should be a valid string (found 3)"),
        ("languages", ["en", "xx"], "evaluate.files: no benchmark file for xx"),
        ("sources.instructions.language", "de", "sources.instructions.language: 'de' is not one of"),
        ("sources.instructions.language", None, "sources.instructions: language: missing"),
        ("sources.captions.files", "all.json", "sources.captions: files: is for a file a language"),
        ("mix.align.captions", None, "sources.captions: has no weight in mix.align"),
        ("mix.align.mine", 1.0, "sources.mine: is no source of its split, but in mix.align"),
        ("backbones.vision", "artifacts/hub/vision", "hub: artifacts/hub/vision is a backbone and"),
        ("hub", {"vision": {"repo": "a/b", "revision": "0" * 40}}, "hub: artifacts/hub/vision is downloaded"),
        ("hub", {"vision": {"repo": "a/b", "revision": "main"}}, "hub.vision.revision: fill in the commit"),
        ("hub", {"vision": {"repo": "a/b"}}, "hub.vision.revision: missing"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(tmp_path: Path, key: str, value: Any, sentence: str) -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    change(tree, key, value)
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ParrotError) as error:
        load_params(file)
    assert str(file) in str(error.value)
    assert sentence in str(error.value)


@pytest.mark.parametrize("number", ["1e-3", "1.0e-3", "1E-3", "0.001"])
def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path, number: str) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    file = tmp_path / "params.yaml"
    file.write_text(re.sub(r"\n  learning_rate: \S+", f"\n  learning_rate: {number}", text), encoding="utf-8")
    assert load_params(file).sft.learning_rate == 0.001


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("a: [1", "not readable as YAML"), ("- 1", "expected sections"), ("", "expected sections")],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(content)
    with pytest.raises(ParrotError, match=sentence):
        load_params(file)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match="not found; run from the project's top folder"):
        load_params(tmp_path / "params.yaml")


def test_an_experiment_changes_nothing_but_its_values(tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides  # what `dvc exp run -S` does

    file = tmp_path / "params.yaml"
    written = (ROOT / "params.yaml").read_text(encoding="utf-8")
    file.write_text(written, encoding="utf-8")
    apply_overrides(str(file), ["sft.learning_rate=0.002"])
    now, before = file.read_text(encoding="utf-8").splitlines(), written.splitlines()
    [changed] = [new for new, old in zip(now, before, strict=True) if new != old]
    assert changed.startswith("  learning_rate: 0.002")


def test_a_source_has_a_file_for_each_language() -> None:
    sources = load_params(ROOT / "params.yaml").sources
    captions = sources["captions"].by_language(["en", "tr"])
    assert captions == {"en": Path("data/captions/en.json"), "tr": Path("data/captions/tr.json")}
    assert sources["instructions"].by_language(["tr"]) == {"en": Path("data/instructions/en.json")}


def test_a_number_is_a_weight() -> None:
    mix = load_params(ROOT / "params.yaml").mix
    assert mix.split("sft")["conversations"] == Mixed(weight=1.0)


@pytest.mark.parametrize("key", ["sft.moe", "sft.lora", "package.repo_id"])
def test_what_need_not_be_there_is_left_empty(tmp_path: Path, key: str) -> None:
    section, name = key.split(".")
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree[section][name] = None
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert getattr(getattr(load_params(file), section), name) is None


def test_experts_are_parrots(tmp_path: Path) -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    del tree["model"]["projector"]
    tree["model"] |= {
        "architecture": "flamingo", "resampler_n_latents": 4, "resampler_depth": 1, "cross_layer_interval": 1,
    }  # fmt: skip
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ParrotError, match=r"sft\.moe: experts are Parrot's; leave it empty for flamingo"):
        load_params(file)


@pytest.mark.parametrize("colour", ["whiteish", "#fff0", "rgba(1, 2, 3, 4)"])
def test_a_background_is_a_colour_that_covers(tmp_path: Path, colour: str) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    file = tmp_path / "params.yaml"
    file.write_text(
        text.replace("image_background: white", f"image_background: '{colour}'"), encoding="utf-8"
    )
    with pytest.raises(ParrotError, match=r"model.image_background: .*colo"):
        load_params(file)


@pytest.mark.parametrize(
    ("found", "put", "sentence"),
    [
        ("seed: 1 ", "seed: " + "9" * 5000, "a number of too many digits in line 12, column 7: seed: 9999"),
        ("seed: 1 ", "seed: 2020-13-45", "month must be in 1..12 in line 12, column 7: seed: 2020-13-45"),
        ("seed: 1 ", "seed: 1\nseed: 2", "'seed' stands there already in line 12"),
        ("seed: 1 ", "seed: 2\nextra: " + "[" * 5000 + "]" * 5000, "line 13, 'extra: [[[[[[["),
        ("seed: 1 ", "seed: 2\nextra: " + "{a: " * 5000, "line 13, 'extra: {a: "),
        ("seed: 1 ", "seed: 99999999999999999999", "seed: Input should be less than 4294967296"),
        ("seed: 1 ", "seed: -1", "seed: Input should be greater than or equal to 0 (found -1)"),
        ("weight: 1.0", "weight: .inf", "sft.moe.weight: Input should be a finite number (found inf)"),
        (
            "max_reject_share: 0.01",
            "max_reject_share: .nan",
            "prepare.max_reject_share: Input should be a finite",
        ),
        ("seed: 1 ", "? [1]\n: 2\nseed: 1", "a key must be a word in line 12"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, found: str, put: str, sentence: str) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert found in text
    file = tmp_path / "params.yaml"
    file.write_text(text.replace(found, f"{put} ", 1), encoding="utf-8")
    with pytest.raises(ParrotError) as error:
        load_params(file)
    assert str(error.value).startswith(str(file))
    assert sentence in str(error.value)


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParrotError, match="cannot be read: Is a directory"):
        load_params(tmp_path)


def test_params_broken_at_random_are_a_sentence(tmp_path: Path) -> None:
    content = (ROOT / "params.yaml").read_bytes()[:2500]
    file = tmp_path / "params.yaml"
    pieces = (
        b"[", b"{", b"}", b"- ", b": ", b"&a ", b"*a", b"<<: ", b"!!int x", b"\xff", b"\t", b"\n", b"0x",
        b".nan", b"1e400", b"'", b"2001-99-99", b"%", b"? ", b"\x00",
    )  # fmt: skip
    for seed in range(200):
        draw = random.Random(seed)
        broken = content
        for _ in range(draw.randrange(1, 4)):
            place = draw.randrange(len(broken))
            broken = broken[:place] + draw.choice(pieces) + broken[place + draw.randrange(20) :]
        file.write_bytes(broken)
        with pytest.raises(ParrotError, match=r"params\.yaml: "):
            load_params(file)


def test_the_tree_has_numbers_where_dvc_has_them_and_only_what_the_schema_knows(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    file = tmp_path / "params.yaml"
    file.write_text(re.sub(r"\n  learning_rate: \S+", "\n  learning_rate: 1e-3", text), encoding="utf-8")
    assert read_params_tree(file)["sft"]["learning_rate"] == 0.001
    file.write_text(f"{text}\naccess_key: hidden\n", encoding="utf-8")
    with pytest.raises(ParrotError, match="access_key: unknown key") as error:
        read_params_tree(file)
    assert "hidden" not in str(error.value)
