"""Publishing by the Hub's protocol and into a folder: once, again, cut off, and the way back."""

import contextlib
import copy
import errno
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hub_server import Commit, Fault, HubServer, PullRequest, Request, without_xet
from huggingface_hub import HfApi, ModelCard
from trained_models import ASKED, make_package, make_trained

from parrot.config import Publish
from parrot.errors import ParrotError
from parrot.loading import load_model, load_processor
from parrot.params import load_params
from parrot.publishing import folder_target, load_back
from parrot.publishing import package as stage
from parrot.publishing.folder_target import FolderTarget
from parrot.publishing.hub_target import HubTarget
from parrot.publishing.load_back import answers
from parrot.publishing.publish import next_version, publish, retag, target_of, unpublish, would_send
from parrot.publishing.target import Target

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml")
REPO = "someone/parrot"
CARD = b"---\nlanguage:\n- en\nlicense: apache-2.0\n---\n\n# A model\n\n"
NUMBERED = ("README.md", "config.json", "code.py", "model-1.safetensors", "model-2.safetensors")

Make = Callable[..., Path]


class Place(NamedTuple):
    target: Target
    look: Callable[..., dict[str, bytes]]
    """`look(version)`: what is downloaded, without one what is shown."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    without_xet(monkeypatch)
    with HubServer() as server:
        yield server


@pytest.fixture
def package(tmp_path: Path) -> Make:
    """`package(number)`: weights, code, card and the rest of a model; each file tells its number."""

    def make(number: int, more: dict[str, bytes] | None = None) -> Path:
        folder = tmp_path / f"package-{number}"
        files = {
            **{name: b"%s, number %d\n" % (name.encode(), number) for name in NUMBERED},
            "README.md": CARD + b"Its number %d\n" % number,
            ".eval_results/a.yaml": b"- dataset: {id: a/b, task_id: c}\n  value: 0.5\n",
            "tokenizer.json": b"{}",
        }
        for name, content in {**files, **(more or {})}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return make


def on_hub(hub: HubServer, **settings: Any) -> HubTarget:
    chosen = Publish.model_validate(PARAMS.publish.model_dump() | settings)
    return HubTarget(REPO, chosen, HfApi(hub.endpoint, token=hub.token), waits=(0.01, 0.01, 0.01))


def in_folder(place: Path) -> dict[str, bytes]:
    files = (file for file in place.rglob("*") if file.is_file())
    return {file.relative_to(place).as_posix(): file.read_bytes() for file in files}


@pytest.fixture(params=["hub", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        folder = tmp_path / "published/parrot"
        return Place(FolderTarget(folder), lambda version="current": in_folder(folder / version))
    hub = request.getfixturevalue("hub")
    return Place(on_hub(hub), lambda version=None: hub.files(REPO, f"v{version}" if version else "main"))


def number_of(files: dict[str, bytes]) -> int:
    """Of the one model that all these files are of."""
    told = {int(found[1]) for name in NUMBERED if (found := re.search(rb"number (\d)", files[name]))}
    assert len(told) == 1, files
    return told.pop()


def numbers(history: list[Commit]) -> list[int | None]:
    """What `main` ever showed: no model (None), or always one alone."""
    return [number_of(commit.tree) if len(commit.tree) > 1 else None for commit in history]


def test_a_version_is_shown_and_kept_and_the_way_back_leads_to_it(place: Place, package: Make) -> None:
    target, look = place
    assert target.current() is None and target.versions() == []
    first = publish(package(1, {"old.txt": b"only here"}), target, version="1", paragraph="The first one.")
    assert (first.former, first.added, target.current()) == (None, True, "1")
    second = publish(package(2), target, version="2")
    assert (second.former, target.current(), target.versions()) == ("1", "2", ["1", "2"])
    now = look()
    assert number_of(now) == 2 and "old.txt" not in now and ".eval_results/a.yaml" in now
    assert number_of(look("1")) == 1
    assert "This is version 1. The first one." in look("1")["README.md"].decode()
    back = retag(target, "1")
    assert (back.former, back.added, target.current()) == ("2", False, "1")
    assert look() == look("1")
    assert look("2") == now
    assert retag(target, "1").placed is None
    with pytest.raises(ParrotError, match=r"no version 3; there: 1, 2\. Name one"):
        retag(target, "3")


def test_what_is_there_is_not_sent_again(
    place: Place, package: Make, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    target, look = place
    publish(package(1), target, version="1", paragraph="Better.")
    log = request.getfixturevalue("hub").log if isinstance(target, HubTarget) else []
    asked, before = len(log), look()
    again = publish(package(1), target, version="1", paragraph="In other words.")
    assert (again.former, again.added, again.placed) == ("1", False, None)
    assert look() == before
    assert {request.method for request in log[asked:]} <= {"GET", "HEAD"}


def test_a_version_never_changes(place: Place, package: Make) -> None:
    publish(package(1), place.target, version="1")
    with pytest.raises(ParrotError, match="version 1 is there with other weights, and a version is never"):
        publish(package(2), place.target, version="1")
    assert number_of(place.look()) == 1


def test_the_next_version_is_that_with_these_weights_or_a_new_number(place: Place, package: Make) -> None:
    for number, version in ((1, "9"), (2, "10")):
        assert next_version(package(number), place.target) in ("1", version)
        publish(package(number), place.target, version=version)
    assert place.target.versions() == ["9", "10"]
    assert [next_version(package(number), place.target) for number in (1, 2, 3)] == ["9", "10", "11"]


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(
    place: Place, package: Make, tmp_path: Path
) -> None:
    publish(package(1, {"old.txt": b"1"}), place.target, version="1")
    before = place.look()
    lines = would_send(package(2), place.target, "2")
    assert lines[0] == f"{place.target.name}: version 2, in place of 1"
    assert "  send    model-1.safetensors (30 bytes)" in lines and "  remove  old.txt" in lines
    assert lines[-1] == "  2 files are there already"
    assert place.look() == before and place.target.versions() == ["1"]


def test_who_fails_later_takes_it_back(place: Place, package: Make) -> None:
    target, look = place
    first = publish(package(1), target, version="1")
    unpublish(target, publish(package(2), target, version="2"))
    assert (target.versions(), target.current(), number_of(look())) == (["1"], "1", 1)
    publish(package(2), target, version="2")
    unpublish(target, retag(target, "1"))
    assert (target.versions(), target.current()) == (["1", "2"], "2")
    target.remove("2")
    retag(target, "1")
    unpublish(target, first)
    assert (target.versions(), target.current()) == ([], None)


@pytest.mark.parametrize("version", ["", "../1", "a/b", "current", "main", "1..2", "-1", "1 2"])
def test_a_version_must_be_a_name(place: Place, package: Make, version: str) -> None:
    with pytest.raises(ParrotError, match="letters and digits"):
        publish(package(1), place.target, version=version)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("README.md", "holds no README.md, so it is no package; make one with `dvc repro package`"),
        ("config.json", "holds no config.json"),
        ("*.safetensors", r"holds no weights \(\*\.safetensors\)"),
    ],
)
def test_what_is_no_package_is_not_sent(tmp_path: Path, package: Make, missing: str, words: str) -> None:
    folder = package(1)
    for file in folder.glob(missing):
        file.unlink()
    with pytest.raises(ParrotError, match=words):
        publish(folder, FolderTarget(tmp_path / "published/parrot"), version="1")


def test_a_file_with_the_token_is_not_sent(
    place: Place, package: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token := "hf_" + "PlantedToken" * 3)
    with pytest.raises(ParrotError, match=r"lineage\.json: holds the token of the Hub") as raised:
        publish(package(1, {"lineage.json": token.encode()}), place.target, version="1")
    assert token not in str(raised.value)
    assert place.target.versions() == []


# Of the folder alone.


def test_a_killed_copy_is_not_seen_and_the_next_attempt_finishes_it(
    tmp_path: Path, package: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = FolderTarget(tmp_path / "published/parrot")
    publish(package(1), target, version="1")
    for name in ("copyfile", "link"):
        with monkeypatch.context() as patch:
            killed: Callable[..., Any] = lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
            patch.setattr(folder_target.shutil if name == "copyfile" else folder_target.os, name, killed)
            with pytest.raises(KeyboardInterrupt):
                publish(package(2), target, version="2")
        assert target.versions() == ["1"] and number_of(in_folder(target.folder / "current")) == 1
    with monkeypatch.context() as patch:
        patch.setattr(FolderTarget, "_show", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(package(2), target, version="2")
    assert target.current() == "1"
    assert publish(package(2), target, version="2").former == "1"
    assert target.current() == "2" and number_of(in_folder(target.folder / "current")) == 2


@pytest.mark.parametrize(
    ("where", "name", "files"),
    [("shutil", "copyfile", 0), ("shutil", "copyfile", 3), ("os", "link", 1), ("Path", "symlink_to", 0)],
    ids=["the first file", "in the middle", "at the last weights", "all but the link"],
)
def test_a_full_disk_is_said_and_the_next_attempt_finishes(
    tmp_path: Path, package: Make, monkeypatch: pytest.MonkeyPatch, where: str, name: str, files: int
) -> None:
    target = FolderTarget(tmp_path / "published/parrot")
    publish(package(1), target, version="1")
    module = getattr(folder_target, where)
    real, passed = getattr(module, name), itertools.count()

    def full(*arguments: Any) -> None:
        if next(passed) >= files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, full)
        if name == "link":  # a link needs no space; where it cannot be made, the weights are copied
            patch.setattr(folder_target.shutil, "copyfile", full)
        with pytest.raises(ParrotError, match="no space left while writing"):
            publish(package(2), target, version="2")
    assert target.current() == "1" and number_of(in_folder(target.folder / "current")) == 1
    assert not list(target.folder.glob(".2.partial*"))
    assert publish(package(2), target, version="2").former == "1"
    assert target.versions() == ["1", "2"] and number_of(in_folder(target.folder / "current")) == 2


def test_weights_are_not_stored_twice_and_a_cache_is_left_alone(tmp_path: Path, package: Make) -> None:
    folder = package(1)
    cached = tmp_path / "cache"
    os.link(folder / "model-2.safetensors", cached)
    cached.chmod(0o444)
    target = FolderTarget(tmp_path / "published/parrot")
    publish(folder, target, version="1")
    assert (target.folder / "1/model-1.safetensors").samefile(folder / "model-1.safetensors")
    assert not (target.folder / "1/model-2.safetensors").samefile(cached)
    assert cached.stat().st_mode & 0o777 == 0o444


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, package: Make) -> None:
    (tmp_path / "published").write_text("a file")
    with pytest.raises(ParrotError, match=r"parrot: cannot be written \(Not a directory\); correct"):
        publish(package(1), FolderTarget(tmp_path / "published/parrot"), version="1")


def test_two_at_once_leave_both(place: Place, package: Make) -> None:
    """On the Hub the slower one finds another `main` than it has seen, and looks again."""
    folders = {str(number): package(number) for number in (1, 2)}
    threads = [
        threading.Thread(target=publish, args=(folder, place.target), kwargs={"version": version})
        for version, folder in folders.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.target.versions() == ["1", "2"]
    assert [number_of(place.look(version)) for version in ("1", "2")] == [1, 2]
    assert str(number_of(place.look())) == place.target.current()


# Of the Hub alone.


def test_main_never_shows_half_a_model(hub: HubServer, package: Make, tmp_path: Path) -> None:
    target = on_hub(hub)
    for number in (1, 2):
        publish(package(number), target, version=str(number))
    retag(target, "1")
    assert numbers(hub.history(REPO)) == [None, 1, 2, 1]
    assert len(hub.uploads) == 4  # the way back sends no weights
    assert hub.repositories[REPO].private
    target.api.snapshot_download(REPO, revision="v2", local_dir=tmp_path / "v2")
    downloaded = {path: content for path, content in in_folder(tmp_path / "v2").items() if path[:2] != ".c"}
    del downloaded[".gitattributes"]
    assert downloaded == hub.files(REPO, "v2")


PROGRAM = """
import sys
from pathlib import Path
from parrot.params import load_params
from parrot.publishing.publish import publish, target_of
from parrot.stage import sentences

