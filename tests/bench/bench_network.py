#!/usr/bin/env python3
"""What networks cost: from nothing to 50 services running with network_mode none, on the default network, and each with
a published port; how long until one is up again after a restart; and the stop of all.

    tests/bench/bench_network.py [--services N]

Runs in a network namespace of its own. Prints one line a figure."""

import argparse
import json
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import keepwell_e2e as e2e  # noqa: E402
import net_stage  # noqa: E402


def measure(host, what, count, service):
    services = {f"s{i:03}": {**e2e.busybox("exec sleep 100000"), **service(i)} for i in range(count)}
    with e2e.Keepwell({"services": services}, wrap=host.wrap, networks=True, start=False) as kw:
        begun = time.monotonic()
        kw.start()
        e2e.wait_until(f"{count} services run",
                       lambda: all(c["State"]["Pid"] for c in json.loads(kw.ok("inspect", *services))), 300, 0.1)
        up = time.monotonic() - begun
        restarts = []
        for name in list(services)[:8]:
            begun = time.monotonic()
            kw.ok("restart", "-t", "0", name)
            restarts.append(time.monotonic() - begun)
        begun = time.monotonic()
        kw.stop(seconds=120)
        down = time.monotonic() - begun
    print(f"{what}: {count} services run after {up:.2f} s ({up / count * 1000:.0f} ms each), restart of one "
          f"{statistics.median(restarts) * 1000:.0f} ms, stop of all {down:.2f} s", flush=True)
    return up / count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--services", type=int, default=50)
    count = parser.parse_args().services
    net_stage.need_networks()
    with net_stage.HostNetwork() as host:
        none = measure(host, "network_mode none", count, lambda i: {"network_mode": "none"})
        default = measure(host, "default network", count, lambda i: {})
        published = measure(host, "default network, one port each", count, lambda i: {"ports": [f"{20000 + i}:80"]})
    print(f"added by the default network: {(default - none) * 1000:.0f} ms a service; by a port beside: {(published - default) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
