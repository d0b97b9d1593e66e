#!/usr/bin/env python3
"""A check that runs often has a zygote (runtime/zygote.h): what it saves is tests/bench/probe_cost's to say, and that its
clones are what any other exec is, the oracle's. Here: who has one, when it comes and goes, and that nothing depends on it."""

import os
import pathlib
import re
import signal
import time
import unittest

import keepwell_e2e as e2e

SLEEPER = "exec sleep 100000"


def setUpModule():
    e2e.need_containers()


def check(test, **more):
    return {"test": test, "interval": "100ms", "timeout": "10s", "retries": 3, **more}


def total(kw, metric, name):
    return sum(value for series, value in kw.metrics().items()
               if series.startswith(metric + "{") and f'service="{name}"' in series)


def probes(kw, name):
    return total(kw, "keepwell_probes_total", name)


def more_probes(kw, name, count=5):
    done = probes(kw, name)
    e2e.wait_until(f"{count} more probes of {name}", lambda: probes(kw, name) >= done + count, 30)


def one_zygote(kw, but=()):
    return e2e.wait_until("a zygote", lambda: [pid for pid in kw.zygotes() if pid not in but], 30)[0]


def gone(pid):
    return e2e.wait_until(f"{pid} is gone", lambda: e2e.start_ticks(pid) is None, 20)


def flips(kw, name):
    return [event["Action"] for event in kw.events() if event.get("Action", "").startswith("health_status")
            and event["Actor"]["Attributes"]["name"] == f"e2e-{name}-1"]


