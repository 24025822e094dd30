"""Publishing by the Hub's protocol, and what a stranger gets from there."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_repositories import PullRequest
from hub_server import Fault, HubServer
from huggingface_hub import ModelCard
from places import CARD, REPO, Make, environment, in_folder, number_of, numbers, on_hub
from trained_models import ASKED, make_package, make_trained

from parrot.errors import ParrotError
from parrot.loading import load_model, load_processor
from parrot.publishing import load_back
from parrot.publishing import package as stage
from parrot.publishing.load_back import answers
from parrot.publishing.publish import publish, retag


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
    assert taken.placed and not taken.placed.pull_request
    assert target.versions() == ["1", "2"] and len(found.requests) == 1
    assert [request.status for request in found.requests] == ["merged"]
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
