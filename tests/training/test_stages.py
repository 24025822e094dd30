"""Both stages with every architecture: what learns, what stays, what is written, and what reads it."""

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from halves import Halves
from PIL import Image as Picture
from safetensors.torch import load_file
from transformers import (
    BitsAndBytesConfig,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from parrot.config import Align, Flamingo, Lora, Model, Moe, RatedTraining, Sft, Training
from parrot.data.records import Image, Message, Record
from parrot.data.shards import ShardWriter
from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import Question
from parrot.evaluation.inference import inference
from parrot.evaluation.inference.inference import answer_share
from parrot.evaluation.inference.prompts import protocols
from parrot.evaluation.inference.shares import Asked, Share
from parrot.evaluation.inference.workers import load_model
from parrot.provenance import read_provenance
from parrot.training import stages, trainer
from parrot.training.stages import ALIGNED_FILE, align, sft
from parrot.training.trainer import Run

WORDS = ("red", "green", "blue")
TRAINING: dict[str, Any] = {
    "max_steps": 3, "batch_size": 4, "warmup_steps": 0.0, "weight_decay": 0.0, "logging_steps": 1,
    "save_steps": 3,
}  # fmt: skip
LORA = Lora(
    rank=2, alpha=2, dropout=0.0, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]
)
ARCHITECTURES = ("parrot", "flamingo")


def picture(number: int) -> bytes:
    file = io.BytesIO()
    colour = [20, 20, 20]
    colour[number % 3] = 220
    Picture.new("RGB", (20, 20), tuple(colour)).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Backbones and records: a third of them text only, a third with two pictures."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["What is it? It is red, green, blue."] * 3, 300, folder / "language")
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, initializer_range=0.2, tie_word_embeddings=True, bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(folder / "language")  # fmt: skip
    tokenizer.save_pretrained(folder / "language")
    CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16,
            patch_size=8,
        )
    ).save_pretrained(folder / "vision")  # fmt: skip
    size = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size).save_pretrained(folder / "vision")
    writer = ShardWriter(folder / "records", 1 << 20)
    for number in range(12):
        count = number % 3
        asked = Message("user", "<image>\n" * count + "What is it?")
        said = Message("assistant", f"It is {WORDS[number % 3]}.")
        images = tuple(Image(f"{place}.png", picture(number + place)) for place in range(count))
        writer.write(Record(f"r{number}", "s", "en", (asked, said), images))
    writer.close()
    return {"vision": folder / "vision", "language": folder / "language", "records": folder / "records"}


Train = Callable[..., Path]


