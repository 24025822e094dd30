"""Secrets: how they are told from other text, taken out of addresses, and kept out of all that is shown."""

import os
import re
import sys
import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote

HIDDEN = "***"

_ALWAYS = re.compile(r"secret|passw|passphrase|passcode|^pwd$|credential|bearer|authorization")
_IF_TEXT = re.compile(r"(token|key)s?$|^(auth|cookies?|pat|sig|signature)$")
"""Of these names many are numbers that say nothing (`max_new_tokens`, `num_key_value_heads`)."""

_SHAPES = re.compile(
    r"\b(hf_[A-Za-z0-9]{10,}|api_org_\w{10,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}"
    r"|glpat-[\w-]{16,}|sk-[\w-]{16,}|A(KIA|SIA)[0-9A-Z]{16}|AIza[\w-]{30,}|xox[abprs]-[\w-]{10,}"
    r"|eyJ[\w-]{10,}\.[\w-]+\.[\w-]*)|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(-----END [A-Z ]*-----)?"
)
"""Tokens of Hugging Face, GitHub, GitLab, OpenAI, AWS, Google, Slack; JSON web tokens; private keys."""

# To the last @: a password may hold @ and / that nobody has encoded. A path may hold an @, too.
_USER_IN_URI = re.compile(r"(?<!sqlite)(?<!file)(://)\S*@")
_ASSIGNED = re.compile(r"""([?&]?)\b([\w.-]+)=(["']?)([^\s&"'<>,;)\]}]+)""")
_IN_MAPPING = re.compile(r"""(\\?["'])([\w.-]+)\1(\s*:\s*)(\\?["'])(.+?)\4""")
_TOKEN_PAIR = re.compile(r"(?i)((access|auth)_)?token=")
_HEADER = re.compile(
    r"""\b((?i:authorization)["']?\s*[:=]\s*["']?)[^"'\n]+|\b((?i:bearer|basic)\s+)(?=\S+[\dA-Z=])[\w.~+/=-]{8,}"""
)


@dataclass(frozen=True)
class Address:
    """A URI, and apart from it what its server must be shown to let us in."""

    uri: str
    username: str = ""
    password: str = ""
    token: str = ""


def is_secret(name: str, value: Any) -> bool:
    """Whether the dotted `name` says that this value must not be shown."""
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    if any(_ALWAYS.search(word) for word in words):
        return True
    harmless = value is None or isinstance(value, bool | int | float)
    return not harmless and any(_IF_TEXT.search(word) for word in words)


def without_secrets(text: str) -> str:
    """The text with everything in it that looks like a secret, or that the environment calls one, hidden."""
    for name, value in os.environ.items():
        if len(value) >= 8 and name != "PWD" and is_secret(name, value):  # the shell's own PWD is a folder
            text = text.replace(value, HIDDEN).replace(quote(value, safe=""), HIDDEN)
    text = _USER_IN_URI.sub(rf"\1{HIDDEN}@", text)
    text = _HEADER.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}", text)
    text = _ASSIGNED.sub(_hide_assigned, text)
    text = _IN_MAPPING.sub(_hide_in_mapping, text)
    return _SHAPES.sub(HIDDEN, text)


def holds_secret(text: str) -> bool:
    """Whether a setting gives a secret away. That an address has an @ in its path does not."""
    for word in text.split():
        address = split_address(word)
        opened = address.password or address.token or (address.username and word.startswith("http"))
        bare = address.uri.replace("@", "")
        if opened or without_secrets(bare) != bare:
            return True
    return False


def hide_in_tracebacks() -> None:
    """Let this process's last words, should it end by a defect, be without secrets, too."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(without_secrets("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = tell


def _hide_assigned(found: re.Match[str]) -> str:
    sign, name, mark, value = found.groups()
    given: Any = 0 if not sign and re.fullmatch(r"[\d.e+-]+", value) else value
    return f"{sign}{name}={mark}{HIDDEN}" if is_secret(name, given) else found[0]


def _hide_in_mapping(found: re.Match[str]) -> str:
    mark, name, colon, other, value = found.groups()
    shown = HIDDEN if is_secret(name, value) else value
    return f"{mark}{name}{mark}{colon}{other}{shown}{other}"


def split_address(uri: str) -> Address:
    """Take `user:password@` and `?token=` out of a URI, whether or not someone has percent-encoded them."""
    scheme, found, rest = uri.partition("://")
    if not found or scheme.startswith(("sqlite", "file")):
        return Address(uri)
    query = re.search(r"\?[\w.-]+=", rest)
    head, tail = (rest[: query.start()], rest[query.start() + 1 :]) if query else (rest, "")
    user, place = "", head
    before, at, after = head.rpartition("@")
    # In `host:80/a@b` the @ belongs to the path; in `user:a/b@host` it ends the password.
    if at and not ("/" in before and re.fullmatch(r"[\w.-]*(:\d+)?", before.partition("/")[0])):
        user, place = before, after
    pairs = tail.split("&") if tail else []
    tokens = [pair for pair in pairs if scheme.startswith("http") and _TOKEN_PAIR.match(pair)]
    kept = "&".join(pair for pair in pairs if pair not in tokens)
    username, _, password = user.partition(":")
    return Address(
        f"{scheme}://{place}{'?' if kept else ''}{kept}",
        unquote(username),
        unquote(password),
        unquote(tokens[0].partition("=")[2]) if tokens else "",
    )
