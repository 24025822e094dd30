"""What is told a worker beside a commit, and that git never waits for an answer."""

import subprocess
from pathlib import Path

import pytest

from parrot.errors import ParrotError
from parrot.pipeline import commits


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)


def test_new_data_reach_a_worker_without_a_commit_and_a_password_does_not() -> None:
    address = "deps:\n- md5: 1b3d\n  path: https://{}example.org/data@2/records\n"
    Path("data.dvc").write_text(address.format(""))
    assert commits.changed_by_runs() == {"data.dvc": address.format("")}
    Path("data.dvc").write_text(address.format("me:pa55word@"))
    with pytest.raises(ParrotError, match=r"data\.dvc: holds a password or token") as refused:
        commits.changed_by_runs()
    assert "pa55word" not in str(refused.value)


def test_a_git_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "_GIT_SECONDS", 0.5)
    with pytest.raises(ParrotError, match=r"git -c: has not ended after 0\.5 seconds"):
        commits._run("-c", "alias.hang=!sleep 5", "hang")
    assert commits._run("-c", "alias.ask=!cat; test $GIT_TERMINAL_PROMPT = 0", "ask").returncode == 0
