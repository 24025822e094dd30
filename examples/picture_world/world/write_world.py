"""Write the whole world to disk, in the formats in which real data sets are published."""

import hashlib
import json
import multiprocessing
import os
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from examples.picture_world.sections import World
from examples.picture_world.world.benchmark_rows import FILE_CODES, draw_rows, write_tsv
from examples.picture_world.world.drawing import draw_picture, encode
from examples.picture_world.world.instructions import draw_instructions
from examples.picture_world.world.languages import LANGUAGES
from examples.picture_world.world.phrases import grounding, regions
from examples.picture_world.world.scene import draw_scene
from examples.picture_world.world.sentences import captioning, conversation, with_image
from parrot.files import atomic_directory

WORKERS = 2
READING_CAPTION_SHARE = 0.15
SFT_CAPTION_SHARE = 0.05
BY_LETTER = {"reading": 0.4, "align": 0.3, "sft": 0.4}
"""Share of the questions that are answered by the letter of an option."""
SHUFFLED = 0.5
"""Share of the questions in the reading documents whose words come in another order."""
ENGLISH_SHARES = {"reading": 1 / 6, "align": 0.75, "sft": 0.6}

_CHUNK = 250
_EPOCH = (1980, 1, 1, 0, 0, 0)

Entry = dict[str, Any]
Made = tuple[Entry, bytes]
"""An entry of a JSON file, and its picture's JPEG (empty for text only)."""


def write_world(world: World, target: Path, *, workers: int = WORKERS) -> None:
    """Write the world to the folder `target`, replacing it; the bytes depend on `world` only.

    Raises:
        ParrotError: more text-only instructions are wanted than there are.
    """
    pictures_of_training = world.align_captions + world.align_questions + world.sft_pictures
    total = world.backbone_pictures + world.reading_documents + pictures_of_training
    # Spawned, not forked: the caller may run threads. Workers end with their parent, however it ends.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _end_with_parent)
    with (
        atomic_directory(target) as folder,
        pool,
        tqdm(total=total, desc="picture world", unit=" scenes") as bar,
    ):
        taken: set[bytes] = set()

        def make(maker: Callable[[int, int, str], Made], languages: list[str]) -> Iterator[Made]:
            chunks = [
                (maker, world.seed, start, languages[start : start + _CHUNK])
                for start in range(0, len(languages), _CHUNK)
            ]
            for made in pool.map(_make_chunk, chunks):
                bar.update(len(made))
                taken.update(hashlib.sha256(picture).digest() for _, picture in made if picture)
                yield from made

        backbones = folder / "backbones"
        pictures = make(_described_picture, ["en"] * world.backbone_pictures)
        write_list(backbones / "region_descriptions.json", _store(backbones / "images.zip", pictures))
        documents = make(_reading_document, _languages(world.seed, "reading", world.reading_documents))
        _write_lines(backbones / "reading.jsonl", (entry for entry, _ in documents))
        for name, shares, maker, count in (
            ("captions", "align", _captioned_picture, world.align_captions),
            ("questions", "align", _questioned_picture, world.align_questions),
            ("conversations", "sft", _discussed_picture, world.sft_pictures),
        ):
            languages = _languages(world.seed, shares, count)
            entries = _store(folder / name / "images.zip", make(maker, languages))
            by_language = defaultdict(list)
            for language, entry in zip(languages, entries, strict=True):
                by_language[language].append(entry)
            for language in LANGUAGES:
                write_list(folder / name / f"{language}.json", by_language[language])
        instructions = draw_instructions(Random(f"{world.seed} instructions"), world.text_instructions)
        write_list(folder / "instructions" / "en.json", instructions)
        for split in ("dev", "test"):
            bar.set_postfix_str(f"benchmark {split}")
            rows = draw_rows(world.seed, split, world.questions_per_category, taken)
            (folder / "mmmb" / split).mkdir(parents=True)
            for language in LANGUAGES:
                file = folder / "mmmb" / split / f"mmmb_{FILE_CODES.get(language, language)}.tsv"
                write_tsv(file, language, split, rows)
        (folder / "README.md").write_text(_README, encoding="utf-8")


