#!/usr/bin/env python3
"""Killing keepwell's own processes: services, their healths, counts and logs go on as if nothing had been."""

import os
import signal
import time
import unittest

import keepwell_e2e as e2e


def setUpModule():
    e2e.need_containers()


LINES = 'i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done'


class AgentKilled(unittest.TestCase):
    def test_nothing_is_lost_or_restarted(self):
        with e2e.Keepwell({"services": {
            "web": e2e.busybox(LINES, restart="always", healthcheck={"test": "exit 0", "interval": "200ms"}),
            "sick": e2e.busybox("exec sleep 1000", healthcheck={"test": "exit 1", "interval": "200ms", "retries": 1000}),
            "ends": e2e.busybox("sleep 3; exit 42"),
        }}) as kw:
            kw.wait_health("web", "healthy")
            e2e.wait_until("a streak", lambda: kw.state("sick")["Health"]["FailingStreak"] >= 3)
            before = kw.inspect("web")
            streak = kw.state("sick")["Health"]["FailingStreak"]
            for _ in range(5):
                agent = kw.agent_pid()
                os.kill(agent, signal.SIGKILL)
                e2e.wait_until("a new agent", lambda old=agent: kw.agent_pid() not in (None, old))
                e2e.wait_until("the API answers", kw.answers)
                after = kw.inspect("web")
                self.assertEqual(after["State"]["Pid"], before["State"]["Pid"])
                self.assertEqual(after["State"]["StartedAt"], before["State"]["StartedAt"])
                self.assertEqual(after["State"]["Health"]["Status"], "healthy")
                self.assertEqual(after["RestartCount"], 0)
                now = kw.state("sick")["Health"]["FailingStreak"]
                self.assertGreaterEqual(now, streak)
                streak = now
            kw.wait_state("ends", "exited")
            self.assertEqual(kw.state("ends")["ExitCode"], 42)
            actions = [e["Action"] for e in kw.events("--filter", "container=e2e-web-1")]
            self.assertEqual(actions.count("start"), 1)
            self.assertEqual(actions.count("health_status: healthy"), 1)
            self.assertNotIn("die", actions)
            e2e.wait_until("probes go on", lambda: kw.state("sick")["Health"]["FailingStreak"] > streak)
            lines = [line for line in kw.ok("logs", "web").splitlines()]
            self.assertEqual(lines, [f"line {i}" for i in range(1, len(lines) + 1)])
            self.assertGreater(len(lines), 20)

    def test_a_stop_by_hand_and_a_backoff_are_remembered(self):
        with e2e.Keepwell({"services": {
            "stopped": e2e.busybox("exec sleep 1000", restart="always"),
            "sick": e2e.busybox("exit 1", restart="always"),
        }}) as kw:
            kw.wait_state("stopped", "running")
            kw.ok("stop", "stopped")
            e2e.wait_until("some restarts", lambda: kw.inspect("sick")["RestartCount"] >= 4)
            count = kw.inspect("sick")["RestartCount"]
            os.kill(kw.agent_pid(), signal.SIGKILL)
            time.sleep(0.2)
            e2e.wait_until("the API answers", kw.answers)
            self.assertEqual(kw.state("stopped")["Status"], "exited")
            self.assertLessEqual(kw.inspect("sick")["RestartCount"], count + 1)
            self.assertGreaterEqual(kw.inspect("sick")["RestartCount"], count)


class LoggerKilled(unittest.TestCase):
    def test_no_line_is_lost_or_doubled(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox(LINES)}}) as kw:
            kw.wait_state("web", "running")
            for _ in range(5):
                logger = e2e.wait_until("a logger", kw.logger_pid)
                os.kill(logger, signal.SIGKILL)
                time.sleep(0.4)
            time.sleep(1)
            lines = kw.ok("logs", "web").splitlines()
            self.assertEqual(lines, [f"line {i}" for i in range(1, len(lines) + 1)])
            self.assertGreater(len(lines), 30)


class KeeperKilled(unittest.TestCase):
    def test_containers_go_on_and_are_adopted(self):
        with e2e.Keepwell({"services": {
            "web": e2e.busybox(LINES, restart="always", healthcheck={"test": "exit 0", "interval": "200ms"})}}) as kw:
            kw.wait_health("web", "healthy")
            before = kw.inspect("web")
            kw.remember()
            os.kill(kw.keeper_pid(), signal.SIGKILL)
            kw.process.wait(10)
            kw.process = None
            self.assertIsNotNone(e2e.start_ticks(before["State"]["Pid"]))
            time.sleep(0.5)
            kw.start()
            kw.remember()
            after = kw.inspect("web")
            self.assertEqual(after["State"]["Pid"], before["State"]["Pid"])
            self.assertEqual(after["RestartCount"], 0)
            kw.wait_health("web", "healthy")
            time.sleep(0.5)
            lines = kw.ok("logs", "web").splitlines()
            self.assertEqual(lines, [f"line {i}" for i in range(1, len(lines) + 1)])
            self.assertEqual(kw.stop(), 0)
            self.assertIsNone(e2e.start_ticks(before["State"]["Pid"]))


if __name__ == "__main__":
    e2e.main()
