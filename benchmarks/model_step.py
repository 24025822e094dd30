"""This model beside the way of the authors' code, on the same weights, in one run.

    python benchmarks/model_step.py [--repeats 5] [--threads 2] [--vocab-size 32000]
        [--key-value-heads 1]

Time and memory of forward and backward (batch 8 of 641 positions; language model 256 × 4 layers, CLIP
256 × 4 layers at 336/14, 6 experts of 512; the tower frozen, as in both stages), and the time of
answering 32 prompts with a picture each, at once against one by one. The ways take turns, so that a
machine that slows down slows all; memory is the peak of a process that does one of them only.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM

from parrot.model.registered import ParrotForConditionalGeneration, build_parrot

BATCH, TEXT, ANSWER = 8, 64, 16
PROMPTS = 32
GENERATION = ((True, 16), (True, 128), (False, 128))
"""With a picture or without, and new tokens. Reading the 577 positions of a picture costs as much in a batch
as alone, and later steps are bounded by how fast their keys and values are read from memory."""
Step = Callable[[], Tensor]


def make_model(vocab_size: int, key_value_heads: int) -> ParrotForConditionalGeneration:
    """Random weights; the last id of the vocabulary is the image's."""
    torch.manual_seed(0)
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4,
            image_size=336, patch_size=14,
        )
    )  # fmt: skip
    language_model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocab_size, hidden_size=256, intermediate_size=704, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=key_value_heads, bos_token_id=None, eos_token_id=None,
            pad_token_id=0,
        )
    )  # fmt: skip
    model = build_parrot(
        tower,
        language_model,
        image_token_id=vocab_size - 1,
        vision_feature_layer=-2,
        num_experts=6,
        moe_intermediate_size=512,
        moe_residual="released",
        moe_weight=0.1,
    )
    model.model.vision_tower.requires_grad_(False)
    model.train()
    return model


def make_batch(model: ParrotForConditionalGeneration) -> dict[str, Tensor]:
    """BATCH samples of one image, a prompt and an answer each: 577 + 64 positions."""
    draw = torch.Generator().manual_seed(1)
    text = torch.randint(1, model.config.text_config.vocab_size - 1, (BATCH, TEXT), generator=draw)
    image = torch.full((BATCH, model.config.image_seq_length), model.config.image_token_id)
    labels = torch.full((BATCH, image.shape[1] + TEXT), -100)
    labels[:, -ANSWER:] = text[:, -ANSWER:]
    return {
        "input_ids": torch.cat([image, text], dim=1),
        "attention_mask": torch.ones_like(labels),
        "labels": labels,
        "pixel_values": torch.randn(BATCH, 3, 336, 336, generator=draw),
    }


class PerSample(nn.Module):
    """The authors' way: a loop over samples, in it one over experts; merged as lists, then padded."""

    def __init__(self, model: ParrotForConditionalGeneration) -> None:
        super().__init__()
        self.whole = model
        moe = model.model.multilingual_moe
        assert moe is not None
        self.gate, self.weight = moe.gate, moe.weight
        rows = moe.gate_proj.weight.chunk(moe.num_experts), moe.up_proj.weight.chunk(moe.num_experts)
        columns = moe.down_proj.weight.chunk(moe.num_experts, dim=1)
        self.experts = list(zip(*rows, columns, strict=True))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        features = self.whole.model.get_image_features(batch["pixel_values"])
        embed = self.whole.get_input_embeddings()
        merged, targets = [], []
        for ids, labels, image in zip(batch["input_ids"], batch["labels"], features, strict=True):
            is_image = ids == self.whole.config.image_token_id
            start, length = int(is_image.nonzero()[0]), len(image)
            prompt = embed(ids[~is_image & (labels == -100)])
            mixed = self.mixture(image, prompt)
            before, after = ids[:start], ids[start + length :]
            merged.append(torch.cat([embed(before), mixed, embed(after)]))
            ignored = torch.full((length,), -100)
            targets.append(torch.cat([labels[:start], ignored, labels[start + length :]]))
        longest = max(len(embeds) for embeds in merged)
        padded = torch.stack([F.pad(embeds, (0, 0, 0, longest - len(embeds))) for embeds in merged])
        padded_labels = torch.stack([F.pad(t, (0, longest - len(t)), value=-100) for t in targets])
        mask = torch.stack([torch.arange(longest) < len(embeds) for embeds in merged])
        outputs = self.whole.model.language_model(inputs_embeds=padded, attention_mask=mask.long())
        logits = self.whole.lm_head(outputs.last_hidden_state).float()
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), padded_labels[:, 1:].flatten())

    def mixture(self, image: Tensor, prompt: Tensor) -> Tensor:
        """[L, H] of one image."""
        attention = (image[:1] @ prompt.T / image.shape[-1] ** 0.5).softmax(dim=-1)
        weights = self.gate(attention @ prompt).softmax(dim=-1)[0]
        mixed: Tensor = self.weight * image
        for weight, (gate, up, down) in zip(weights, self.experts, strict=True):
            mixed = mixed + weight * F.linear(F.silu(F.linear(image, gate)) * F.linear(image, up), down)
        return mixed


