"""What a stage asks of the machine, by the names under which MLflow shows system metrics."""

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator

import psutil

from parrot.tracking.runs import TrackedRun

SAMPLE_SECONDS = 10.0
"""A stage that takes less is not worth a curve."""

_GPU_FIELDS = {
    "utilization.gpu": "utilization_percentage",
    "memory.used": "memory_usage_megabytes",
    "power.draw": "power_usage_watts",
}


@contextlib.contextmanager
def system_metrics(run: TrackedRun) -> Iterator[None]:
    """Sample cores, memory, disk, network and GPUs of this machine into the run, while the block lasts."""
    stop = threading.Event()

    def sample() -> None:
        psutil.cpu_percent()  # the first call has nothing to compare with
        step = 0
        while not stop.wait(SAMPLE_SECONDS):
            run.log_metrics({f"system/{name}": value for name, value in _machine().items()}, step=step)
            step += 1

    thread = threading.Thread(target=sample, name="system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _machine() -> dict[str, float]:
    memory, disk, network = psutil.virtual_memory(), psutil.disk_usage("."), psutil.net_io_counters()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / 1e6,
        "system_memory_usage_percentage": memory.percent,
        "disk_usage_percentage": disk.percent,
        "disk_available_megabytes": disk.free / 1e6,
        "network_receive_megabytes": network.bytes_recv / 1e6,
        "network_transmit_megabytes": network.bytes_sent / 1e6,
        **_gpus(),
    }


def _gpus() -> dict[str, float]:
    """As NVIDIA's driver tells; nothing where there is none."""
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=SAMPLE_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = {}
    for number, line in enumerate(shown.splitlines()):
        for name, value in zip(_GPU_FIELDS.values(), line.split(","), strict=False):
            with contextlib.suppress(ValueError):  # "[N/A]": not every GPU tells everything
                found[f"gpu_{number}_{name}"] = float(value)
    return found
