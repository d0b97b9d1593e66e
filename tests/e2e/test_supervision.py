#!/usr/bin/env python3
"""The main job with real containers: a hung redis is found and restarted; restart policies; order; what ps,
inspect, logs, events and metrics say about it."""

import json
import os
import signal
import time
import unittest

import keepwell_e2e as e2e


def setUpModule():
    e2e.need_containers()


class HungRedis(unittest.TestCase):
    def test_a_hung_redis_is_restarted(self):
        with e2e.Keepwell({"services": {"redis": {
            "x-keepwell": {"rootfs": e2e.rootfs("redis")},
            "command": ["redis-server", "--save", "", "--dir", "/tmp"],
            "restart": "always",
            "stop_grace_period": "1s",
            "healthcheck": {"test": ["CMD", "redis-cli", "ping"], "interval": "500ms", "timeout": "1s", "retries": 2},
        }}}) as kw:
            kw.wait_health("redis", "healthy")
            before = kw.inspect("redis")
            self.assertEqual(before["State"]["Health"]["Log"][-1]["Output"], "PONG\n")
            self.assertEqual(before["RestartCount"], 0)

            os.kill(before["State"]["Pid"], signal.SIGSTOP)
            e2e.wait_until("restarted", lambda: kw.inspect("redis")["RestartCount"] == 1)
            kw.wait_health("redis", "healthy")
            after = kw.inspect("redis")
            self.assertNotEqual(after["State"]["Pid"], before["State"]["Pid"])
            self.assertEqual(after["Id"], before["Id"])

            actions = [e["Action"] for e in kw.events() if e["Type"] == "container"]
            for sequence in (["start", "health_status: healthy", "health_status: unhealthy", "die", "start",
                              "health_status: healthy"],):
                rest = iter(actions)
                self.assertTrue(all(any(a == wanted for a in rest) for wanted in sequence), actions)
            metrics = kw.metrics()
            self.assertEqual(metrics['keepwell_service_restarts_total{service="redis",reason="unhealthy"}'], 1)
            self.assertGreaterEqual(
                metrics['keepwell_probe_failures_total{service="redis",check="healthcheck",reason="timeout"}'], 2)


class Policies(unittest.TestCase):
    def test_restart_policies(self):
        mark = 'echo run; exit 3'
        with e2e.Keepwell({"services": {
            "never": e2e.busybox(mark),
            "twice": e2e.busybox(mark, restart="on-failure:2"),
            "done": e2e.busybox("echo run; exit 0", restart="on-failure"),
            "always": e2e.busybox("echo run; exit 0", restart="always"),
            "stays": e2e.busybox("exec sleep 1000", restart="unless-stopped"),
        }}) as kw:
            e2e.wait_until("twice gave up", lambda: kw.inspect("twice")["RestartCount"] == 2
                           and kw.state("twice")["Status"] == "exited")
            kw.wait_state("never", "exited")
            self.assertEqual(kw.state("never")["ExitCode"], 3)
            self.assertEqual(kw.inspect("never")["RestartCount"], 0)
            kw.wait_state("done", "exited")
            self.assertEqual(kw.state("done")["ExitCode"], 0)
            e2e.wait_until("always runs again", lambda: kw.inspect("always")["RestartCount"] >= 3)
            self.assertEqual(kw.ok("logs", "twice").splitlines(), ["run"] * 3)

            pid = kw.pid("stays")
            os.kill(pid, signal.SIGKILL)
            e2e.wait_until("stays runs again", lambda: kw.pid("stays") not in (0, pid))
            self.assertEqual(kw.inspect("stays")["RestartCount"], 1)

            # A stop by hand is respected, whatever the policy.
            kw.ok("stop", "always", "stays")
            runs = len(kw.ok("logs", "always").splitlines())
            time.sleep(1)
            self.assertEqual(kw.state("stays")["Status"], "exited")
            self.assertEqual(len(kw.ok("logs", "always").splitlines()), runs)
            kw.ok("start", "stays")
            kw.wait_state("stays", "running")

    def test_backoff_doubles(self):
        with e2e.Keepwell({"services": {"sick": e2e.busybox("exit 1", restart="always")}}) as kw:
            e2e.wait_until("five restarts", lambda: kw.inspect("sick")["RestartCount"] >= 5)
            e2e.wait_until("five starts are told", lambda: sum(
                e["Action"] == "start" for e in kw.events("--filter", "container=e2e-sick-1")) >= 6)
            events = [e for e in kw.events("--filter", "container=e2e-sick-1") if e["Action"] in ("die", "start")]
            waits = []
            for die, start in zip(events, events[1:]):
                if die["Action"] == "die" and start["Action"] == "start":
                    waits.append((start["timeNano"] - die["timeNano"]) / 1e9)
            for number, wait in enumerate(waits[:5]):
                self.assertGreaterEqual(wait, 0.1 * 2 ** number - 0.005)
            self.assertLess(waits[3], 0.8 + 0.7 * e2e.PATIENCE)

    def test_unhealthy_without_a_policy_is_only_shown(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox(
                "exec sleep 1000", healthcheck={"test": "exit 1", "interval": "100ms"})}}) as kw:
            kw.wait_health("web", "unhealthy")
            pid = kw.pid("web")
            time.sleep(1)
            self.assertEqual(kw.pid("web"), pid)
            self.assertGreaterEqual(kw.state("web")["Health"]["FailingStreak"], 3)
            self.assertEqual(kw.health("web"), "unhealthy")


