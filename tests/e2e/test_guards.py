#!/usr/bin/env python3
"""Holds, evidence and the agent's own account of it, with real processes and containers. test_guards_load.py has the guards
against load and against too many restarts."""

import http.server
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import unittest
from datetime import datetime

import keepwell_e2e as e2e


class Flagged(unittest.TestCase):
    """A service `web` that is healthy while a file of the test's exists."""

    def start(self, keepwell=None, top=None, command="exec sleep 1000", prepare=None, **more):
        kw = e2e.Keepwell(start=False)
        self.addCleanup(kw.close)
        if prepare:
            prepare(kw)
        self.flag = kw.dir / "ok"
        self.flag.touch()
        kw.write({"x-keepwell": top or {}, "services": {"web": e2e.process(
            command, restart="always", healthcheck=e2e.there(self.flag), **{"x-keepwell": keepwell or {}}, **more)}})
        kw.start()
        kw.wait_health("web", "healthy")
        return kw


class Why(Flagged):
    def test_the_whole_chain_under_one_incident(self):
        kw = self.start()
        self.flag.unlink()
        e2e.wait_until("it is restarted", lambda: kw.inspect("web")["RestartCount"] == 1)
        self.flag.touch()
        kw.wait_health("web", "healthy")
        chain = kw.why("web")[-1]
        self.assertEqual((chain["outcome"], chain["complete"], chain["missing"]), ("restarted: unhealthy", True, []))
        texts = [step["text"] for step in chain["steps"]]
        for wanted in (r"healthcheck failed with 1 in .*1 of 2", r"2 of 2", r"unhealthy: healthcheck failed 2 in a row",
                       r"restart policy always asked", r"decided: restart, unhealthy", r"evidence: \d+ files", r"sent SIGTERM",
                       r"ended with \d+", r"waits 100ms", r"^started$", r"healthy again"):
            self.assertTrue(any(re.search(wanted, text) for text in texts), (wanted, texts))
        # One id in event, log, journal and bundle.
        incident = chain["incident"]
        told = [e["Action"] for e in kw.events() if e["Actor"]["Attributes"].get("incident") == incident]
        for action in ("kill", "die", "start", "restart"):
            self.assertIn(action, told)
        self.assertRegex(kw.log_text(), rf"restart reason=unhealthy incident={incident}")
        self.assertIn(incident, [json.loads(line)["Id"] for line in kw.ok("incidents", "--format", "json").splitlines()])
        text = kw.ok("why", "web")
        self.assertIn(f"incident {incident}", text)

    def test_each_kind_of_restart_is_complete(self):
        kw = self.start(command="trap 'exit 3' USR1; while :; do sleep 0.1; done")
        pid = kw.pid("web")
        os.kill(pid, signal.SIGUSR1)
        e2e.wait_until("it is restarted", lambda: kw.pid("web") not in (0, pid))
        kw.wait_health("web", "healthy")
        kw.ok("restart", "web")
        kw.wait_health("web", "healthy")
        chains = kw.why("web", "--last", "10")
        self.assertEqual([c["outcome"] for c in chains], ["restarted: exit", "restarted: manual"])
        self.assertTrue(all(c["complete"] for c in chains), chains)
        self.assertEqual(kw.run("why", "nobody").code, 1)

    def test_events_come_from_the_journal_over_the_agents_death(self):
        kw = self.start()
        for _ in range(3):
            kw.ok("restart", "web")
        kw.wait_health("web", "healthy")
        before = [(e["Action"], e["timeNano"]) for e in kw.events()]
        os.kill(kw.agent_pid(), signal.SIGKILL)
        e2e.wait_until("the API answers", lambda: kw.run("ps").code == 0)
        after = [(e["Action"], e["timeNano"]) for e in kw.events()]
        self.assertEqual(after[:len(before)], before)
        journal = kw.data_dir / "journal/journal.log"
        self.assertTrue(journal.exists())

    def test_a_torn_journal_is_read_around_and_counted(self):
        kw = self.start()
        kw.ok("restart", "web")
        kw.wait_health("web", "healthy")
        self.assertEqual(kw.stop(), 0)
        journal = kw.data_dir / "journal/journal.log"
        whole = journal.read_bytes()
        journal.write_bytes(whole[:-37] + b'\0\0garbage\n{"v":9,"seq":1}\n' + whole[-200:-100])
        kw.start()
        kw.wait_health("web", "healthy")
        metrics = kw.metrics()
        self.assertGreaterEqual(metrics["keepwell_journal_torn_total"], 1)
        self.assertEqual(metrics["keepwell_journal_newer_total"], 1)
        self.assertEqual(kw.why("web")[-1]["outcome"], "restarted: manual")
        last = max(json.loads(l)["seq"] for l in journal.read_text(errors="replace").splitlines() if l.startswith('{"v":1') and l.endswith("}"))
        self.assertGreater(last, 0)

    def test_rotation_keeps_to_its_limits(self):
        kw = self.start(top={"journal": {"max_size": "64k", "max_files": 2}})
        for _ in range(40):
            for _ in range(10):
                kw.api("POST", "/keepwell/containers/web/hold?for=1h&reason=" + "x" * 900)
        files = sorted(p.name for p in (kw.data_dir / "journal").iterdir() if not p.name.startswith("config-"))
        self.assertEqual(files, ["journal.log", "journal.log.1"])
        for name in files:
            self.assertLessEqual((kw.data_dir / "journal" / name).stat().st_size, 64 << 10)