def _end_with_parent() -> None:
    """End this worker when its parent is gone: a killed parent cannot tell it to."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make_chunk(chunk: tuple[Callable[[int, int, str], Made], int, int, list[str]]) -> list[Made]:
    maker, seed, start, languages = chunk
    return [maker(seed, start + offset, language) for offset, language in enumerate(languages)]


def _described_picture(seed: int, index: int, language: str) -> Made:
    scene = draw_scene(Random(f"{seed} backbones {index}"))
    entry = {"id": index, "image": _file_name(index), "regions": regions(scene, index)}
    return entry, encode(draw_picture(scene))


def _reading_document(seed: int, index: int, language: str) -> Made:
    rng = Random(f"{seed} reading {index}")
    # A language model may have read of what no picture shows.
    scene = draw_scene(rng, held_back=True)
    turns, asked = conversation(
        language, scene, rng, caption_share=READING_CAPTION_SHARE, by_letter=BY_LETTER["reading"],
        shuffled=SHUFFLED,
    )  # fmt: skip
    grounds = [grounding(scene, question) for question, _ in asked]
    subjects = [in_words.subject for _, in_words in asked]
    captions = [()] * (len(turns) // 2 - len(asked))
    entry = {
        "id": f"reading-{index:06}",
        "language": language,
        "regions": regions(scene),
        "conversations": turns,
        "grounding": [*grounds, *captions],
        "subjects": [*subjects, *captions],
    }
    return entry, b""


def _captioned_picture(seed: int, index: int, language: str) -> Made:
    rng = Random(f"{seed} align {index}")
    scene = draw_scene(rng)
    turns = with_image(captioning(language, scene, rng), rng, anywhere=True)
    return _llava_entry("align", index, turns), encode(draw_picture(scene))


def _questioned_picture(seed: int, index: int, language: str) -> Made:
    return _conversation(seed, "align-questions", index, language, 0.0, BY_LETTER["align"])


def _discussed_picture(seed: int, index: int, language: str) -> Made:
    return _conversation(seed, "sft", index, language, SFT_CAPTION_SHARE, BY_LETTER["sft"])


def _conversation(
    seed: int, name: str, index: int, language: str, caption_share: float, by_letter: float
) -> Made:
    rng = Random(f"{seed} {name} {index}")
    scene = draw_scene(rng)
    turns, _ = conversation(language, scene, rng, caption_share=caption_share, by_letter=by_letter)
    turns = with_image(turns, rng)
    return _llava_entry(name, index, turns), encode(draw_picture(scene))


def _llava_entry(split: str, index: int, turns: list[dict[str, str]]) -> Entry:
    return {"id": f"{split}-{index:06}", "image": _file_name(index), "conversations": turns}


def _file_name(index: int) -> str:
    return f"{index:06}.jpg"


def _languages(seed: int, split: str, count: int) -> list[str]:
    """A language for each of `count` entries: English has its share, the others the rest, evenly."""
    others = [language for language in LANGUAGES if language != "en"]
    each = max(1, round(count * (1 - ENGLISH_SHARES[split]) / len(others)))
    languages = [language for language in others for _ in range(each)][:count]
    languages += ["en"] * (count - len(languages))
    Random(f"{seed} {split} languages").shuffle(languages)
    return languages


def _store(path: Path, made: Iterable[Made]) -> Iterator[Entry]:
    """Put the pictures into a zip archive as they come, passing the entries on.

    Stored, not compressed: what a zlib writes depends on the CPU.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for entry, picture in made:
            info = zipfile.ZipInfo(entry["image"], _EPOCH)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, picture)
            yield entry


def _json(entry: Entry) -> str:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":"))


def write_list(path: Path, entries: Iterable[Entry]) -> None:
    """Write one JSON list, an entry a line."""
    lines = ",\n".join(_json(entry) for entry in entries)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def _write_lines(path: Path, entries: Iterable[Entry]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for entry in entries:
            file.write(_json(entry) + "\n")


_README = """\
# The embedded picture world

Made by `python -m examples.picture_world data` from the section `world` of
`examples/picture_world/params.yaml`: 64 × 64 pictures of things, shapes, digits, letters, faces,
arrows and bar charts, in the formats in which real data sets are published. To train on real data,
name real files in `params.yaml`.

| file | form | what it is for |
|---|---|---|
| `backbones/region_descriptions.json`, `backbones/images.zip` | Visual Genome regions | vision tower |
| `backbones/reading.jsonl` | regions, LLaVA turns and their regions, no pictures | language model |
| `captions/<language>.json`, `captions/images.zip` | LLaVA pre-training | stage one |
| `questions/<language>.json`, `questions/images.zip` | LLaVA conversations | stage one |
| `conversations/<language>.json`, `conversations/images.zip` | LLaVA conversations | stage two |
| `instructions/en.json` | Alpaca | stage two, text only |
| `mmmb/dev`, `mmmb/test` | MMMB TSV, one per language, parallel | choosing settings; measuring |

No picture of the benchmark occurs in training, and some pairs of colour and noun (such as a
red fish) are shown by the benchmark only: no training picture has them and no conversation or
instruction names them. The language model alone has read of them.

A question is worded in ten ways in training, in another one in `mmmb/dev` and in yet another one in
`mmmb/test`. In `reading.jsonl` the words of half of the questions come in another order.
"""
