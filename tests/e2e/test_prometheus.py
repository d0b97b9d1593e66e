#!/usr/bin/env python3
"""A real Prometheus against a real keepwell: both formats are scraped without a complaint, every query of the
Grafana dashboard and every rule is answered, and a hung service raises its alert, which reaches a receiver (a real
Alertmanager in between where one is installed). promtool looks at rules, rule tests and metrics texts."""

import http.server
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import unittest
import urllib.error
import urllib.parse
import urllib.request

import keepwell_e2e as e2e

EXAMPLES = e2e.ROOT / "config/examples/prometheus"
GOLDEN = e2e.ROOT / "tests/golden"


def need(program):
    path = shutil.which(program)
    if not path:
        raise unittest.SkipTest(f"{program} is not installed")
    return path


def promtool(*args, input=None):
    done = subprocess.run([need("promtool"), *map(str, args)], input=input, capture_output=True, text=True, timeout=120,
                          cwd=EXAMPLES)
    return done.returncode, done.stdout + done.stderr


class Promtool(unittest.TestCase):
    def test_rules(self):
        for args in (("check", "rules", "keepwell.rules.yml"), ("test", "rules", "keepwell.rules.test.yml"),
                     ("check", "config", "prometheus.yml")):
            code, said = promtool(*args)
            self.assertEqual(code, 0, said)

    def test_golden_metrics(self):
        for name in ("metrics.txt", "metrics_two.txt"):
            code, said = promtool("check", "metrics", input=(GOLDEN / name).read_text())
            self.assertEqual((code, said.strip()), (0, ""), name)


