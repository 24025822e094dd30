"""Files of every known format with bytes changed: a sentence or broken records, and no traceback or hang."""

import io
import signal
import tarfile
from pathlib import Path
from types import FrameType

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checked import LIMITS
from mutations import mutations
from published_sets import publish
from small_sources import conversation, picture, write_zip

from parrot.config import Source
from parrot.data.check import Check
from parrot.data.sources.formats import known_formats
from parrot.errors import ParrotError

FEW, MANY = 25, 1000
SECONDS = 60
"""For one file, which takes milliseconds."""
CONTAINERS = ("Parquet", "lines")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    """Format, or container of LLaVA's, -> a small source in it."""
    folder = tmp_path_factory.mktemp("published")
    found: dict[str, Source] = {}
    for fields in publish(folder).values():
        source = Source.model_validate({"split": "sft", "language": "en"} | fields)
        if isinstance(source.format, str) and source.files is None:
            found.setdefault(source.format, source)
    images = str(write_zip(folder / "images.zip", {f"{n}.jpg": picture(n) for n in range(5)}))
    common = {"split": "sft", "language": "en"}
    tar = folder / "shard.tar"
    with tarfile.open(tar, "w") as archive:
        for number in range(5):
            for name, content in ((f"{number}.jpg", picture(number)), (f"{number}.txt", b"A cat.")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    found["webdataset"] = Source(format="webdataset", path=str(tar), images=str(tar), **common)
    pq.write_table(pa.Table.from_pylist([conversation(n) for n in range(5)]), folder / "a.parquet")
    found["Parquet"] = Source(format="llava", path=str(folder / "a.parquet"), images=images, **common)
    lines = folder / "a.jsonl"
    lines.write_text("\n".join(str(conversation(n)).replace("'", '"') for n in range(5)))
    found["lines"] = Source(format="llava", path=str(lines), images=images, **common)
    return found


def look(source: Source) -> str:
    """What became of it, in a word."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"more than {SECONDS} seconds")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        check = Check("odd", source, LIMITS, ["en"])
        for broken in check:
            assert broken.reason and broken.position >= 0
            str(broken).encode()
        return "broken" if check.reasons else "clean"
    except ParrotError as error:
        assert str(error).encode()
        return "refused"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def look_at_mutations(source: Source, path: Path, count: int) -> set[str]:
    content = Path(source.path).read_bytes()
    images = source.images if source.images != source.path else str(path)
    odd = source.model_copy(update={"path": str(path), "images": images, "expected": None})
    found = set()
    for mutated in mutations(content, count):
        path.write_bytes(mutated)
        found.add(look(odd))
    return found


def test_every_known_format_is_among_them(published: dict[str, Source]) -> None:
    aliases = {"chat"}
    assert set(known_formats()) - aliases <= set(published)


@pytest.mark.parametrize("name", sorted({*known_formats(), *CONTAINERS} - {"chat"}))
def test_mutated_files(name: str, published: dict[str, Source], tmp_path: Path) -> None:
    assert look(published[name]) != "refused"
    assert look_at_mutations(published[name], tmp_path / Path(published[name].path).name, FEW) - {"clean"}


def open_files() -> int:
    return psutil.Process().num_fds()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*known_formats(), *CONTAINERS} - {"chat"}))
def test_many_mutated_files_leave_no_file_open(
    name: str, published: dict[str, Source], tmp_path: Path
) -> None:
    look_at_mutations(published[name], tmp_path / Path(published[name].path).name, 5)
    before = open_files()
    look_at_mutations(published[name], tmp_path / Path(published[name].path).name, MANY)
    assert open_files() < before + 20
