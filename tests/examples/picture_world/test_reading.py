"""Reading documents as the small language model sees them, and what it is told beside their answers."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import Qwen2Config, Qwen2Tokenizer

from examples.picture_world.backbones.documents import Document, read_documents, texts
from examples.picture_world.backbones.encoded import DocumentCollator, Encoded, encode_documents, spans
from examples.picture_world.backbones.grid_reader import READING_LAYERS, SUBJECT_LAYER, GridReader
from examples.picture_world.backbones.stored import StoredDocuments, store
from examples.picture_world.backbones.train_tokenizer import train_tokenizer
from examples.picture_world.world.languages import LANGUAGES, TRAINED_WORDINGS
from examples.picture_world.world.phrases import grounding, regions
from examples.picture_world.world.questions import questions
from examples.picture_world.world.scene import CORNERS, draw_scene
from examples.picture_world.world.sentences import ask, conversation
from parrot.errors import ParrotError
from parrot.model.chat_format import CHAT_TEMPLATE
from parrot.model.chat_text import IGNORE_INDEX


def entry(number: int) -> dict[str, object]:
    rng = Random(f"reading {number}")
    scene = draw_scene(rng, held_back=True)
    language = ("en", "zh", "ar")[number % 3]
    turns, asked = conversation(language, scene, rng, caption_share=0.0, by_letter=0.5, shuffled=0.5)
    return {"id": str(number), "language": language, "regions": regions(scene), "conversations": turns,
            "grounding": [grounding(scene, question) for question, _ in asked],
            "subjects": [in_words.subject for _, in_words in asked]}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reading") / "reading.jsonl"
    path.write_text("".join(json.dumps(entry(number)) + "\n" for number in range(60)))
    return path


@pytest.fixture(scope="module")
def documents(file: Path) -> list[Document]:
    return list(read_documents(file, grid=4, seed=1, lines=range(60)))


@pytest.fixture(scope="module")
def tokenizer(documents: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Qwen2Tokenizer:
    tokenizer = train_tokenizer(texts(documents), 600, tmp_path_factory.mktemp("tokenizer"))
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


@pytest.fixture(scope="module")
def encoded(documents: list[Document], tokenizer: Qwen2Tokenizer) -> list[Encoded]:
    return list(encode_documents(documents, tokenizer))


def test_processes_that_encode_a_part_each_have_all(
    file: Path, encoded: list[Encoded], tokenizer: Qwen2Tokenizer, tmp_path: Path
) -> None:
    parts = [range(20), range(20, 20), range(20, 60)]
    stored = StoredDocuments(
        [
            store(encode_documents(read_documents(file, 4, 1, part), tokenizer), tmp_path / f"{part.stop}{i}")
            for i, part in enumerate(parts)
        ]
    )
    assert stored.lengths == [len(one.input_ids) for one in encoded]
    collate = DocumentCollator(tokenizer.pad_token_id)
    expected, found = collate(encoded), collate([stored[i] for i in range(len(stored))])
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def reader(tokenizer: Qwen2Tokenizer) -> GridReader:
    torch.manual_seed(1)
    model = GridReader(
        Qwen2Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32,
            num_hidden_layers=READING_LAYERS + 1, num_attention_heads=4, num_key_value_heads=2,
            initializer_range=0.2, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    model.image_token_id = tokenizer.image_token_id
    return model


def test_a_question_is_grounded_in_regions_that_say_its_answer() -> None:
    said = {"night", "one", "two", "three", "four", "five"}
    for number in range(400):
        scene = draw_scene(Random(f"grounds {number}"))
        phrases = [str(region["phrase"]).lower() for region in regions(scene)]
        for question in questions(scene):
            held = [phrases[i] for i in grounding(scene, question)]
            assert held, question
            # Relations and directions are said otherwise: "above" of what is at the top, "up" of "upward".
            if question.category in ("scene", "count") or question.answer in said:
                assert held == [phrases[0]] and question.answer in phrases[0]
            elif question.category not in ("relation", "direction"):
                assert all(question.answer.lower() in phrase for phrase in held), (question, held)


def test_answers_are_grounded_where_the_grid_says_them(
    documents: list[Document], encoded: list[Encoded], tokenizer: Qwen2Tokenizer
) -> None:
    for document, one in zip(documents, encoded, strict=True):
        answers = list(spans((one.labels != IGNORE_INDEX).tolist()))
        expected = [
            (place, positions)
            for answer, positions in zip(answers, document.grounds, strict=True)
            for place in range(answer.start - 1, answer.stop - 2)
        ]
        assert [place for place, _ in one.grounds] == [place for place, _ in expected]
        for (_, held), (_, positions) in zip(one.grounds, expected, strict=True):
            assert {int(one.input_ids[i]) for i in held} == {tokenizer.image_token_id}
            assert [i - held[0] for i in held] == [i - positions[0] for i in positions]
            assert all(document.positions[i] != ["."] for i in positions)


def test_options_are_found_in_the_ids(encoded: list[Encoded], tokenizer: Qwen2Tokenizer) -> None:
    seen = 0
    for one in encoded:
        text = one.input_ids.tolist()
        answers = {answer.start for answer in spans((one.labels != IGNORE_INDEX).tolist())}
        for turn in one.by_letter:
            seen += 1
            assert turn.asked + 1 in answers
            written = [tokenizer.decode(text[begin : end + 1])
                       for begin, end in zip(turn.letters, turn.ends, strict=True)]  # fmt: skip
            assert [option[:3] for option in written] == ["A. ", "B. ", "C. ", "D. "][: len(written)]
            assert written[turn.right][0] == tokenizer.decode(text[turn.asked + 1])
            for begin, end, words in zip(turn.letters, turn.ends, turn.words, strict=True):
                assert words and set(words) <= set(text[begin + 2 : end + 1])
    assert seen > 40


def test_guided_attention_is_the_models_own(encoded: list[Encoded], tokenizer: Qwen2Tokenizer) -> None:
    model = reader(tokenizer)
    batch = DocumentCollator(tokenizer.pad_token_id)(encoded[:6])
    model(**batch)
    eager = model.as_language_model()
    eager.set_attn_implementation("eager")
    outputs = eager.model(
        inputs_embeds=model.embedded(batch["input_ids"], batch["grid_ids"]),
        attention_mask=(batch["input_ids"] != tokenizer.pad_token_id).long(), output_attentions=True,
    )  # fmt: skip
    for layer, head, places, held in (
        (SUBJECT_LAYER, 0, batch["named_places"], batch["named_subjects"]),
        (READING_LAYERS - 1, 3, batch["answer_places"], batch["answer_grounds"]),
        (READING_LAYERS, 0, batch["letter_places"], batch["letter_options"]),
    ):
        rows, columns = places.T
        attention = outputs.attentions[layer][rows, head, columns]
        expected = -(attention * held).sum(1).log().mean()
        found = model._attention_loss(layer, (head,), places, held)
        assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_what_is_saved_answers_as_what_was_trained(encoded: list[Encoded], tokenizer: Qwen2Tokenizer) -> None:
    model = reader(tokenizer).eval()
    batch = DocumentCollator(tokenizer.pad_token_id)(encoded[:4])
    answered = model(**batch)
    assert answered["loss"].isfinite()
    saved = model.as_language_model().eval()
    logits = saved(
        inputs_embeds=model.embedded(batch["input_ids"], batch["grid_ids"]),
        attention_mask=(batch["input_ids"] != tokenizer.pad_token_id).long(),
    ).logits[:, :-1]
    torch.testing.assert_close(logits[batch["labels"][:, 1:] != IGNORE_INDEX], answered["logits"])


def test_a_batch_without_letters_has_a_loss(encoded: list[Encoded], tokenizer: Qwen2Tokenizer) -> None:
    without = [one for one in encoded if not one.by_letter][:2]
    assert without
    assert reader(tokenizer)(**DocumentCollator(tokenizer.pad_token_id)(without))["loss"].isfinite()


def test_questions_name_what_they_ask_about(
    documents: list[Document], encoded: list[Encoded], tokenizer: Qwen2Tokenizer
) -> None:
    seen = 0
    for document, one in zip(documents, encoded, strict=True):
        first = {answer.start - 1 for answer in spans((one.labels != IGNORE_INDEX).tolist())}
        named = iter([(place, places) for place, places in one.subjects if place in first])
        for message, chars in zip(document.messages[::2], document.subjects, strict=True):
            if not chars or chars[0] == chars[1]:
                continue
            seen += 1
            _, places = next(named)
            tokens = tokenizer.decode([int(one.input_ids[i]) for i in sorted(places)]).lstrip("�")
            # Its last character may share a token with the next one.
            phrase = message["content"][chars[0] : chars[1]]
            assert tokens.strip().startswith(phrase[:-1] or phrase)
        assert next(named, None) is None
    assert seen > 100


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_subject_is_the_thing_and_not_what_it_is_seen_from(code: str) -> None:
    for number in range(200):
        scene = draw_scene(Random(f"subjects {number}"))
        for asked in questions(scene):
            question = replace(asked, wording=number % TRAINED_WORDINGS)
            in_words = ask(code, question)
            text, (start, end) = in_words.text, in_words.subject
            if question.category in ("colour", "size", "pattern", "position", "relation"):
                forms = {form.lower() for name, form in LANGUAGES[code].forms(question.noun).items()
                         if name.endswith(("noun", "nouns"))}  # fmt: skip
                assert text[start:end].lower() in forms, (text, text[start:end])
            elif question.category in ("binding", "object"):
                assert start < end


@pytest.mark.parametrize("grounds", [[], [[99]]])
def test_wrong_grounding_is_named(tmp_path: Path, grounds: list[list[int]]) -> None:
    (tmp_path / "reading.jsonl").write_text(json.dumps(entry(0) | {"grounding": grounds}))
    with pytest.raises(ParrotError, match=r"reading\.jsonl: line 1: "):
        list(read_documents(tmp_path / "reading.jsonl", grid=4, seed=1, lines=range(1)))


def test_an_option_that_only_begins_like_others_is_told_by_its_end(tokenizer: Qwen2Tokenizer) -> None:
    options = [LANGUAGES["en"].PLACES[place] for place in CORNERS[:4]]
    listed = (f"{letter}. {text}" for letter, text in zip("ABCD", options, strict=True))
    asked = "\n".join(["Where?", *listed])
    messages = [{"role": "user", "content": "<image>\n" + asked}, {"role": "assistant", "content": "B"}]
    (one,) = encode_documents([Document("en", [["."]], messages, [[0]], [[]])], tokenizer)
    words = [tokenizer.decode(words).split() for words in one.by_letter[0].words]
    assert words == [option.split()[2:] for option in options]
