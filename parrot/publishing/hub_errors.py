"""What goes wrong between here and the Hub: what passes is waited for, the rest is a sentence."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from httpx2 import HTTPError
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

from parrot.errors import ParrotError

Answer = TypeVar("Answer")

WAITS = (2.0, 10.0, 30.0, 60.0)
"""Seconds before a call is made again: a Hub may be away for a minute and a half. Each time
huggingface_hub itself has tried an upload for half a minute."""
LONGEST_WAIT = 300.0
"""Seconds that the Hub may ask for."""

_PASSING = (408, 409, 412, 429, 500, 502, 503, 504)
"""409 and 412: somebody else has changed the repository meanwhile."""
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN,"


def patiently(repo: str, endpoint: str, call: Callable[[], Answer], waits: Sequence[float]) -> Answer:
    """What `call` gives; it is made again as long as its failure may pass, and has to do then only the rest.

    Raises:
        ParrotError: it does not pass, or has not done so after all `waits`.
    """
    for wait in (*waits, None):
        try:
            return call()
        # huggingface_hub wraps the failure of an upload in a RuntimeError, that of a download in an OSError;
        # a ValueError says that the Hub does not take the card's metadata, or the name of the repository.
        except (HTTPError, OSError, RuntimeError, ValueError) as error:
            said = _innermost(error)
            if wait is None or not _passes(said):
                raise ParrotError(_sentence(repo, endpoint, said)) from None
            time.sleep(max(wait, _asked_wait(said)))
    raise AssertionError("the last turn returns or raises")


def _innermost(error: BaseException) -> BaseException:
    """What the library has wrapped."""
    while isinstance(error, RuntimeError | LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__
    return error


def _passes(error: BaseException) -> bool:
    if isinstance(error, OfflineModeIsEnabled | LocalTokenNotFoundError):
        return False
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _PASSING and _asked_wait(error) <= LONGEST_WAIT
    return isinstance(error, HTTPError | ConnectionError | TimeoutError)


def _asked_wait(error: BaseException) -> float:
    """Seconds that the Hub asks to wait."""
    if not isinstance(error, HfHubHTTPError):
        return 0.0
    asked = error.response.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else 0.0


def _sentence(repo: str, endpoint: str, error: BaseException) -> str:
    words = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo}: HF_HUB_OFFLINE forbids to ask the Hub; unset it and start again"
    if isinstance(error, LocalTokenNotFoundError):
        return f"{repo}: the Hub is not told who publishes; {_LOG_IN} and start again"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return f"{repo}: {_of_status(status, endpoint, error.server_message or words)} ({status})"
    if isinstance(error, HTTPError | ConnectionError | TimeoutError):
        return (
            f"{repo}: {endpoint} cannot be reached ({words}); what was uploaded is not sent again: "
            f"start again once it answers"
        )
    return f"{repo}: {words}"


def _of_status(status: int, endpoint: str, words: str) -> str:
    if status == 401:
        return f"{endpoint} does not know who asks; {_LOG_IN} with a token that may write there"
    if status == 403:
        return (
            f"the token may not write there; make one that may at {endpoint}/settings/tokens, or set "
            f"publish.pull_request: true"
        )
    if status == 404:
        return f"{endpoint} has no such repository or revision; correct package.repo_id"
    if status in (409, 412):
        return "somebody else changes it at the same time; start again once they have finished"
    if status == 413:
        return f"{endpoint} takes no file or commit of this size: {words}"
    if status == 429:
        return f"{endpoint} asks to wait for some minutes; start again then"
    if status >= 500:
        return (
            f"{endpoint} has a fault of its own; what was uploaded is not sent again: start again in a while"
        )
    return f"{endpoint} refuses: {words}"
