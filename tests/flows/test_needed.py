"""Whether there is anything to do, and why."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.needed import (
    LAST_RUN,
    is_released,
    note_release,
    note_run,
    nothing_to_do,
    update_data,
    why_too_old,
)
from flows.pipeline import main
from parrot.errors import ParrotError
from parrot.files import write_json


def test_data_that_were_imported_are_looked_at_where_they_come_from(project, tmp_path_factory) -> None:
    folder: Path = project("copy: {cmd: cp data/words copied, deps: [data/words], outs: [copied]}")
    watched = tmp_path_factory.mktemp("watched")
    (watched / "words").write_text("old\n")
    (folder / "data").mkdir()
    subprocess.run(
        [sys.executable, "-m", "dvc", "import-url", "-q", str(watched / "words"), "data/words"],
        check=True, env=os.environ | {"DVC_NO_ANALYTICS": "1"},
    )  # fmt: skip
    assert update_data() == []
    (watched / "words").write_text("new\n")
    assert update_data() == ["data/words.dvc"]
    assert (folder / "data/words").read_text() == "new\n"
    (watched / "words").unlink()
    with pytest.raises(ParrotError, match=r"dvc update: .*words"):
        update_data()


def test_a_run_is_too_old_after_so_many_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert why_too_old(7) == "", "never run: there is enough to do"
    note_run()
    assert why_too_old(7) == ""
    ago = datetime.now(UTC) - timedelta(days=8)
    write_json(LAST_RUN, {"ended": ago.isoformat()})
    assert why_too_old(7) == "the last run was 8 days ago"
    assert why_too_old(None) == ""
    assert f"({ago.astimezone():%Y-%m-%d %H:%M})" in nothing_to_do()


@pytest.mark.parametrize(("hours", "reason"), [(-1, ""), (1, ""), (24 * 3650, "a clock was wrong")])
def test_a_clock_that_jumped_makes_no_run_young_for_years(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(LAST_RUN, {"ended": (datetime.now(UTC) + timedelta(hours=hours)).isoformat()})
    assert why_too_old(7).endswith(reason) and bool(why_too_old(7)) == bool(reason)


def test_a_package_is_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_released()
    for digest in ("aa.dir", "bb.dir"):
        write_json(tmp_path / "dvc.lock", {"stages": {"package": {"outs": [{"path": "p", "md5": digest}]}}})
        assert not is_released()
        note_release()
        note_run()
        assert is_released()


@pytest.mark.usefixtures("servers")
def test_a_run_says_why_it_does_what_it_does(project, capsys: pytest.CaptureFixture[str]) -> None:
    folder: Path = project(
        "first: {cmd: cp source first, deps: [source], outs: [first]}",
        "second: {cmd: cp first second, deps: [first], outs: [second]}",
    )
    assert main([]) == 0
    assert "first (1 of 2): never run" in capsys.readouterr().out
    assert main([]) == 0
    assert "nothing to do: data, code, parameters and backbones are those of the last run (2" in (
        capsys.readouterr().out
    )
    (folder / "source").write_text("2")
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "first (1 of 2): source ·" in said
    assert "second (2 of 2): after first ·" in said
    assert main(["--force", "first"]) == 0
    assert "first (1 of 1): asked for ·" in capsys.readouterr().out
    assert json.loads((folder / LAST_RUN).read_text())["ended"]
