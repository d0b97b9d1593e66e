#!/usr/bin/env python3
"""What a container may do to the health probes that are run in it, seen from outside: the results are right, its
neighbours' probes go on, and nothing is left. The attacks on the entering process itself (looking into it, stopping
it, freezing it, made-up files) are in tests/unit/runtime/enter_attack_test.cc."""

import os
import pathlib
import re
import time
import unittest

import keepwell_e2e as e2e

# The security document's figure is 10,000; that takes minutes, so it has to be asked for.
LEFTOVERS = int(os.environ.get("KEEPWELL_ATTACK_ROUNDS", "400"))


def setUpModule():
    e2e.need_containers()


def check(test, **more):
    return {"test": test, "interval": "100ms", "timeout": "2s", "retries": 3, **more}


def shell(script, **more):
    return check(["CMD-SHELL", script.replace("$", "$$")], **more)


def last(kw, name):
    log = kw.state(name).get("Health", {}).get("Log") or [{}]
    return log[-1]


def probes(kw, name):
    return sum(value for series, value in kw.metrics().items()
               if series.startswith("keepwell_probes_total{") and f'service="{name}"' in series)


def rss_kb(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def directories_of(container):
    """Its cgroup in every hierarchy. No walk over all of /sys/fs/cgroup: others make and remove theirs meanwhile."""
    top = pathlib.Path("/sys/fs/cgroup")
    return [*top.glob(f"keepwell-*/{container}"), *top.glob(f"*/keepwell-*/{container}")]


def cgroups_of(container):
    """Directories of CONTAINER in any hierarchy, without what is under payload/."""
    return {f"{path}/{child.name}" for path in directories_of(container) for child in path.iterdir() if child.is_dir()}


def processes_in(container):
    """What the container's cgroups hold beside its own processes."""
    pids = set()
    for leaf in cgroups_of(container):
        if not leaf.endswith("/payload"):
            try:
                pids |= set(pathlib.Path(leaf, "cgroup.procs").read_text().split())
            except OSError:
                pass
    return pids


def children(pid):
    return [child for child in e2e.children_of(pid)]


class Attacks(unittest.TestCase):
    def test_leftovers_in_sessions_of_their_own(self):
        with e2e.Keepwell({"services": {f"s{i}": e2e.busybox(
                # An init that reaps what is re-parented to it.
                "while :; do sleep 1; done",
                healthcheck=shell("setsid sleep 1000 >/dev/null 2>&1 & echo ok", interval="20ms")) for i in range(4)}}) as kw:
            for i in range(4):
                kw.wait_health(f"s{i}", "healthy")
            e2e.wait_until("a first round", lambda: probes(kw, "s0") > 20, 60)
            keeper, agent = kw.keeper_pid(), kw.agent_pid()
            ids = [kw.inspect(f"s{i}")["Id"] for i in range(4)]
            before = {"keeper": descriptors(keeper), "agent": descriptors(agent)}
            done = sum(probes(kw, f"s{i}") for i in range(4))
            e2e.wait_until(f"{LEFTOVERS} probes", lambda: sum(probes(kw, f"s{i}") for i in range(4)) - done >= LEFTOVERS, 600, 0.5)
            for i in range(4):
                self.assertEqual(last(kw, f"s{i}")["Output"], "ok\n")
                self.assertEqual(last(kw, f"s{i}")["ExitCode"], 0)
                self.assertEqual(kw.health(f"s{i}"), "healthy")
                kw.ok("pause", f"s{i}")  # no probe is under way while we count
            time.sleep(0.5)
            for container in ids:
                self.assertEqual(processes_in(container), set())
                self.assertLessEqual(len({path.rpartition("/")[2] for path in cgroups_of(container)} - {"payload"}), 2)
            zombies = [pid for pid in children(keeper) if e2e.start_ticks(pid) is None]
            self.assertEqual(zombies, [])
            self.assertLessEqual(descriptors(keeper), before["keeper"] + 4)
            self.assertLessEqual(descriptors(agent), before["agent"] + 12)  # what one probe holds, times four

    def test_a_result_does_not_wait_for_whoever_holds_its_output(self):
        with e2e.Keepwell({"services": {"holder": e2e.busybox(
                "exec sleep 100000", healthcheck=shell("setsid sleep 1000 & echo ok", interval="1s"))}}) as kw:
            kw.wait_health("holder", "healthy")
            entry = last(kw, "holder")
            took = stamp(entry["End"]) - stamp(entry["Start"])
            self.assertEqual(entry["Output"], "ok\n")
            self.assertLess(took, 0.5 * e2e.PATIENCE)

    def test_stopping_everything_that_enters(self):
        with e2e.Keepwell({"services": {
            # kill -1 spares the sender and its own init.
            "attacker": e2e.busybox("while :; do kill -STOP -1; done",
                                    healthcheck=check(["CMD", "true"], timeout="300ms", retries=2)),
            "neighbour": e2e.busybox("exec sleep 100000", healthcheck=check(["CMD", "true"])),
        }}) as kw:
            kw.wait_health("neighbour", "healthy")
            before = probes(kw, "neighbour")
            time.sleep(5)
            self.assertGreater(probes(kw, "neighbour") - before, 5 / 0.1 * 0.4 / e2e.PATIENCE)
            self.assertEqual(kw.health("neighbour"), "healthy")
            # One that is stopped before its program runs ends at its own timeout, not at the 30 s that a start may take.
            done = probes(kw, "attacker")
            e2e.wait_until("the attacker is still probed", lambda: probes(kw, "attacker") >= done + 3, 10)
            kw.wait_health("attacker", "unhealthy")

    def test_floods_of_output(self):
        services = {f"f{i}": e2e.busybox("exec sleep 100000", healthcheck=shell("yes", interval="200ms", timeout="500ms"))
                    for i in range(10)}
        services["neighbour"] = e2e.busybox("exec sleep 100000", healthcheck=check(["CMD", "true"]))
        with e2e.Keepwell({"services": services}) as kw:
            kw.wait_health("neighbour", "healthy")
            e2e.wait_until("floods have begun", lambda: all(probes(kw, f"f{i}") >= 1 for i in range(10)), 60)
            agent, keeper = kw.agent_pid(), kw.keeper_pid()
            before = rss_kb(agent) + rss_kb(keeper)
            done = probes(kw, "neighbour")
            time.sleep(5)
            self.assertLess(rss_kb(agent) + rss_kb(keeper) - before, 1024 if e2e.PATIENCE == 1 else 1 << 20)
            self.assertGreater(probes(kw, "neighbour") - done, 5)
            self.assertLessEqual(len(last(kw, "f0")["Output"]), 4096 + 100)

    def test_a_fork_bomb_as_probe(self):
        with e2e.Keepwell({"services": {"bomb": e2e.busybox(
                # The container's own work forks too, and must not notice.
                "while :; do (true) || echo FORK FAILED; sleep 0.01; done",
                healthcheck=shell("(while :; do sleep 100 & done); exit 1", timeout="1s", interval="500ms", retries=2))}}) as kw:
            kw.wait_health("bomb", "unhealthy")
            e2e.wait_until("three probes", lambda: probes(kw, "bomb") >= 3)
            self.assertNotIn("FORK FAILED", kw.ok("logs", "bomb"))
            container = kw.inspect("bomb")["Id"]
            kw.ok("pause", "bomb")
            e2e.wait_until("the bombs are gone", lambda: processes_in(container) == set(), 5)

    def test_probe_programs_that_are_not_what_they_say(self):
        before = {name: (e2e.BIN / name).read_bytes() for name in ("keepwell-enter", "keepwell-keeper", "keepwell")}
        script = "printf '#!/proc/self/exe\\n' >/bin/probe; chmod 755 /bin/probe; mkfifo /bin/pipe; exec sleep 100000"
        with e2e.Keepwell({"services": {
            "self": e2e.busybox(script, healthcheck=check(["CMD", "probe"], retries=1)),
            "fifo": e2e.busybox(script, healthcheck=check(["CMD", "/bin/pipe"], retries=1)),
            "cwd": e2e.busybox("exec sleep 100000", healthcheck=check(["CMD", "/proc/self/fd/7/bin/true"], retries=1)),
        }}) as kw:
            for name in ("self", "fifo", "cwd"):
                kw.wait_health(name, "unhealthy")
                self.assertNotEqual(last(kw, name)["ExitCode"], 0)
            for name, content in before.items():
                self.assertEqual((e2e.BIN / name).read_bytes(), content)

    def test_a_probe_sees_nothing_of_ours(self):
        with e2e.Keepwell({"services": {
            "fds": e2e.busybox("exec sleep 100000", healthcheck=check(["CMD", "ls", "/proc/self/fd"])),
            "status": e2e.busybox("exec sleep 100000", healthcheck=check(["CMD", "cat", "/proc/self/status"])),
        }}) as kw:
            kw.wait_health("fds", "healthy")
            kw.wait_health("status", "healthy")
            self.assertEqual(last(kw, "fds")["Output"].split(), ["0", "1", "2", "3"])  # 3: what ls reads
            text = last(kw, "status")["Output"]
            for name in ("SigPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapAmb"):
                self.assertIn(f"{name}:\t0000000000000000\n", text)


def stamp(text):
    whole, _, fraction = text.rstrip("Z").partition(".")
    return time.mktime(time.strptime(whole[:19], "%Y-%m-%dT%H:%M:%S")) + float("0." + (fraction[:9] or "0"))


if __name__ == "__main__":
    e2e.main()
