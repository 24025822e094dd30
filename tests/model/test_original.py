"""Equality with what the authors' code computed (../shared/reference/original), within its tolerances."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil, Qwen2Tokenizer

from parrot.conversion.convert import convert
from parrot.conversion.layout import original_name
from parrot.model.registered import ParrotForConditionalGeneration, ParrotProcessor

ROOT = Path(__file__).parents[2] / "../shared/reference/original"
if not ROOT.is_dir():
    pytest.skip("needs the reference fixture ../shared/reference/original", allow_module_level=True)

IMAGE = -200
CONFIG = json.loads((ROOT / "checkpoint/config.json").read_text())
TENSORS = load_file(ROOT / "tensors.safetensors")
CASES = {case["name"]: case for case in json.loads((ROOT / "cases.json").read_text())}
# Two images in one sample: the original leaves the second one's positions empty. No supervised token: NaN.
COMPARED = [name for name in CASES if name not in ("quirk_two_images", "quirk_no_supervised_token")]
ROUTED = ("gate_input", "router_logits", "routing_weights", "moe_out")
TOLERANCES = {
    "gate_input": 3e-4,
    "router_logits": 1e-4,
    "routing_weights": 2e-5,
    "moe_out": 3e-4,
    "merged_embeds": 3e-4,
    "logits": 1e-3,
    "loss": 1e-4,
}


def converted(overrides: dict[str, Any], folder: Path) -> ParrotForConditionalGeneration:
    """The fixture's checkpoint with another config, through `parrot convert`."""
    source = folder / "source"
    shutil.copytree(ROOT / "checkpoint", source, copy_function=shutil.copyfile)
    (source / "config.json").write_text(json.dumps(CONFIG | overrides))
    if not overrides.get("use_moe", True):
        weights = load_file(source / "model.safetensors")
        kept = {name: tensor for name, tensor in weights.items() if "moe_model" not in name}
        save_file(kept, source / "model.safetensors", metadata={"format": "pt"})
    convert(source, folder / "target", ROOT / CONFIG["mm_vision_tower"])
    return ParrotForConditionalGeneration.from_pretrained(folder / "target").eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return Qwen2Tokenizer.from_pretrained(
        ROOT / "checkpoint",
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens={"image_token": "<image>"},
    )


