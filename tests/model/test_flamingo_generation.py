"""The Flamingo-style model writes the same alone, in a batch, and with or without a cache."""

from typing import Any

import pytest
import torch
from flamingo_cases import BATCH, PICTURES, PROMPTS, alone, build, together
from model_cases import (
    padded,
    pixels,
)
from transformers import (
    DynamicCache,
)

from parrot.evaluation.inference.decoding import log_likelihoods, read_prompts


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"cache_implementation": "static"}])
@torch.no_grad()
def test_generation_alone_in_a_batch_and_without_cache(options: dict[str, Any]) -> None:
    BATCH.check_generation(build(), options)


@pytest.mark.parametrize("cache", [None, DynamicCache])
@torch.no_grad()
def test_logits_with_a_cache_are_those_without(cache: Any) -> None:
    model = build()
    inputs = {
        **padded([[*ids, 70, 71, 72] for ids in PROMPTS], "left"),
        "pixel_values": pixels(sum(PICTURES)),
    }
    whole = model(**inputs).logits
    head = {key: inputs[key][:, :-3] for key in ("input_ids", "attention_mask")}
    first = model(
        **head, pixel_values=inputs["pixel_values"], use_cache=True, past_key_values=cache and cache()
    )
    steps = [first.logits]
    for position in range(-3, 0):
        stop = position + 1 or None
        steps.append(
            model(
                input_ids=inputs["input_ids"][:, position:stop],
                attention_mask=inputs["attention_mask"][:, :stop],
                past_key_values=first.past_key_values,
            ).logits
        )
    mask = inputs["attention_mask"].bool()
    torch.testing.assert_close(torch.cat(steps, dim=1)[mask], whole[mask], atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_a_second_picture_may_come_when_there_is_a_cache() -> None:
    model = build()
    inputs = alone(2)
    ids, pictures = inputs["input_ids"], inputs["pixel_values"]
    first = model(input_ids=ids[:, :5], pixel_values=pictures[:1], use_cache=True)
    second = model(input_ids=ids[:, 5:], pixel_values=pictures[1:], past_key_values=first.past_key_values)
    third = model(input_ids=torch.tensor([[70]]), past_key_values=second.past_key_values)
    whole = model(input_ids=torch.cat([ids, torch.tensor([[70]])], dim=1), pixel_values=pictures)
    parts = torch.cat([first.logits, second.logits, third.logits], dim=1)
    torch.testing.assert_close(parts, whole.logits, atol=2e-5, rtol=1e-4)
    cache = third.past_key_values
    cache.reset()
    again = model(**inputs, past_key_values=cache)
    torch.testing.assert_close(again.logits, whole.logits[:, :-1], atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_likelihoods_of_answers_share_the_prompts_cache() -> None:
    model = build()
    answers = [[[60, 61], [62], [63, 64, 65]], [[66]], [[67, 68], [69]], [[70], [71, 72]]]
    prefix = read_prompts(model, together("left"))
    assert prefix.routing is None
    scores = log_likelihoods(model, prefix, answers, last=False)
    assert log_likelihoods(model, prefix, answers, last=True) == scores  # the first use left it whole
    for index, prompt in enumerate(PROMPTS):
        for ids, score in zip(answers[index], scores[index], strict=True):
            inputs = {**alone(index), "input_ids": torch.tensor([[*prompt, *ids]])}
            logits = model(**inputs).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            expected = sum(row[token].item() for row, token in zip(logits, ids, strict=True))
            assert score == pytest.approx(expected, abs=1e-3)
