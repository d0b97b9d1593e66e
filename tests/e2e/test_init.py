#!/usr/bin/env python3
"""`init: true`: a reaper of ours is the container's first process, in an image that holds nothing but the service's
own program. And what is seen of a container without one: the zombies of its probes are counted."""

import pathlib
import re
import shutil
import tempfile
import time
import unittest

import keepwell_e2e as e2e


def setUpModule():
    e2e.need_containers()


def zombies_of(pid):
    """Dead children of PID that nobody has reaped."""
    return [child for child in e2e.children_of(pid)
            if pathlib.Path(f"/proc/{child}/stat").exists() and e2e.start_ticks(child) is None]


def name_of(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()


class Init(unittest.TestCase):
    def setUp(self):
        # /busybox and nothing else: no /sbin, no /etc, no library.
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="kw-empty-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.root.chmod(0o755)
        shutil.copy(f"{e2e.rootfs('busybox')}/bin/busybox", self.root / "busybox")

    def service(self, script, init=True, **more):
        return {"x-keepwell": {"rootfs": str(self.root)}, "init": init, "entrypoint": ["/busybox", "sh", "-c"],
                "command": [script.replace("$", "$$")], "stop_grace_period": "20s", **more}

    def test_orphans_are_reaped(self):
        script = "for i in 1 2 3 4 5; do (/busybox sleep 0.2 &); done; exec /busybox sleep 100000"
        with e2e.Keepwell({"services": {"with": self.service(script), "without": self.service(script, init=False)}}) as kw:
            for name in ("with", "without"):
                kw.wait_state(name, "running")
            reaper, sleeper = kw.pid("with"), kw.pid("without")
            e2e.wait_until("orphans of a service that does not reap are zombies", lambda: len(zombies_of(sleeper)) == 5)
            e2e.wait_until("only the service is left", lambda: len(e2e.children_of(reaper)) == 1)
            self.assertEqual(zombies_of(reaper), [])
            self.assertEqual(name_of(reaper), "/sbin/docker-init")
            self.assertEqual(name_of(e2e.children_of(reaper)[0]), "/busybox")

    def test_signals_go_through_and_the_exit_code_comes_back(self):
        with e2e.Keepwell({"services": {
            "traps": self.service("trap 'exit 3' TERM; while :; do /busybox sleep 0.05; done"),
            # As pid 1 it would not hear SIGTERM, which it has no handler for.
            "plain": self.service("exec /busybox sleep 100000"),
            "other": self.service("trap 'exit 4' USR1; while :; do /busybox sleep 0.05; done"),
            "ends": self.service("exit 7"),
            "dies": self.service("kill -KILL $$"),
        }}) as kw:
            kw.wait_state("ends", "exited")
            self.assertEqual(kw.state("ends")["ExitCode"], 7)
            kw.wait_state("dies", "exited")
            self.assertEqual(kw.state("dies")["ExitCode"], 137)
            time.sleep(0.5 * e2e.PATIENCE)  # the traps are set
            began = time.monotonic()
            kw.ok("stop", "traps", "plain")
            self.assertLess(time.monotonic() - began, 10 * e2e.PATIENCE)
            self.assertEqual(kw.state("traps")["ExitCode"], 3)
            self.assertEqual(kw.state("plain")["ExitCode"], 143)
            kw.ok("kill", "-s", "USR1", "other")
            kw.wait_state("other", "exited")
            self.assertEqual(kw.state("other")["ExitCode"], 4)

    def test_a_program_that_is_not_there(self):
        with e2e.Keepwell({"services": {
            "missing": {**self.service(""), "entrypoint": ["nosuch"], "command": []},
            "found": {**self.service(""), "entrypoint": ["busybox"], "command": ["true"], "environment": {"PATH": "/none:/"}},
        }}) as kw:
            kw.wait_state("missing", "exited")
            self.assertEqual(kw.state("missing")["ExitCode"], 127)
            e2e.wait_until("the reason is in its log", lambda: "cannot run nosuch" in kw.run("logs", "missing").err
                           + kw.run("logs", "missing").out)
            kw.wait_state("found", "exited")
            self.assertEqual(kw.state("found")["ExitCode"], 0)

    def test_a_user_a_terminal_and_a_read_only_root(self):
        with e2e.Keepwell({"services": {"web": self.service("/busybox id -u; /busybox tty; exec /busybox sleep 100000", user="1234:5",
                                                            tty=True, read_only=True)}}) as kw:
            e2e.wait_until("it has a terminal", lambda: re.search(r"1234\s+/dev/pts/0", kw.ok("logs", "web")))
            kw.ok("stop", "web")
            self.assertEqual(kw.state("web")["ExitCode"], 143)

    def test_what_one_container_does_to_its_reaper_no_other_runs(self):
        before = (e2e.BIN / "keepwell-init").read_bytes()
        script = "/busybox mount -o remount,rw,bind /sbin/docker-init; /busybox echo x >/sbin/docker-init; exec /busybox sleep 100000"
        with e2e.Keepwell({"services": {"bad": self.service(script, cap_add=["SYS_ADMIN"], security_opt=["seccomp:unconfined"]),
                                        "good": self.service("exec /busybox sleep 100000")}}) as kw:
            kw.ok("restart", "good")
            kw.ok("restart", "bad")
            for name in ("good", "bad"):
                kw.wait_state(name, "running")
                self.assertEqual(name_of(kw.pid(name)), "/sbin/docker-init")
            self.assertEqual((e2e.BIN / "keepwell-init").read_bytes(), before)

    def test_orphans_of_probes_are_counted_where_nobody_reaps(self):
        health = {"test": ["CMD", "/busybox", "sh", "-c", "(/busybox setsid /busybox sleep 1000 >/dev/null 2>&1 &); /busybox echo ok"],
                  "interval": "200ms", "timeout": "5s"}
        script = "exec /busybox sleep 100000"
        with e2e.Keepwell({"services": {"with": self.service(script, healthcheck=health),
                                        "without": self.service(script, init=False, healthcheck=health)}}) as kw:
            def orphans(name):
                return kw.metrics()[f'keepwell_probe_orphans_total{{service="{name}",check="healthcheck"}}']
            e2e.wait_until("orphans are counted", lambda: orphans("without") >= 5, 60)
            self.assertEqual(orphans("with"), 0)
            self.assertEqual(zombies_of(kw.pid("with")), [])
            self.assertGreaterEqual(len(zombies_of(kw.pid("without"))), 5)
            rows = [line.split() for line in kw.ok("top").splitlines()]
            self.assertEqual(rows[0][-1], "ORPHANS")
            counted = {row[0]: int(row[-1]) for row in rows[1:]}
            self.assertGreaterEqual(counted["e2e-without-1"], 5)
            self.assertEqual(counted["e2e-with-1"], 0)


if __name__ == "__main__":
    e2e.main()
