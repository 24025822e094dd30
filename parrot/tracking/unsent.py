"""What could not be sent to MLflow: kept as it was, and sent later.

Each run has a folder of its own with `values.json` and copies of the files that it would have logged.
"""

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parrot.credentials import without_secrets
from parrot.files import atomic_directory, write_json
from parrot.tracking.store import project_folder, say
from parrot.tracking.values import Artifact, Values

if TYPE_CHECKING:
    from mlflow import MlflowClient

_VALUES = "values.json"


@dataclass
class Unsent:
    """A run that has ended, with what its store has not taken."""

    name: str
    run: str | None
    """Its id, if the store had made one."""
    parent: str | None
    status: str
    start: int
    end: int
    """Milliseconds, as those of MLflow."""
    tags: dict[str, str]
    """Those that it was, or would have been, born with."""


def keep(unsent: Unsent, values: Values) -> Path:
    """Write all of it into a new folder, files included: the next run will write over them."""
    name = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in unsent.name)
    target = _home() / f"{name[:40]}-{time.time_ns()}"
    with atomic_directory(target) as partial:
        kept = asdict(values)
        for kind in ("artifacts", "parent_artifacts"):
            kept[kind] = [
                _copy(artifact, partial, target, f"{kind}-{number}")
                for number, artifact in enumerate(getattr(values, kind))
                if Path(artifact[0]).exists()
            ]
        write_json(partial / _VALUES, {**asdict(unsent), "values": kept})
    return target


def _copy(artifact: Artifact, partial: Path, target: Path, place: str) -> Artifact:
    """The artifact with the path, relative to the home of all, that its copy will have."""
    path, folder = Path(artifact[0]), artifact[1]
    relative = Path(place) / path.name
    (partial / place).mkdir()
    (shutil.copytree if path.is_dir() else shutil.copy2)(path, partial / relative)
    return str(Path(target.name) / relative), folder


def send_all(client: "MlflowClient", experiment: str) -> None:
    """Send every folder; one that cannot be sent is named and stays, and the others go on."""
    for folder in sorted(_home().glob(f"*/{_VALUES}")):
        folder = folder.parent
        try:
            name = _send(client, experiment, folder)
        except Exception as error:  # of the file or of the store: whatever it is, the next may be well
            reason = without_secrets(str(error)).strip().partition("\n")[0][:300]
            say(f"{folder}: not sent ({type(error).__name__}: {reason}); "
                f"`python -m parrot.tracking` tries again, or remove it")  # fmt: skip
            continue
        shutil.rmtree(folder)
        say(f"sent the values of '{name}' that were left in {folder}")


def _send(client: "MlflowClient", experiment: str, folder: Path) -> str:
    tree = json.loads((folder / _VALUES).read_text(encoding="utf-8"))
    values = _values(tree.pop("values"))
    left = Unsent(**tree)
    parent = left.parent if _exists(client, left.parent) else None
    if left.run and _exists(client, left.run):
        _finish(client, left.run, parent, left, values)
        return left.name
    tags = left.tags | ({"mlflow.parentRunId": parent} if parent else {})
    made = client.create_run(experiment, start_time=left.start, run_name=left.name, tags=tags).info.run_id
    # The next try goes on with this run, should it not be possible to delete it.
    write_json(folder / _VALUES, json.loads((folder / _VALUES).read_text(encoding="utf-8")) | {"run": made})
    try:
        _finish(client, made, parent, left, values)
    except Exception:
        client.delete_run(made)
        raise
    return left.name


def _finish(client: "MlflowClient", run: str, parent: str | None, left: Unsent, values: Values) -> None:
    values.write(client, run, parent)
    client.set_terminated(run, left.status, end_time=left.end)


def _values(tree: dict[str, Any]) -> Values:
    """Values as they were kept, with the paths that their files have now."""
    values = Values(**tree)
    for kind in ("metrics", "parent_metrics"):
        setattr(values, kind, [tuple(point) for point in tree[kind]])
    for kind in ("artifacts", "parent_artifacts"):
        setattr(values, kind, [(str(_home() / path), folder) for path, folder in tree[kind]])
    return values


def _exists(client: "MlflowClient", run: str | None) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return run is not None and client.get_run(run).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _home() -> Path:
    return project_folder() / "mlruns" / "unsent"
