"""What is on this machine is never asked for through a proxy."""

import os
from urllib.request import getproxies

LOCAL = ("localhost", "127.0.0.1", "::1")


def reach_local_directly() -> None:
    """Add this machine's names to `no_proxy` and `NO_PROXY`, where there are proxies at all.

    To be called before anything that reads these variables is used. Processes started later inherit them.
    """
    proxies = getproxies()
    if set(proxies) <= {"no"}:
        return
    # On macOS proxies may come from the system's settings, which count only as long as no variable is set.
    for scheme, proxy in proxies.items():
        os.environ.setdefault(f"{scheme}_proxy", proxy)
    spared = [name.strip() for name in proxies.get("no", "").split(",") if name.strip()]
    if "*" not in spared:
        spared += [name for name in LOCAL if name not in spared]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(spared)
