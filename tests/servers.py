"""Servers of a team that tests start: PostgreSQL, as Debian packages it."""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def skip_without_postgres(*modules: str) -> None:
    """Args:
    modules: of Python, which the test needs as well.
    """
    for program in ("initdb", "pg_ctl", "createdb", "pg_dump", "pg_restore"):
        if shutil.which(program) is None:
            pytest.skip(f"PostgreSQL's {program} is not here: apt-get install postgresql")
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not here: pip install --editable '.[team-tests]'")


class Postgres:
    """A server with empty databases while the context lasts; may be stopped and started in it."""

    def __init__(self, *databases: str, port: int | None = None) -> None:
        self.port, self._databases = port or free_port(), databases
        self._user = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="parrot-pg-"))
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-D", self._data, "-U", "parrot", "--auth=trust", "-E", "UTF8")
        self.start()
        for name in self._databases:
            self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "parrot", name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def address(self, driver: str, database: str) -> str:
        return f"{driver}://parrot@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder}"
        self._run("pg_ctl", "-D", self._data, "-o", options, "-l", self._folder / "log", "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, *command: str | Path) -> None:
        with (self._folder / "commands.log").open("ab") as output:  # no pipe: the server would hold it
            subprocess.run(command, user=self._user, cwd="/", stdout=output, stderr=output, check=True)
