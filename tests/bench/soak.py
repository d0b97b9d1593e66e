#!/usr/bin/env python3
"""Whether anything grows: 200 containers under probes, most of them well-behaved, some that fail, hang, flood or leave
processes behind. Memory, descriptors, cgroups, keys, zombies and files are counted after the first minute and then
every minute; at the end they must be what they were. For a look all checks are paused, so that nothing is in flight
and the counts can be compared without any slack.

    tests/bench/soak.py [--minutes 10] [--containers 200] [--interval 2s]

Exit status 1 where something grew."""

import argparse
import os
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import keepwell_e2e as e2e  # noqa: E402

PROBES = [  # one in ten each of the last five
    "true", "true", "true", "true", "true",
    "exit 1",
    "sleep 100",
    "head -c 100000 /dev/zero",
    "setsid sleep 1000 >/dev/null 2>&1 & true",
    "setsid sleep 1000 & echo held",
]
# Sanitizers and allocators keep some; a leak of one descriptor or of 100 bytes per probe would be far above this.
RSS_SLACK_KB = 1024


def rss_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def cgroups(kw):
    return sum(len(directories) for root in kw.cgroups() for _, directories, _ in os.walk(root))


def keys(ids):
    try:
        text = pathlib.Path("/proc/keys").read_text()
    except OSError:
        return 0
    return sum(1 for line in text.splitlines() for container in ids if container in line)


def look(kw, pids):
    found = {}
    for name, pid in pids.items():
        found[f"{name} descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
    found["zombies of the keeper"] = sum(1 for pid in e2e.children_of(pids["keeper"]) if e2e.start_ticks(pid) is None)
    found["children of the keeper"] = len(e2e.children_of(pids["keeper"]))
    found["files in the run directory"] = sum(len(files) for _, _, files in os.walk(kw.run_dir / "state"))
    return found


def for_all_checks(kw, ids, what):
    for container in ids:
        status, answer = kw.api("POST", f"/keepwell/containers/{container}/checks/healthcheck/{what}")
        if status != 204:
            raise AssertionError(f"cannot {what} the check of {container}: {status} {answer}")


def measure(kw, pids, ids):
    for_all_checks(kw, ids, "pause")
    time.sleep(4)  # what is in flight ends: its timeout of 1 s, and what a leftover takes to be killed and reaped
    now = look(kw, pids)
    now["cgroups"] = cgroups(kw)
    now["keys"] = keys(ids)
    for name, pid in pids.items():
        now[f"{name} RSS KiB"] = rss_kb(pid)
    for_all_checks(kw, ids, "resume")
    return now


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--containers", type=int, default=200)
    parser.add_argument("--interval", default="2s")
    options = parser.parse_args()
    e2e.need_containers()
    # One in two with a reaper: orphans of the others' probes stay as zombies, and must cost nothing else.
    services = {f"s{i:03}": e2e.busybox("exec sleep 100000", init=i % 20 < 10, healthcheck={
        "test": ["CMD-SHELL", PROBES[i % len(PROBES)]], "interval": options.interval, "timeout": "1s", "retries": 3,
        "x-keepwell": {"on_unhealthy": "none"}}) for i in range(options.containers)}
    with e2e.Keepwell({"services": services}) as kw:
        def probes():
            return sum(value for series, value in kw.metrics().items() if series.startswith("keepwell_probes_total"))
        e2e.wait_until("all run", lambda: sum(row["State"] == "running" for row in kw.ps()) == options.containers, 600, 2)
        e2e.wait_until("all are probed", lambda: sum(value > 0 for series, value in kw.metrics().items()
                                                     if series.startswith("keepwell_probes_total")) == options.containers, 600, 2)
        pids = {"keeper": kw.keeper_pid(), "agent": kw.agent_pid(), "logger": kw.logger_pid()}
        ids = [kw.inspect(name)["Id"] for name in services]
        began = time.monotonic()
        time.sleep(60 if options.minutes > 1 else options.minutes * 30)
        first, done = measure(kw, pids, ids), probes()
        print(f"{options.containers} containers, first look after {time.monotonic() - began:.0f} s:")
        for name, value in first.items():
            print(f"    {name:28} {value}")
        now = first
        while time.monotonic() - began < options.minutes * 60:
            time.sleep(max(0, min(60, options.minutes * 60 - (time.monotonic() - began))))
            now = measure(kw, pids, ids)
            print(f"{time.monotonic() - began:6.0f} s, {probes() - done:.0f} probes since: " + (", ".join(
                f"{name} {value - first[name]:+d}" for name, value in now.items() if value != first[name]) or "no change"), flush=True)
        grown = {name: value - first[name] for name, value in now.items()
                 if value - first[name] > (RSS_SLACK_KB if name.endswith("KiB") else 0)}
        print("grown: " + ", ".join(f"{name} {by:+d}" for name, by in grown.items()) if grown else "nothing has grown")
        sys.exit(1 if grown else 0)


if __name__ == "__main__":
    main()