with sentences("parrot publish"):
    done = publish(Path(sys.argv[1]), target_of(load_params()), version=sys.argv[2])
    print(f"{done.name}: version {done.version} ({done.placed.revision})")
"""
"""What `parrot publish` does once the gate has decided."""


def environment(hub: HubServer, folder: Path) -> dict[str, str]:
    """Of a process that knows no other Hub, and has downloaded nothing yet."""
    return os.environ | {
        "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.token, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip


@pytest.fixture
def started(tmp_path: Path, hub: HubServer) -> Callable[[Path, str], subprocess.Popen[str]]:
    """Starts to publish a package as a version, in a folder whose params.yaml names the repository."""
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(re.sub(r"(?m)^  repo_id:", f"  repo_id: {REPO}", params))

    def start(package: Path, version: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(package), version],
            cwd=tmp_path,
            env=environment(hub, tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.mark.parametrize("place", ["/store/", "/commit/", "/tag/"])
def test_one_that_is_killed_is_finished_by_the_next(
    hub: HubServer, package: Make, started: Callable[[Path, str], subprocess.Popen[str]], place: str
) -> None:
    """Between two uploads, or when its commit or its tag is made and the answer has not come."""
    publish(package(1), on_hub(hub), version="1")
    connections = hub.connections
    process = started(package(2), "2")

    def kill(request: Request) -> None:
        if place in request.path:
            process.kill()

    hub.watch = kill
    process.communicate()
    while hub.connections > connections:
        time.sleep(0.01)
    hub.watch = lambda request: None
    assert process.returncode == -9 and len(hub.uploads) > 2
    publish(package(2), on_hub(hub), version="2")
    assert numbers(hub.history(REPO)) == [None, 1, 2]
    assert len(hub.uploads) == len(set(hub.uploads)) == 4
    assert on_hub(hub).versions() == ["1", "2"]


def test_a_process_publishes_on_the_hub_and_tells_nobody_its_token(
    hub: HubServer, package: Make, started: Callable[[Path, str], subprocess.Popen[str]]
) -> None:
    done = started(package(1), "1")
    said, errors = done.communicate()
    assert done.returncode == 0, errors
    assert said == f"{REPO}: version 1 ({hub.history(REPO)[-1].id})\n"
    hub.faults = [Fault("POST", "/commit/", 401)]
    refused = started(package(2), "2")
    _, sentence = refused.communicate()
    assert refused.returncode == 1
    assert sentence.splitlines()[-1] == (
        f"parrot publish: {REPO}: {hub.endpoint} does not know who asks; log in with `hf auth login`, or set "
        f"HF_TOKEN, with a token that may write there (401)"
    )
    told = (said, errors, sentence, *(request.path for request in hub.log), *hub.files(REPO).values())
    assert not [text for text in told if hub.token in str(text)]


@pytest.mark.parametrize("times", [1, 10_000], ids=["one is refused", "away from then on"])
def test_whatever_request_fails_the_next_attempt_finishes(
    hub: HubServer, package: Make, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    publish(package(1), on_hub(hub), version="1")
    before = copy.deepcopy((hub.repositories, hub.blobs))
    for place in itertools.count():
        hub.repositories, hub.blobs = copy.deepcopy(before)
        hub.log.clear()
        hub.faults = [Fault(".*", "", 403 if times == 1 else None, times, after=place)]
        with contextlib.suppress(ParrotError):
            publish(package(2), on_hub(hub), version="2")
        assert numbers(hub.history(REPO)) in ([None, 1], [None, 1, 2])
        missed = hub.faults.pop().times == times
        publish(package(2), on_hub(hub), version="2")
        assert numbers(hub.history(REPO)) == [None, 1, 2]
        assert len(hub.uploads) == len(set(hub.uploads)) == 2
        assert on_hub(hub).versions() == ["1", "2"]
        if missed:
            break
    assert place > 10


def test_faults_that_pass_are_waited_for(
    hub: HubServer, package: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.faults = [
        Fault("POST", "/api/repos/create", 503),
        Fault("POST", "/preupload/", 502),
        Fault("PUT", "/store/", after_bytes=5),
        Fault("PUT", "/store/", 500),
        Fault("POST", "/verify"),
        Fault("POST", "/commit/", answered=True),
        Fault("GET", "/refs", 429, headers={"Retry-After": "0"}),
        Fault("POST", "/tag/", 500),
        Fault("HEAD", "/resolve/", 504),
    ]
    publish(package(1), on_hub(hub), version="1")
    assert not [fault for fault in hub.faults if fault.times]
    assert numbers(hub.history(REPO)) == [None, 1]
    assert hub.repositories[REPO].tags == {"v1": hub.history(REPO)[-1].id}
    assert len(hub.uploads) == len(set(hub.uploads)) == 2


def test_what_died_before_its_tag_is_finished_with_the_tag_alone(hub: HubServer, package: Make) -> None:
    publish(package(1), on_hub(hub), version="1")
    hub.faults = [Fault("POST", "/tag/", 403)]
    with pytest.raises(ParrotError, match=r"the token may not write there.*\(403\)"):
        publish(package(2), on_hub(hub), version="2")
    assert on_hub(hub).versions() == ["1"]
    assert publish(package(2), on_hub(hub), version="2").former == "1"
    assert on_hub(hub).versions() == ["1", "2"]
    assert numbers(hub.history(REPO)) == [None, 1, 2]


def test_who_changes_the_repository_meanwhile_is_seen(hub: HubServer, package: Make) -> None:
    publish(package(1), on_hub(hub), version="1")
    found = hub.repositories[REPO]

    def meddle(request: Request) -> None:
        if "/preupload/" in request.path:
            hub.watch = lambda request: None
            found.commit("by hand", {**hub.history(REPO)[-1].tree, "hand.txt": b"1"}, "main")

    hub.watch = meddle
    publish(package(2), on_hub(hub), version="2")
    assert [commit.title for commit in hub.history(REPO)][-2:] == ["by hand", "Version 2"]
    assert "hand.txt" not in hub.files(REPO) and number_of(hub.files(REPO)) == 2
    assert 412 in [request.status for request in hub.log]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "refuses: .*a fault"),
        (403, r"may not write there; make one that may at .*/settings/tokens"),
        (409, "somebody else changes it at the same time; start again"),
        (413, "takes no file or commit of this size"),
        (429, "asks to wait for some minutes"),
        (503, "has a fault of its own; what was uploaded is not sent again"),
    ],
)
def test_what_does_not_pass_is_a_sentence(hub: HubServer, package: Make, status: int, words: str) -> None:
    hub.faults = [Fault("POST", "/commit/", status, times=99)]
    with pytest.raises(ParrotError, match=rf"^{REPO}: .*{words}.* \({status}\)$"):
        publish(package(1), on_hub(hub), version="1")
    assert numbers(hub.history(REPO)) == [None]


def test_who_is_not_known_or_may_not_write_is_told_so(hub: HubServer, package: Make) -> None:
    wrong, target = "hf_" + "NobodyKnows" * 3, on_hub(hub)
    for token, words in ((wrong, "does not know who asks; log in"), (hub.reader, "may not write there")):
        asked = HubTarget(REPO, target.settings, HfApi(hub.endpoint, token=token), waits=())
        with pytest.raises(ParrotError, match=words) as raised:
            publish(package(1), asked, version="1")
        assert token not in str(raised.value)
    nobody = HubTarget(REPO, target.settings, HfApi(hub.endpoint, token=False), waits=())
    with pytest.raises(ParrotError, match=r"or set HF_TOKEN, with a token that may write there \(401\)"):
        publish(package(1), nobody, version="1")
    assert not hub.repositories


def test_a_hub_that_cannot_be_reached_is_named(
    hub: HubServer, package: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = HubTarget(REPO, PARAMS.publish, HfApi("http://127.0.0.1:9", token=hub.token), waits=(0.01,))
    with pytest.raises(ParrotError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        publish(package(1), target, version="1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ParrotError, match="HF_HUB_OFFLINE forbids to ask the Hub; unset it"):
        publish(package(1), target, version="1")


def test_metadata_that_the_hub_does_not_take_are_said_before_anything_is_sent(
    hub: HubServer, package: Make
) -> None:
    bad = CARD.replace(b"license:", b"base_model: no name\nlicense:") + b"Its number 1\n"
    with pytest.raises(ParrotError, match=r'Invalid metadata in README\.md.*"no name" is no name of a repo'):
        publish(package(1, {"README.md": bad}), on_hub(hub), version="1")
    assert not hub.uploads


def test_a_pull_request_waits_for_a_person(hub: HubServer, package: Make) -> None:
    publish(package(1), on_hub(hub), version="1")
    target = on_hub(hub, pull_request=True)
    hub.faults = [Fault("POST", "/commit/.*create_pr", answered=True)]
    proposed = publish(package(2), target, version="2")
    assert proposed.placed and proposed.placed.pull_request == f"{hub.endpoint}/{REPO}/discussions/1"
    assert publish(package(2), target, version="2", paragraph="Why.").placed == proposed.placed
    found = hub.repositories[REPO]
    assert found.requests == [PullRequest(1, "Version 2")]
    assert b"This is version 2. Why." in hub.files(REPO, "refs/pr/1")["README.md"]
    assert (target.versions(), number_of(hub.files(REPO))) == (["1"], 1)
    hub.merge(REPO, 1)
    taken = publish(package(2), target, version="2", paragraph="In other words.")
    assert taken.placed and not taken.placed.pull_request and taken.former == "1"
    assert target.versions() == ["1", "2"] and len(found.requests) == 1
    unpublish(target, publish(package(3), target, version="3"))
    assert [request.status for request in found.requests] == ["merged", "closed"]
    assert numbers(hub.history(REPO)) == [None, 1, 2]


def test_a_repository_is_closed_and_never_opened(hub: HubServer, package: Make) -> None:
    hub.create(REPO, private=False)
    with pytest.raises(ParrotError, match=r"anyone can see this repository, and publish\.private is true"):
        publish(package(1), on_hub(hub), version="1")
    assert not hub.uploads
    publish(package(1), on_hub(hub, private=False, gated="manual"), version="1")
    publish(package(2), on_hub(hub, private=False), version="2")
    assert hub.repositories[REPO].gated == "manual"


def test_the_card_of_another_repository_names_this_one_as_its_new_version(
    hub: HubServer, package: Make
) -> None:
    older = hub.create("someone/older")
    older.commit("Version 1", {"README.md": CARD + b"\nOlder.\n", "model.safetensors": b"w"}, "main")
    for number in (1, 2):
        publish(package(number), on_hub(hub, replaces="someone/older"), version=str(number))
    files = hub.files("someone/older")
    assert ModelCard(files["README.md"].decode()).data.to_dict()["new_version"] == REPO
    assert files["README.md"].endswith(b"\nOlder.\n") and files["model.safetensors"] == b"w"
    assert len(hub.history("someone/older")) == 3


def test_a_stranger_loads_the_model_by_its_name_and_gets_its_answers(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = make_trained(tmp_path / "trained")
    with monkeypatch.context() as patch:
        patch.setattr(stage, "_prove", lambda asked, source, folder: [""])  # here it is this test that does
        make_package(trained, tmp_path / "package", repo_id=REPO)
    publish(tmp_path / "package", on_hub(hub), version="1")
    image = tmp_path / "elsewhere.jpg"
    image.write_bytes(hub.files(REPO)["example.jpg"])
    model, processor = load_model(trained / "model"), load_processor(trained / "model")
    asked = [(str(image), question) for question in list(ASKED.values())[:2]]
    done = subprocess.run(
        [sys.executable, "-P", load_back.__file__, REPO, json.dumps(asked)],
        cwd=tmp_path,
        env=environment(hub, tmp_path) | {"PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["alone"] == [
        answers(model, processor, [one])[0] for one in asked
    ]


def test_a_folder_is_told_what_it_would_get_and_takes_it_once(
    package: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", token := "hf_" + "PlantedToken" * 3)
    target = target_of(PARAMS)
    version = next_version(package(1), target)
    assert (
        would_send(package(1), target, version)[0] == "published/parrot-demo: version 1, in place of nothing"
    )
    assert not Path("published").exists()
    first, again = (publish(package(1), target, version=version) for _ in range(2))
    assert first.placed and first.placed.revision == "published/parrot-demo/1"
    assert again.placed is None
    assert token not in str(in_folder(Path("published")))
    with pytest.raises(ParrotError, match=r"nowhere: holds no README\.md"):
        publish(Path("nowhere"), target, version="2")


def test_params_say_where_a_model_goes() -> None:
    assert target_of(PARAMS).name == "published/parrot-demo"
    named = PARAMS.package.model_copy(update={"repo_id": REPO})
    assert target_of(PARAMS.model_copy(update={"package": named})).name == REPO
