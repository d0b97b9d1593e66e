#!/usr/bin/env python3
"""What users feel, measured on the built programs: memory and CPU of an idle host of 100 services, lateness of
probes with 1,000 services at 1 s, the time of a scrape. Prints one line per figure with its target.

    tests/bench/bench_host.py [rss] [cpu] [lateness] [--seconds N]

Exit status 1 where a target was missed."""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import keepwell_e2e as e2e  # noqa: E402

TICKS = 100  # per second, in /proc
failed = False


def figure(name, value, unit, target):
    global failed
    good = value < target
    failed = failed or not good
    print(f"{'ok  ' if good else 'MISS'} {name}: {value:.2f} {unit} (target: under {target:g} {unit})", flush=True)


def own(kw):
    """Pids of keepwell's own processes by name."""
    pids = {"keeper": kw.keeper_pid(), "agent": e2e.wait_until("an agent", kw.agent_pid), "logger": kw.logger_pid()}
    return {name: pid for name, pid in pids.items() if pid}


def rss_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_seconds(pid, with_children=False):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    if with_children:
        ticks += int(fields[13]) + int(fields[14])
    return ticks / TICKS


def services(count, interval):
    return {f"s{i:04}": e2e.process("exec sleep 100000", healthcheck={
        "test": ["CMD", "true"], "interval": interval, "retries": 3}) for i in range(count)}


def running(kw, count):
    e2e.wait_until(f"{count} services run",
                   lambda: sum(row["State"] == "running" for row in kw.ps()) == count, 120, 0.5)


def idle(seconds, want):
    with e2e.Keepwell({"services": services(100, "30s")}) as kw:
        running(kw, 100)
        time.sleep(35)  # past the first wave of probes
        pids = own(kw)
        if "rss" in want:
            parts = {name: rss_mb(pid) for name, pid in pids.items()}
            print("     " + ", ".join(f"{name} {mb:.1f} MB" for name, mb in parts.items()))
            figure("RSS of agent + keeper, 100 services", parts["agent"] + parts["keeper"], "MB", 25)
        if "cpu" in want:
            begun, before = time.monotonic(), {name: cpu_seconds(pid) for name, pid in pids.items()}
            time.sleep(seconds)
            took = time.monotonic() - begun
            used = {name: (cpu_seconds(pid) - before[name]) / took * 100 for name, pid in pids.items()}
            print("     " + ", ".join(f"{name} {share:.2f} %" for name, share in used.items()))
            figure("CPU of agent + keeper + logger, 100 services at 30 s", sum(used.values()), "% of a core", 1)


def quantile(metrics, name, q):
    """The upper bound of the bucket that holds the q-quantile."""
    buckets = sorted((float(series.split('le="')[1].split('"')[0].replace("+Inf", "inf")), value)
                     for series, value in metrics.items() if series.startswith(name + "_bucket"))
    total = buckets[-1][1]
    return next(bound for bound, value in buckets if value >= q * total), total


def lateness(seconds, want):
    if "lateness" not in want:
        return
    count = 1000
    with e2e.Keepwell({"services": services(count, "1s")}) as kw:
        running(kw, count)
        pids = own(kw)
        time.sleep(5)
        before = kw.metrics()
        begun, cpu = time.monotonic(), {name: cpu_seconds(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        took = time.monotonic() - begun
        used = {name: (cpu_seconds(pid) - cpu[name]) / took * 100 for name, pid in pids.items()}
        scrape = time.monotonic()
        after = kw.metrics()
        scrape = time.monotonic() - scrape
        change = {series: value - before.get(series, 0) for series, value in after.items()
                  if series.startswith("keepwell_probe_lateness_seconds")}
        bound, probes = quantile(change, "keepwell_probe_lateness_seconds", 0.99)
        median, _ = quantile(change, "keepwell_probe_lateness_seconds", 0.5)
        print(f"     {probes / took:.0f} probes/s, p50 lateness at most {median * 1000:g} ms, "
              f"scrape {scrape * 1000:.0f} ms with {len(after)} series, "
              + ", ".join(f"{name} {share:.0f} %" for name, share in used.items())
              + f", agent {rss_mb(pids['agent']):.1f} MB")
        # The bucket's upper bound is what can be said; 100 ms is one of them.
        figure("p99 lateness, 1,000 process services at 1 s", bound * 1000, "ms", 100.001)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["rss", "cpu", "lateness"])
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    if {"rss", "cpu"} & set(options.what):
        idle(options.seconds, options.what)
    lateness(options.seconds, options.what)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
