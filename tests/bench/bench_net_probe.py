#!/usr/bin/env python3
"""What checks without a process cost, on the built programs (KEEPWELL_BIN) and a real nginx:

    bench_net_probe.py [cost] [many] [--seconds S] [--checks N]

  cost  CPU per probe of the same check: http by keepwell, curl in an exec probe (what it burns itself, and what
        keeper and agent burn for it), and nginx's own for answering
  many  N http checks (default 10,000) at an interval of 1 s: how late they start, and the agent's CPU

Needs root (chroot) and build/rootfs/nginx. Prints its figures with the machine's load beside them."""

import argparse
import os
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import keepwell_e2e as e2e

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(*pids):
    """User and system time of processes, without their children, in seconds."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def nginx(kw, port):
    """A service that is nginx in a chroot, on 127.0.0.1:PORT."""
    root = kw.dir / "nginx"
    shutil.copytree(e2e.rootfs("nginx"), root, symlinks=True)
    config = root / "etc/nginx.conf"
    config.write_text(config.read_text().replace("listen 8080", f"listen 127.0.0.1:{port} backlog=4096").replace(
        "worker_connections 64", "worker_connections 4096").replace("/run/nginx.pid", "/tmp/nginx.pid"))
    return e2e.process(f"exec chroot {root} /usr/sbin/nginx -c /etc/nginx.conf")


def probes(kw, service):
    return sum(v for k, v in kw.metrics().items() if k.startswith("keepwell_probes_total") and f'service="{service}"' in k)


def failures(kw):
    return sum(v for k, v in kw.metrics().items() if k.startswith("keepwell_probe_failures_total"))


def cost(seconds):
    with e2e.Keepwell(start=False, compose={"services": {}}) as kw:
        port = e2e.free_port()
        base = {"services": {"nginx": nginx(kw, port), "app": e2e.process("exec sleep 10000")}}
        kw.write(base)
        kw.start()
        kw.wait_state("app", "running")
        time.sleep(1)
        kinds = {
            "http by keepwell": {f"c{i}": {"http": {"port": port}} for i in range(10)},
            "curl in an exec probe": {f"c{i}": {"test": ["CMD", "curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{port}/"]}
                                      for i in range(4)},
        }
        result = {}
        for name, checks in kinds.items():
            for check in checks.values():
                check.update({"interval": "10ms", "timeout": "10s", "retries": 3})
            base["services"]["app"]["x-keepwell"]["checks"] = checks
            kw.write(base)
            kw.ok("reload")
            kw.wait_health("app", "healthy", 30)
            ours = [kw.agent_pid(), kw.keeper_pid()]
            served = [p for p in e2e.tree_of(kw.pid("nginx"))]
            inside = lambda: sum(v for k, v in kw.metrics().items() if k.startswith("keepwell_probe_cpu_seconds_total"))
            before = probes(kw, "app"), cpu_of(*ours), cpu_of(*served), inside()
            time.sleep(seconds)
            after = probes(kw, "app"), cpu_of(*ours), cpu_of(*served), inside()
            count, own, server, programs = (b - a for a, b in zip(before, after))
            result[name] = own + programs, count
            print(f"{name}: {count:.0f} probes; CPU per probe {1e6 * (own + programs) / count:.0f} us "
                  f"(keepwell {1e6 * own / count:.0f}, the probe's program {1e6 * programs / count:.0f}); "
                  f"nginx {1e6 * server / count:.0f} us per answer; failures {failures(kw):.0f}")
        per = {name: cpu / count for name, (cpu, count) in result.items()}
        print(f"curl costs {per['curl in an exec probe'] / per['http by keepwell']:.1f} times as much")


def percentile(buckets, share):
    total = buckets[-1][1]
    return next(bound for bound, count in buckets if count >= share * total)


def lateness(metrics):
    found = [(float(k.split('le="')[1].split('"')[0].replace("+Inf", "inf")), v) for k, v in metrics.items()
             if k.startswith("keepwell_probe_lateness_seconds_bucket")]
    return sorted(found)


def many(checks, seconds):
    with e2e.Keepwell(start=False, compose={"services": {}}) as kw:
        port = e2e.free_port()
        services = {"nginx": nginx(kw, port)}
        each = 100
        for number in range(max(1, checks // each)):
            services[f"s{number}"] = e2e.process("exec sleep 10000", **{"x-keepwell": {"checks": {
                f"c{i}": {"http": {"port": port}, "interval": "1s", "timeout": "10s", "retries": 3} for i in range(each)}}})
        kw.write({"x-keepwell": {"metrics": {"histograms": "off"}, "log": {"level": "warn"}}, "services": services})
        kw.start()
        e2e.wait_until("all run", lambda: all(row["State"] == "running" for row in kw.ps()), 120)
        agent = kw.agent_pid()

        def all_probes(metrics):
            return sum(v for k, v in metrics.items() if k.startswith("keepwell_probes_total"))
        # The first verdict of each check is written down with all of its container; what is meant here comes after that.
        e2e.wait_until("each was probed thrice", lambda: all_probes(kw.metrics()) >= 3 * checks, 120, 5)
        # One scrape before and one after: with 10,000 checks each has some 20 MB.
        first = kw.metrics()
        began, cpu = time.monotonic(), cpu_of(agent)
        time.sleep(seconds)
        took, cpu = time.monotonic() - began, cpu_of(agent) - cpu
        last = kw.metrics()
        before, after = all_probes(first), all_probes(last)
        buckets = [(bound, count - old) for (bound, count), (_, old) in zip(lateness(last), lateness(first))]
        print(f"{checks} http checks at 1 s: {(after - before) / took:.0f} probes a second, agent "
              f"{100 * cpu / took:.0f} % of a CPU ({1e6 * cpu / (after - before):.0f} us per probe), lateness p50 <= "
              f"{percentile(buckets, .5):g} s, p99 <= {percentile(buckets, .99):g} s, p99.9 <= {percentile(buckets, .999):g} s, "
              f"failures {failures(kw):.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["cost", "many"])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--checks", type=int, default=10_000)
    arguments = parser.parse_args()
    print("load", os.getloadavg())
    if "cost" in arguments.what:
        cost(arguments.seconds)
    if "many" in arguments.what:
        many(arguments.checks, arguments.seconds)
    print("load", os.getloadavg())


if __name__ == "__main__":
    main()