@pytest.fixture
def train(inputs: dict[str, Path], tmp_path: Path) -> Train:
    """`train(stage, architecture, …)`: run a stage, and the folder that it writes."""

    def run(stage: str, architecture: str, lora: Lora | None = None, aligned: Path | None = None) -> Path:
        model = Model(
            architecture=architecture,  # type: ignore[arg-type]
            projector="mlp2x_gelu",
            flamingo=Flamingo(
                resampler_n_latents=4, resampler_depth=1, cross_layer_interval=1, learning_rate_factor=0.5
            ),
            vision_feature_layer=-1,
            max_length=128,
        )
        output = tmp_path / f"{stage}-{architecture}{'-lora' if lora else ''}"
        shared: dict[str, Any] = {
            **inputs, "seed": 1, "output": output, "curve": tmp_path / "curve.csv",
            "metrics": tmp_path / "metrics.json", "run": Run(stage, tmp_path / "checkpoints"),
        }  # fmt: skip
        if stage == "align":
            align(Align(training=RatedTraining(**TRAINING, learning_rate=1e-2)), model, **shared)
        else:
            params = Sft(
                learning_rate=1e-3,
                language_model_learning_rate=1e-3,
                lora=lora,
                moe=Moe(enabled=True, num_experts=2, intermediate_size=8, residual="token", weight=1.0),
                training=Training(**TRAINING),
            )
            sft(params, model, aligned=aligned or train("align", architecture), **shared)
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)  # as the command line does
        return output

    train = run
    return run


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stage_one_writes_what_joins_the_backbones(train: Train, architecture: str) -> None:
    names = set(load_file(train("align", architecture) / ALIGNED_FILE))
    if architecture == "parrot":
        assert names == {"0.weight", "0.bias", "2.weight", "2.bias"}
    else:
        assert {name.split(".")[0] for name in names} == {"perceiver_resampler", "gated_cross_attn_layers"}


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stage_two_trains_its_parts_and_nothing_else(
    train: Train, inputs: dict[str, Path], architecture: str, lora: Lora | None
) -> None:
    aligned = train("align", architecture)
    output = train("sft", architecture, lora, aligned)
    after = load_file(output / "model.safetensors")
    for name, tensor in load_file(inputs["vision"] / "model.safetensors").items():
        assert torch.equal(after[f"model.vision_tower.{name}"], tensor), name
    for name, tensor in load_file(inputs["language"] / "model.safetensors").items():
        ours = after[name.replace("model.", "model.language_model.", 1)]
        learns = name.split(".")[-2] in LORA.target_modules and name.endswith("weight") if lora else True
        assert torch.equal(ours, tensor) != learns, name
    bridge = load_file(aligned / ALIGNED_FILE)
    if architecture == "flamingo":
        for name, tensor in bridge.items():
            # With LoRA, cross-attention lies within the decoder and learns as it does.
            within = lora is not None and name.startswith("gated_cross_attn_layers")
            learns = name.split(".")[-2] in LORA.target_modules if within else True
            assert torch.equal(after[f"model.{name}"], tensor) != learns, name
    if lora:
        adapter = load_file(output / "adapter/adapter_model.safetensors")
        assert any("gated_cross_attn_layers" in name for name in adapter) == (architecture == "flamingo")
        assert not any("vision_tower" in name for name in adapter)


FOUR_BITS = LORA.model_copy(update={"load_in_4bit": True})
needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


@pytest.fixture
def no_gpu_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes can do without one, slowly."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    monkeypatch.setattr(stages, "four_bits", lambda bf16: config)


