"""Starting the ranks of a training by `training.launch`, and being one of them.

The process that a person or DVC starts trains nothing itself then: it starts its own command once for each
rank, waits, and ends them all when one dies, when it is asked to end, and when those it works for end. Rank 0
has its standard error, so that progress is seen; other ranks write to files. The first error is shown once.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from parrot.config import Launch, Training
from parrot.errors import ParrotError
from parrot.pipeline.processes import LAUNCH_VARIABLE, OUT_OF_SIGHT, end_group, identity

if TYPE_CHECKING:
    from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousParameters

ERRORS_VARIABLE = "PARROT_RANK_ERRORS"
"""A folder for what ranks fail with, `rank-0.json` and so on; set by the process that starts them."""
SHUTDOWN_SECONDS = 20
"""Between the death of a rank, which the others are told by SIGTERM, and their being killed."""
_AS_ASKED = (-signal.SIGTERM, 128 + signal.SIGTERM)
_LOOPBACK = "127.0.0.1"
SAME_MOMENT_SECONDS = 5
"""When a rank is killed, others fail within this time at their connection to it, and are not the cause."""


def starts_ranks(training: Training) -> bool:
    """Whether this process has to `launch` ranks; false in a rank, and where one process trains alone."""
    return not is_rank() and (training.launch.ranks > 1 or training.deepspeed is not None)


def is_rank() -> bool:
    """Whether this process trains together with others, or alone with DeepSpeed."""
    names = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_NTASKS"}
    if names.keys() <= os.environ.keys():  # DeepSpeed's ranks, too, where one task of Slurm began them all
        return True
    if os.environ.get(LAUNCH_VARIABLE) != OUT_OF_SIGHT or "SLURM_PROCID" not in os.environ:
        return False
    os.environ.update({name: os.environ[slurm] for name, slurm in names.items()})
    return True


def is_first() -> bool:
    """Whether this process tracks the training and writes its outputs: rank 0, or whoever trains alone."""
    return not is_rank() or os.environ["RANK"] == "0"


class Untracked:
    """What a rank that is not the first has in the place of a run in MLflow."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Nothing."""

    def log_artifact(self, path: Path) -> None:
        """Nothing."""


def launch(launch: Launch) -> None:
    """Run this process's own command as ranks, and wait for them.

    Raises:
        ParrotError: a rank failed, or the ranks cannot be started; in the words of the first that failed.
        SystemExit: a rank failed with an error of the program, which has been shown; or SIGTERM came.
    """
    command = [sys.executable, *sys.orig_argv[1:]]
    folder = Path(tempfile.mkdtemp(prefix="parrot-ranks-"))
    os.environ[ERRORS_VARIABLE] = str(folder)
    # A model may use all its parameters in one batch and not in another: DDP warns of looking in vain.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    start = {"torchrun": _torchrun, "deepspeed": _deepspeed, "slurm": _srun}[launch.kind]
    try:
        if cause := start(launch, command, folder):
            _fail(cause, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def as_rank(launch: Launch | None) -> Iterator[None]:
    """What fails in the block is left to what started this rank: it shows the first error once."""
    if not is_rank():
        yield
        return
    if "torch" in sys.modules:
        _tidy_for_deepspeed()
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")  # DeepSpeed's calls
    try:
        if launch and (size := int(os.environ["WORLD_SIZE"])) != launch.ranks:
            raise ParrotError(f"params.yaml: training.launch: {launch.ranks} ranks, but {size} were started")
        yield
    except Exception as error:
        if ERRORS_VARIABLE not in os.environ:
            raise
        record: dict[str, Any] = {"time": time.time(), "rank": int(os.environ["RANK"])}
        if isinstance(error, ParrotError):
            record["sentence"] = str(error)
        else:
            record["traceback"] = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):  # another node's folder
            file = Path(os.environ[ERRORS_VARIABLE], f"rank-{record['rank']}.json")
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(record), encoding="utf-8")
            partial.replace(file)
            os._exit(1)  # not by way of the process group, which waits for the others
        raise


def _tidy_for_deepspeed() -> None:
    """Remove the locks that nobody holds of what DeepSpeed compiles and loads.

    torch makes such a lock by creating a file. A killed process leaves it, and all that come later wait for
    it for ever, without a word. (The import here brings setuptools, too, before MLflow is imported in its
    thread: both at once fail.)
    """
    from torch.utils.cpp_extension import get_default_build_root

    if os.environ["LOCAL_RANK"] != "0":
        return
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    for lock in root.rglob("lock"):
        if not any(_holds(process, lock) for process in psutil.process_iter()):
            lock.unlink(missing_ok=True)


def _holds(process: psutil.Process, file: Path) -> bool:
    try:
        return any(Path(opened.path) == file for opened in process.open_files())
    except psutil.Error:  # it has ended, or is another user's
        return False