class Order(unittest.TestCase):
    def test_start_and_stop_order(self):
        with e2e.Keepwell({"services": {
            "app": e2e.busybox("exec sleep 1000", depends_on={
                "db": {"condition": "service_healthy"}, "init": {"condition": "service_completed_successfully"}}),
            "init": e2e.busybox("sleep 0.3; exit 0"),
            "db": e2e.busybox("sleep 0.5; touch /tmp/up; exec sleep 1000", healthcheck={
                "test": ["CMD", "test", "-e", "/tmp/up"], "interval": "100ms", "retries": 100}),
        }}) as kw:
            kw.wait_state("app", "running")
            at = {(e["Actor"]["Attributes"]["name"], e["Action"]): e["timeNano"] for e in kw.events()}
            self.assertLess(at["e2e-db-1", "health_status: healthy"], at["e2e-app-1", "start"])
            self.assertLess(at["e2e-init-1", "die"], at["e2e-app-1", "start"])
            follower = e2e.Follower(kw.popen("events", "-f", "--format", "json", stdout=-1, text=True))
            time.sleep(0.3)
            self.assertEqual(kw.stop(), 0)
            follower.process.wait(10)
            follower.thread.join(10)
            dead = [json.loads(line)["Actor"]["Attributes"]["name"] for line in follower.lines
                    if json.loads(line)["Action"] == "die"]
            follower.process.stdout.close()
            self.assertEqual(dead, ["e2e-app-1", "e2e-db-1"])


