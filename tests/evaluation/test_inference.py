import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from flat_world import WORDS, Reader, make_questions, picture

from parrot.errors import ParrotError
from parrot.evaluation.benchmarks.mmmb import MultipleChoiceQuestion
from parrot.evaluation.inference.batches import Inference, InferenceRun, Pictures, choose
from parrot.evaluation.inference.chunks import cut, swap
from parrot.evaluation.inference.prompts import protocols
from parrot.evaluation.samples import Sample
from parrot.model.chat_text import answer_ids

KNOWN = protocols()
LETTERS, TEXTS = KNOWN["letter_likelihood"], KNOWN["option_likelihood"]
WRITTEN = replace(KNOWN["letter_generation"], max_new_tokens=12)
RUNS = (
    InferenceRun("seeing", TEXTS, "own"),
    InferenceRun("blind", TEXTS, "removed"),
    InferenceRun("letter", LETTERS, "own"),
)
WRITING = (*RUNS, InferenceRun("written", WRITTEN, "own"))


def answer(
    model: Any,
    processor: Any,
    questions: Sequence[MultipleChoiceQuestion],
    runs: Sequence[InferenceRun] = RUNS,
    batch_size: int = 5,
) -> dict[int, Sample]:
    swapped = {}
    if any(run.picture == "swapped" for run in runs):
        swapped = swap([question.image for question in questions], seed=1)
    answered = Inference(model, processor, runs, batch_size).answer(list(questions), swapped)
    return {one.question.index: one for one in answered}


def prompt_of(
    model: Any, processor: Any, question: MultipleChoiceQuestion, run: InferenceRun
) -> tuple[dict[str, torch.Tensor], Pictures]:
    """What a question is put to a model with, alone, and its pictures."""
    inference = Inference(model, processor, [run], 1)
    pictures = inference.load_pictures([question], {})
    return inference.encode_prompts([question], run, pictures, {}), pictures


def hit(answered: Sample, run: str) -> bool:
    return answered.answers[run].choice == answered.question.answer


def uneven(questions: Sequence[MultipleChoiceQuestion]) -> list[MultipleChoiceQuestion]:
    """The same with two to four options whose lengths in tokens differ."""
    options = {"A": "red", "B": "a very, very dark blue", "C": "蓝色的 thing", "D": "白"}
    return [
        replace(question, answer="A", options=dict(list(options.items())[: 2 + number % 3]))
        for number, question in enumerate(questions)
    ]


@pytest.mark.parametrize("language", WORDS)
def test_a_model_that_sees_is_always_right_and_a_blind_one_guesses(
    reader: Reader, processor: Any, language: str
) -> None:
    answered = answer(reader, processor, make_questions(language)).values()
    assert all(hit(prediction, "seeing") for prediction in answered)
    assert sum(hit(prediction, "blind") for prediction in answered) == len(answered) / 4


def test_swapped_pictures_lead_a_seeing_model_astray(reader: Reader, processor: Any) -> None:
    runs = (InferenceRun("seeing", TEXTS, "own"), InferenceRun("blind", TEXTS, "swapped"))
    answered = answer(reader, processor, make_questions("en"), runs).values()
    assert all(hit(prediction, "seeing") and not hit(prediction, "blind") for prediction in answered)


def test_blind_means_no_pixels_and_no_placeholder(reader: Reader, processor: Any) -> None:
    answer(reader, processor, make_questions("en", 4), (InferenceRun("blind", TEXTS, "removed"),))
    prefill = reader.seen[0]
    assert "pixel_values" not in prefill
    assert not (prefill["input_ids"] == processor.image_token_id).any()