def _torchrun(launch: Launch, command: list[str], folder: Path) -> dict[str, Any] | None:
    """By torch's agent in this process; what the first rank failed with, if one did."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import rendezvous_handler_registry
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    node = 0
    if launch.nodes > 1:
        if not os.environ.get("NODE_RANK", "").isdecimal():
            raise ParrotError(
                "training.launch: set NODE_RANK to 0 on the node of `rendezvous`, 1 on the next …"
            )
        node = int(os.environ["NODE_RANK"])
    else:
        rendezvous_handler_registry.register("loopback", _on_loopback)
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", _loopback_interface())
    silent = {local: Std.ALL for local in range(launch.processes) if node or local}
    config = LaunchConfig(
        min_nodes=launch.nodes,
        max_nodes=launch.nodes,
        nproc_per_node=launch.processes,
        run_id="parrot",
        rdzv_backend="static" if launch.nodes > 1 else "loopback",
        rdzv_endpoint=launch.rendezvous or "",
        rdzv_configs={"rank": node} if launch.nodes > 1 else {},
        max_restarts=0,
        shutdown_timeout=SHUTDOWN_SECONDS,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder), redirects=silent),
    )
    os.environ[LAUNCH_VARIABLE] = identity()
    logging.disable(logging.ERROR)  # the agent's own report of what is shown below
    try:
        elastic_launch(config, command[0])(*command[1:])
    except SignalException as asked:
        raise SystemExit(128 + asked.sigval) from None
    except ChildFailedError as error:
        return _cause({rank: (f.exitcode, f.timestamp) for rank, f in error.failures.items()}, folder)
    return None


def _on_loopback(parameters: "RendezvousParameters") -> "RendezvousHandler":
    """Where ranks of one node meet. A store that torch makes by itself listens on all addresses."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]
    from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous

    class OnLoopback(StaticTCPRendezvous):
        def get_backend(self) -> str:
            return parameters.backend

    listener = socket.socket()
    listener.bind((_LOOPBACK, 0))
    port = listener.getsockname()[1]
    made = OnLoopback(_LOOPBACK, port, 0, 1, parameters.run_id, SHUTDOWN_SECONDS)
    made._store = TCPStore(_LOOPBACK, port, 1, is_master=True, master_listen_fd=listener.detach())
    return made


def _loopback_interface() -> str:
    """`lo`, or as the system calls it."""
    interfaces = psutil.net_if_addrs().items()
    return next(name for name, found in interfaces if any(one.address == _LOOPBACK for one in found))


def _deepspeed(launch: Launch, command: list[str], folder: Path) -> dict[str, Any] | None:
    """By DeepSpeed's launcher, over ssh."""
    size = ["--num_nodes", str(launch.nodes), "--num_gpus", str(launch.processes)]
    start = ["deepspeed", "--hostfile", str(launch.hostfile), *size, "--no_python", "--no_local_rank"]
    return _run([*start, *command], folder)


def _srun(launch: Launch, command: list[str], folder: Path) -> dict[str, Any] | None:
    """By Slurm, from the first node of an allocation."""
    if "SLURM_JOB_ID" not in os.environ:
        raise ParrotError("training.launch.kind: slurm works within an allocation; begin it with sbatch")
    os.environ["MASTER_ADDR"] = socket.gethostname()
    os.environ["MASTER_PORT"] = str(20000 + int(os.environ["SLURM_JOB_ID"]) % 20000)
    size = [f"--nodes={launch.nodes}", f"--ntasks-per-node={launch.processes}"]
    return _run(["srun", *size, "--kill-on-bad-exit=1", *command], folder)


def _run(command: list[str], folder: Path) -> dict[str, Any] | None:
    os.environ[LAUNCH_VARIABLE] = OUT_OF_SIGHT
    try:
        process = subprocess.Popen(command, process_group=0)
    except OSError as error:
        raise ParrotError(f"training.launch: {command[0]}: {error.strerror}") from None

    def stop(number: int, _frame: object) -> None:
        end_group(process)
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    code = process.wait()
    return _cause({-1: (code, int(time.time()))}, folder) if code else None


def _cause(exits: dict[int, tuple[int, int]], folder: Path) -> dict[str, Any]:
    """Of all that ranks failed with, the first.

    Args:
        exits: by rank, its exit code and when that was seen; -1 for what started the ranks.
    """
    records = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("rank-*.json")]
    told: dict[str, Any] | None = min(records, key=lambda record: record["time"], default=None)
    known = {record["rank"] for record in records}
    silent = [(when, rank, code) for rank, (code, when) in exits.items() if rank not in known]
    died = [one for one in silent if one[2] not in _AS_ASKED] or silent
    seen, rank, code = min(died, default=(0, -1, 1))
    if told and (rank < 0 or code in _AS_ASKED or seen >= told["time"] + SAME_MOMENT_SECONDS):
        return told
    if rank < 0:
        return {"rank": 0, "sentence": f"what started the ranks ended with exit code {code}"}
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return {"rank": rank, "sentence": f"it {how}", "log": True}


def _fail(cause: dict[str, Any], folder: Path) -> None:
    if "traceback" in cause:
        print(f"rank {cause['rank']}:\n{cause['traceback']}", file=sys.stderr, end="", flush=True)
        raise SystemExit(1)
    said = ""
    if cause.get("log"):
        logs = list(folder.glob(f"**/{cause['rank']}/stderr.log"))
        lines = logs[0].read_text(encoding="utf-8", errors="replace").splitlines() if logs else []
        said = "".join(f"\n  {line}" for line in lines[-20:])
    raise ParrotError(f"rank {cause['rank']}: {cause['sentence']}; the other ranks are ended{said}")