class Shown(unittest.TestCase):
    def test_logs(self):
        script = 'for i in 1 2 3 4 5; do echo out $i; done; echo err >&2; printf "no newline"; exec sleep 1000'
        with e2e.Keepwell({"services": {"web": e2e.busybox(script)}}) as kw:
            e2e.wait_until("all lines", lambda: "err" in (lambda d: d.out + d.err)(kw.run("logs", "web")))
            done = kw.run("logs", "web")
            self.assertEqual(done.out.splitlines()[:5], [f"out {i}" for i in range(1, 6)])
            self.assertEqual(done.err.strip(), "err")
            self.assertIn("out 5", kw.ok("logs", "--tail", "3", "web"))
            self.assertNotIn("out 1", kw.ok("logs", "--tail", "3", "web"))
            self.assertRegex(kw.ok("logs", "--timestamps", "web"), r"(?m)^\d{4}-\d\d-\d\dT\S+Z out 1$")
            follower = e2e.Follower(kw.popen("logs", "-f", "web", stdout=-1, text=True))
            follower.wait_line("^out 5$")
            follower.end()

    def test_inspect_ps_and_exit_codes(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox(
                "exec sleep 1000", environment={"A": "1"}, labels={"team": "blue"}, restart="on-failure:3",
                healthcheck={"test": ["CMD-SHELL", "exit 0"], "interval": "200ms", "retries": 3})}}) as kw:
            kw.wait_health("web", "healthy")
            shown = kw.inspect("web")
            self.assertEqual(shown["Name"], "/e2e-web-1")
            self.assertRegex(shown["Id"], "^[0-9a-f]{64}$")
            self.assertEqual(shown["State"]["Status"], "running")
            self.assertTrue(shown["State"]["Running"])
            self.assertEqual(shown["Config"]["Healthcheck"]["Test"], ["CMD-SHELL", "exit 0"])
            self.assertEqual(shown["Config"]["Healthcheck"]["Interval"], 200_000_000)
            self.assertEqual(shown["Config"]["Healthcheck"]["Retries"], 3)
            self.assertIn("A=1", shown["Config"]["Env"])
            self.assertEqual(shown["Config"]["Labels"]["team"], "blue")
            self.assertEqual(shown["HostConfig"]["RestartPolicy"], {"Name": "on-failure", "MaximumRetryCount": 3})
            row = kw.ps()[0]
            self.assertEqual(row["Names"], "e2e-web-1")
            self.assertEqual(row["State"], "running")
            self.assertIn("(healthy)", row["Status"])
            self.assertEqual(kw.inspect(shown["Id"][:12])["Id"], shown["Id"])
            absent = kw.run("inspect", "absent")
            self.assertEqual(absent.code, 1)
            self.assertEqual(json.loads(absent.out), [])
            self.assertIn("absent", absent.err)
            self.assertEqual(kw.run("inspect").code, 2)
            self.assertEqual(kw.get("/healthz")[0], 200)
            self.assertEqual(kw.get("/readyz")[0], 200)

    def test_kill_and_restart(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox("exec sleep 1000", restart="always")}}) as kw:
            kw.wait_state("web", "running")
            first = kw.pid("web")
            kw.ok("restart", "web")
            self.assertNotIn(kw.pid("web"), (0, first))
            kw.ok("kill", "web")
            kw.wait_state("web", "exited")
            self.assertEqual(kw.state("web")["ExitCode"], 137)


class Probes(unittest.TestCase):
    def test_a_probe_is_killed_with_all_that_it_started(self):
        script = "sleep 1234 & sleep 1235 & sleep 1236"
        with e2e.Keepwell({"services": {"web": e2e.busybox("exec sleep 1000", healthcheck={
                "test": script, "interval": "200ms", "timeout": "300ms"})}}) as kw:
            kw.wait_health("web", "unhealthy")
            log = kw.state("web")["Health"]["Log"][-1]
            self.assertEqual(log["ExitCode"], -1)
            self.assertIn("Health check exceeded timeout (300ms)", log["Output"])
            # One probe at a time, and nothing is left of the ones before.
            e2e.wait_until("several probes", lambda: kw.state("web")["Health"]["FailingStreak"] >= 4)
            processes = [p for p in kw.api("GET", "/containers/web/top")[1]["Processes"] if any("123" in w for w in p)]
            self.assertLessEqual(len(processes), 4)

    def test_flood_costs_bounded_memory(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox("exec sleep 1000", healthcheck={
                "test": "yes | head -c 50000000; exit 1", "interval": "200ms", "timeout": "20s"})}}) as kw:
            kw.wait_health("web", "unhealthy", 40)
            output = kw.state("web")["Health"]["Log"][-1]["Output"]
            self.assertEqual(len(output), 4099)
            self.assertTrue(output.endswith("..."))
            # AddressSanitizer alone keeps 256 MB of freed memory in quarantine.
            self.assertLess(kw.metrics()["process_resident_memory_bytes"], 500e6 if e2e.PATIENCE > 1 else 40e6)

    def test_exit_code_2_is_starting(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox("exec sleep 1000", healthcheck={
                "test": "if [ -e /tmp/up ]; then exit 0; fi; exit 2", "interval": "100ms"})}}) as kw:
            e2e.wait_until("some probes", lambda: len(kw.state("web").get("Health", {}).get("Log", [])) >= 3)
            self.assertEqual(kw.health("web"), "starting")
            self.assertEqual(kw.state("web")["Health"]["FailingStreak"], 0)


if __name__ == "__main__":
    e2e.main()