class Receiver:
    """Takes the webhook of an Alertmanager, or stands in for one: keeps whatever JSON is posted."""

    def __init__(self):
        receiver = self
        self.alerts = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.alerts += body["alerts"] if isinstance(body, dict) else body
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def names(self):
        return {alert["labels"]["alertname"] for alert in list(self.alerts) if "endsAt" not in alert or alert["labels"]}

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Prometheus:
    """Scrapes keepwell every second, with the shipped rules at a pace that a test can wait for."""

    def __init__(self, keepwell_port, alert_port, alert_path="/"):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-prometheus-"))
        self.port = e2e.free_port()
        rules = (EXAMPLES / "keepwell.rules.yml").read_text()
        (self.dir / "rules.yml").write_text(re.sub(r"for: \d+m", "for: 2s", rules))
        (self.dir / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alert_port}"]}]}]},
            "scrape_configs": [{"job_name": "keepwell", "static_configs": [{"targets": [f"127.0.0.1:{keepwell_port}"]}]},
                               {"job_name": "sd", "http_sd_configs": [{"url": f"http://127.0.0.1:{keepwell_port}/sd",
                                                                       "refresh_interval": "1s"}]}]}))
        self.log = open(self.dir / "log", "wb")
        self.process = subprocess.Popen(
            [need("prometheus"), f"--config.file={self.dir}/prometheus.yml", f"--storage.tsdb.path={self.dir}/data",
             f"--web.listen-address=127.0.0.1:{self.port}", "--rules.alert.resend-delay=1s"],
            stdout=self.log, stderr=self.log)

    def get(self, path, **query):
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return {"status": "error", "error": error.read().decode(errors="replace")}
        except OSError as error:
            return {"status": "error", "error": str(error)}

    def query(self, expr):
        """The result of an instant query; fails where Prometheus does not like it."""
        answer = self.get("/api/v1/query", query=expr)
        if answer["status"] != "success":
            raise AssertionError(f"{expr}: {answer}")
        return answer["data"]["result"]

    def up(self, job):
        answer = self.get("/api/v1/query", query=f'up{{job="{job}"}}')
        return answer["status"] == "success" and any(r["value"][1] == "1" for r in answer["data"]["result"])

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Alertmanager:
    """A real one, that posts to RECEIVER."""

    def __init__(self, receiver):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-alertmanager-"))
        self.port = e2e.free_port()
        (self.dir / "config.yml").write_text(json.dumps({
            "route": {"receiver": "hook", "group_wait": "1s", "group_interval": "1s", "group_by": ["alertname"]},
            "receivers": [{"name": "hook", "webhook_configs": [{"url": f"http://127.0.0.1:{receiver.port}/"}]}]}))
        self.process = subprocess.Popen(
            [shutil.which("prometheus-alertmanager") or shutil.which("alertmanager"), f"--config.file={self.dir}/config.yml",
             f"--storage.path={self.dir}/data", f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address="],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.dir, ignore_errors=True)


def dashboard_queries():
    """(title, query) of each, with its variables filled in."""
    panels = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())["panels"]
    for panel in panels:
        for target in panel.get("targets", []):
            yield panel["title"], re.sub(r"\$\w+", ".*", target["expr"])


def series_names(queries):
    for _, query in queries:
        yield from re.findall(r"\b((?:keepwell|process)_\w+)", query)


class Live(unittest.TestCase):
    def test_scrape_rules_dashboard_and_alert(self):
        need("prometheus")
        with e2e.Keepwell({"x-keepwell": {"restart_budget": {"count": 5}, "pressure_guard": "on"}, "services": {
            "web": e2e.process("touch ok; exec sleep 1000", restart="no",
                               healthcheck={"test": ["CMD", "test", "-e", "{}/ok"], "interval": "300ms", "retries": 2}),
            "quiet": e2e.process("exec sleep 1000"),
        }}, start=False) as kw:
            flag = kw.dir / "ok"
            kw.file.write_text(kw.file.read_text().replace("{}/ok", str(flag)).replace("touch ok", f"touch {flag}"))
            kw.start()
            kw.wait_health("web", "healthy")
            text = kw.get("/metrics")[1]
            code, said = promtool("check", "metrics", input=text)
            self.assertEqual((code, said.strip()), (0, ""))

            receiver = Receiver()
            self.addCleanup(receiver.close)
            alert_port = receiver.port
            if shutil.which("prometheus-alertmanager") or shutil.which("alertmanager"):
                manager = Alertmanager(receiver)
                self.addCleanup(manager.close)
                alert_port = manager.port
            prometheus = Prometheus(kw.port, alert_port)
            self.addCleanup(prometheus.close)
            e2e.wait_until("Prometheus scrapes keepwell", lambda: prometheus.up("keepwell"), 30)
            e2e.wait_until("and what /sd names", lambda: prometheus.up("sd"), 30)
            self.check_targets(prometheus)

            # Every name in the dashboard is one that this scrape (or a rule) has; no query is refused.
            names = set(re.findall(r"^([a-z_]+)[{ ]", text, re.M))
            queries = list(dashboard_queries())
            self.assertGreater(len(queries), 20)
            for name in series_names(queries):
                self.assertIn(name, names)
            for title, query in queries:
                prometheus.query(query)
            self.assertEqual(prometheus.query('sum(keepwell_service_health{job="keepwell",health="healthy"})')[0]["value"][1], "1")

            flag.unlink()
            kw.wait_health("web", "unhealthy")
            e2e.wait_until("the alert reaches its receiver", lambda: "KeepwellCheckDown" in receiver.names(), 40)
            alert = next(a for a in receiver.alerts if a["labels"]["alertname"] == "KeepwellCheckDown")
            self.assertEqual(alert["labels"]["service"], "web")
            self.check_rules(prometheus)

    def check_targets(self, prometheus):
        # Prometheus asks for OpenMetrics first: a text that it cannot read shows as lastError.
        for target in prometheus.get("/api/v1/targets")["data"]["activeTargets"]:
            self.assertEqual(target["lastError"], "", target)

    def check_rules(self, prometheus):
        groups = prometheus.get("/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        self.assertGreater(len(rules), 15)
        for rule in rules:
            self.assertEqual(rule["health"], "ok", rule)


if __name__ == "__main__":
    e2e.main()
