#!/usr/bin/env python3
"""Bad input: each a clear error within a second, exit code 1 or 2; services that are fine keep running."""

import socket
import time
import unittest

import keepwell_e2e as e2e

SECOND = 1.0 * e2e.PATIENCE


class BadFile(unittest.TestCase):
    def refused(self, compose, code, *words, setup=None, args=()):
        with e2e.Keepwell(compose, start=False) as kw:
            if setup:
                setup(kw)
            begun = time.monotonic()
            done = kw.run("run", "-f", kw.file, "--run-dir", kw.run_dir, "--data-dir", kw.data_dir, *args)
            took = time.monotonic() - begun
            self.assertEqual(done.code, code, done)
            for word in words:
                self.assertIn(word, done.err)
            self.assertLess(took, SECOND)
            return done

    def test_empty_test(self):
        self.refused("services:\n  web:\n    x-keepwell: {runtime: process}\n    command: [sleep, '9']\n"
                     "    healthcheck:\n      test: []\n", 2, ":6:", "test")

    def test_duration_without_unit(self):
        self.refused("services:\n  web:\n    x-keepwell: {runtime: process}\n    command: [sleep, '9']\n"
                     "    healthcheck:\n      test: 'true'\n      interval: 10\n", 2, ":7:", "10s")

    def test_all_mistakes_come_in_one_run(self):
        done = self.refused("services:\n  web:\n    comand: x\n    restart: sometimes\n    healthcheck:\n"
                            "      tset: [CMD, x]\n      timeout: 5\n", 2, ":3:", "command", ":4:", ":6:", ":7:")
        self.assertGreaterEqual(len(done.err.strip().splitlines()), 4)

    def test_yaml_bomb(self):
        bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
        for this, last in zip("bcdefghij", "abcdefghi"):
            bomb += f"{this}: &{this} [{', '.join(['*' + last] * 9)}]\n"
        self.refused(bomb + "services: *j\n", 2)

    def test_ten_megabytes(self):
        self.refused("# " + "x" * 10_000_000 + "\nservices: {}\n", 2, "compose.yaml")

    def test_not_yaml(self):
        self.refused("services:\n\t- {", 2, "compose.yaml:2")

    def test_no_such_file(self):
        with e2e.Keepwell() as kw:
            done = kw.run("run", "-f", "absent.yaml")
            self.assertEqual(done.code, 2, done)
            self.assertIn("absent.yaml", done.err)

    def test_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.refused({"services": {"web": e2e.process("exec sleep 9")},
                          "x-keepwell": {"metrics": {"listen": f"127.0.0.1:{port}"}}}, 1, str(port), "in use")

    def test_run_directory_of_another_agent(self):
        with e2e.Keepwell({"services": {"web": e2e.process("exec sleep 1000")}}) as kw:
            begun = time.monotonic()
            done = kw.run("run", "-f", kw.file, "--run-dir", kw.run_dir, "--data-dir", kw.data_dir)
            self.assertLess(time.monotonic() - begun, SECOND)
            self.assertEqual(done.code, 1, done)
            self.assertIn(str(kw.keeper_pid()), done.err)
            self.assertEqual(kw.state("web")["Status"], "running")
            done = kw.run("run", "-f", kw.file, "--run-dir", kw.dir / "other", "--data-dir", kw.data_dir)
            self.assertEqual(done.code, 1, done)
            self.assertIn("uses it", done.err)

    def test_run_directory_of_somebody_else(self):
        def setup(kw):
            kw.run_dir.mkdir()
            kw.run_dir.chmod(0o777)
        self.refused({"services": {"web": e2e.process("exec sleep 9")}}, 1, "others may write", setup=setup)


class BadService(unittest.TestCase):
    """A service that cannot start says why; its neighbours run."""

    def test_process(self):
        with e2e.Keepwell({"services": {
            "fine": e2e.process("exec sleep 1000"),
            "absent": {"x-keepwell": {"runtime": "process"}, "command": ["/no/such/program"]},
            "nobody": {"x-keepwell": {"runtime": "process"}, "command": ["true"], "user": "no-such-user"},
        }}) as kw:
            self.check(kw, {"absent": (127, "no such file"), "nobody": (None, "no-such-user")})

    def test_containers(self):
        e2e.need_containers()
        with e2e.Keepwell({"services": {
            "fine": e2e.busybox("exec sleep 1000"),
            "absent": {"x-keepwell": {"rootfs": e2e.rootfs("busybox")}, "command": ["/no/such/program"]},
            "nobody": {"x-keepwell": {"rootfs": e2e.rootfs("busybox")}, "command": ["true"], "user": "no-such-user"},
            "probe": e2e.busybox("exec sleep 1000", healthcheck={"test": ["CMD", "/no/such/probe"], "interval": "100ms"}),
        }}) as kw:
            self.check(kw, {"absent": (127, "no such file"), "nobody": (None, "no-such-user")})
            kw.wait_health("probe", "unhealthy")
            self.assertIn("/no/such/probe", kw.state("probe")["Health"]["Log"][-1]["Output"])

    def test_missing_rootfs(self):
        with e2e.Keepwell({"services": {"web": {"x-keepwell": {"rootfs": "/no/such/rootfs"}, "command": ["true"]}}},
                          start=False) as kw:
            kw.start(wait=False)
            e2e.wait_until("it says so", lambda: "/no/such/rootfs" in kw.log_text(), 5)

    def test_no_runtime_on_the_host(self):
        e2e.need_containers()
        with e2e.Keepwell({"services": {"web": e2e.busybox("exec sleep 1000"), "fine": e2e.process("exec sleep 1000")},
                           "x-keepwell": {"runtime": "/no/such/runc"}}) as kw:
            self.check(kw, {"web": (None, "/no/such/runc")})

    def check(self, kw, expected):
        begun = time.monotonic()
        for name, (code, text) in expected.items():
            e2e.wait_until(f"{name} ended", lambda n=name: kw.state(n)["Error"], 5)
            state = kw.state(name)
            self.assertIn(text.lower(), state["Error"].lower())
            self.assertNotEqual(state["ExitCode"], 0)
            if code is not None:
                self.assertEqual(state["ExitCode"], code)
        self.assertLess(time.monotonic() - begun, 2 * SECOND)
        self.assertEqual(kw.state("fine")["Status"], "running")


if __name__ == "__main__":
    e2e.main()
