"""Secrets are told by their names, their forms and their places, and what is no secret stays readable."""

import sys

import pytest

from parrot.credentials import (
    Address,
    hide_in_tracebacks,
    holds_secret,
    is_secret,
    split_address,
    without_secrets,
)
from parrot.errors import ParrotError
from parrot.lineage import as_text, flatten


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://me:hush@host:5000", Address("http://host:5000", "me", "hush")),
        ("http://me:p@ss/w@host:5000/x", Address("http://host:5000/x", "me", "p@ss/w")),
        ("https://me:p%40ss%2Fw@host", Address("https://host", "me", "p@ss/w")),
        ("https://me:a:b?c@host", Address("https://host", "me", "a:b?c")),
        ("https://host:80/?token=a%2Fb", Address("https://host:80/", token="a/b")),
        ("https://host/?a=1&token=t&b=2", Address("https://host/?a=1&b=2", token="t")),
        ("http://host:5000/a@b", Address("http://host:5000/a@b")),
        ("http://host/a@b", Address("http://host/a@b")),
        ("postgresql://me:a@b@host/db?sslmode=on", Address("postgresql://host/db?sslmode=on", "me", "a@b")),
        ("sqlite:////home/me@work/mlflow.db", Address("sqlite:////home/me@work/mlflow.db")),
        ("mlruns", Address("mlruns")),
    ],
)
def test_an_address_is_split_from_what_opens_it(uri: str, expected: Address) -> None:
    assert split_address(uri) == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://me:hush@host:5000/x failed",
        "http://me:a@b/hush@host:5000: refused",
        "ssh://me:hush@host/dvc-store",
        "https://host/?token=hush",
        "https://host/x?a=1&password=hush",
        "Authorization: Basic hush",
        "{'Authorization': 'Bearer hush'}",
        "{'password': 'hush'}",
        '{"auth_token": "hush", "a": 1}',
        "connect(host='h', password='hush')",
        "host=h user=u password=hush",
    ],
)
def test_a_secret_is_hidden_in_a_sentence(text: str) -> None:
    assert "hush" not in without_secrets(text)
    assert "hush" not in str(ParrotError(text))
    assert "hush" not in as_text([text])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("https://me:hush@host/x.json", True),
        ("https://hush@host/x.json", True),
        ("https://host/x.json?token=hush", True),
        ("from https://host/x?X-Amz-Signature=hush", True),
        ("hf_" + "aB3" * 11, True),
        ("ssh://git@host/x", False),
        ("see https://host/@someone, or write to a@example.org", False),
        ("data/mmmb/test", False),
    ],
)
def test_a_setting_that_gives_a_secret_away_is_known(setting: str, expected: bool) -> None:
    assert holds_secret(setting) is expected


@pytest.mark.parametrize(
    "token",
    [
        "hf_" + "aB3" * 11,
        "ghp_" + "aB3" * 12,
        "AKIA" + "ABCD" * 4,
        "sk-" + "aB3" * 8,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_a_token_is_known_by_its_form(token: str) -> None:
    assert without_secrets(f"a {token} b") == "a *** b"


def test_a_traceback_is_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    hide_in_tracebacks()
    error = OSError("https://me:hush@host/x: refused")
    sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == "OSError: https://***@host/x: refused\n"


def test_what_the_environment_calls_a_secret_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SERVICE_PASSWORD", "correct horse")
    assert without_secrets("login with correct horse or correct%20horse") == "login with *** or ***"


@pytest.mark.parametrize(
    "text",
    [
        "Basic instructions are in docs/results.md",
        "params.yaml: sft.api_key: unknown key; did you mean 'seed'?",
        "max_new_tokens=64 is more than max_length=32",
        "https://host:5000/a/b?x=1 answers",
        "git@github.com:owner/name.git",
        "sqlite:////home/me@work/mlflow.db",
        "data/mmmb/test: the tokenizer has no token for <image>",
        "MLFLOW_TRACKING_URI: no MLflow server answers at http://127.0.0.1:9 (refused)",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("access_key", "x"), ("auth.bearer", "x"), ("hub_tokens", ["x"]), ("hfToken", "x"), ("apikey", "x"),
        ("password", 1234), ("a.secret_things.b", "x"), ("credentials.user", "x"), ("private-key", "x"),
        ("AUTH", "x"), ("cookie", "x"),
    ],
)  # fmt: skip
def test_names_of_secrets(name: str, value: object) -> None:
    assert is_secret(name, value)
    assert flatten({name: value, "kept": 1}) == {"kept": 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 64), ("num_key_value_heads", 2), ("tokenizer", "bpe"),
        ("sft.lora.target_modules", ["q"]), ("package.license", "x"), ("path", "x"), ("monitor", "x"),
        ("author", "x"),
    ],
)  # fmt: skip
def test_names_of_what_is_no_secret(name: str, value: object) -> None:
    assert not is_secret(name, value)


def test_flatten_numbers_records_keeps_lists_and_drops_secrets() -> None:
    tree = {
        "a": [{"path": "x"}, {"path": "y"}],
        "b": {"c": [1, 2], "hf_token": "t", "tokens": 3, "empty": {}},
        "deep": [[{"password": "p", "kept": 1}]],
        "password": "p",
    }
    assert flatten(tree) == {
        "a.0.path": "x", "a.1.path": "y", "b.c": [1, 2], "b.tokens": 3, "b.empty": {}, "deep.0.0.kept": 1,
    }  # fmt: skip


def test_the_folder_that_the_shell_is_in_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", "/home/me/parrot")
    assert without_secrets("/home/me/parrot/mlruns: not sent") == "/home/me/parrot/mlruns: not sent"
