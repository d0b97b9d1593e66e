#!/usr/bin/env python3
"""keepwell as the first process of a pod or container without privileges: an ordinary user in a pid namespace of its
own. The orchestrator's probes, its SIGTERM, exit codes; and the example manifests."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import textwrap
import unittest

import keepwell_e2e as e2e

USER = 54341
EXAMPLES = e2e.ROOT / "config/examples"


class Pod:
    """`keepwell run` as pid 1 of a pid namespace, as USER."""

    def __init__(self, services, *args):
        if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
            raise unittest.SkipTest("a pid namespace of its own needs root, unshare and setpriv")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-pod-"))
        self.port = e2e.free_port()
        services = {name: {"working_dir": str(self.dir), **service} for name, service in services.items()}
        file = self.dir / "keepwell.yaml"
        file.write_text(json.dumps({"name": "pod", "services": services, "x-keepwell": {
            "run_dir": str(self.dir / "run"), "data_dir": str(self.dir / "data"), "metrics": {"listen": f"127.0.0.1:{self.port}"}}}))
        bin_dir = self.dir / "bin"  # where that user can reach it, wherever this clone is
        bin_dir.mkdir()
        for name in ("keepwell", "keepwell-keeper", "keepwell-logger", "keepwell-enter"):
            try:
                os.link(e2e.BIN / name, bin_dir / name)
            except OSError:
                shutil.copy(e2e.BIN / name, bin_dir / name)
        for path in (self.dir, file):
            os.chown(path, USER, USER)
        self.log = open(self.dir / "log", "wb")
        self.process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "setpriv", f"--reuid={USER}", f"--regid={USER}",
             "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
             str(bin_dir / "keepwell"), "run", "-f", str(file), *args],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=self.dir, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        if self.process.poll() is None:
            # The namespace's pid 1, and all in it; becoming another user has made void what --kill-child asked for.
            for pid in e2e.children_of(self.process.pid):
                os.kill(pid, signal.SIGKILL)
            self.process.wait(10)
        self.log.close()
        if what[0] is not None:
            print((self.dir / "log").read_text(errors="replace")[-4000:])
        shutil.rmtree(self.dir, ignore_errors=True)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def expect(self, path, status):
        return e2e.wait_until(f"{path} says {status}", lambda: (lambda answer: answer if answer[0] == status else None)(self.get(path)))

    def first_pid(self):
        """The namespace's pid 1 as this one sees it."""
        return e2e.wait_until("pid 1", lambda: e2e.children_of(self.process.pid))[0]

    def wait(self):
        return self.process.wait(20 * e2e.PATIENCE)


