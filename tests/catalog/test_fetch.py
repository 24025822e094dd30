import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from publisher import COMMITS, Publisher, publisher

from parrot.catalog.fetch import LOCK, WORK, fetch, get
from parrot.catalog.needs import Need
from parrot.config import Source
from parrot.config_data import Origin
from parrot.errors import ParrotError

CONTENT = bytes(range(256)) * 20_000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with publisher() as made:
        made.files["it.json"] = CONTENT
        yield made


def origin_of(server: Publisher, name: str = "it.json", **more: Any) -> Origin:
    return Origin(url=f"{server.address}/files/{name}", **more)


def digest_of(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_file_that_breaks_off_goes_on_where_it_ended(server: Publisher) -> None:
    server.break_off_after = 3_000_000
    target = Path("data/it.json")
    with pytest.raises(ParrotError, match=r"cannot be fetched: .*start again to go on where it ended"):
        fetch(origin_of(server), target)
    assert not target.exists()
    fetch(origin_of(server), target)
    assert target.read_bytes() == CONTENT
    [first, second] = server.sent_bytes("it.json")
    assert first is None
    assert second == "bytes=3000000-"
    assert not [file for file in WORK.rglob("*") if file.is_file() and file.suffix != ".etag"]


def test_two_versions_are_not_mixed(server: Publisher) -> None:
    server.break_off_after = 3_000_000
    with pytest.raises(ParrotError, match="cannot be fetched"):
        fetch(origin_of(server), Path("it.json"))
    server.files["it.json"] = CONTENT[::-1]
    fetch(origin_of(server), Path("it.json"))
    assert Path("it.json").read_bytes() == CONTENT[::-1]


def test_a_server_without_marks_begins_anew(server: Publisher) -> None:
    server.has_marks = False
    server.break_off_after = 3_000_000
    with pytest.raises(ParrotError, match="cannot be fetched"):
        fetch(origin_of(server), Path("it.json"))
    fetch(origin_of(server), Path("it.json"))
    assert Path("it.json").read_bytes() == CONTENT
    assert server.sent_bytes("it.json") == [None, None]


def test_the_first_fetch_pins_what_a_url_serves(server: Publisher) -> None:
    fetch(origin_of(server), Path("it.json"))
    assert yaml.safe_load(LOCK.read_text()) == {f"{server.address}/files/it.json": digest_of(CONTENT)}
    server.files["it.json"] = b"another"
    with pytest.raises(ParrotError, match="serves something else than at the first fetch"):
        fetch(origin_of(server), Path("it.json"))
    assert Path("it.json").read_bytes() == CONTENT
    LOCK.unlink()
    with pytest.raises(ParrotError, match="serves something else"):
        fetch(origin_of(server, sha256="0" * 64), Path("it.json"))
    assert not LOCK.exists()


def test_a_file_of_an_archive(server: Publisher) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in (("train.json", b"[1]"), ("val.json", b"[2]")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    server.files["all.tar.gz"] = packed.getvalue()
    fetch(origin_of(server, "all.tar.gz", member="val.json"), Path("val.json"))
    assert Path("val.json").read_bytes() == b"[2]"
    with pytest.raises(ParrotError, match=r"test.json: missing image: .* has no test\.json"):
        fetch(origin_of(server, "all.tar.gz", member="test.json"), Path("test.json"))


def test_what_is_not_there_and_who_does_not_answer(server: Publisher) -> None:
    with pytest.raises(ParrotError, match=r"none.json: cannot be fetched: HTTP Error 404"):
        fetch(origin_of(server, "none.json"), Path("none.json"))
    with pytest.raises(ParrotError, match=r"cannot be fetched: .*refused"):
        fetch(Origin(url="http://127.0.0.1:9/a.json"), Path("a.json"))


FROM_THE_HUB = """
import sys
from pathlib import Path
from parrot.catalog.fetch import fetch
from parrot.config_data import Origin
for file in sys.argv[2:]:
    is_folder = "*" in file
    fetch(Origin(hub="them/it", file=file, revision=sys.argv[1] or None),
          Path("data") if is_folder else Path("data/one.bin"), is_folder=is_folder)
"""


def from_the_hub(server: Publisher, revision: str, *files: str) -> subprocess.CompletedProcess[str]:
    settings = {"HF_ENDPOINT": server.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", FROM_THE_HUB, revision, *files],
        env=os.environ | settings | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )


def test_a_data_set_of_the_hub_at_the_commit_of_the_first_fetch(server: Publisher) -> None:
    server.files |= {"data/0.parquet": b"zero", "data/1.parquet": b"one", "README.md": b"#"}
    server.files["it.json"] = 5 * CONTENT
    server.break_off_after = 15_000_000
    done = from_the_hub(server, "", "it.json", "data/*.parquet")
    assert server.sent_bytes("it.json") == [None, "bytes=10485760-"]  # behind its last whole piece
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in Path("data").iterdir()) == ["0.parquet", "1.parquet", "one.bin"]
    assert Path("data/one.bin").read_bytes() == 5 * CONTENT
    recorded = yaml.safe_load(LOCK.read_text())
    at = f"datasets/them/it/resolve/{COMMITS[0]}"
    assert list(recorded) == [f"{at}/data/0.parquet", f"{at}/data/1.parquet", f"{at}/it.json"]
    assert recorded[f"{at}/it.json"] == digest_of(5 * CONTENT)
    server.newest = COMMITS[1]
    server.asked.clear()
    assert from_the_hub(server, "", "README.md").returncode == 0
    resolved = [line.split("/resolve/")[1] for line, _ in server.asked if "/resolve/" in line]
    assert {path[:40] for path in resolved} == {COMMITS[0]}
    server.files["README.md"] = b"#!"
    done = from_the_hub(server, "", "README.md")
    assert f"{at}/README.md: serves something else than at the first fetch" in done.stderr
    assert Path("data/one.bin").read_bytes() == b"#"
    done = from_the_hub(server, COMMITS[1], "none.json")
    assert "them/it: has no none.json at bbbb" in done.stderr
    assert "README.md" in done.stderr


def test_files_of_one_name_do_not_overwrite_one_another(server: Publisher) -> None:
    server.files |= {"en/0.parquet": b"zero", "zh/0.parquet": b"one"}
    done = from_the_hub(server, "", "*.parquet")
    assert "*.parquet names en/0.parquet and zh/0.parquet: in one folder the second 0.parquet" in done.stderr
    assert not Path("data").exists()


def test_each_file_of_the_hub_stays_at_its_own_first_commit(server: Publisher) -> None:
    server.newest = COMMITS[1]
    assert from_the_hub(server, COMMITS[1], "it.json").returncode == 0
    server.files["README.md"] = b"#"
    assert from_the_hub(server, COMMITS[0], "README.md").returncode == 0
    server.asked.clear()
    assert from_the_hub(server, "", "it.json").returncode == 0
    resolved = [line.split("/resolve/")[1] for line, _ in server.asked if "/resolve/" in line]
    assert {path[:40] for path in resolved} == {COMMITS[1]}


def test_get_says_what_nothing_serves(server: Publisher) -> None:
    settings = {"split": "sft", "format": "llava", "language": "en"}
    served = origin_of(server).model_dump(exclude_none=True)
    source = Source.model_validate(settings | {"path": "a/it.json", "images": "a/pictures", "origin": served})
    lines = get(Need("mine", source, ("en",)))
    assert lines[0].startswith("mine: a/it.json: fetched from http://127.0.0.1")
    assert lines[1] == "mine: a/pictures: is served by nothing; `parrot data list` says how to get it"
    assert Path("a/it.json").read_bytes() == CONTENT
    assert len(get(Need("mine", source, ("en",)))) == 1
