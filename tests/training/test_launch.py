"""Ranks end together, and what is shown is the error of the first that failed."""

import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from process_end import ended

from parrot.config import Launch, Training
from parrot.errors import ParrotError
from parrot.pipeline.processes import LAUNCH_VARIABLE, OUT_OF_SIGHT
from parrot.training import launch as launching
from parrot.training.launch import launch

TRAINING = {
    "max_steps": 1, "batch_size": 1, "warmup_steps": 0.0, "weight_decay": 0.0, "logging_steps": 1,
    "save_steps": 1,
}  # fmt: skip

PROGRAM = """
    import os, signal, sys, time
    from pathlib import Path
    from parrot.config import Launch
    from parrot.errors import ParrotError
    from parrot.pipeline.processes import end_with_parents
    from parrot.training.launch import as_rank, is_first, is_rank, launch

    end_with_parents()
    chosen = Launch.model_validate_json(sys.argv[1])
    try:
        if not is_rank():
            launch(chosen)
            sys.exit()
        with as_rank(chosen):
            rank = os.environ["RANK"]
            Path(f"rank-{rank}.pid").write_text(str(os.getpid()))
            if is_first():
                print("progress of rank", rank, file=sys.stderr, flush=True)
                Path("progress").touch()
            else:
                print("noise of rank", rank, file=sys.stderr)
            %s
    except ParrotError as error:
        sys.exit(f"parrot sft: {error}")
"""


class Started:
    """Two ranks, of which rank 1 does as `act` says and rank 0 waits."""

    def __init__(self, folder: Path, act: str, choices: str = '{"processes": 2}', **variables: str) -> None:
        (folder / "program.py").write_text(textwrap.dedent(PROGRAM) % act, encoding="utf-8")
        self.folder = folder
        environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
        self.process = subprocess.Popen(
            [sys.executable, "program.py", choices],
            cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**environment, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", **variables},
        )  # fmt: skip

    def wait_for_ranks(self) -> list[psutil.Process]:
        files = [self.folder / f"rank-{rank}.pid" for rank in range(2)]
        deadline = time.monotonic() + 60
        while not all(file.exists() and file.read_text() for file in files):
            assert time.monotonic() < deadline, "the ranks do not start"
            time.sleep(0.1)
        return [psutil.Process(int(file.read_text())) for file in files]

    def said(self) -> str:
        return self.process.communicate(timeout=60)[1]


def test_the_first_error_is_shown_once_and_ends_all(tmp_path: Path) -> None:
    started = Started(
        tmp_path,
        "while not Path('progress').exists(): time.sleep(0.05)  # it may be slower to start\n"
        "        if rank == '1': raise ParrotError('record 7: no such picture')\n        time.sleep(99)",
    )
    said = started.said()
    assert started.process.returncode == 1
    assert said.count("record 7: no such picture") == 1
    assert said.splitlines()[-1] == (
        "parrot sft: rank 1: record 7: no such picture; the other ranks are ended"
    )
    assert "progress of rank 0" in said and "noise" not in said and "Traceback" not in said


def test_a_rank_that_is_killed_ends_the_others_and_is_named(tmp_path: Path) -> None:
    started = Started(tmp_path, "time.sleep(99)")
    ranks = started.wait_for_ranks()
    ranks[1].kill()
    said = started.said()
    assert "rank 1: it was killed by SIGKILL; the other ranks are ended\n  noise of rank 1" in said
    assert started.process.returncode == 1 and ended(ranks, 60)


@pytest.mark.slow
def test_ranks_that_do_not_listen_end_all_the_same(tmp_path: Path) -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); Path(f'deaf-{rank}').touch(); time.sleep(99)"
    started = Started(tmp_path, deaf)
    ranks = started.wait_for_ranks()
    while len(list(tmp_path.glob("deaf-*"))) < 2:
        time.sleep(0.1)
    ranks[1].kill()
    assert "rank 1: it was killed by SIGKILL" in started.said()  # within a minute
    assert ended(ranks, 1)


