#!/usr/bin/env python3
"""Killing keepwell's own processes: services, their healths, counts and logs go on as if nothing had been."""

import os
import signal
import socket
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
            e2e.wait_until("a streak", lambda: kw.state("sick").get("Health", {}).get("FailingStreak", 0) >= 3)
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


    def test_what_a_killed_runtime_left_does_not_hinder_the_next_start(self):
        # runc writes its pid file as ".pid" and renames it, and refuses to begin where that exists.
        with e2e.Keepwell({"services": {"web": e2e.busybox("exec sleep 1000")}}) as kw:
            kw.wait_state("web", "running")
            kw.ok("stop", "-t", "0", "web")
            bundle = kw.run_dir / kw.inspect("web")["Id"]
            (bundle / ".pid").write_text("")
            kw.ok("start", "web")
            kw.wait_state("web", "running")

    def test_a_paused_container_is_found_paused(self):
        with e2e.Keepwell({"services": {
            "web": e2e.busybox(LINES, restart="always", healthcheck={"test": "exit 0", "interval": "200ms"})}}) as kw:
            kw.wait_health("web", "healthy")
            kw.ok("pause", "web")
            for victim in (kw.agent_pid, kw.keeper_pid):
                kw.remember()
                os.kill(victim(), signal.SIGKILL)
                if victim == kw.keeper_pid:
                    kw.process.wait(10)
                    kw.process = None
                    kw.start()
                e2e.wait_until("the API answers", kw.answers)
                self.assertEqual(kw.state("web")["Status"], "paused")
            e2e.wait_until("it is adopted and thawed", lambda: kw.run("unpause", "web").code == 0)
            kw.wait_health("web", "healthy")
            actions = [e["Action"] for e in kw.events("--filter", "container=e2e-web-1")]
            self.assertEqual(actions, ["create", "start", "health_status: healthy", "pause", "unpause"])


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


    def test_killed_again_and_again_it_is_soon_back(self):
        # One that has served is no crash loop, however often it is killed.
        with e2e.Keepwell({"services": {"web": e2e.process(LINES)}}) as kw:
            kw.wait_state("web", "running")
            for life in (0.02, 0.02, 0.02, 0.02, 0.02, 0.5, 0.5):
                logger = e2e.wait_until("a logger", kw.logger_pid)
                time.sleep(life)
                began = time.monotonic()
                os.kill(logger, signal.SIGKILL)
                e2e.wait_until("a new logger", lambda old=logger: kw.logger_pid() not in (None, old), every=0.01)
            self.assertLess(time.monotonic() - began, 1)


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


class KeeperKilledAndNotSurvived(unittest.TestCase):
    """What does not survive the keeper, as the README says: what happens then."""

    def after_its_death(self, kw, logger_too=False):
        kw.remember()
        if logger_too:
            os.kill(kw.logger_pid(), signal.SIGKILL)
        os.kill(kw.keeper_pid(), signal.SIGKILL)
        kw.process.wait(10)
        kw.process = None
        time.sleep(0.5)
        kw.start()
        kw.remember()

    def test_a_terminal_hangs_up(self):
        with e2e.Keepwell({"services": {
            "shell": e2e.process(LINES, tty=True, restart="always"),
            "first": e2e.busybox(LINES, tty=True, restart="always")}}) as kw:
            for name in ("shell", "first"):
                kw.wait_state(name, "running")
            e2e.wait_until("it writes", lambda: "line 5" in kw.ok("logs", "first"))
            pids = {name: kw.pid(name) for name in ("shell", "first")}
            self.after_its_death(kw)
            # A process has ended of the hang-up, and its policy starts it again.
            e2e.wait_until("another process", lambda: kw.pid("shell") not in (0, pids["shell"]))
            self.assertGreaterEqual(kw.inspect("shell")["RestartCount"], 1)
            # The first process of a container is spared the signal by the kernel; it goes on, and its writes fail.
            e2e.wait_until("it is said", lambda: "e2e-first-1: its terminal is gone" in kw.log_text())
            self.assertEqual(kw.pid("first"), pids["first"])
            lines = kw.ok("logs", "first")
            time.sleep(0.5)
            self.assertEqual(kw.ok("logs", "first"), lines)

    def test_an_open_stdin_can_be_opened_again(self):
        with e2e.Keepwell({"services": {
            "reads": e2e.busybox('while read line; do echo "got $line"; done', stdin_open=True, restart="always")}}) as kw:
            kw.wait_state("reads", "running")
            pid = kw.pid("reads")

            def write(text):
                self.attach(kw, text)
                e2e.wait_until(f"it has read {text}", lambda: f"got {text}" in kw.ok("logs", "reads"))
            write("one")
            attached = self.attach(kw, "two", keep=True)
            self.after_its_death(kw)
            self.assertEqual(self.rest(attached), b"")  # the connection has ended
            self.assertEqual(kw.pid("reads"), pid)      # the service has not
            write("three")

    def attach(self, kw, text, keep=False):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(str(kw.run_dir / "keepwell.sock"))
        client.sendall(b"POST /containers/e2e-reads-1/attach?stdin=1&stream=1 HTTP/1.1\r\nHost: localhost\r\n"
                       b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        self.assertIn(b" 101 ", client.recv(4096))
        client.sendall(text.encode() + b"\n")
        if keep:
            return client
        time.sleep(0.2)
        client.close()
        return None

    def rest(self, client):
        try:
            while client.recv(4096):
                pass
            return b""
        except ConnectionResetError:
            return b""
        finally:
            client.close()

    def test_a_reopened_stdout_has_no_reader_any_more(self):
        # Its own descriptor 1 is a pipe that it can also read, so that there is always a reader; one that it opened
        # by name is not. (While the logger lives, it is a reader too.)
        with e2e.Keepwell({"services": {
            "reopens": e2e.process("exec >/dev/stdout; " + LINES, restart="always"),
            "keeps": e2e.process(LINES, restart="always")}}) as kw:
            for name in ("reopens", "keeps"):
                kw.wait_state(name, "running")
            time.sleep(0.5)
            pids = {name: kw.pid(name) for name in ("reopens", "keeps")}
            self.after_its_death(kw)
            for name in ("reopens", "keeps"):
                self.assertEqual(kw.pid(name), pids[name])
            self.after_its_death(kw, logger_too=True)
            e2e.wait_until("SIGPIPE has ended it, and its policy starts it again",
                           lambda: kw.pid("reopens") not in (0, pids["reopens"]))
            self.assertEqual(kw.pid("keeps"), pids["keeps"])


if __name__ == "__main__":
    e2e.main()
