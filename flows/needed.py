"""Whether there is anything to do: new data, a last run long ago, a package that was not judged yet."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from parrot.files import read_json_object, write_json
from parrot.repository import as_sentence
from parrot.yaml_files import read_yaml

LAST_RUN = Path(".parrot/last_run.json")
"""When a run last ended well in which something was done, and which package was last released."""
PACKAGE, _LOCK = "package", Path("dvc.lock")


def update_data() -> list[str]:
    """Look where data was imported from (`dvc import-url`), and bring what is new: the .dvc files it changed.

    Raises:
        ParrotError: a source cannot be reached.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(_wait_for_lock=True) as repo:
            files = [stage.relpath for stage in repo.index.stages if stage.is_import]
            before = {file: Path(file).read_bytes() for file in files}
            if files:
                repo.update(files)
    except DvcException as error:
        raise as_sentence(error, "dvc update") from None
    return [file for file in files if Path(file).read_bytes() != before[file]]


def why_too_old(days: float | None) -> str:
    """A reason to do everything anew, if the last run is longer ago than that; else nothing."""
    ended = read_json_object(LAST_RUN).get("ended")
    if not days or not ended:
        return ""
    age = datetime.now(UTC) - datetime.fromisoformat(ended)
    if -age > timedelta(days=days):
        return "the last run lies in the future: a clock was wrong"
    return f"the last run was {age.days} days ago" if age > timedelta(days=days) else ""


def nothing_to_do() -> str:
    """Why a run ends at once."""
    ended = read_json_object(LAST_RUN).get("ended")
    since = f" ({datetime.fromisoformat(ended).astimezone():%Y-%m-%d %H:%M})" if ended else ""
    return f"nothing to do: data, code, parameters and backbones are those of the last run{since}"


def note_run() -> None:
    """A run in which something was done has ended well."""
    _note(ended=datetime.now(UTC).isoformat(timespec="seconds"))


def is_released() -> bool:
    """Whether what the stage `package` made last has been judged and, if it may, published."""
    made = _package()
    return made is not None and read_json_object(LAST_RUN).get("released") == made


def note_release() -> None:
    _note(released=_package())


def _package() -> str | None:
    """The hash of the package, as DVC's lock has it."""
    stages = read_yaml(_LOCK).get("stages", {}) if _LOCK.exists() else {}
    outputs = stages.get(PACKAGE, {}).get("outs", [{}])
    made: str | None = outputs[0].get("md5")
    return made


def _note(**values: Any) -> None:
    write_json(LAST_RUN, {**read_json_object(LAST_RUN), **values})
