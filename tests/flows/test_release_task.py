"""The last step: what is made is judged once, shown, and taken back if it cannot be shown."""

import json
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.pipeline import main
from parrot.errors import ParrotError

GRAPH = "package: {cmd: cp source package, deps: [source], outs: [package]}"


@dataclass
class Judgement:
    """As the gate gives it."""

    decision: str
    reasons: list[str] = field(default_factory=lambda: ["4.0 points better overall", "none worse in Turkish"])

    def as_markdown(self) -> str:
        return f"# {self.decision}\n\n" + "\n".join(self.reasons)


@dataclass
class Published:
    name: str
    version: str


@dataclass
class Released:
    verdict: Judgement
    published: Published | None
    waits_at: str | None = None


@pytest.fixture
def calls(project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A project with a package, and what was called of a stand-in for what releases it."""
    project(GRAPH)
    made: list[str] = []
    module = types.ModuleType("parrot.publishing.release")
    decisions = iter(["PROMOTE", "REJECT", "PROMOTE"])
    monkeypatch.delenv("WAITS", raising=False)

    def release(_params: object) -> Released:
        made.append("release")
        if where := os.environ.get("WAITS"):
            return Released(Judgement("PROMOTE"), None, where)
        decision = next(decisions)
        return Released(Judgement(decision), Published("published", "7") if decision == "PROMOTE" else None)

    def rollback(_params: object, version: str | None) -> None:
        made.append(f"rollback {version}")
        if made.count("release") == 1 and "FIRST" in os.environ:
            raise ParrotError("the ledger knows no version before")

    module.release, module.rollback = release, rollback  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "parrot.publishing.release", module)
    monkeypatch.setattr("flows.release_task.load_params", lambda: None)
    return made


@pytest.mark.usefixtures("servers")
def test_a_package_is_released_once_and_its_verdict_shown(calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-publish"]) == 0
    assert calls == []
    for _ in range(2):
        assert main([]) == 0
        assert calls == ["release"], "nothing to do, but for a package that was not judged yet; once"
    said = capsys.readouterr().out
    assert said.count("PROMOTE") == 1
    assert "none worse in Turkish" in said
    assert "published: published, version 7" in said
    Path("source").write_text("2")
    assert main([]) == 0
    assert calls == ["release", "release"]
    assert "REJECT" in capsys.readouterr().out


@pytest.mark.usefixtures("servers")
def test_what_is_published_and_cannot_be_shown_is_taken_back(calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the server is away")

    monkeypatch.setattr("flows.release_task.create_markdown_artifact", fail)
    for then in (["release", "rollback None"], ["release"], ["release", "rollback None"]):
        with pytest.raises(RuntimeError, match="the server is away"):
            main([])
        assert calls == then, "a verdict that published nothing leaves nothing to take back"
        calls.clear()
    assert "released" not in json.loads(Path(".parrot/last_run.json").read_text())


@pytest.mark.usefixtures("servers")
def test_a_release_that_waits_for_a_person_is_finished_by_a_later_run(
    calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAITS", "https://hub/parrot/discussions/1")
    for _ in range(2):
        assert main([]) == 0
        assert "waits at https://hub/parrot/discussions/1; once it is merged" in capsys.readouterr().out
    monkeypatch.delenv("WAITS")
    for _ in range(2):
        assert main([]) == 0
    assert calls == ["release"] * 3


@pytest.mark.usefixtures("servers")
def test_a_first_publication_stays_and_that_is_said(
    calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("refused")

    monkeypatch.setenv("FIRST", "1")
    monkeypatch.setattr("flows.release_task.create_markdown_artifact", fail)
    with pytest.raises(RuntimeError, match="refused"):
        main([])
    assert calls == ["release", "rollback None"]
    said = capsys.readouterr().out
    assert "what was published stays published: the ledger knows no version before" in said


@pytest.mark.usefixtures("servers")
def test_a_summary_that_cannot_be_shown_hides_no_failure(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("refused")

    project("package: {cmd: 'echo bad luck >&2; exit 1', deps: [source], outs: [package]}")
    monkeypatch.setattr("flows.pipeline.create_markdown_artifact", fail)
    assert main(["--no-publish"]) == 1
    said = capsys.readouterr()
    assert "the server does not take the summary: refused" in said.out
    assert "parrot: package: bad luck" in said.err