@pytest.mark.usefixtures("no_gpu_needed")
@pytest.mark.parametrize("lora", [LORA, pytest.param(FOUR_BITS, marks=needs_bitsandbytes)])
def test_a_killed_run_with_adapters_goes_on_exactly(
    train: Train, lora: Lora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINING, "save_steps", 1)
    aligned = train("align", "parrot")
    lora = lora.model_copy(update={"dropout": 0.2})

    def weights() -> dict[str, bytes]:
        folder = train("sft", "parrot", lora, aligned)
        return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}

    whole = weights()
    save = trainer._Progress.on_save

    def killed(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        save(self, args, state, control, **kwargs)
        if state.global_step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer._Progress, "on_save", killed)
        weights()
    assert weights() == whole
    assert whole.keys() == {"model.safetensors", "adapter_model.safetensors"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_four_bits_need_a_gpu(train: Train) -> None:
    with pytest.raises(ParrotError, match=r"sft\.lora\.load_in_4bit: needs a GPU and there is none"):
        train("sft", "parrot", FOUR_BITS)


@needs_bitsandbytes
@pytest.mark.usefixtures("no_gpu_needed")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_adapters_learned_over_four_bits_are_merged_into_whole_weights(
    train: Train, inputs: dict[str, Path], architecture: str
) -> None:
    aligned = train("align", architecture)
    output = train("sft", architecture, FOUR_BITS, aligned)
    after, before = (
        load_file(output / "model.safetensors"),
        load_file(inputs["language"] / "model.safetensors"),
    )
    assert not any("quant" in name or "lora" in name for name in after)
    for name, tensor in before.items():
        ours = after[name.replace("model.", "model.language_model.", 1)]
        adapted = name.split(".")[-2] in LORA.target_modules and name.endswith("weight")
        assert torch.equal(ours, tensor) != adapted, name
        torch.testing.assert_close(ours, tensor, atol=0.05, rtol=0)
    prefix = "model.multi_modal_projector." if architecture == "parrot" else "model."
    for name, tensor in load_file(aligned / ALIGNED_FILE).items():
        within = name.startswith("gated_cross_attn_layers")  # frozen, but for its adapters
        learns = name.split(".")[-2] in LORA.target_modules if within else True
        assert torch.equal(after[prefix + name], tensor) != learns, name
    load_model(output)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_stage_two_writes_is_evaluated(train: Train, architecture: str) -> None:
    model, processor = load_model(train("sft", architecture))
    options = dict(zip("ABC", WORDS, strict=True))
    questions = [
        Question(number, "What is it?", "", options, "A", "colour", "test", picture(number))
        for number in range(4)
    ]
    share = Share(0, [Asked("en", number, question) for number, question in enumerate(questions)])
    likely, written = protocols()["option_likelihood"], protocols()["letter_generation"]
    runs = [
        inference.Run("seeing", likely, "own"),
        inference.Run("blind", likely, "removed"),
        inference.Run("written", replace(written, max_new_tokens=4), "own"),
    ]
    first, second, *_ = answer_share(model, processor, share, runs, batch_size=4, swapped={})
    assert first.answers["seeing"].scores != second.answers["seeing"].scores
    assert first.answers["blind"].scores == pytest.approx(second.answers["blind"].scores)
    assert first.answers["written"].text is not None


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_stage_two_writes_answers_a_batch_as_one_by_one_and_reads_each_position_once(
    train: Train, architecture: str, lora: Lora | None
) -> None:
    folder = train("sft", architecture, lora)
    for file in ("config.json", "generation_config.json"):
        assert '"use_cache": false' not in (folder / file).read_text(encoding="utf-8"), file
    model, processor = load_model(folder)
    assert processor.tokenizer.padding_side == "left"
    read: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda m, given, made: read.append(made.shape[1]))
    asked = ["<image>\nWhat is it?", "<image>\nIs it red, green or blue? What is it?", "What is it?"]
    chats = [[{"role": "user", "content": text}] for text in asked]
    texts = processor.apply_chat_template(chats, add_generation_prompt=True)
    pictures = [Picture.open(io.BytesIO(picture(number))) for number in range(2)]

    def answers(**inputs: Any) -> tuple[list[list[int]], int]:
        inputs = processor(**inputs, padding=True, return_tensors="pt")
        prompt = inputs["input_ids"].shape[1]
        ids = model.generate(**inputs, min_new_tokens=6, max_new_tokens=6, do_sample=False)
        return ids[:, prompt:].tolist(), prompt

    together, prompt = answers(text=texts, images=pictures)
    assert read == [prompt, 1, 1, 1, 1, 1]
    alone = [answers(text=texts[:1], images=pictures[:1]), answers(text=texts[1:2], images=pictures[1:])]
    assert together == [*alone[0][0], *alone[1][0], *answers(text=texts[2:])[0]]


def test_an_artifact_names_the_commit_that_was_there_when_its_stage_began(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = iter("abcdef")
    monkeypatch.setattr("parrot.provenance.run_tags", lambda: {"mlflow.source.git.commit": next(commits)})
    fit = trainer.fit

    def committing(*arguments: Any, **options: Any) -> Any:
        next(commits)  # somebody commits while it trains
        return fit(*arguments, **options)

    monkeypatch.setattr(stages, "fit", committing)
    aligned = train("align", "parrot")
    made_by = read_provenance(train("sft", "parrot", LORA, aligned))
    assert made_by["commit"] == "c" and made_by["seed"] == 1
    assert made_by["params"]["sft"]["lora"]["rank"] == LORA.rank
    assert made_by["params"]["model"]["architecture"] == "parrot"
    assert made_by["aligned"] == read_provenance(aligned)
    assert made_by["aligned"]["commit"] == "a"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_stage_computes_in_half_precision_on_a_cpu(
    train: Train, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINING, "optimizer", "muon")
    with Halves() as halves:
        train("sft", architecture, aligned=train("align", architecture))
    assert not halves.seen


def test_stage_one_of_another_architecture_is_named(train: Train) -> None:
    with pytest.raises(ParrotError, match=r"projector\.safetensors: not what stage one makes for this model"):
        train("sft", "flamingo", aligned=train("align", "parrot"))