def test_nobody_but_this_machine_reaches_the_ranks_of_one_node(tmp_path: Path) -> None:
    meet = (
        "import torch; from torch import distributed; distributed.init_process_group('gloo')\n"
        "        distributed.all_reduce(torch.ones(1)); Path(f'met-{rank}').touch(); time.sleep(99)"
    )
    started = Started(tmp_path, meet)
    ranks = started.wait_for_ranks()
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("met-*"))) < 2:
        assert started.process.poll() is None and time.monotonic() < deadline, "the ranks do not meet"
        time.sleep(0.1)
    open_ports = {
        connection.laddr.ip
        for process in (psutil.Process(started.process.pid), *ranks)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    started.process.terminate()
    started.said()
    assert open_ports == {"127.0.0.1"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ranks_end_with_what_started_them(tmp_path: Path, number: signal.Signals) -> None:
    started = Started(tmp_path, "time.sleep(99)")
    ranks = started.wait_for_ranks()
    started.process.send_signal(number)
    started.said()
    assert started.process.returncode == (128 + number if number == signal.SIGTERM else -number)
    assert ended(ranks, 60)


def test_slurm_starts_the_ranks_by_srun(tmp_path: Path) -> None:
    srun = tmp_path / "srun"
    srun.write_text(
        "#!/bin/bash\n"
        '[ "$1 $2 $3" = "--nodes=2 --ntasks-per-node=1 --kill-on-bad-exit=1" ] || exit 9\nshift 3\n'
        "export SLURM_NTASKS=2 SLURM_LOCALID=0\n"
        'for task in 0 1; do SLURM_PROCID=$task "$@" & tasks="$tasks $!"; done\n'
        "for task in $tasks; do wait $task || exit 1; done\n"
    )
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    path = f"{tmp_path}:{os.environ['PATH']}"
    # DVC's variable reaches the tasks on other nodes, where there is no DVC above them.
    started = Started(
        tmp_path,
        'Path(f"address-{rank}").write_text(os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"])',
        '{"nodes": 2, "kind": "slurm"}', PATH=path, SLURM_JOB_ID="17",
    )  # fmt: skip
    assert started.process.wait(60) == 0, started.said()
    addresses = {(tmp_path / f"address-{rank}").read_text() for rank in range(2)}
    assert len(addresses) == 1 and addresses.pop().endswith(":20017")


def test_deepspeeds_launcher_is_given_hosts_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "deepspeed").write_text('#!/bin/bash\necho "$@" > given\n')
    (tmp_path / "deepspeed").chmod(0o700)
    started = Started(
        tmp_path, "pass", '{"nodes": 2, "processes": 8, "kind": "deepspeed", "hostfile": "hosts"}',
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )  # fmt: skip
    assert started.process.wait(60) == 0, started.said()
    given = (tmp_path / "given").read_text()
    assert given.startswith("--hostfile hosts --num_nodes 2 --num_gpus 8 --no_python --no_local_rank ")
    assert given.split()[8:10] == [sys.executable, "program.py"]


def test_deepspeeds_ranks_keep_their_numbers_within_a_task_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = {"RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "8"}
    slurm = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "1"}
    for name, value in {**ranks, **slurm, LAUNCH_VARIABLE: OUT_OF_SIGHT}.items():
        monkeypatch.setenv(name, value)
    assert launching.is_rank() and not launching.is_first()
    assert {name: os.environ[name] for name in ranks} == ranks


def test_what_a_launch_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="rendezvous: missing for torchrun on 2 nodes"):
        Launch(nodes=2)
    with pytest.raises(ValueError, match="hostfile: missing for deepspeed"):
        Launch(kind="deepspeed")
    with pytest.raises(ValueError, match="hostfile: without use for torchrun"):
        Launch(hostfile="hosts")
    for name in ("NODE_RANK", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(launching.ERRORS_VARIABLE, "")
    with pytest.raises(ParrotError, match="set NODE_RANK"):
        launch(Launch(nodes=2, rendezvous="first:29500"))
    with pytest.raises(ParrotError, match="within an allocation"):
        launch(Launch(nodes=2, kind="slurm"))


def test_an_optimizer_that_cannot_be_sharded_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optimizer: muon needs whole matrices.*`optimizer: adamw`"):
        Training(**TRAINING, optimizer="muon", deepspeed="zero2.json")


def test_deepspeed_takes_the_gpu_that_it_finds() -> None:
    with pytest.raises(ValueError, match=r"use_cpu: DeepSpeed takes the GPU"):
        Training(**TRAINING, use_cpu=True, deepspeed="zero2.json")


def test_a_lock_that_a_killed_process_left_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: F401  as in a training

    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    held, left = (tmp_path / name / "lock" for name in ("held", "left"))
    for lock in (held, left):
        lock.parent.mkdir()
    left.touch()
    with held.open("w"), launching.as_rank(None):
        assert held.exists() and not left.exists()


def test_more_or_fewer_ranks_than_chosen_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv(launching.ERRORS_VARIABLE, raising=False)
    with (
        pytest.raises(ParrotError, match="2 ranks, but 4 were started"),
        launching.as_rank(Launch(processes=2)),
    ):
        pass


def test_an_error_that_cannot_be_written_whole_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(launching.ERRORS_VARIABLE, str(tmp_path))

    def half(file: Path, text: str, **_: str) -> None:
        file.write_bytes(text.encode()[:9])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(ParrotError, match="record 7: no such picture"), launching.as_rank(None):
        raise ParrotError("record 7: no such picture")
    assert not list(tmp_path.glob("rank-*.json"))


def test_the_example_for_slurm_is_a_script_and_asks_for_what_a_launch_can_say() -> None:
    script = Path("examples/train.slurm")
    subprocess.run(["bash", "-n", script], check=True)
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", script.read_text(encoding="utf-8"), re.MULTILINE))
    said = re.search(r"\{kind: slurm, nodes: (\d+), processes: (\d+)\}", script.read_text(encoding="utf-8"))
    assert said
    chosen = Launch(kind="slurm", nodes=int(said[1]), processes=int(said[2]))
    assert asked["nodes"] == str(chosen.nodes)
    assert asked["ntasks-per-node"] == asked["gpus-per-node"] == str(chosen.processes)
