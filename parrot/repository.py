"""DVC's repository, read while other processes of DVC may be writing it."""

import io
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, TypeVar

from parrot.errors import ParrotError

if TYPE_CHECKING:
    from dvc.repo import Repo

Read = TypeVar("Read")
_WRITTEN_IN_PLACE = (".lock", ".dvc")


def read_repo(read: Callable[["Repo"], Read], *, wait: bool = True) -> Read:
    """What `read` makes of the repository here.

    DVC writes its files in place, holding its own lock: one that another stage's process is just writing may
    be empty, or cut off and look whole. So each is read under that lock, which is held for no longer: a DVC
    that does not get it within three seconds gives its stage up.

    Args:
        wait: for as long as another DVC holds the lock; else it is DVC's error after three seconds.

    Raises:
        DvcException: as DVC does.
    """
    from dvc.repo import Repo

    with Repo(_wait_for_lock=wait) as repo:
        opened: Callable[..., IO[Any]] = repo.fs.open

        def open_whole(path: str, mode: str = "r", **options: Any) -> IO[Any]:
            if mode != "r" or not path.endswith(_WRITTEN_IN_PLACE) or repo.lock.is_locked:
                return opened(path, mode, **options)
            with repo.lock, opened(path, mode, **options) as file:
                return io.StringIO(file.read())

        repo.fs.open = open_whole  # type: ignore[method-assign, assignment]
        return read(repo)


def as_sentence(error: Exception, what: str) -> ParrotError:
    """An error of DVC's: what was asked of DVC, or which file is wrong, and DVC's words in one line."""
    return ParrotError(f"{what}: {' '.join(str(error).split())}")