class Incident(Flagged):
    """One id from the first failure to the last hook."""

    def test_hooks_and_webhooks_are_told_which(self):
        received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        kw = e2e.Keepwell(start=False)
        self.addCleanup(kw.close)
        flag, told = kw.dir / "ok", kw.dir / "told"
        flag.touch()
        hook = kw.dir / "hook"
        hook.write_text(f"#!/bin/sh\nls {kw.data_dir}/incidents/*/ >{told}.files; cat >{told}.json; echo $KEEPWELL_INCIDENT >{told}\n")
        hook.chmod(0o755)
        kw.write({"services": {"web": e2e.process("exec sleep 1000", healthcheck=e2e.there(
            flag, **{"x-keepwell": {"on_unhealthy": ["capture", {"hook": {"command": [str(hook)]}},
                                                     {"webhook": f"http://127.0.0.1:{server.server_address[1]}/"}]}}))}})
        kw.start()
        kw.wait_health("web", "healthy")
        pid = kw.pid("web")
        flag.unlink()
        incident = e2e.wait_until("the hook has run", lambda: told.exists() and told.read_text().strip())
        e2e.wait_until("the webhook has come", lambda: received)
        self.assertRegex(incident, "^[0-9a-f]{12}$")
        self.assertEqual(received[0]["incident"], incident)
        self.assertEqual(json.loads(pathlib.Path(f"{told}.json").read_text())["incident"], incident)
        # What stands behind `capture` came after it, and without a word nothing is restarted.
        self.assertIn("incident.json", pathlib.Path(f"{told}.files").read_text())
        self.assertEqual(kw.pid("web"), pid)
        self.assertEqual(kw.inspect("web")["Keepwell"]["Incident"], incident)
        self.assertIn(incident, [json.loads(line)["Id"] for line in kw.ok("incidents", "--format", "json").splitlines()])
        chain = kw.why("web", "--all")[-1]
        self.assertEqual((chain["incident"], chain["restarted"]), (incident, False))
        flag.touch()
        kw.wait_health("web", "healthy")
        self.assertEqual(kw.why("web", "--all")[-1]["outcome"], "recovered by itself")