@pytest.fixture(scope="module")
def processors(tokenizer: Any) -> dict[str, ParrotProcessor]:
    folder = ROOT / CONFIG["mm_vision_tower"]
    image_processor = CLIPImageProcessorPil.from_pretrained(folder)
    return {
        mode: ParrotProcessor(image_processor, tokenizer, image_seq_length=17, pad_to_square=mode == "pad")
        for mode in ("pad", "square")
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One model for each set of overrides that changes what is computed."""
    built: dict[str, ParrotForConditionalGeneration] = {}

    def get(overrides: dict[str, Any]) -> ParrotForConditionalGeneration:
        relevant = {key: overrides[key] for key in ("use_moe", "use_moe_residual") if key in overrides}
        key = json.dumps(relevant)
        if key not in built:
            built[key] = converted(relevant, tmp_path_factory.mktemp("original"))
        return built[key]

    return get


def tensor(case: str, name: str) -> torch.Tensor:
    return TENSORS[f"{case}/{name}"]


def is_routed(case: dict[str, Any]) -> bool:
    return "routing_weights" in case["tensors"]


def pixels(case: dict[str, Any]) -> torch.Tensor | None:
    """One row for each image that stands in the text; the original's all-zero stand-ins are not needed."""
    rows = [TENSORS[f"images/{name}/pixel_values"] for name in case["images"] if name != "zeros"]
    return torch.stack(rows) if rows else None


def merged(case: dict[str, Any], model: ParrotForConditionalGeneration, left: bool = False) -> dict[str, Any]:
    """The case's text ids with every image written out, as our model takes them."""
    ids, mask = tensor(case["name"], "input_ids"), tensor(case["name"], "attention_mask").bool()
    labels = tensor(case["name"], "labels") if "labels" in case["tensors"] else torch.full_like(ids, -100)
    slots = model.config.image_seq_length
    length = int(((ids == IMAGE) * (slots - 1) + mask).sum(dim=1).max())
    batch: dict[str, Any] = {"input_ids": [], "attention_mask": [], "labels": []}
    for row_ids, row_mask, row_labels in zip(ids, mask, labels, strict=True):
        row_ids, row_labels = row_ids[row_mask], row_labels[row_mask]
        repeats = torch.where(row_ids == IMAGE, slots, 1)
        row_ids = row_ids.masked_fill(row_ids == IMAGE, model.config.image_token_id).repeat_interleave(
            repeats
        )
        row_labels = row_labels.repeat_interleave(repeats)
        empty = length - len(row_ids)
        padding = (empty, 0) if left else (0, empty)
        batch["input_ids"].append(torch.nn.functional.pad(row_ids, padding, value=0))
        batch["labels"].append(torch.nn.functional.pad(row_labels, padding, value=-100))
        batch["attention_mask"].append(torch.nn.functional.pad(torch.ones_like(row_ids), padding))
    inputs = {key: torch.stack(rows) for key, rows in batch.items()}
    if case["kind"] == "eval":
        del inputs["labels"]
    else:
        # Where the original cuts a merged sequence, its gate has seen the whole prompt; what is cut off
        # changes nothing before it.
        inputs["prompt_mask"] = inputs["labels"] == -100
        inputs["labels"][:, max(case["merged_lengths"]) :] = -100
    return {**inputs, "pixel_values": pixels(case)}


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("name", COMPARED)
def test_every_intermediate_value(name: str, models: Any) -> None:
    case = CASES[name]
    model = models(case["config_overrides"])
    inputs = merged(case, model, left=case["config_overrides"].get("tokenizer_padding_side") == "left")
    length = max(case["merged_lengths"])
    mask = inputs["attention_mask"].bool()[:, :length]
    seen: dict[str, torch.Tensor] = {}
    hooks = []
    if is_routed(case):
        gate = model.model.multilingual_moe.gate
        hooks = [
            gate.register_forward_hook(
                lambda _, args, out: seen.update(gate_input=args[0], router_logits=out)
            )
        ]
    hooks.append(
        model.model.language_model.register_forward_pre_hook(
            lambda _, args, kwargs: seen.update(merged_embeds=kwargs["inputs_embeds"]), with_kwargs=True
        )
    )
    try:
        with torch.no_grad():
            output = model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()

    if "merged_attention_mask" in case["tensors"]:
        assert torch.equal(mask, tensor(name, "merged_attention_mask").bool())
    if "merged_labels" in case["tensors"]:
        assert torch.equal(inputs["labels"][:, :length][mask], tensor(name, "merged_labels")[mask])
    if is_routed(case):
        seen |= {"routing_weights": output.routing_weights, "moe_out": output.image_hidden_states}
        with_image = [index for index, image in enumerate(case["images"]) if image != "zeros"]
        for key in ROUTED:
            close(seen[key], tensor(name, key)[with_image], TOLERANCES[key])
    embeds, logits = seen["merged_embeds"][:, :length], output.logits[:, :length]
    if "merged_embeds" in case["tensors"]:
        close(embeds[mask], tensor(name, "merged_embeds")[mask], TOLERANCES["merged_embeds"])
    if "merged_embeds_rowsum" in case["tensors"]:
        close(embeds.sum(-1)[mask], tensor(name, "merged_embeds_rowsum")[mask], 3e-3)
        close(embeds.abs().sum(-1)[mask], tensor(name, "merged_embeds_rowabs")[mask], 3e-3)
    if "logits" in case["tensors"]:
        close(logits[mask], tensor(name, "logits")[mask], TOLERANCES["logits"])
    if "logits_at_rows" in case["tensors"]:
        rows = tensor(name, "logits_rows").long()
        chosen = logits.take_along_dim(rows[..., None], dim=1)
        close(chosen, tensor(name, "logits_at_rows"), TOLERANCES["logits"])
    close(logits.logsumexp(-1)[mask], tensor(name, "logits_logsumexp")[mask], TOLERANCES["logits"])
    if case["kind"] == "train":
        assert output.loss.item() == pytest.approx(case["loss"], abs=TOLERANCES["loss"], rel=1e-4)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]["kind"] == "eval"])
def test_greedy_ids(name: str, models: Any) -> None:
    """Batches continue as each prompt does alone, and without a cache as with one, unlike the original's."""
    case = CASES[name]
    model = models(case["config_overrides"])
    inputs = merged(case, model, left=True)
    ids = model.generate(
        **inputs, max_new_tokens=20, do_sample=False, pad_token_id=0,
        use_cache=name != "quirk_eval_no_cache",
    )  # fmt: skip
    expected = case.get(
        "generated_ids_each_prompt_alone", case.get("generated_ids_with_cache", case["generated_ids"])
    )
    assert ids[:, inputs["input_ids"].shape[1] :].tolist() == expected


