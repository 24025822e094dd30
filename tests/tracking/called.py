"""Commands that tests call as a person would."""

import os
import subprocess
import sys


def call(*command: str) -> str:
    """What a command says that ends well."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return (done.stdout + done.stderr).strip()


def dvc(*arguments: str) -> str:
    return call(sys.executable, "-m", "dvc", *arguments)
