"""Mutated files: each is read, or refused in a sentence, and nothing else comes out."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import write_evaluation
from scoring_files import ask, image, write_pair

from parrot.errors import ParrotError
from parrot.evaluation.comparison.compare import load
from parrot.evaluation.inference.chunks import Journal
from parrot.evaluation.scoring.score import score

PIECES = [
    b"\0", b"\xff", b'"', b"\t", b"\n", b"\r", b"\\", b"{", b"}", b"[", b"]", b":", b",", b"-", b"1e999",
    b"NaN", b"9" * 5000, b"[" * 20_000, b"null", b"true", b"\xed\xa0\x80", b"\\ud800", b"1.0",
    b"\xef\xbb\xbf",
]  # fmt: skip


def mutated(data: bytes, draw: random.Random) -> bytes:
    """With a piece put in, taken out, doubled or changed."""
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice([0, 1, 2, 8, 64]))
        piece = draw.choice([b"", draw.choice(PIECES), draw.randbytes(2), data[start:end] * 2])
        data = data[:start] + piece + data[end:]
    return data


def mutate(path: Path, use: Callable[[], object], times: int) -> int:
    """How many of the mutations were refused by a ParrotError; any other exception is one of the test."""
    whole = path.read_bytes()
    refused = 0
    for seed in range(times):
        path.write_bytes(mutated(whole, random.Random(seed)))
        try:
            use()
        except ParrotError as error:
            refused += 1
            if len(str(error)) > 1000:
                raise AssertionError(f"seed {seed}: {str(error)[:300]}…") from None
    path.write_bytes(whole)
    return refused


@pytest.mark.parametrize("name", ["tsv/mmmb_en.tsv", "pred/mmmb_en.tsv"])
@pytest.mark.parametrize("protocol", ["parrot", "vlmevalkit"])
def test_tables(tmp_path: Path, name: str, protocol: str) -> None:
    tsvs, tables = write_pair(
        tmp_path, [ask(1), ask(2, image=1), ask(3, image=image(3), g_index=3)][:2], ["A", "The answer is B"]
    )
    report = tmp_path / "report.json"
    assert mutate(tmp_path / name, lambda: score(tsvs, tables, protocol=protocol, output=report), 150)


@pytest.mark.parametrize("name", ["settings.json", "predictions.jsonl"])
def test_evaluation_folders(tmp_path: Path, name: str) -> None:
    folder = write_evaluation(tmp_path / "a", lambda *_: True, questions=3)
    assert mutate(folder / name, lambda: load(str(folder)), 300)


def test_a_journal_goes_on_behind_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    row = {"language": "en", "index": 0, "answers": {"seeing": {"choice": "A"}}, "routing": None}
    journal = Journal(path)
    for number in range(4):
        journal.append([row | {"index": number}])
    journal.close()

    def use() -> None:
        found = Journal(path)
        assert all(isinstance(found_row, dict) for found_row in found.done)
        found.append([row])
        found.close()
        again = Journal(path)
        assert again.done == found.done
        again.close()

    assert mutate(path, use, 200) == 0


def test_an_error_in_json_names_the_line(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "a", lambda *_: True, questions=3)
    file = folder / "predictions.jsonl"
    for line in ("[" * 100_000, '{"index": ' + "9" * 5000 + "}"):
        file.write_text(line)
        with pytest.raises(ParrotError, match=r"predictions\.jsonl: line 1: no JSON"):
            load(str(folder))