class Sidecar(unittest.TestCase):
    def test_probes_follow_the_checks(self):
        with Pod({"app": e2e.process("touch ok; exec sleep 1000", healthcheck={
                "test": "test -e ok", "interval": "100ms", "retries": 2, "x-keepwell": {"on_unhealthy": "none"}}),
                  "job": e2e.process("exit 0")}) as pod:
            pod.expect("/readyz", 200)
            self.assertEqual(pod.get("/healthz"), (200, "ok\n"))
            (pod.dir / "ok").unlink()
            self.assertEqual(pod.expect("/readyz", 503)[1], "pod-app-1: unhealthy\n")
            self.assertEqual(pod.get("/readyz?service=job"), (200, "ok\n"))
            self.assertEqual(pod.get("/readyz?service=app")[0], 503)
            self.assertEqual(pod.get("/readyz?service=nosuch")[0], 404)
            self.assertEqual(pod.get("/healthz")[0], 200)  # for the orchestrator there is nothing to begin anew
            (pod.dir / "ok").write_text("")
            pod.expect("/readyz", 200)

    def test_not_live_once_a_service_has_failed_for_good(self):
        with Pod({"app": e2e.process("exit 3", restart="on-failure:2"), "other": e2e.process("exec sleep 1000")}) as pod:
            self.assertRegex(pod.expect("/healthz", 503)[1], "^pod-app-1: failed")
            self.assertEqual(pod.get("/readyz")[0], 503)
            self.assertEqual(pod.get("/healthz?service=other")[0], 200)

    def test_the_exit_code_is_passed_on(self):
        with Pod({"app": e2e.process("sleep 0.3; exit 7"), "other": e2e.process("exec sleep 1000")}, "--exit-code-from", "app") as pod:
            self.assertEqual(pod.wait(), 7)
        with Pod({"app": e2e.process("exit 5", restart="on-failure:2")}, "--exit-code-from", "app") as pod:
            self.assertEqual(pod.wait(), 5)
        with Pod({"app": {"x-keepwell": {"runtime": "process"}, "command": ["/no/such/program"]}}, "--exit-code-from", "app") as pod:
            self.assertEqual(pod.wait(), 127)
        with Pod({"app": e2e.process("exit 0")}, "--exit-code-from", "nosuch") as pod:
            self.assertEqual(pod.wait(), 2)

    def test_sigterm_reaches_the_services_and_their_answer_is_the_exit_code(self):
        services = {"app": e2e.process("trap 'echo got it; exit 9' TERM; touch up; while :; do sleep 0.05; done", stop_grace_period="10s")}
        for args, code in ((["--exit-code-from", "app"], 9), ([], 0)):
            with Pod(services, *args) as pod:
                e2e.wait_until("it is up", (pod.dir / "up").exists)
                os.kill(pod.first_pid(), signal.SIGTERM)
                self.assertEqual(pod.wait(), code)

    def test_orphans_are_reaped(self):
        with Pod({"app": e2e.process("for i in 1 2 3 4 5; do (sh -c 'sleep 0.1 & exit' &); done; exec sleep 1000")}) as pod:
            pod.expect("/readyz", 200)
            keeper = pod.first_pid()

            def alone():
                states = []
                for pid in e2e.children_of(keeper):
                    try:
                        states.append(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
                    except OSError:
                        pass  # reaped meanwhile
                return "Z" not in states and len(states) <= 3  # agent, logger, app
            e2e.wait_until("no zombie is left", alone)


class Examples(unittest.TestCase):
    """Every YAML under config/examples is what it says it is."""

    def check(self, text):
        with tempfile.TemporaryDirectory() as place:
            file = pathlib.Path(place) / "keepwell.yaml"
            file.write_text(text)
            return subprocess.run([e2e.BIN / "keepwell", "check", "-f", file], capture_output=True, text=True, check=False,
                                  env=dict(os.environ, KEEPWELL_BUSYBOX="/bin/busybox", KEEPWELL_ROOTFS="/", KEEPWELL_QUICKSTART="/tmp"))

    def test_keepwell_files(self):
        done = self.check((EXAMPLES / "sidecar/keepwell.yaml").read_text())
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_kubernetes(self):
        text = (EXAMPLES / "sidecar/kubernetes.yaml").read_text()
        inner = re.search(r"keepwell\.yaml: \|\n((?:    .*\n|\n)+)", text).group(1)
        done = self.check(textwrap.dedent(inner))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        try:
            import yaml
        except ImportError:
            return
        config, pod = yaml.safe_load_all(text)
        self.assertEqual((config["kind"], pod["kind"]), ("ConfigMap", "Pod"))
        described = yaml.safe_load(config["data"]["keepwell.yaml"])
        container, = pod["spec"]["containers"]
        self.assertIn(container["command"][-1], described["services"])
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        self.assertEqual(described["x-keepwell"]["metrics"]["listen"], f"0.0.0.0:{ports['keepwell']}")
        for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
            self.assertEqual(container[probe]["httpGet"], {"path": path, "port": "keepwell"})

    def test_docker(self):
        text = (EXAMPLES / "sidecar/compose.yaml").read_text()
        if shutil.which("docker-compose"):
            with tempfile.TemporaryDirectory() as place:
                (pathlib.Path(place) / "compose.yaml").write_text('version: "3.8"\n' + text)
                done = subprocess.run(["docker-compose", "-f", f"{place}/compose.yaml", "config", "-q"], capture_output=True, text=True,
                                      check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("/readyz", text)

    def test_nomad(self):
        text = (EXAMPLES / "sidecar/app.nomad.hcl").read_text()
        plain = re.sub(r'"[^"]*"', '""', re.sub(r"#.*", "", text))
        self.assertEqual(plain.count("{"), plain.count("}"))
        for word in ("/readyz", "/healthz", "--exit-code-from", "9790"):
            self.assertIn(word, text)


if __name__ == "__main__":
    e2e.main()
