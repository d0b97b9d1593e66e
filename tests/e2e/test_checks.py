#!/usr/bin/env python3
"""Checks beyond Docker: http, tcp and grpc without a process, several checks with roles, what they set off (hooks,
webhooks, restarts with a limit), dependencies at run time, and changes while all runs."""

import hashlib
import hmac
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import threading
import time
import unittest

import keepwell_e2e as e2e

SERVERS = pathlib.Path(__file__).parent / "servers"
FAST = {"interval": "100ms", "timeout": "2s", "retries": 1}


class Web(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A server on the host's loopback whose answers the test decides: self.status, self.posts."""

    daemon_threads = True

    def __init__(self, port=0, status=200):
        self.status, self.posts, self.gets = status, [], 0
        super().__init__(("127.0.0.1", port), Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # probes reset their connections

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.gets += 1
        self.answer(b"is ready")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((dict(self.headers), body))
        self.answer(b"")

    def answer(self, body):
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class WebTest(unittest.TestCase):
    def web(self, **kwargs):
        server = Web(**kwargs)
        self.addCleanup(server.close)
        return server

    def service(self, web, check=None, **more):
        own = more.pop("x-keepwell", {})
        checks = {"web": {**FAST, "http": {"port": web.port}, **(check or {})}}
        return e2e.process("exec sleep 1000", **{"x-keepwell": {"checks": checks, **own}}, **more)


def check_of(kw, name, check):
    return next(c for c in kw.inspect(name)["Keepwell"]["Checks"] if c["Name"] == check)


def count(kw, metric, **labels):
    """The sum of METRIC's series that have LABELS."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(value for series, value in kw.metrics().items()
               if series.split("{")[0] == metric and all(w in series for w in wanted))


class ForkCounter:
    """Counts forks whose parent is one of PIDS or was forked by one of them, by the kernel's process connector."""

    def __init__(self, pids):
        self.pids, self.forks = set(pids), []
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 11)  # NETLINK_CONNECTOR
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((0, 1))  # CN_IDX_PROC
        body = struct.pack("=IIIIHHI", 1, 1, 0, 0, 4, 0, 1)  # PROC_CN_MCAST_LISTEN
        self.socket.send(struct.pack("=IHHII", 16 + len(body), 3, 0, 0, os.getpid()) + body)
        self.lost = False
        self.heard = 0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError as error:
                if error.errno == 105:  # ENOBUFS
                    self.lost = True
                    continue
                return
            if len(data) < 16 + 20 + 16 + 16:
                continue
            self.heard += 1
            what, = struct.unpack_from("=I", data, 36)
            if what != 1:  # PROC_EVENT_FORK
                continue
            parent, parent_group, child, child_group = struct.unpack_from("=IIII", data, 52)
            if parent_group in self.pids and child == child_group:
                self.pids.add(child_group)
                self.forks.append((parent_group, child_group))

    def close(self):
        self.socket.close()


class NoProcess(unittest.TestCase):
    def test_a_static_server_on_its_loopback_is_checked_without_a_fork(self):
        e2e.need_containers()
        with e2e.Keepwell(start=False, compose={"services": {}}) as kw:
            root = kw.dir / "rootfs"
            root.mkdir()
            shutil.copy(e2e.BIN / "static_server", root / "server")
            python = kw.dir / "python"
            shutil.copytree(e2e.rootfs("grpc"), python, symlinks=True)
            shutil.copy(SERVERS / "grpc_server.py", python / "server.py")
            fast = {"interval": "10ms", "timeout": "5s", "retries": 3}
            kw.write({"services": {
                "static": {"x-keepwell": {"rootfs": str(root), "checks": {
                    "http": {**fast, "http": {"port": 8080, "path": "/ok", "status": 200, "body": "^ready$$"}},
                    "followed": {**fast, "http": {"port": 8080, "path": "/to-ok", "status": 200, "redirects": 1}},
                    "tcp": {**fast, "tcp": {"port": 9000, "send": "PING\r\n", "expect": "+PONG"}}}},
                    "command": ["/server"], "network_mode": "none", "stop_grace_period": "2s"},
                "grpc": {"x-keepwell": {"rootfs": str(python), "checks": {
                    "app": {**fast, "grpc": {"port": 50051, "service": "app"}},
                    "whole": {**fast, "grpc": 50051},
                    "sick": {**fast, "role": "info", "grpc": {"port": 50051, "service": "sick"}},
                    "other": {**fast, "role": "info", "grpc": {"port": 50051, "service": "other"}}}},
                    "command": ["/usr/bin/python3", "/server.py"], "network_mode": "none",
                    "environment": {"PYTHONDONTWRITEBYTECODE": "1"}, "stop_grace_period": "2s"}}})
            kw.start()
            kw.wait_health("static", "healthy")
            e2e.wait_until("the gRPC server listens", lambda: "listening" in kw.ok("logs", "grpc"), 60)
            kw.wait_health("grpc", "healthy", 60)
            # Checks of role info: the service is healthy without them.
            for name, text in (("sick", "NOT_SERVING"), ("other", "grpc-status 5")):
                e2e.wait_until(f"{name} says {text}", lambda name=name, text=text: any(
                    text in result["Output"] for result in check_of(kw, "grpc", name)["Log"][-1:]))
            self.assertEqual(sorted(p.name for p in root.iterdir()), ["server"])

            counter = ForkCounter(e2e.tree_of(kw.keeper_pid()))
            self.addCleanup(counter.close)
            before = count(kw, "keepwell_probes_total")
            done = e2e.wait_until("1,000 probes", lambda: (
                lambda probes: probes - before if probes - before >= 1000 else 0)(count(kw, "keepwell_probes_total")), 120)
            subprocess.run(["true"], check=True)  # a fork that must be heard of, though not be counted
            self.assertFalse(counter.lost, "events of the kernel were lost")
            self.assertGreater(counter.heard, 0)
            self.assertEqual(counter.forks, [])
            print(f"{done:.0f} probes, {len(counter.forks)} forks")
            self.assertEqual(kw.health("static"), "healthy")
            self.assertEqual(kw.health("grpc"), "healthy")

    def test_a_server_that_misbehaves(self):
        e2e.need_containers()
        with e2e.Keepwell(start=False, compose={"services": {}}) as kw:
            root = kw.dir / "rootfs"
            root.mkdir()
            shutil.copy(e2e.BIN / "static_server", root / "server")
            fast = {"interval": "100ms", "timeout": "700ms", "retries": 1, "role": "info"}

            def page(path, **more):
                return {**fast, "http": {"port": 8080, "path": path, **more}}
            kw.write({"services": {"static": {"x-keepwell": {"rootfs": str(root), "checks": {
                "nobody": {**fast, "tcp": 1}, "endless": page("/endless", body="never"), "drip": page("/drip"),
                "away": page("/away", redirects=5), "loop": page("/loop", redirects=3),
                "unfollowed": page("/away", status=302)}},
                "command": ["/server"], "network_mode": "none", "stop_grace_period": "2s"}}})
            kw.start()
            kw.wait_state("static", "running")
            expected = {"nobody": ("refused", "Connection refused"), "endless": ("body", "does not match"),
                        "drip": ("timeout", "exceeded timeout"), "away": ("http_status", "it is another host"),
                        "loop": ("http_status", "HTTP 302")}
            for name, (reason, text) in expected.items():
                check = e2e.wait_until(f"{name} has failed", lambda name=name: (
                    lambda c: c if c["ProbesTotal"] >= 2 else None)(check_of(kw, "static", name)))
                self.assertIn(reason, check["FailuresTotal"], name)
                self.assertIn(text, check["Log"][-1]["Output"], name)
            e2e.wait_until("302 is what was wanted", lambda: check_of(kw, "static", "unfollowed")["Status"] == "healthy")
            # All of this is `info`: shown, and no part of the health.
            self.assertEqual(kw.health("static"), "none")


class Options(WebTest):
    def test_thresholds_delays_observe_and_roles(self):
        web = self.web()
        with e2e.Keepwell({"services": {
            "slow": self.service(web, {"success_threshold": 5}),
            "late": self.service(web, {"initial_delay": "1500ms"}),
            "spread": self.service(web, {"interval": "3s", "jitter": "100%"}),
            "watched": self.service(web, {"mode": "observe", "on_unhealthy": "restart"}),
            "ready": self.service(web, {"role": "ready", "on_unhealthy": "restart"}),
            "live": self.service(web, {"on_unhealthy": "restart", "retries": 2}),
        }}) as kw:
            started = time.monotonic()
            kw.wait_health("slow", "healthy")
            self.assertGreaterEqual(check_of(kw, "slow", "web")["SuccessStreak"], 5)
            kw.wait_health("late", "healthy")
            log = check_of(kw, "late", "web")["Log"]
            self.assertGreater(time.monotonic() - started, 1)
            self.assertTrue(log)
            # Sooner than its interval, by a share that depends on its name alone.
            kw.wait_health("spread", "healthy", 2.9)
            for name in ("watched", "ready", "live"):
                kw.wait_health(name, "healthy")
            pids = {name: kw.pid(name) for name in ("watched", "ready", "live")}
            web.status = 503
            e2e.wait_until("live is restarted", lambda: kw.inspect("live")["RestartCount"] >= 1)
            for name in ("watched", "ready"):
                kw.wait_health(name, "unhealthy")
                self.assertEqual(kw.pid(name), pids[name])
            self.assertEqual(count(kw, "keepwell_service_restarts_suppressed_total", service="watched", reason="observe"), 1)

    def test_a_startup_check_holds_the_others_back(self):
        web = self.web(status=503)
        with e2e.Keepwell({"services": {"app": e2e.process("exec sleep 1000", **{"x-keepwell": {"checks": {
            "up": {**FAST, "role": "startup", "retries": 1000, "http": {"port": web.port}},
            "live": {**FAST, "http": {"port": web.port}, "on_unhealthy": "restart"}}}})}}) as kw:
            e2e.wait_until("it is asked whether it is up", lambda: check_of(kw, "app", "up")["ProbesTotal"] >= 5)
            self.assertEqual(check_of(kw, "app", "live")["ProbesTotal"], 0)
            web.status = 200
            kw.wait_health("app", "healthy")
            asked = check_of(kw, "app", "up")["ProbesTotal"]
            e2e.wait_until("live goes on", lambda: check_of(kw, "app", "live")["ProbesTotal"] >= 5)
            self.assertEqual(check_of(kw, "app", "up")["ProbesTotal"], asked)

    def test_tls_is_verified_as_the_file_says(self):
        with e2e.Keepwell(start=False, compose={"services": {}}) as kw:
            for name in ("own", "other"):
                subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                                "/CN=web.test", "-addext", "subjectAltName=DNS:web.test,IP:127.0.0.1", "-keyout",
                                kw.dir / f"{name}.key", "-out", kw.dir / f"{name}.pem"], check=True, capture_output=True)
            import ssl
            web = self.web()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(kw.dir / "own.pem", kw.dir / "own.key")
            web.socket = context.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)

            def https(**tls):
                return {**FAST, "role": "info", "http": {"port": web.port, "scheme": "https", "tls": tls}}
            kw.write({"services": {"app": e2e.process("exec sleep 1000", **{"x-keepwell": {"checks": {
                "unknown": https(), "trusted": https(ca="own.pem"), "named": https(ca="own.pem", server_name="web.test"),
                "misnamed": https(ca="own.pem", server_name="db.test"), "stranger": https(ca="other.pem"),
                "any": https(verify=False), "absent": https(ca="absent.pem")}}})}})
            kw.start()
            words = {"unknown": "self-signed certificate", "misnamed": "hostname mismatch",
                     "stranger": "self-signed certificate", "absent": "absent.pem"}
            for name in ("trusted", "named", "any"):
                e2e.wait_until(f"{name} passes", lambda name=name: check_of(kw, "app", name)["Status"] == "healthy")
            for name, text in words.items():
                check = e2e.wait_until(f"{name} has failed", lambda name=name: (
                    lambda c: c if c["Status"] == "unhealthy" else None)(check_of(kw, "app", name)))
                self.assertIn("tls", check["FailuresTotal"], name)
                self.assertIn(text, check["Log"][-1]["Output"].replace("self signed", "self-signed").replace(
                    "Hostname", "hostname"), name)

    def test_a_bad_pattern_is_told_with_its_place(self):
        with e2e.Keepwell(start=False, compose="""
services:
  app:
    command: [sleep, "1000"]
    x-keepwell:
      runtime: process
      checks:
        a: { retries: 1, http: { port: 1, body: "(" } }
        b: { retries: 1, http: { port: 1, body: "(?<=x)y" } }
        c: { retries: 1, http: { port: 1, body: "((a{1,100}){1,100}){1,100}" } }
        d: { retries: 1, http: { port: 1, body: "(x+x+)+y" } }
""") as kw:
            done = kw.run("check", "-f", kw.file)
            self.assertEqual(done.code, 2)
            for line in (8, 9, 10):
                self.assertRegex(done.err, rf"compose.yaml:{line}:4\d: error: body .* is no pattern that can be used")
            self.assertNotIn("compose.yaml:11:", done.err)


