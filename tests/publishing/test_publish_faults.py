"""Publishing on a Hub that fails, or by a process that is killed: the next attempt finishes it."""

import contextlib
import copy
import itertools
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_server import Fault, HubServer, Request
from huggingface_hub import HfApi
from places import (
    PARAMS,
    REPO,
    Make,
    number_of,
    numbers,
    on_hub,
)

from parrot.errors import ParrotError
from parrot.publishing.hub_target import HubTarget
from parrot.publishing.publish import publish


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


@pytest.mark.slow
@pytest.mark.parametrize("place", ["/store/", "/commit/", "/tag/"])
def test_a_hub_that_is_away_for_a_minute_is_waited_for(
    hub: HubServer, package: Make, started: Callable[[Path, str], subprocess.Popen[str]], place: str
) -> None:
    """From then on: between two uploads, or when its commit or its tag has just been made."""
    publish(package(1), on_hub(hub), version="1")

    def leave(request: Request) -> None:
        if place in request.path:
            hub.watch = lambda request: None
            hub.faults = [Fault(".*", "", times=10_000)]
            threading.Timer(60, hub.faults.clear).start()

    hub.watch = leave
    began, process = time.monotonic(), started(package(2), "2")
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert time.monotonic() - began > 60 or place == "/tag/", "nothing is asked after the tag"
    while hub.faults:
        time.sleep(0.1)
    assert numbers(hub.history(REPO)) == [None, 1, 2]
    assert len(hub.uploads) == len(set(hub.uploads)) == 4
    assert on_hub(hub).versions() == ["1", "2"]


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
    publish(package(2), on_hub(hub), version="2")
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