@pytest.mark.parametrize(
    "name", sorted({name for case in CASES.values() for name in case["images"]} - {"zeros"})
)
def test_pixels_features_and_projection(name: str, processors: Any, models: Any) -> None:
    expected = TENSORS[f"images/{name}/pixel_values"]
    model = models({}).model
    with torch.no_grad():
        features = model.vision_tower(expected[None], output_hidden_states=True).hidden_states[-2][0]
        projected = model.get_image_features(expected[None])[0]
    close(features, TENSORS[f"images/{name}/tower_features"], 3e-4)
    close(projected, TENSORS[f"images/{name}/projector_out"], 3e-4)
    if name == "missing":  # the original's stand-in for a file that cannot be read: ours refuses it
        return
    file, mode = name.split(":")
    with Image.open(ROOT / "images" / file) as image:
        # As the original reads it: it shows what is below transparency, ours the background.
        pixel_values = processors[mode].encode_images([image.convert("RGB")])[0]
    # Another version of the resampler may move single pixels by one step of 1/255.
    difference = (pixel_values - expected).abs()
    assert difference.max() < 0.02
    assert (difference > 1e-5).float().mean() < 0.01


def conversation(sample: dict[str, Any], pipeline: str) -> list[dict[str, str]]:
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    messages = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in sample["conversations"]]
    if pipeline == "dataset":  # moves the image to the front of its turn
        for message in messages:
            if "<image>" in message["content"]:
                message["content"] = "<image>\n" + message["content"].replace("<image>", "").strip()
    return messages


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]["kind"] == "train"])
def test_ids_and_labels(name: str, processors: Any) -> None:
    case = CASES[name]
    if "text_lengths_before_truncation" in case:
        pytest.skip("the original cuts conversations that are too long, ours refuses them")
    processor = processors["pad"]
    conversations = [conversation(sample, case["pipeline"]) for sample in case["samples"]]
    blank = Image.new("RGB", (8, 8))
    images = [[blank] * sum(turn["content"].count("<image>") for turn in turns) for turns in conversations]
    batch = processor.encode_conversations(conversations, images, max_length=2048)
    expected_ids, expected_mask = tensor(name, "input_ids"), tensor(name, "attention_mask").bool()
    expected_labels = tensor(name, "labels")
    for row in range(len(conversations)):
        ids, labels = batch["input_ids"][row], batch["labels"][row]
        ids, labels = ids[batch["attention_mask"][row].bool()], labels[batch["attention_mask"][row].bool()]
        # One position for each image, as the fixture has it.
        is_image = ids == processor.image_token_id
        keep = ~is_image | (is_image.long().cumsum(0) % processor.image_seq_length == 1)
        ids = ids.masked_fill(is_image, IMAGE)[keep]
        assert ids.tolist() == expected_ids[row][expected_mask[row]].tolist()
        assert labels[keep].tolist() == expected_labels[row][expected_mask[row]].tolist()


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_one_training_step(stage: str, models: Any, tokenizer: Any) -> None:
    expected = json.loads((ROOT / "stages.json").read_text())[stage]
    model = copy.deepcopy(models({"use_moe": expected["arguments"]["use_moe"]})).train()
    ours = {original_name(name, model.config): name for name, _ in model.named_parameters()}
    trainable = {ours[key] for key in expected["trainable"] if key in ours}  # experts: `whole`
    for key, parameter in model.named_parameters():
        whole = "multilingual_moe" in key and stage == "stage2"
        parameter.requires_grad_(key in trainable or whole)
    case = CASES[expected["batch_case"]]
    loss = model(**merged(case, model)).loss
    assert loss.item() == pytest.approx(expected["loss"], abs=1e-4)
    loss.backward()
    gradients = {f"{stage}/grad/{key}": p.grad for key, p in model.named_parameters() if p.grad is not None}
    compared = 0
    for key, wanted in TENSORS.items():
        if key.startswith(f"{stage}/grad/"):
            actual = gradients[f"{stage}/grad/{ours[key.removeprefix(f'{stage}/grad/')]}"]
            assert (actual - wanted).norm() < 1e-4 * wanted.norm() + 1e-9, key
            compared += 1
    assert compared
    norm = torch.stack([p.grad.double().norm() for p in model.parameters() if p.grad is not None]).norm()
    assert norm.item() == pytest.approx(expected["total_grad_norm"], rel=1e-4)

    rate = {key: expected["optimizer"][key] for key in ("lr", "betas", "eps", "weight_decay")}
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], **rate).step()
    after = dict(model.named_parameters())
    for key, wanted in TENSORS.items():
        if key.startswith(f"{stage}/after/"):
            name = ours.get(key.removeprefix(f"{stage}/after/"))
            if name is None:  # the experts wait in the original's stage one and do not exist in ours
                continue
            gradient = gradients[f"{stage}/grad/{name}"]
            sure = gradient.abs() >= 1e-6  # AdamW's first step is about lr · sign(gradient)
            torch.testing.assert_close(after[name].data[sure], wanted[sure], atol=2e-5, rtol=0)
