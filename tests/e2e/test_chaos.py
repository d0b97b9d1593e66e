#!/usr/bin/env python3
"""Kills keepwell's own processes at random instants while services write numbered lines, end with known codes and are
probed, and clients hold on to the API; and then counts what was lost, told twice or wrong, and left behind: nothing.

    tests/e2e/test_chaos.py [--kills N] [--containers N] [--oci N] [--seed N] [--targets agent,logger,keeper,all]

Without arguments a short run, as in ctest; `--kills 100 --containers 50` is the full one (about 20 minutes). Every
N-th service of --oci is a container, the others are processes of the host. The seed is printed; the instants also
depend on the machine."""

import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import signal
import sys
import time
import unittest

import chaos_load
import keepwell_e2e as e2e

OPTIONS = argparse.Namespace(kills=4, containers=10, oci=3, seed=None, targets="agent,logger,keeper,all")


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else 0.0


def say(text):
    print(text, file=sys.stderr, flush=True)


def zombies_below(pid):
    found = 0
    for child in e2e.children_of(pid):
        try:
            found += pathlib.Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            pass
    return found


def cgroups_of(pid):
    """Directories of keepwell's own cgroup root, found by a process in it: {hierarchy's mount: its root there}."""
    roots = {}
    mounts = [line.split() for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        for _, mount, kind, options, *_ in mounts:
            same = kind == "cgroup2" if number == "0" else kind == "cgroup" and set(controllers.split(",")) <= set(options.split(","))
            parts = path.split("/")
            own = next((i for i, part in enumerate(parts) if len(part) == 64), None)
            if same and own:
                roots[mount] = mount + "/".join(parts[:own])
                break
    return roots


class Chaos(unittest.TestCase):
    def setUp(self):
        e2e.need_containers()
        self.seed = OPTIONS.seed if OPTIONS.seed is not None else random.randrange(1 << 32)
        self.random = random.Random(self.seed)
        say(f"seed {self.seed}")
        self.windows = chaos_load.Windows()  # without a keeper
        self.nobody = chaos_load.Windows()   # without any of the three
        self.clients = []
        self.problems = []

    def test_kills(self):
        load = chaos_load.Load(OPTIONS.containers, OPTIONS.oci, self.random)
        self.addCleanup(load.close)
        with e2e.Keepwell({"services": load.services}) as kw:
            for name in load.writers:
                kw.wait_health(name, "healthy", 120)
            for name in load.enders:
                e2e.wait_until(f"{name} keeps its account", lambda n=name: load.account(kw, n), 60)
            self.start_clients(kw, load)
            self.rest(kw, load)
            before = {name: kw.inspect(name) for name in load.writers}
            roots = cgroups_of(before[load.writers[0]]["State"]["Pid"])
            self.assertTrue(roots)
            counts = self.count(kw, roots)
            kw.ok("start", *load.enders)
            for target in OPTIONS.targets.split(","):
                self.strike(kw, load, target)
            time.sleep(2)
            self.rest(kw, load)
            for client in self.clients:
                client.end()
            self.check_writers(kw, load, before)
            self.check_enders(kw, load)
            self.check_clients()
            self.check_leaks(counts, self.count(kw, roots), load)
            pids = [before[name]["State"]["Pid"] for name in load.writers]
            code = kw.stop(seconds=60)
            left = {"exit code": code, "processes": [p for p in pids if e2e.start_ticks(p)], "mounts": self.mounts(kw),
                    "cgroups": [d for root in roots.values() for d, _, _ in os.walk(root)]}
            self.problems += [("left behind", what, list_of) for what, list_of in left.items() if list_of]
            for problem in self.problems:
                say(f"PROBLEM {problem}")
            self.assertFalse(self.problems)

    def start_clients(self, kw, load):
        path = kw.run_dir / "keepwell.sock"
        self.events = chaos_load.Events(path)
        followed = load.writers[0], load.writers[-1]
        self.clients = [self.events] + [chaos_load.LogFollower(path, f"e2e-{name}-1") for name in followed]
        self.clients.append(chaos_load.Sessions(kw, next(n for n in load.writers if n in load.oci)))
        for client in self.clients:
            client.start()

    def rest(self, kw, load):
        """Those that end by themselves are stopped, so that what there is can be counted."""
        kw.ok("stop", *load.enders)
        for name in load.enders:
            kw.wait_state(name, "exited", 30)

    def strike(self, kw, load, target):
        took = []
        began = time.monotonic()
        ends = sum(len(load.account(kw, name)) for name in load.enders)
        for _ in range(OPTIONS.kills):
            time.sleep(self.random.uniform(0, 0.7))
            took.append(self.kill(kw, target))
            if kw.process.poll() is not None:
                self.fail(f"keepwell ended with {kw.process.returncode}")
        ends = sum(len(load.account(kw, name)) for name in load.enders) - ends
        seconds = time.monotonic() - began
        say(f"{target}: {len(took)} kills in {seconds:.0f} s, {ends} ends ({ends / seconds:.1f}/s); recovered in "
            f"{quantile(took, .5) * 1000:.0f} ms (p50), {quantile(took, .99) * 1000:.0f} ms (p99)")

    def kill(self, kw, target):
        """Kills, waits until there is supervision again, and returns how long that took."""
        kw.remember()
        pids = {"agent": kw.agent_pid(), "logger": kw.logger_pid(), "keeper": kw.keeper_pid()}
        victims = [pids[target]] if target != "all" else [pids["keeper"], pids["agent"], pids["logger"]]
        self.random.shuffle(victims)
        begun, begun_up = time.monotonic(), chaos_load.uptime()
        for pid in victims:
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if target in ("keeper", "all"):
            kw.process.wait(10)
            kw.process = None
            kw.start(wait=False)
        # The socket of a killed keeper still stands there; only an answer counts.
        if target == "logger":
            e2e.wait_until("a logger", lambda: kw.logger_pid() not in (None, pids["logger"]), 20, 0.005)
        else:
            e2e.wait_until("the API answers", lambda: chaos_load.answers(kw.run_dir / "keepwell.sock"), 20, 0.005)
            e2e.wait_until("all is adopted", lambda: self.ready(kw), 20, 0.005)
        took = time.monotonic() - begun
        if target in ("keeper", "all"):
            self.windows.add(begun_up, chaos_load.uptime())
        if target == "all":
            self.nobody.add(begun_up, chaos_load.uptime())
        return took

    def ready(self, kw):
        try:
            return kw.get("/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    # ---- the reckoning

    def check_writers(self, kw, load, before):
        wrong = []
        lines = 0
        for name in load.writers:
            now = kw.inspect(name)
            if (now["State"]["Pid"], now["RestartCount"], now["State"]["Health"]["Status"]) != \
                    (before[name]["State"]["Pid"], 0, "healthy"):
                wrong.append((name, "lost, restarted or unhealthy", now["State"]))
            logs = kw.run("logs", name)
            lines += logs.out.count("\n") + logs.err.count("\n")
            wrong += [(name, why) for why in (chaos_load.check_numbers(logs.out, "o"),
                                              chaos_load.check_numbers(logs.err, "e")) if why]
            told = [e["Action"] for e in self.events.of(name) if not e["Action"].startswith("exec_")]
            if told != ["create", "start", "health_status: healthy"]:
                wrong.append((name, "events", told))
        say(f"{len(load.writers)} writers: {lines} lines, {len(wrong)} wrong")
        self.problems += wrong

    def check_enders(self, kw, load):
        ends = unknown = untold = unread = 0
        wrong = []
        for name in load.enders:
            account = load.account(kw, name)
            told = [e for e in self.events.of(name) if e["Action"] in ("start", "die", "kill")]
            dies = [int(e["Actor"]["Attributes"]["exitCode"]) for e in told if e["Action"] == "die"]
            bad, vague, silent = chaos_load.compare_ends(account, dies, self.windows)
            wrong += [(name, *one) for one in bad]
            actions = [e["Action"] for e in told if e["Action"] != "kill"]
            if any(a == b for a, b in zip(actions, actions[1:])):
                wrong.append((name, "start and die do not take turns", [e["Action"] for e in told]))
            why, lost = chaos_load.check_runs(kw.run("logs", name).out, account, self.nobody)
            unread += lost
            if why:
                wrong.append((name, why))
            ends, unknown, untold = ends + len(account), unknown + vague, untold + silent
        say(f"{len(load.enders)} enders: {ends} ends, {unknown} told as unknown, {untold} runs that no keeper saw, "
            f"{unread} last words into pipes that nobody held, {len(wrong)} wrong")
        self.problems += wrong

    def check_clients(self):
        self.problems += [("told twice", event) for event in self.events.twice]
        self.problems += [("a follower missed lines", gap) for c in self.clients if isinstance(c, chaos_load.LogFollower)
                          for gap in c.gaps]
        self.problems += [("unhealthy", event) for event in self.events.told if event["Action"] == "health_status: unhealthy"]
        streams = sum(c.connections for c in self.clients if isinstance(c, chaos_load.Client))
        sessions = sum(c.begun for c in self.clients if isinstance(c, chaos_load.Sessions))
        say(f"clients: {len(self.events.told)} events, {streams} streams, {sessions} exec sessions")
        if not sessions:
            self.problems.append("no exec session was ever begun")

    def mounts(self, kw):
        return [m for m in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if f" {kw.dir}/" in m]

    def count(self, kw, roots):
        """What there is while nothing begins or ends; the least of a few looks, since probes come and go."""
        looks = []
        for _ in range(8):
            time.sleep(0.25)
            agent = e2e.wait_until("an agent", kw.agent_pid)
            looks.append({
                "descriptors of the agent": len(os.listdir(f"/proc/{agent}/fd")),
                "descriptors of the keeper": len(os.listdir(f"/proc/{kw.keeper_pid()}/fd")),
                "descriptors of the logger": len(os.listdir(f"/proc/{e2e.wait_until('a logger', kw.logger_pid)}/fd")),
                "zombies": zombies_below(kw.keeper_pid()),
                "mounts": len(self.mounts(kw)),
                "cgroups": sum(1 for root in roots.values() for _ in os.walk(root)),
                "bundles": sum(len(p.name) == 64 for p in kw.run_dir.iterdir()),
                "processes": sum(1 for root in roots.values() if "unified" in root or len(roots) == 1
                                 for d, _, _ in os.walk(root)
                                 for _ in (pathlib.Path(d) / "cgroup.procs").read_text().split()),
                "records": sum(1 for p in (kw.run_dir / "state").iterdir() if p.suffix == ".json" and len(p.stem) == 64),
            })
        return {what: min(look[what] for look in looks) for what in looks[0]}

    def check_leaks(self, before, after, load):
        say("before: " + json.dumps(before))
        say("after:  " + json.dumps(after))
        allowed = collections.Counter()
        if any(t in OPTIONS.targets for t in ("keeper", "all")):
            # A keeper that adopted holds a pidfd for each process that it cannot wait for.
            allowed["descriptors of the keeper"] = len(load.services)
        for what, count in before.items():
            if after[what] > count + allowed[what]:
                self.problems.append((f"{what} leaked", count, after[what]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("kills", "containers", "oci", "seed"):
        parser.add_argument(f"--{option}", type=int, default=getattr(OPTIONS, option))
    parser.add_argument("--targets", default=OPTIONS.targets)
    OPTIONS, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    e2e.main()