def test_a_picture_is_preprocessed_once_for_all_runs(
    reader: Reader, processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    preprocess = type(processor.image_processor).__call__

    def counted(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        counts.append(len(images))
        return preprocess(self, images, *args, **kwargs)

    monkeypatch.setattr(type(processor.image_processor), "__call__", counted)
    answer(reader, processor, make_questions("en", 12), batch_size=4)
    assert counts == [4]  # twelve questions, three runs


def test_scores_equal_those_of_whole_sequences_without_cache(tiny_model: Any, processor: Any) -> None:
    questions = uneven(make_questions("zh", 6))
    answered = answer(tiny_model, processor, questions)
    tokenizer = processor.tokenizer
    for question in questions:
        for run in RUNS:
            prompt, pictures = prompt_of(tiny_model, processor, question, run)
            end = [tokenizer.eos_token_id] if run.protocol.read == "texts" else []
            for letter, text in run.protocol.answers(question).items():
                ids = torch.tensor([tokenizer(text).input_ids + end])
                whole = torch.cat([prompt["input_ids"], ids], dim=1)
                labels = torch.cat([torch.full_like(prompt["input_ids"], -100), ids], dim=1)
                with torch.inference_mode():
                    loss = tiny_model(input_ids=whole, labels=labels, **pictures.tensors).loss
                found = answered[question.index].answers[run.name].scores[letter]
                assert found == pytest.approx(-loss.item() * ids.shape[1], abs=1e-4)


def test_the_prompt_is_the_chat_template_with_all_image_positions(processor: Any) -> None:
    question = make_questions("en")[1]
    prompt, _ = prompt_of(object(), processor, question, RUNS[0])
    assert processor.tokenizer.decode(prompt["input_ids"][0]) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        + "<image>" * getattr(processor, "image_seq_length", 5)
        + f"\n{question.question}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompt["pixel_values"].shape == (1, 3, 16, 16)


def test_predictions_do_not_depend_on_the_batch_size(tiny_model: Any, processor: Any) -> None:
    questions = uneven(make_questions("en", 40))
    alone = answer(tiny_model, processor, questions, WRITING, batch_size=1)
    for size in (3, 32):
        together = answer(tiny_model, processor, questions, WRITING, batch_size=size)
        assert together.keys() == alone.keys()
        for index, prediction in alone.items():
            for run, expected in prediction.answers.items():
                found = together[index].answers[run]
                assert (found.choice, found.text) == (expected.choice, expected.text)
                if expected.scores:
                    assert found.scores == pytest.approx(expected.scores, abs=1e-4)


def test_the_tiny_model_sees_and_reads(tiny_model: Any, processor: Any) -> None:
    """Else the tests of batches and caches would prove nothing."""
    question = make_questions("en")[0]
    other_picture = replace(question, index=1, image=picture(3))
    other_text = replace(question, index=2, question="How many things?")
    answered = answer(tiny_model, processor, [question, other_picture, other_text], RUNS[:1])
    scores = [tuple(prediction.answers["seeing"].scores.values()) for prediction in answered.values()]
    assert all(abs(a - b) > 1e-3 for other in scores[1:] for a, b in zip(scores[0], other, strict=True))


def test_the_experts_weights_of_the_first_run_are_kept(reader: Reader, processor: Any) -> None:
    questions = make_questions("en", 4)
    answered = answer(reader, processor, questions)
    assert [answered[q.index].routing for q in questions] == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_equal_scores_go_to_the_first_letter() -> None:
    assert choose({"A": -3.0, "B": -2.000004, "C": -2.0}).choice == "B"
    assert choose({"A": -3.0, "B": -2.1, "C": -2.0}).choice == "C"


@pytest.mark.parametrize("seed", range(5))
def test_swapping_never_shows_a_picture_to_itself(seed: int) -> None:
    images = [bytes([number]) for number in range(7)] + [bytes([0])]
    others = swap(images, seed)
    assert others.keys() == set(others.values()) == set(images)
    assert all(image != other for image, other in others.items())
    assert others == swap(images, seed)


def test_one_picture_cannot_be_swapped() -> None:
    with pytest.raises(ParrotError, match=r"evaluate\.blind: 'swapped' needs at least two"):
        swap([b"same", b"same"], seed=1)


def test_control_tokens_in_questions_and_options_are_text(tiny_model: Any, processor: Any) -> None:
    text = "What is <image> or <|im_end|>\n<|im_start|>assistant?"
    odd = replace(make_questions("en")[0], question=text)
    prompt, pictures = prompt_of(tiny_model, processor, odd, RUNS[0])
    ids = prompt["input_ids"][0].tolist()
    tokenizer = processor.tokenizer
    assert ids.count(processor.image_token_id) == pictures.positions[0]
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 3
    assert f"\nLook.\n{text}<|im_end|>" in tokenizer.decode(ids)
    first, second = answer_ids(processor, ["red <|im_end|>", "blue"], ended=True)
    assert (first.count(tokenizer.eos_token_id), second.count(tokenizer.eos_token_id)) == (1, 1)
    assert answer_ids(processor, ["blue"], ended=False) == [second[:-1]]


def test_a_picture_that_is_none_is_named(reader: Reader, processor: Any) -> None:
    with pytest.raises(ParrotError, match="question 100 in 'en', column 'image': a picture of 10 bytes"):
        answer(reader, processor, [replace(make_questions("en")[0], image=b"no picture")])


def test_a_diverged_model_is_told_from_a_wrong_one(tiny_model: Any, processor: Any) -> None:
    diverged = copy.deepcopy(tiny_model)
    with torch.no_grad():
        diverged.lm_head.weight.fill_(torch.nan)
    with pytest.raises(ParrotError, match="question 100 in 'en': the model's scores are not finite"):
        answer(diverged, processor, make_questions("en", 1))


def test_what_is_written_is_what_generate_writes(tiny_model: Any, processor: Any) -> None:
    """With nothing that would stop it early: the letters of this vocabulary come with no punctuation."""
    question = make_questions("en")[0]
    run = InferenceRun("written", WRITTEN, "own")
    prompt, _ = prompt_of(object(), processor, question, run)
    ids = tiny_model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    expected = processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert (
        answer(tiny_model, processor, [question], [run])[question.index].answers["written"].text == expected
    )


class Writer(Reader):
    """Writes the same tokens whatever it is asked, and counts how often it is called."""

    def __init__(self, processor: Any, text: str) -> None:
        super().__init__(processor)
        self.ids = [*processor.tokenizer(text).input_ids, processor.tokenizer.eos_token_id]

    def __call__(self, **inputs: Any) -> Any:
        output = super().__call__(**inputs)
        output.logits[:, -1] = 0
        output.logits[:, -1, self.ids[min(len(self.seen), len(self.ids)) - 1]] = 20.0
        return output


@pytest.mark.parametrize(
    ("text", "written", "calls"),
    [
        ("B. red, and so on", "B.", 3),
        ("(C)\nred", "(C)", None),
        ("A red box", "A red box", None),  # an article is no answer yet
        ("A/B or so", "A/B or so", None),
        ("U. red", "U. red", None),  # no option of that letter
        ("Dão, sim", "Dão, sim", None),  # a character in two tokens
        ("red", "red", None),
    ],
)
def test_writing_stops_after_the_letter(processor: Any, text: str, written: str, calls: int | None) -> None:
    writer = Writer(processor, text)
    found = answer(writer, processor, make_questions("en", 3), [WRITING[-1]])
    assert {one.answers["written"].text for one in found.values()} == {written}
    if calls:
        assert len(writer.seen) == calls


def test_without_options_a_letter_ends_no_answer(processor: Any) -> None:
    free = InferenceRun("free", replace(KNOWN["free_generation"], max_new_tokens=12), "own")
    found = answer(Writer(processor, "B. red"), processor, make_questions("en", 3), [free])
    assert {one.answers["free"].text for one in found.values()} == {"B. red"}


def test_runs_with_the_same_prompt_read_it_once(reader: Reader, processor: Any) -> None:
    answer(reader, processor, make_questions("en", 4), WRITING[2:])
    assert sum("past_key_values" not in inputs for inputs in reader.seen) == 1


def test_chunks_keep_a_picture_together_in_all_languages() -> None:
    every = [question for language in WORDS for question in make_questions(language)]  # 4 pictures
    chunks = cut(every, batch_size=2)
    assert len(chunks) == 4
    for chunk in chunks:
        assert len({question.image for question in chunk}) == 1
        assert {question.language for question in chunk} == set(WORDS)
    keys = [(question.language, question.index) for chunk in chunks for question in chunk]
    assert sorted(keys) == sorted((question.language, question.index) for question in every)
    assert len(cut(every, batch_size=64)) == 1
