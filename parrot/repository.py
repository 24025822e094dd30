"""DVC's repository, read while other processes of DVC may be writing it."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from dvc.repo import Repo

Read = TypeVar("Read")
_ATTEMPTS, _PAUSE_SECONDS = 20, 0.1


def read_repo(read: Callable[["Repo"], Read]) -> Read:
    """What `read` makes of the repository here.

    DVC writes its lock files in place: one that another stage's process is just writing looks damaged for a
    moment, so it is read again before that is believed.

    Raises:
        DvcException: as DVC does.
    """
    from dvc.repo import Repo
    from dvc.utils.strictyaml import YAMLSyntaxError, YAMLValidationError

    for _ in range(_ATTEMPTS - 1):
        try:
            with Repo() as repo:
                return read(repo)
        except (YAMLSyntaxError, YAMLValidationError):
            time.sleep(_PAUSE_SECONDS)
    with Repo() as repo:
        return read(repo)