class Holds(Flagged):
    def test_probes_go_on_and_actions_do_not(self):
        kw = self.start()
        kw.ok("hold", "web", "--for", "15m", "--reason", "a deploy")
        pid = kw.pid("web")
        self.flag.unlink()
        kw.wait_health("web", "unhealthy")
        streak = kw.state("web")["Health"]["FailingStreak"]
        e2e.wait_until("probes go on", lambda: kw.state("web")["Health"]["FailingStreak"] > streak + 2)
        self.assertEqual(kw.pid("web"), pid)
        hold = kw.inspect("web")["Keepwell"]["Hold"]
        self.assertEqual(hold["Reason"], "a deploy")
        self.assertIn("(held)", kw.ok("ps"))
        metrics = kw.metrics()
        self.assertEqual(metrics['keepwell_service_held{service="web"}'], 1)
        self.assertEqual(metrics['keepwell_service_restarts_suppressed_total{service="web",reason="hold"}'], 1)
        self.assertIn("held by hand until", kw.ok("why", "web"))
        os.kill(kw.agent_pid(), signal.SIGKILL)
        e2e.wait_until("the API answers", lambda: kw.run("ps").code == 0)
        self.assertEqual(kw.inspect("web")["Keepwell"]["Hold"]["Reason"], "a deploy")
        time.sleep(1)
        self.assertEqual(kw.pid("web"), pid)
        kw.ok("release", "web")
        e2e.wait_until("it is restarted", lambda: kw.pid("web") not in (0, pid))
        self.assertEqual(kw.run("hold", "web", "--for", "soon").code, 2)

    def test_it_ends_by_itself(self):
        kw = self.start()
        kw.ok("hold", "web", "--for", "2s")
        pid = kw.pid("web")
        self.flag.unlink()
        kw.wait_health("web", "unhealthy")
        e2e.wait_until("it is restarted", lambda: kw.pid("web") not in (0, pid))
        self.assertIn("release", [e["Action"] for e in kw.events()])

    def test_a_debugger_holds(self):
        kw = self.start()
        pid = kw.pid("web")
        # A tracer of our own: ptrace through the C library, as gdb does it.
        code = ("import ctypes,os,sys,time;l=ctypes.CDLL(None,use_errno=True);p=int(sys.argv[1])\n"
                "l.ptrace(0x4206,p,0,0) and sys.exit(9)\nprint('on',flush=True)\nsys.stdin.readline()\n")
        tracer = subprocess.Popen(["python3", "-c", code, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(tracer.stdout.close)
        self.addCleanup(tracer.wait)
        self.addCleanup(tracer.kill)
        if tracer.stdout.readline() != "on\n":
            raise unittest.SkipTest("this user may not trace a process here")
        self.flag.unlink()
        kw.wait_health("web", "unhealthy")
        time.sleep(1.5)
        self.assertEqual(kw.pid("web"), pid)
        self.assertEqual(kw.inspect("web")["Keepwell"]["Hold"]["Reason"], "a debugger is attached")
        tracer.stdin.close()  # SEIZE: it is let go when its tracer ends
        e2e.wait_until("it is restarted", lambda: kw.pid("web") not in (0, pid))


class Evidence(Flagged):
    def fall_ill(self, kw, restarts=1, unlink=True):
        if unlink:
            self.flag.unlink()
        e2e.wait_until("it is restarted", lambda: kw.inspect("web")["RestartCount"] >= restarts, 30)
        self.flag.touch()
        kw.wait_health("web", "healthy", 30)

    def files(self, kw):
        newest = [json.loads(line) for line in kw.ok("incidents", "--format", "json").splitlines()][0]
        return json.loads(kw.ok("incidents", "show", newest["Id"], "--format", "json"))["Files"]

    def test_the_bundle(self):
        kw = self.start(keepwell={"capture": {"command": ["sh", "-c", "echo out; echo err >&2"]}},
                        command="echo a last word; exec sleep 1000")
        pid = kw.pid("web")
        self.fall_ill(kw)
        files = self.files(kw)
        self.assertIn("a last word", files["log.txt"])
        self.assertEqual(json.loads(files["probes.json"])[0]["FailingStreak"], 2)
        self.assertRegex(files["processes.txt"], rf"process {pid}: sleep 1000")
        self.assertRegex(files["processes.txt"], rf"thread {pid} waits in \w*nanosleep")
        self.assertRegex(files["descriptors.txt"], r"0 -> ")
        self.assertIn("tcp\n", files["sockets.txt"])
        self.assertIn("exit code 0\nout\nerr\n", files["command.txt"])
        summary = json.loads(files["incident.json"])
        self.assertEqual((summary["service"], summary["problems"]), ("web", []))
        if pathlib.Path("/sys/fs/cgroup").exists() and os.geteuid() == 0:
            self.assertIn("memory", files.get("cgroup.txt", "memory"))
        self.assertIn("==> log.txt <==", kw.ok("incidents", "show", summary["id"][:6]))
        self.assertEqual(kw.run("incidents", "show", "ffffffffffff").code, 1)

    def test_a_command_that_hangs_puts_the_restart_off_no_longer_than_the_deadline(self):
        marker = f"kw-hangs-{os.getpid()}"
        kw = self.start(keepwell={"capture": {"timeout": "1s", "command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done", marker]}})

        def hanging():
            found = subprocess.run(["pgrep", "-f", marker], capture_output=True, text=True, check=False).stdout.split()
            return [pid for pid in found if e2e.start_ticks(int(pid)) is not None]
        self.flag.unlink()
        e2e.wait_until("its command hangs", hanging)
        self.fall_ill(kw, unlink=False)
        self.assertEqual(hanging(), [])
        self.assertIn("capture.timeout", json.loads(self.files(kw)["incident.json"])["problems"][0])
        self.assertEqual(kw.metrics()["keepwell_capture_failures_total"], 1)
        chain = kw.why("web")[-1]
        at = {step["text"].split(":")[0].split(",")[0]: step["at"] for step in chain["steps"]}
        decided = next(s["at"] for s in chain["steps"] if s["text"].startswith("decided: restart"))
        sent = next(s["at"] for s in chain["steps"] if s["text"].startswith("sent SIGTERM"))
        seconds = lambda t: datetime.fromisoformat(t[:26].rstrip("Z")).timestamp()
        self.assertLess(seconds(sent) - seconds(decided), 2.5 * e2e.PATIENCE, at)

    def test_kept_by_count_and_bytes(self):
        kw = self.start(top={"incidents": {"count": 2, "max_size": "300k"}})
        for i in range(4):
            self.fall_ill(kw, i + 1)
        listed = kw.ok("incidents", "--format", "json").splitlines()
        self.assertEqual(len(listed), 2)
        self.assertGreaterEqual(kw.metrics()["keepwell_incidents_removed_total"], 2)

    def test_no_room_is_counted_and_the_service_is_restarted_all_the_same(self):
        kw = self.start()
        incidents = kw.data_dir / "incidents"
        incidents.write_text("in the way")  # a file where the directory should be
        self.fall_ill(kw)
        self.assertEqual(kw.metrics()["keepwell_capture_failures_total"], 1)
        chain = kw.why("web")[-1]
        self.assertTrue(any("cannot" in step["text"] for step in chain["steps"] if step["text"].startswith("evidence")), chain)

    def test_a_full_disk_costs_evidence_and_nothing_else(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("mounts need root")

        def prepare(kw):  # a small disk that only keepwell sees
            place = kw.data_dir / "incidents"
            kw.wrap = ["unshare", "-m", "--propagation", "private", "sh", "-c",
                       f'mkdir -p {place} && mount -t tmpfs -o size=32k,mode=700 kw-test {place} && exec "$@"', "sh"]
        kw = self.start(keepwell={"capture": {"command": ["sh", "-c", "yes | head -c 200000"]}}, prepare=prepare)
        for i in range(3):
            self.fall_ill(kw, i + 1)
        self.assertEqual(kw.metrics()["keepwell_capture_failures_total"], 3)
        for chain in kw.why("web", "--last", "10"):
            self.assertEqual((chain["outcome"], chain["complete"]), ("restarted: unhealthy", True), chain)
            self.assertTrue(any("No space left" in step["text"] for step in chain["steps"]), chain)

    def test_in_a_container(self):
        e2e.need_containers()
        kw = e2e.Keepwell({"services": {"web": e2e.busybox(
            "touch /tmp/ok; echo from inside; exec sleep 1000", restart="always",
            healthcheck={"test": ["CMD", "test", "-e", "/tmp/ok"], "interval": "300ms", "retries": 1},
            **{"x-keepwell": {"capture": {"command": ["cat", "/proc/1/cmdline"]}}})}})
        self.addCleanup(kw.close)
        kw.wait_health("web", "healthy")
        kw.ok("exec", "web", "rm", "/tmp/ok")
        e2e.wait_until("it is restarted", lambda: kw.inspect("web")["RestartCount"] >= 1, 30)
        files = self.files(kw)
        self.assertIn("from inside", files["log.txt"])
        self.assertIn("sleep", files["command.txt"])
        self.assertIn("sleep 1000", files["processes.txt"])


class Watchdog(unittest.TestCase):
    def test_it_is_fed_only_while_the_loop_and_the_probes_are_on_time(self):
        kw = e2e.Keepwell({"services": {"web": e2e.process("exec sleep 1000", healthcheck={
            "test": ["CMD", "true"], "interval": "300ms"})}}, start=False)
        self.addCleanup(kw.close)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(str(kw.dir / "notify"))
        listener.settimeout(5 * e2e.PATIENCE)
        kw.env.update(NOTIFY_SOCKET=str(kw.dir / "notify"), WATCHDOG_USEC="1000000")
        kw.start()
        kw.wait_health("web", "healthy")

        def pings(seconds):
            end, count = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                listener.settimeout(max(0.01, end - time.monotonic()))
                try:
                    count += listener.recv(4096).count(b"WATCHDOG=1")
                except TimeoutError:
                    break
            return count
        self.assertGreaterEqual(pings(3), 2)
        # The keeper spawns the probes: stopped, they are late while the agent's loop runs on.
        os.kill(kw.keeper_pid(), signal.SIGSTOP)
        try:
            pings(7)
            self.assertEqual(pings(3), 0)
            self.assertEqual(kw.get("/healthz")[0], 503)
        finally:
            os.kill(kw.keeper_pid(), signal.SIGCONT)
        e2e.wait_until("it is fed again", lambda: pings(1) > 0, 20)
        self.assertEqual(kw.get("/healthz")[0], 200)


class Logs(Flagged):
    def test_journald_gets_fields(self):
        journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(journald.close)
        kw = e2e.Keepwell(start=False)
        self.addCleanup(kw.close)
        journald.bind(str(kw.dir / "journald"))
        journald.settimeout(20 * e2e.PATIENCE)
        kw.env["KEEPWELL_JOURNALD_SOCKET"] = str(kw.dir / "journald")
        kw.write({"x-keepwell": {"log": {"format": "journald"}}, "services": {
            "web": e2e.process("exec sleep 1000", restart="always")}})
        kw.start()
        kw.wait_state("web", "running")  # a restart of what is only starting is none
        kw.ok("restart", "web")
        while True:
            fields = dict(line.split("=", 1) for line in journald.recv(65536).decode().splitlines())
            self.assertEqual(fields["SYSLOG_IDENTIFIER"], "keepwell")
            if fields.get("KEEPWELL_INCIDENT") and fields["MESSAGE"].startswith("e2e-web-1: restart"):
                break
        self.assertEqual((fields["PRIORITY"], fields["KEEPWELL_CONTAINER"]), ("6", "e2e-web-1"))

    def test_doctor_tells_whether_the_kernel_tells_pressure(self):
        kw = e2e.Keepwell(start=False)
        self.addCleanup(kw.close)
        found = {f["Subject"]: f for f in map(json.loads, kw.run("doctor", "--format", "json").out.splitlines())}
        there = pathlib.Path("/proc/pressure/cpu").exists()
        self.assertEqual(found["pressure (PSI)"]["Verdict"], "ok" if there else "limited")


class Simulate(unittest.TestCase):
    def test_a_script(self):
        kw = e2e.Keepwell({"services": {"web": e2e.process("exec sleep 1000", restart="always", healthcheck={
            "test": ["CMD", "true"], "interval": "5s", "retries": 3})}}, start=False)
        self.addCleanup(kw.close)
        script = kw.dir / "script"
        script.write_text("20s web fails\n1m web passes\n2m web exits 1\n5m end\n")
        first, again = kw.ok("simulate", "-f", kw.file, "--script", script), kw.ok("simulate", "-f", kw.file, "--script", script)
        self.assertEqual(first, again)
        self.assertIn("decided: restart, unhealthy", first)
        self.assertRegex(first, r"e2e-web-1 +running +healthy +\d+ +1 exit, \d unhealthy|\d unhealthy")
        script.write_text("20s nobody fails\n")
        self.assertEqual(kw.run("simulate", "-f", kw.file, "--script", script).code, 2)


class Flap(unittest.TestCase):
    """A check that fails twice and passes twice, for ever: unhealthy again and again, and no restart mends it."""

    def start(self, flap):
        kw = e2e.Keepwell(start=False)
        self.addCleanup(kw.close)
        count = kw.dir / "count"
        count.write_text("0")
        probe = f"[ ! -e {count}.gone ] || exit 1; n=$$(cat {count}); echo $$((n+1)) > {count}; [ $$((n%4)) -lt 2 ]"
        kw.write({"services": {"web": e2e.process("exec sleep 1000", restart="always", healthcheck={
            "test": ["CMD", "sh", "-c", probe], "interval": "150ms", "timeout": "5s", "retries": 2},
            **{"x-keepwell": {"flap": flap, "capture": "off", "restart": {"delay": "1ms", "max_delay": "1ms"}}})}})
        kw.start()
        return kw

    def unhealthy_times(self, kw):
        return kw.metrics()['keepwell_check_transitions_total{service="web",check="healthcheck",to="unhealthy"}']

    def test_a_flapping_service_is_left_alone_until_it_is_steady(self):
        kw = self.start({"window": 8, "high": "35%", "low": "20%"})
        suppressed = 'keepwell_service_restarts_suppressed_total{service="web",reason="flap"}'
        e2e.wait_until("a restart is suppressed", lambda: kw.metrics()[suppressed] >= 2, 30)
        restarts = kw.inspect("web")["RestartCount"]
        seen = self.unhealthy_times(kw)
        e2e.wait_until("it falls ill again", lambda: self.unhealthy_times(kw) >= seen + 2, 30)
        self.assertEqual(kw.inspect("web")["RestartCount"], restarts)
        self.assertTrue(any("flap" in step["text"] for chain in kw.why("web", "--all") for step in chain["steps"]))
        # Steady again, it is restarted again.
        (kw.dir / "count").write_text("-1000000")
        kw.wait_health("web", "healthy")
        results = kw.metrics()['keepwell_probes_total{service="web",check="healthcheck"}']
        e2e.wait_until("a window of passes", lambda: kw.metrics()['keepwell_probes_total{service="web",check="healthcheck"}'] > results + 9)
        (kw.dir / "count.gone").touch()  # a probe under way would make `count` itself anew
        e2e.wait_until("it is restarted", lambda: kw.inspect("web")["RestartCount"] > restarts, 30)

    def test_without_the_guard_it_is_restarted_each_time(self):
        kw = self.start("off")
        e2e.wait_until("it is restarted thrice", lambda: kw.inspect("web")["RestartCount"] >= 3, 30)


if __name__ == "__main__":
    e2e.main_side_by_side()