class Zygotes(unittest.TestCase):
    def test_who_has_one(self):
        services = {
            "often": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "true"])),
            "seldom": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "true"], interval="6s", start_period="60s", start_interval="200ms")),
            "host": e2e.busybox(SLEEPER, pid="host", healthcheck=check(["CMD", "true"])),
            "tracer": e2e.busybox(SLEEPER, cap_add=["SYS_PTRACE"], healthcheck=check(["CMD", "true"])),
            "privileged": e2e.busybox(SLEEPER, privileged=True, healthcheck=check(["CMD", "true"])),
            # Its first process reaps nobody, so each probe leaves a zombie, and needs a new cgroup.
            "orphans": e2e.busybox(SLEEPER, healthcheck=check(["CMD-SHELL", "(setsid sleep 1000 &); true"])),
        }
        with e2e.Keepwell({"services": services}) as kw:
            for name in services:
                kw.wait_health(name, "healthy")
                more_probes(kw, name, 1 if name == "seldom" else 5)
            zygote = one_zygote(kw)
            e2e.wait_until("no other", lambda: kw.zygotes() == [zygote])
            # It does not count as a process of the container, nor its memory.
            for line in pathlib.Path(f"/proc/{zygote}/cgroup").read_text().splitlines():
                if re.match(r"\d+:(memory|pids|):", line):
                    self.assertNotIn("/payload", line)
                    self.assertNotIn("/probe-", line)
            root = pathlib.Path(f"/proc/{kw.pid('often')}/ns")
            for kind in ("mnt", "net", "ipc", "uts", "pid_for_children"):
                inside = "pid" if kind == "pid_for_children" else kind
                self.assertEqual(os.readlink(f"/proc/{zygote}/ns/{kind}"), os.readlink(root / inside), kind)
            self.assertEqual(os.readlink(f"/proc/{zygote}/ns/pid"), os.readlink("/proc/self/ns/pid"))
            # Nothing of the host's is open in it but its socket and what its clones join.
            leads_to = {os.readlink(f"/proc/{zygote}/fd/{fd}") for fd in os.listdir(f"/proc/{zygote}/fd")}
            for target in leads_to:
                self.assertRegex(target, r"^(/dev/null|socket:.*|pipe:.*|anon_inode:\[pidfd\]|pidfd:.*"
                                         r"|.*/probe-\d+(/tasks)?|.*/(memory|pids)/.*/payload/tasks)$")
            # Its container does not see it, and has it not for a process of its own.
            listed = kw.ok("exec", "often", "ps")
            self.assertNotIn("zygote", listed)
            self.assertNotIn("enter", listed)

    def test_an_exec_with_more_rights_than_the_container(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "true"]))}}) as kw:
            kw.wait_health("web", "healthy")
            one_zygote(kw)
            kw.ok("exec", "web", "true")
            one_zygote(kw)
            kw.ok("exec", "--privileged", "web", "true")
            e2e.wait_until("it is ended", lambda: not kw.zygotes())
            more_probes(kw, "web")
            self.assertEqual(kw.zygotes(), [])
            kw.ok("restart", "web")
            one_zygote(kw)
            self.assertEqual(total(kw, "keepwell_probe_voided_total", "web"), 0)

    def test_what_a_failed_start_says(self):
        """The same whoever makes the process, for the first probe never comes from a zygote."""
        with e2e.Keepwell({"services": {
                "nothing": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "/no/such"])),
                "user": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "sh", "-c", "echo $$0 said; exit 3"]))}}) as kw:
            one_zygote(kw)
            for name in ("nothing", "user"):
                e2e.wait_until("five results", lambda n=name: len(kw.state(n)["Health"]["Log"] or []) == 5)
                results = {(entry["ExitCode"], entry["Output"]) for entry in kw.state(name)["Health"]["Log"]}
                self.assertEqual(len(results), 1, results)
            self.assertEqual(len(kw.zygotes()), 2)

    def test_killed_again_and_again(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "true"], retries=1))}}) as kw:
            kw.wait_health("web", "healthy")
            for _ in range(10):
                zygote = one_zygote(kw)
                os.kill(zygote, signal.SIGKILL)
                gone(zygote)
                more_probes(kw, "web", 2)
            self.assertEqual(flips(kw, "web"), ["health_status: healthy"])
            self.assertEqual(kw.state("web")["RestartCount"] if "RestartCount" in kw.state("web") else 0, 0)

    def test_a_probe_that_is_killed(self):
        """Once it is said to be nobody's failure, since the kernel may have killed it on its way in; then it counts."""
        with e2e.Keepwell({"services": {"web": e2e.busybox(
                SLEEPER, healthcheck=check(["CMD-SHELL", "[ ! -e /tmp/now ] || kill -9 $$$$"], retries=2))}}) as kw:
            kw.wait_health("web", "healthy")
            one_zygote(kw)
            more_probes(kw, "web", 3)
            kw.ok("exec", "web", "touch", "/tmp/now")
            kw.wait_health("web", "unhealthy")
            self.assertEqual(total(kw, "keepwell_probe_voided_total", "web"), 1)
            self.assertEqual(kw.state("web")["Health"]["Log"][-1]["ExitCode"], 137)
            self.assertEqual(kw.zygotes(), [])

    def test_one_that_stands_still(self):
        with e2e.Keepwell({"services": {
                "web": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "true"], timeout="500ms", retries=1)),
                "neighbour": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "true"]))}}) as kw:
            kw.wait_health("web", "healthy")
            kw.wait_health("neighbour", "healthy")
            e2e.wait_until("two zygotes", lambda: len(kw.zygotes()) == 2)
            more_probes(kw, "web")  # else it would be taken for one that never works
            inside = {os.readlink(f"/proc/{pid}/ns/mnt"): pid for pid in kw.zygotes()}
            stopped = inside[os.readlink(f"/proc/{kw.pid('web')}/ns/mnt")]
            os.kill(stopped, signal.SIGSTOP)
            before = total(kw, "keepwell_probe_voided_total", "web")
            more_probes(kw, "neighbour", 10)
            e2e.wait_until("the probe that it was asked for is nobody's failure",
                           lambda: total(kw, "keepwell_probe_voided_total", "web") > before, 60)  # 30 s, as for any start
            more_probes(kw, "web")  # without it
            self.assertEqual(flips(kw, "web"), ["health_status: healthy"])
            os.kill(stopped, signal.SIGCONT)
            gone(stopped)
            more_probes(kw, "web")
            self.assertEqual(len(kw.zygotes()), 2)
            self.assertEqual(kw.health("web"), "healthy")
            self.assertEqual(flips(kw, "web"), ["health_status: healthy"])

    def test_it_goes_with_its_container(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox(SLEEPER, restart="always", stop_grace_period="0s",
                                                             healthcheck=check(["CMD", "true"]))}}) as kw:
            container = kw.inspect("web")["Id"]
            for how in ("stop", "kill", "restart", "its init", "stop"):
                kw.wait_health("web", "healthy")
                zygote = one_zygote(kw)
                if how == "its init":
                    os.kill(kw.pid("web"), signal.SIGKILL)
                else:
                    kw.ok(how, "web")
                gone(zygote)
                if how in ("stop", "kill"):
                    kw.wait_state("web", "exited")
                    e2e.wait_until("no cgroup of it is left", lambda: not list(
                        pathlib.Path("/sys/fs/cgroup").glob(f"*/keepwell-*/{container}")))
                    kw.ok("start", "web")
            kw.wait_health("web", "healthy")

    def test_it_follows_its_container_into_another_namespace(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox(
                "while [ ! -e /tmp/go ]; do sleep 0.1; done; exec unshare -m sh -c 'mount -t tmpfs none /tmp; touch /tmp/inside; exec sleep 100000'",
                cap_add=["SYS_ADMIN"], security_opt=["seccomp:unconfined"],
                healthcheck=check(["CMD", "ls", "/tmp"]))}}) as kw:
            kw.wait_health("web", "healthy")
            one_zygote(kw)
            kw.ok("exec", "web", "touch", "/tmp/go")
            e2e.wait_until("it unshared", lambda: b"sleep" in e2e.command_of(kw.pid("web"))[:1])
            e2e.wait_until("a probe in there", lambda: (kw.state("web")["Health"]["Log"] or [{}])[-1].get("Output") == "inside\n", 20)
            self.assertEqual(kw.ok("exec", "web", "ls", "/tmp"), "inside\n")
            kw.wait_health("web", "healthy")
            one_zygote(kw)

    def test_a_pause_holds_it_too(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "true"]))}}) as kw:
            kw.wait_health("web", "healthy")
            zygote = one_zygote(kw)
            for _ in range(3):
                kw.ok("pause", "web")
                time.sleep(0.3)
                kw.ok("unpause", "web")
                more_probes(kw, "web")
            self.assertEqual(kw.zygotes(), [zygote])
            self.assertEqual(flips(kw, "web"), ["health_status: healthy"])

    def test_it_goes_with_the_agent_and_with_the_keeper(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "true"]))}}) as kw:
            kw.wait_health("web", "healthy")
            zygote = one_zygote(kw)
            os.kill(kw.agent_pid(), signal.SIGKILL)
            gone(zygote)
            zygote = one_zygote(kw, but=(zygote,))
            more_probes(kw, "web")
            pid = kw.pid("web")
            kw.remember()
            os.kill(kw.keeper_pid(), signal.SIGKILL)
            kw.process.wait(10)
            kw.process = None
            gone(zygote)
            kw.start()
            zygote = one_zygote(kw)
            more_probes(kw, "web")
            self.assertEqual(kw.pid("web"), pid)
            kw.ok("upgrade")
            one_zygote(kw, but=(zygote,))
            more_probes(kw, "web")
            self.assertEqual(kw.pid("web"), pid)
            self.assertEqual(flips(kw, "web"), ["health_status: healthy"])


if __name__ == "__main__":
    e2e.main()