def ways(vocab_size: int, key_value_heads: int) -> dict[str, Step]:
    model = make_model(vocab_size, key_value_heads)
    batch = make_batch(model)
    per_sample = PerSample(model)
    return {
        "per sample": lambda: per_sample(batch),
        "ours": lambda: model(**batch).loss,
        "ours, logits of all positions": lambda: model(**batch, supervised_only=False).loss,
    }


def seconds(step: Step) -> float:
    began = time.perf_counter()
    torch.autograd.backward(step())
    return time.perf_counter() - began


def peak_megabytes(name: str, args: argparse.Namespace) -> float:
    """Of a process that takes two such steps; the first is what loading and allocating costs."""
    command = [sys.executable, __file__, "--only", name, "--threads", str(args.threads)]
    command += ["--vocab-size", str(args.vocab_size), "--key-value-heads", str(args.key_value_heads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout) / 1024


def generation(
    model: ParrotForConditionalGeneration, *, pictures: bool, new_tokens: int
) -> tuple[float, float]:
    """Seconds for all prompts at once and one by one; the answers are the same."""
    draw = torch.Generator().manual_seed(2)
    ids = torch.randint(1, model.config.text_config.vocab_size - 1, (PROMPTS, 16), generator=draw)
    pixels = torch.randn(PROMPTS, 3, 336, 336, generator=draw)
    if pictures:
        image = torch.full((PROMPTS, model.config.image_seq_length), model.config.image_token_id)
        ids = torch.cat([image, ids], dim=1)
    # A static cache: the default one copies all that it holds for every new token.
    options = {"max_new_tokens": new_tokens, "do_sample": False, "cache_implementation": "static"}

    def answers(rows: slice) -> Tensor:
        mask = torch.ones_like(ids[rows])
        images = {"pixel_values": pixels[rows]} if pictures else {}
        generated: Tensor = model.generate(input_ids=ids[rows], attention_mask=mask, **images, **options)
        return generated

    began = time.perf_counter()
    together = answers(slice(None))
    batched = time.perf_counter() - began
    began = time.perf_counter()
    alone = torch.cat([answers(slice(row, row + 1)) for row in range(PROMPTS)])
    single = time.perf_counter() - began
    same = (together == alone).all(dim=1).float().mean()
    if same < 0.9:  # ties between random logits may fall either way
        raise SystemExit(f"only {same:.0%} of the answers are the same in a batch and alone")
    return batched, single


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument(
        "--key-value-heads",
        type=int,
        default=1,
        help="for 4 query heads; Qwen2-7B has 1 for 7, Qwen1.5 one for each",
    )
    parser.add_argument("--only", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    steps = ways(args.vocab_size, args.key_value_heads)
    if args.only:
        for _ in range(2):
            torch.autograd.backward(steps[args.only]())
        # Not getrusage: its peak is inherited from the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
        return

    losses = {name: step().item() for name, step in steps.items()}
    if max(losses.values()) - min(losses.values()) > 1e-4:
        raise SystemExit(f"the ways do not compute the same: {losses}")
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():  # warm up
        seconds(step)
    for _ in range(args.repeats):
        for name, step in steps.items():
            times[name].append(seconds(step))
    base = statistics.median(times["per sample"])
    print("| forward and backward | seconds | of per sample | peak MB |\n|---|---:|---:|---:|")
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(f"| {name} | {middle:.2f} | {middle / base:.2f} | {peak_megabytes(name, args):.0f} |")
    model = make_model(args.vocab_size, args.key_value_heads).eval()
    print(f"\n| {PROMPTS} prompts | one by one, s | at once, s | times as fast |\n|---|---:|---:|---:|")
    for pictures, new_tokens in GENERATION:
        with torch.inference_mode():
            runs = [
                generation(model, pictures=pictures, new_tokens=new_tokens)
                for _ in range(max(1, args.repeats // 3))
            ]
        batched, single = (statistics.median(taken) for taken in zip(*runs, strict=True))
        kind = f"{'with' if pictures else 'without'} a picture, {new_tokens} tokens"
        print(f"| {kind} | {single:.1f} | {batched:.1f} | {single / batched:.1f} |")


if __name__ == "__main__":
    main()