class Actions(WebTest):
    def test_a_hook_runs_first_and_a_webhook_is_signed(self):
        web, alerts = self.web(), self.web(status=500)
        with e2e.Keepwell(start=False, compose={"services": {}}) as kw:
            (kw.dir / "secret").write_text("s3cret\n")
            out = kw.dir / "out"
            hook = ["/bin/sh", "-c", f'cat > {out}.json; echo "$KEEPWELL_SERVICE $KEEPWELL_CHECK $1" > {out}', "sh", "$HOME;x"]
            kw.write({"services": {"app": self.service(web, {"on_unhealthy": [
                {"hook": {"command": [w.replace("$", "$$") for w in hook]}},
                {"webhook": {"url": f"http://localhost:{alerts.port}/in?x=1", "secret_file": "secret"}},
                "restart"]})}})
            kw.start()
            kw.wait_health("app", "healthy")
            pid = kw.pid("app")
            web.status = 503
            e2e.wait_until("restarted", lambda: kw.pid("app") not in (0, pid))
            self.assertEqual(out.read_text(), "app web $HOME;x\n")
            told = json.loads(pathlib.Path(f"{out}.json").read_text())
            self.assertEqual((told["service"], told["check"], told["event"]), ("app", "web", "unhealthy"))
            self.assertIn("HTTP 503", told["output"])
            events = [e["Action"] for e in kw.events("--filter", "container=e2e-app-1")]
            self.assertLess(events.index("hook"), events.index("kill"))
            self.assertGreaterEqual(count(kw, "keepwell_hook_runs_total", hook="sh"), 1)
            self.assertEqual(count(kw, "keepwell_hook_failures_total", hook="sh"), 0)
            # The first tries were answered with 500; then it is taken.
            e2e.wait_until("a failed try", lambda: len(alerts.posts) >= 2)
            alerts.status = 204
            tries = len(alerts.posts)
            e2e.wait_until("it is delivered", lambda: count(kw, "keepwell_webhooks_delivered_total") >= 1)
            self.assertGreater(len(alerts.posts), tries)
            headers, body = alerts.posts[0]
            self.assertEqual(headers["X-Keepwell-Signature"],
                             "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest())
            self.assertEqual(json.loads(body)["service"], "app")
            self.assertEqual(json.loads(alerts.posts[1][1])["id"], json.loads(body)["id"])
            self.assertGreaterEqual(count(kw, "keepwell_webhook_failures_total"), 2)

    def test_a_hook_that_hangs_and_forks_is_killed_whole(self):
        web = self.web()
        with e2e.Keepwell(start=False, compose={"services": {}}) as kw:
            pids = kw.dir / "pids"
            script = (f"for i in 1 2 3; do setsid sleep 1000 & echo $! >> {pids}; done; "
                      f"echo $$ >> {pids}; trap '' TERM; while :; do sleep 1; done")
            kw.write({"services": {"app": self.service(web, {"on_unhealthy": [
                {"hook": {"command": ["/bin/sh", "-c", script.replace("$", "$$")], "timeout": "1s"}}, "restart"]})}})
            kw.start()
            kw.wait_health("app", "healthy")
            pid = kw.pid("app")
            web.status = 503
            kw.wait_health("app", "unhealthy")
            self.assertEqual(kw.pid("app"), pid)  # it waits for its hook
            e2e.wait_until("restarted all the same", lambda: kw.pid("app") not in (0, pid))
            web.status = 200
            started = [int(p) for p in pids.read_text().split()]
            self.assertGreaterEqual(len(started), 4)
            if pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists() or os.path.isdir("/sys/fs/cgroup/unified"):
                for each in started[:4]:
                    e2e.wait_until(f"{each} is gone", lambda each=each: e2e.start_ticks(each) is None, 5)
            self.assertGreaterEqual(count(kw, "keepwell_hook_failures_total", hook="sh"), 1)
            event = next(e for e in kw.events() if e["Action"] == "hook")
            self.assertIn("took too long", event["Actor"]["Attributes"]["error"])

    def test_the_limit_ends_in_failed_and_a_start_leaves_it(self):
        with e2e.Keepwell({"services": {"sick": e2e.process("sleep 0.2; exit 3", restart="always", **{"x-keepwell": {
                "restart": {"delay": "50ms", "limit": {"count": 2, "window": "10m"}}}})}}) as kw:
            def keepwell_state():
                return kw.inspect("sick")["Keepwell"]["State"]
            e2e.wait_until("it has failed", lambda: keepwell_state() == "failed")
            self.assertEqual(kw.inspect("sick")["RestartCount"], 2)
            self.assertEqual(count(kw, "keepwell_service_restart_limit_remaining", service="sick"), 0)
            self.assertIn("gave_up", [e["Action"] for e in kw.events()])
            agent = kw.agent_pid()
            os.kill(agent, signal.SIGKILL)
            e2e.wait_until("a new agent", lambda: kw.agent_pid() not in (None, agent) and kw.run("ps").code == 0)
            self.assertEqual(keepwell_state(), "failed")
            starts = sum(e["Action"] == "start" for e in kw.events())
            self.assertEqual(starts, 3)
            kw.ok("start", "sick")
            e2e.wait_until("it was tried again, and has failed again", lambda: keepwell_state() == "failed" and
                           sum(e["Action"] == "start" for e in kw.events()) == 6)


class Dependencies(WebTest):
    def test_restarts_are_followed_and_failures_excused(self):
        web = self.web()
        with e2e.Keepwell({"services": {
            "db": self.service(web, {"on_unhealthy": "restart", "retries": 2}, restart="always"),
            "follows": e2e.process("exec sleep 1000", depends_on={"db": {"condition": "service_started", "restart": True}}),
            "stays": e2e.process("exec sleep 1000", depends_on=["db"]),
        }}) as kw:
            for name in ("db", "follows", "stays"):
                kw.wait_state(name, "running")
            stays = kw.pid("stays")
            for cause in ("crash", "unhealthy"):
                db, follows = kw.pid("db"), kw.pid("follows")
                if cause == "crash":
                    os.kill(db, signal.SIGKILL)
                else:
                    kw.wait_health("db", "healthy")
                    web.status = 503
                e2e.wait_until("db runs again", lambda db=db: kw.pid("db") not in (0, db))
                web.status = 200
                e2e.wait_until("it is followed", lambda f=follows: kw.pid("follows") not in (0, f))
                self.assertEqual(kw.inspect("follows")["Keepwell"]["LastRestart"]["Reason"], "dependency")
            self.assertEqual(kw.pid("stays"), stays)

    def test_a_failure_is_excused_while_the_dependency_is_down(self):
        web, db = self.web(), self.web()
        with e2e.Keepwell({"services": {
            "db": self.service(db),
            "app": self.service(web, {"on_unhealthy": "restart"}, depends_on={
                "db": {"condition": "service_started", "x-keepwell": {"excuses": True}}}),
        }}) as kw:
            kw.wait_health("db", "healthy")
            kw.wait_health("app", "healthy")
            pid = kw.pid("app")
            db.status = 503
            kw.wait_health("db", "unhealthy")
            web.status = 503
            kw.wait_health("app", "unhealthy")
            failures = check_of(kw, "app", "web")["FailingStreak"]
            e2e.wait_until("several failures", lambda: check_of(kw, "app", "web")["FailingStreak"] >= failures + 5)
            self.assertEqual(kw.pid("app"), pid)
            self.assertEqual(count(kw, "keepwell_service_restarts_suppressed_total", service="app", reason="dependency"), 1)
            db.status = 200
            e2e.wait_until("now it is its own fault", lambda: kw.pid("app") not in (0, pid))


class Changes(WebTest):
    def test_pause_resume_and_probe(self):
        web = self.web()
        with e2e.Keepwell({"services": {"app": self.service(web)}}) as kw:
            kw.wait_health("app", "healthy")
            self.assertEqual(kw.ok("pause-check", "app", "web"), "app web\n")
            time.sleep(0.3)
            gets = web.gets
            self.assertTrue(check_of(kw, "app", "web")["Paused"])
            self.assertIn("healthy (1 paused)", kw.ok("ps"))
            self.assertEqual(count(kw, "keepwell_check_status", check="web", status="held"), 1)
            os.kill(kw.agent_pid(), signal.SIGKILL)
            e2e.wait_until("a new agent", lambda: kw.run("ps").code == 0 and kw.agent_pid() is not None)
            time.sleep(0.5)
            self.assertTrue(check_of(kw, "app", "web")["Paused"])
            self.assertEqual(web.gets, gets)

            done = kw.run("probe", "app", "web")
            self.assertEqual(done.code, 0, done)
            self.assertRegex(done.out, r"e2e-app-1\s+web\s+pass\s+0\s+healthy\s+HTTP 200")
            self.assertEqual(web.gets, gets + 1)
            web.status = 503
            done = kw.run("probe", "app", "--format", "json")
            self.assertEqual(done.code, 1, done)
            result = json.loads(done.out)
            self.assertFalse(result["Passed"])
            self.assertIn("HTTP 503", result["Log"][-1]["Output"])
            absent = kw.run("probe", "app", "absent")
            self.assertEqual(absent.code, 1)
            self.assertIn("cannot find check absent", absent.err)
            self.assertEqual(kw.run("pause-check", "app").code, 2)
            self.assertEqual(kw.run("pause-check", "app", "absent").code, 1)

            kw.ok("resume-check", "app", "web")
            kw.wait_health("app", "unhealthy")
            kw.ok("stop", "app")
            stopped = kw.run("probe", "app")
            self.assertEqual(stopped.code, 1)
            self.assertIn("is not running", stopped.err)

    def test_checks_come_change_and_go_without_a_restart(self):
        web = self.web()
        project = {"services": {"app": e2e.process("exec sleep 1000")}}
        with e2e.Keepwell(project) as kw:
            kw.wait_state("app", "running")
            pid = kw.pid("app")
            project["services"]["app"] = self.service(web)
            kw.write(project)
            kw.ok("reload")
            kw.wait_health("app", "healthy")
            project["services"]["app"]["x-keepwell"]["checks"]["web"]["http"]["body"] = "no such text"
            kw.write(project)
            kw.ok("reload")
            kw.wait_health("app", "unhealthy")
            self.assertIn("does not match", check_of(kw, "app", "web")["Log"][-1]["Output"])
            project["services"]["app"] = e2e.process("exec sleep 1000")
            kw.write(project)
            kw.ok("reload")
            e2e.wait_until("no checks", lambda: kw.inspect("app")["Keepwell"]["Checks"] == [])
            self.assertEqual(kw.pid("app"), pid)

    def test_a_stopped_agent_blames_nobody(self):
        web = self.web()
        with e2e.Keepwell({"services": {
            "app": self.service(web, {"timeout": "500ms", "interval": "50ms", "on_unhealthy": "restart"}),
            "exec": e2e.process("exec sleep 1000", healthcheck={
                "test": ["CMD", "sleep", "0.2"], "interval": "50ms", "timeout": "1s", "retries": 1}, restart="always"),
        }}) as kw:
            for name in ("app", "exec"):
                kw.wait_health(name, "healthy")
            pids = [kw.pid(name) for name in ("app", "exec")]
            for pause in (1.5, 1.5, 7):
                agent = kw.agent_pid()
                os.kill(agent, signal.SIGSTOP)
                time.sleep(pause)
                os.kill(agent, signal.SIGCONT)
                time.sleep(0.7)
            for name in ("app", "exec"):
                self.assertEqual(kw.health(name), "healthy")
            self.assertEqual(count(kw, "keepwell_probe_failures_total"), 0)
            self.assertEqual([kw.pid(name) for name in ("app", "exec")], pids)
            self.assertGreater(count(kw, "keepwell_probe_lateness_seconds_count"), 0)


if __name__ == "__main__":
    e2e.main()
