#!/usr/bin/env python3
"""Reloads, ends and new beginnings of keepwell itself; log rotation; who is remembered over a run."""

import os
import re
import signal
import time
import unittest

import keepwell_e2e as e2e


class Reload(unittest.TestCase):
    def compose(self, kw_or_none=None, **changes):
        services = {
            "same": e2e.process("exec sleep 1000"),
            "check": e2e.process("exec sleep 1000", healthcheck={"test": "exit 0", "interval": "100ms"}),
            "launch": e2e.process("exec sleep 1000", environment={"A": "1"}),
            "gone": e2e.process("exec sleep 1000"),
        }
        services.update(changes)
        return {"services": {name: spec for name, spec in services.items() if spec is not None}}

    def changed(self):
        return self.compose(
            check=e2e.process("exec sleep 1000", healthcheck={"test": "exit 1", "interval": "100ms", "retries": 2}),
            launch=e2e.process("exec sleep 1000", environment={"A": "2"}),
            gone=None, new=e2e.process("exec sleep 1000"))

    def check_applied(self, kw, before):
        kw.wait_state("new", "running")
        kw.wait_health("check", "unhealthy")
        self.assertEqual(kw.pid("same"), before["same"])
        self.assertEqual(kw.pid("check"), before["check"])
        e2e.wait_until("launch is recreated", lambda: kw.pid("launch") not in (0, before["launch"]))
        e2e.wait_until("gone is gone", lambda: kw.run("inspect", "gone").code == 1)

    def test_reload_changes_only_what_changed(self):
        with e2e.Keepwell(self.compose()) as kw:
            for name in ("same", "launch", "gone"):
                kw.wait_state(name, "running")
            kw.wait_health("check", "healthy")
            before = {name: kw.pid(name) for name in ("same", "check", "launch", "gone")}
            kw.write(self.changed())
            plan = kw.ok("reload", "--dry-run")
            self.assertRegex(plan, "launch: recreate")
            self.assertRegex(plan, "check: update")
            self.assertRegex(plan, "gone: remove")
            self.assertRegex(plan, "new: add")
            self.assertNotRegex(plan, "(?m)^same")
            self.assertEqual(kw.run("inspect", "new").code, 1)
            kw.ok("reload")
            self.check_applied(kw, before)

    def test_a_large_file(self):
        compose = self.compose()
        with e2e.Keepwell(compose) as kw:
            kw.wait_state("same", "running")
            services = {f"new{i}": e2e.process("exec sleep 1000") for i in range(1000)}
            kw.write(compose | {"services": compose["services"] | services})
            self.assertEqual(kw.ok("reload", "--dry-run").count(": add"), 1000)

    def test_sighup_and_a_bad_file(self):
        with e2e.Keepwell(self.compose()) as kw:
            for name in ("same", "launch", "gone"):
                kw.wait_state(name, "running")
            kw.wait_health("check", "healthy")
            before = {name: kw.pid(name) for name in ("same", "check", "launch", "gone")}
            kw.file.write_text("services: {same: {comand: x}}")
            done = kw.run("reload")
            self.assertEqual(done.code, 2)
            self.assertIn("comand", done.err)
            kw.process.send_signal(signal.SIGHUP)
            e2e.wait_until("it says so", lambda: "nothing was changed" in kw.log_text())
            self.assertEqual({name: kw.pid(name) for name in before}, before)
            kw.write(self.changed())
            kw.process.send_signal(signal.SIGHUP)
            self.check_applied(kw, before)
            # The new agent of a killed one has the new configuration.
            pids = {name: kw.pid(name) for name in ("same", "check", "launch", "new")}
            os.kill(kw.agent_pid(), signal.SIGKILL)
            time.sleep(0.3)
            e2e.wait_until("the API answers", kw.answers)
            self.assertEqual({name: kw.pid(name) for name in pids}, pids)


class Ends(unittest.TestCase):
    def test_a_second_signal_hurries(self):
        with e2e.Keepwell({"services": {"deaf": e2e.process(
                "trap '' TERM; while :; do sleep 1; done", stop_grace_period="60s")}}) as kw:
            kw.wait_state("deaf", "running")
            time.sleep(0.3)
            pid = kw.pid("deaf")
            kw.process.send_signal(signal.SIGINT)
            time.sleep(1)
            self.assertIsNone(kw.process.poll())
            begun = time.monotonic()
            self.assertEqual(kw.stop(signal.SIGINT), 0)
            self.assertLess(time.monotonic() - begun, 5 * e2e.PATIENCE)
            self.assertIsNone(e2e.start_ticks(pid))

    def test_on_exit_leave(self):
        with e2e.Keepwell({"services": {"web": e2e.process("exec sleep 1000")},
                           "x-keepwell": {"on_exit": "leave"}}) as kw:
            kw.wait_state("web", "running")
            pid = kw.pid("web")
            ticks = e2e.start_ticks(pid)
            self.assertEqual(kw.stop(), 0)
            self.assertEqual(e2e.start_ticks(pid), ticks)
            kw.start()
            kw.wait_state("web", "running")
            self.assertEqual(kw.pid("web"), pid)
            self.assertEqual(kw.inspect("web")["RestartCount"], 0)

    def test_nothing_is_left_of_a_clean_stop(self):
        with e2e.Keepwell({"services": {"web": e2e.process("exec sleep 1000", healthcheck={
                "test": ["CMD", "true"], "interval": "100ms"})}}) as kw:
            kw.wait_health("web", "healthy")
            if not kw.cgroups():
                self.skipTest("no cgroups can be made here")
            self.assertEqual(kw.stop(), 0)
            self.assertEqual(kw.cgroups(), [])

    def test_what_a_new_run_starts_again(self):
        with e2e.Keepwell({"services": {
            "web": e2e.process("exec sleep 1000", restart="unless-stopped"),
            "stopped": e2e.process("exec sleep 1000", restart="unless-stopped"),
            "once": e2e.process("exit 4"),
        }}) as kw:
            kw.wait_state("web", "running")
            kw.wait_state("stopped", "running")
            kw.wait_state("once", "exited")
            ids = {name: kw.inspect(name)["Id"] for name in ("web", "stopped", "once")}
            kw.ok("stop", "stopped")
            self.assertEqual(kw.stop(), 0)
            kw.start()
            kw.wait_state("web", "running")
            self.assertEqual({name: kw.inspect(name)["Id"] for name in ids}, ids)
            self.assertEqual(kw.state("stopped")["Status"], "exited")


class Logs(unittest.TestCase):
    def test_rotation(self):
        with e2e.Keepwell({"services": {"web": e2e.process(
                "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo line $i ..............................; done; exec sleep 1000",
                logging={"options": {"max-size": "50k", "max-file": "3"}})}}) as kw:
            path = e2e.wait_until("a log", lambda: kw.inspect("web")["LogPath"])
            e2e.wait_until("the last line", lambda: "line 4000 " in kw.ok("logs", "--tail", "5", "web"))
            directory = os.path.dirname(path)
            files = [f for f in os.listdir(directory) if re.fullmatch(re.escape(os.path.basename(path)) + r"(\.\d+)?", f)]
            self.assertEqual(len(files), 3, files)
            for name in files:
                self.assertLessEqual(os.path.getsize(os.path.join(directory, name)), 52 * 1024)
            numbers = [int(line.split()[1]) for line in kw.ok("logs", "web").splitlines()]
            self.assertEqual(numbers, list(range(numbers[0], 4001)))


if __name__ == "__main__":
    e2e.main()
