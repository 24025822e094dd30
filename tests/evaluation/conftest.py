import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flat_world import LANGUAGES, WORDS, Reader, make_questions, speed, write_tsv
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from parrot.config import Evaluate, Speed
from parrot.evaluation import predict as stage
from parrot.evaluation.evaluate import evaluate
from parrot.evaluation.inference import workers
from parrot.evaluation.inference.prompts import protocols
from parrot.model.registered import ParrotProcessor, build_flamingo, build_parrot

IMAGE_SIZE, PATCH_SIZE, IMAGE_POSITIONS = 16, 8, 5
CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def params(tmp_path: Path) -> Evaluate:
    """Settings that point at a benchmark in two languages."""
    files = {language: f"mmmb_{language}.tsv" for language in WORDS}
    for language, name in files.items():
        write_tsv(tmp_path / "mmmb" / name, make_questions(language))
    return Evaluate(
        name="small-world",
        benchmark=str(tmp_path / "mmmb"),
        files=files,
        circular=False,
        blind="removed",
        free=False,
    )


@pytest.fixture(scope="session", params=["llava", "parrot", "flamingo"])
def processor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of transformers' LLaVA, Parrot and Flamingo: evaluation must not know which it is."""
    texts = [word for words in WORDS.values() for word in words * 50]
    texts += [question.question for language in WORDS for question in make_questions(language)]
    tokenizer = train_tokenizer(texts, 330, tmp_path_factory.mktemp("tokenizer"))
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    if request.param != "llava":
        positions = IMAGE_POSITIONS if request.param == "parrot" else 1
        return ParrotProcessor(image_processor, tokenizer, image_seq_length=positions)
    return LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=CHATML,
    )


@pytest.fixture(scope="session")
def tiny_model(processor: Any) -> PreTrainedModel:
    """Random weights, large enough that pictures, words and experts change the scores."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
    )
    text = Qwen2Config(
        vocab_size=len(processor.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    image_token_id = processor.image_token_id
    if isinstance(processor, LlavaProcessor):
        config = LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_id=image_token_id,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            image_seq_length=IMAGE_POSITIONS,
        )
        return LlavaForConditionalGeneration(config).eval()
    if processor.image_seq_length == 1:
        flamingo = build_flamingo(
            CLIPVisionModel(vision),
            Qwen2ForCausalLM(text),
            image_token_id=image_token_id,
            resampler_n_latents=4,
            resampler_depth=1,
            cross_layer_interval=1,
        )
        with torch.no_grad():  # gates start closed
            for parameter in flamingo.aligned().parameters():
                parameter.normal_(std=0.5)
        return flamingo.eval()
    parrot = build_parrot(
        CLIPVisionModel(vision),
        Qwen2ForCausalLM(text),
        image_token_id=image_token_id,
        num_experts=3,
        moe_intermediate_size=8,
    )
    with torch.no_grad():  # experts start without effect
        for parameter in parrot.model.multilingual_moe.parameters():
            parameter.normal_(std=0.5)
    return parrot.eval()


@pytest.fixture
def reader(processor: Any) -> Reader:
    return Reader(processor, experts=3)


@pytest.fixture
def run(params: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Both stages, with answers of a few tokens: random weights do not come to an end by themselves."""
    known = {
        name: replace(protocol, max_new_tokens=min(protocol.max_new_tokens, 6))
        for name, protocol in protocols().items()
    }
    monkeypatch.setattr(stage, "protocols", lambda: known)

    def evaluated(
        params: Evaluate = params,
        languages: list[str] = LANGUAGES,
        model: str = "model",
        to: str = "out",
        speed: Speed = speed(),  # noqa: B008
    ) -> dict[str, Any]:
        folder, work = tmp_path / to, tmp_path / "work"
        predictions = folder / "predictions"
        stage.predict(params, languages, 1, speed, model=tmp_path / model, output=predictions, work=work)
        shutil.rmtree(work)  # as who runs the stage does
        found = evaluate(
            params,
            languages,
            predictions=predictions,
            metrics=folder / "metrics.json",
            reports=folder / "evaluation",
            plots=folder / "plots",
        )
        metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
        assert found == {f"mmmb/{name}": value for name, value in metrics.items()}
        return metrics

    return evaluated


@pytest.fixture
def seeing(monkeypatch: pytest.MonkeyPatch, reader: Reader, processor: Any) -> None:
    """The stage loads the model that reads the pictures."""
    monkeypatch.setattr(stage, "load_processor", lambda folder: processor)
    monkeypatch.setattr(workers, "load_model", lambda folder, number: (reader, processor))


@pytest.fixture
def saved(tmp_path: Path, tiny_model: Any, processor: Any) -> None:
    tiny_model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
