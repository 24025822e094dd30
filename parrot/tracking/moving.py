"""Artifact paths of a store that has been moved or copied.

MLflow writes the absolute path of the artifacts into its database, for the experiment and for each
run, turns a relative one into an absolute one, and has no way to change it. So this is done in the
database.
"""

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit


def move_artifacts(database: Path, old: str, new: str) -> None:
    """Let the runs of all experiments beside `old` have their artifacts beside `new`, if both are ours.

    Args:
        old: where the database says that our experiment's artifacts are, a URI.
        new: where they are if they have come along with the database: `mlruns/NAME` beside it.
    """
    old_home, _, old_name = old.rpartition("/")
    new_home, _, new_name = new.rpartition("/")
    ours = old_name == new_name and old_home.endswith("/mlruns")
    if old == new or not ours:
        return
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        for table, key, column in (
            ("experiments", "experiment_id", "artifact_location"),
            ("runs", "run_uuid", "artifact_uri"),
        ):
            rows = connection.execute(f"SELECT {key}, {column} FROM {table}").fetchall()
            moved = [
                (new_home + uri.removeprefix(old_home), row)
                for row, uri in rows
                if uri and uri.startswith(f"{old_home}/")
            ]
            if table == "runs":  # a database that was moved alone still finds what was left behind
                moved = [(uri, row) for uri, row in moved if _came_along(uri, old_home, new_home)]
            connection.executemany(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", moved)


def _came_along(uri: str, old_home: str, new_home: str) -> bool:
    before = old_home + uri.removeprefix(new_home)
    return _path(uri).exists() or not _path(before).exists()


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))
