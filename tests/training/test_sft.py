"""Stage two with every architecture: what learns, what stays, what is written, and what reads it."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from halves import Halves
from PIL import Image as Picture
from safetensors.torch import load_file
from small_stages import LORA, MODELS, TRAINING, Train, picture

from parrot.config import Lora
from parrot.loading import load_model, load_processor
from parrot.provenance import read_provenance
from parrot.training import trainer
from parrot.training.align import ALIGNED_FILE


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("architecture", MODELS)
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
    connector = load_file(aligned / ALIGNED_FILE)
    if architecture == "flamingo":
        for name, tensor in connector.items():
            # With LoRA, cross-attention lies within the decoder and learns as it does.
            within = lora is not None and name.startswith("gated_cross_attn_layers")
            learns = name.split(".")[-2] in LORA.target_modules if within else True
            assert torch.equal(after[f"model.{name}"], tensor) != learns, name
    if lora:
        adapter = load_file(output / "adapter/adapter_model.safetensors")
        assert any("gated_cross_attn_layers" in name for name in adapter) == (architecture == "flamingo")
        assert not any("vision_tower" in name for name in adapter)


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("architecture", MODELS)
def test_what_stage_two_writes_answers_a_batch_as_one_by_one_and_reads_each_position_once(
    train: Train, architecture: str, lora: Lora | None
) -> None:
    folder = train("sft", architecture, lora)
    for file in ("config.json", "generation_config.json"):
        assert '"use_cache": false' not in (folder / file).read_text(encoding="utf-8"), file
    model, processor = load_model(folder), load_processor(folder)
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

    monkeypatch.setattr("parrot.training.assembly.fit", committing)
    aligned = train("align", "parrot")
    made_by = read_provenance(train("sft", "parrot", LORA, aligned))
    assert made_by["commit"] == "c" and made_by["seed"] == 1
    assert made_by["params"]["sft"]["lora"]["rank"] == LORA.rank
    assert made_by["params"]["model"]["architecture"] == "parrot"
    assert made_by["aligned"] == read_provenance(aligned)
    assert made_by["aligned"]["commit"] == "a"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("architecture", MODELS)
def test_no_stage_computes_in_half_precision_on_a_cpu(
    train: Train, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINING, "optimizer", "muon")
    with Halves() as halves:
        train("sft", architecture, aligned=train("align", architecture))
    assert not halves.seen


# A refactor that changes a loss must be seen. Recorded on x86-64 with torch 2.13.
GOLDEN = {
    "parrot": ([6.17312, 5.62730, 5.84210], [6.17312, 5.49934, 5.60722]),
    "flamingo": ([6.17312, 5.64043, 5.89033], [6.09633, 5.48667, 5.64674]),
}


@pytest.mark.parametrize("architecture", MODELS)
def test_golden_losses_of_both_stages(
    train: Train, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINING, "optimizer", "muon")
    train("sft", architecture, aligned=train("align", architecture))
    for stage, expected in zip(("align", "sft"), GOLDEN[architecture], strict=True):
        with (tmp_path / f"{stage}-{architecture}.csv").open(newline="") as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        assert losses == pytest.approx(expected, rel=1e-5), stage
