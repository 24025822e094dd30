"""Publishing on the Hub and into a folder alike: once, again, and the way back."""

import threading
from pathlib import Path

import pytest
from places import PARAMS, REPO, Make, Place, number_of

from parrot.errors import ParrotError
from parrot.publishing.folder_target import FolderTarget
from parrot.publishing.hub_target import HubTarget
from parrot.publishing.publish import next_version, publish, retag, target_of, would_send


def test_a_version_is_shown_and_kept_and_the_way_back_leads_to_it(place: Place, package: Make) -> None:
    target, look = place
    assert target.current() is None and target.versions() == []
    publish(package(1, {"old.txt": b"only here"}), target, version="1", paragraph="The first one.")
    assert target.current() == "1"
    publish(package(2), target, version="2")
    assert (target.current(), target.versions()) == ("2", ["1", "2"])
    now = look()
    assert number_of(now) == 2 and "old.txt" not in now and ".eval_results/a.yaml" in now
    assert number_of(look("1")) == 1
    assert "This is version 1. The first one." in look("1")["README.md"].decode()
    assert retag(target, "1").placed and target.current() == "1"
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
    assert again.placed is None
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


def test_params_say_where_a_model_goes() -> None:
    assert target_of(PARAMS).name == "published/parrot-demo"
    named = PARAMS.package.model_copy(update={"repo_id": REPO})
    assert target_of(PARAMS.model_copy(update={"package": named})).name == REPO
