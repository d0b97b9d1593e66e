#!/usr/bin/env python3
"""Other clients of the Docker API: docker compose by the labels that it looks for (its requests one by one, and the
docker-compose command where it is installed), and dockerode, from npm."""

import json
import os
import pathlib
import shutil
import subprocess
import unittest
import urllib.parse

import keepwell_e2e as e2e

HERE = pathlib.Path(__file__).resolve().parent
LABEL = "com.docker.compose."


def compose():
    loop = "echo hello; i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"
    return {"name": "shop", "services": {
        "web": e2e.busybox(loop, labels={"tier": "front"}, image="bb", healthcheck={"test": ["CMD", "true"], "interval": "200ms"},
                           depends_on={"db": {"condition": "service_started"}}),
        "db": e2e.busybox("echo db is up; exec sleep 1000", image="bb"),
        "once": e2e.busybox("echo one; exit 7", image="bb"),
    }}


class Compose(unittest.TestCase):
    """The requests of docker compose v2 (ls, ps, logs, exec), which finds everything by labels."""

    @classmethod
    def setUpClass(cls):
        e2e.need_containers()
        cls.kw = e2e.Keepwell(compose())
        cls.kw.wait_health("web", "healthy")
        cls.kw.wait_state("once", "exited")

    @classmethod
    def tearDownClass(cls):
        cls.kw.close()

    def list(self, *labels, all=False):
        filters = json.dumps({"label": {f"{LABEL}{label}": True for label in labels}})
        status, found = self.kw.api("GET", f"/v1.50/containers/json?filters={urllib.parse.quote(filters)}" + ("&all=1" if all else ""))
        self.assertEqual(status, 200, found)
        return {one["Labels"][LABEL + "service"]: one for one in found}

    # What `ps` and `logs` always ask for: containers without a config-hash are none of compose's.
    PROJECT = ("project=shop", "config-hash", "oneoff=False")

    def test_labels(self):
        labels = self.list("project=shop", all=True)["web"]["Labels"]
        self.assertEqual({name: labels[LABEL + name] for name in (
            "project", "service", "container-number", "oneoff", "project.config_files", "project.working_dir", "depends_on")}, {
                "project": "shop", "service": "web", "container-number": "1", "oneoff": "False",
                "project.config_files": str(self.kw.file), "project.working_dir": str(self.kw.dir),
                "depends_on": "db:service_started:false"})
        self.assertRegex(labels[LABEL + "config-hash"], "^[0-9a-f]{16}$")
        self.assertRegex(labels[LABEL + "version"], r"^\d+\.\d+")
        self.assertEqual(self.kw.inspect("web")["Config"]["Labels"], labels)

    def test_ls(self):
        found = self.list("project")
        self.assertEqual({(one["Labels"][LABEL + "project"], one["State"]) for one in found.values()}, {("shop", "running")})
        self.assertEqual(set(self.list("project", all=True)), {"web", "db", "once"})

    def test_ps(self):
        self.assertEqual(set(self.list(*self.PROJECT)), {"web", "db"})
        self.assertEqual(set(self.list(*self.PROJECT, all=True)), {"web", "db", "once"})
        self.assertEqual(set(self.list(*self.PROJECT, "service=db")), {"db"})
        self.assertEqual(self.list("project=other", "config-hash"), {})
        self.assertEqual(self.list("project=shop", "oneoff=True"), {})
        web = self.list(*self.PROJECT)["web"]
        status, inspected = self.kw.api("GET", f"/v1.50/containers/{web['Id']}/json")
        self.assertEqual((status, inspected["State"]["Health"]["Status"]), (200, "healthy"))

    def test_exec(self):
        found = self.list("project=shop", "service=web", "config-hash", "container-number=1")
        self.assertEqual(list(found), ["web"])
        self.assertEqual(self.list("project=shop", "service=web", "container-number=2"), {})
        status, made = self.kw.api("POST", f"/v1.50/containers/{found['web']['Id']}/exec", {
            "User": "", "Privileged": False, "Tty": False, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True,
            "Detach": False, "DetachKeys": "", "Env": None, "WorkingDir": "", "Cmd": ["true"]})
        self.assertEqual(status, 201)
        self.assertEqual(self.kw.api("POST", f"/v1.50/exec/{made['Id']}/start", {"Detach": True, "Tty": False})[0], 200)

    def test_events(self):
        filters = urllib.parse.quote(json.dumps({"label": {f"{LABEL}project=shop": True, f"{LABEL}oneoff=False": True},
                                                 "type": {"container": True}}))
        import http.client
        import socket
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.kw.run_dir / "keepwell.sock"))
        connection.request("GET", f"/v1.50/events?filters={filters}&since=1&until=2147483000")
        first = json.loads(connection.getresponse().readline())
        connection.close()
        self.assertEqual(first["Actor"]["Attributes"][LABEL + "project"], "shop")

    def test_the_docker_compose_command(self):
        command = [shutil.which("docker-compose")] if shutil.which("docker-compose") else None
        if command is None and shutil.which("docker") and subprocess.run(
                ["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
            command = ["docker", "compose"]
        if command is None:
            self.skipTest("no docker-compose command (Debian package docker-compose)")
        env = dict(os.environ, DOCKER_HOST=f"unix://{self.kw.run_dir}/keepwell.sock", COMPOSE_PROJECT_NAME="shop", LC_ALL="C.UTF-8")

        # Debian 12's is a 1.29, which knows no `name`; which containers there are it asks the agent.
        file = self.kw.dir / "for-compose.yaml"
        file.write_text(json.dumps({"version": "3.8", "services": {name: {"image": "bb"} for name in compose()["services"]}}))

        def run(*args, code=0):
            done = subprocess.run([*command, "-f", str(file), *args], capture_output=True, text=True, env=env, timeout=60,
                                  cwd=self.kw.dir, stdin=subprocess.DEVNULL, check=False)
            self.assertEqual(done.returncode, code, f"{args}: {done}")
            return done.stdout

        self.assertIn("shop-web-1", run("ps"))
        ids = run("ps", "-q").split()
        self.assertIn(self.kw.inspect("db")["Id"], ids)
        self.assertIn("db is up", run("logs", "--no-color", "db"))
        self.assertEqual(run("exec", "-T", "web", "echo", "typed"), "typed\n")
        run("exec", "-T", "web", "sh", "-c", "exit 9", code=9)
        self.assertIn("sleep 1000", run("top", "db"))


class Dockerode(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        e2e.need_containers()
        cls.modules = dockerode_modules()
        described = compose()
        described["name"] = "e2e"
        cls.kw = e2e.Keepwell(described)
        cls.kw.wait_health("web", "healthy")

    @classmethod
    def tearDownClass(cls):
        cls.kw.close()

    def test_everything(self):
        done = subprocess.run(["node", str(HERE / "dockerode.js"), str(self.kw.run_dir / "keepwell.sock")], capture_output=True,
                              text=True, env=dict(os.environ, NODE_PATH=str(self.modules)), timeout=90 * e2e.PATIENCE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        said = json.loads(done.stdout)
        self.assertEqual((said["listed"], said["version"], said["info"]), (["/e2e-web-1"], "1.50", 3))
        self.assertEqual((said["health"], said["top"]), ("healthy", "USER"))
        self.assertEqual(said["demuxed"], {"stdout": "out\n", "stderr": "err\n", "code": 3})
        self.assertEqual(said["missing"]["code"], 127)
        self.assertIn("executable file not found", said["missing"]["stdout"])
        self.assertEqual(said["typed"], {"output": "one\ntwo\n", "code": 0})
        self.assertEqual(said["terminal"], {"size": "41 121", "code": 5})
        self.assertEqual(said["events"], ["pause", "unpause"])
        self.assertRegex(said["logs"]["last"], r"^(hello|line \d+)\n$")
        self.assertRegex(said["logs"]["followed"], r"^line \d+\nline \d+\n")
        self.assertEqual((said["stats"]["name"], said["stats"]["streamed"]), ("/e2e-web-1", "/e2e-web-1"))
        self.assertGreaterEqual(said["stats"]["pids"], 1)
        self.assertEqual(said["refused"], {"status": 404, "message": "No such container: nosuch"})


def dockerode_modules():
    """Where node finds dockerode: KEEPWELL_NODE_MODULES, or build/npm, where npm puts it the first time. No script
    of any package is run."""
    given = os.environ.get("KEEPWELL_NODE_MODULES")
    modules = pathlib.Path(given) if given else e2e.ROOT / "build/npm/node_modules"
    if (modules / "dockerode/package.json").exists():
        return modules
    if not shutil.which("node") or not shutil.which("npm"):
        raise unittest.SkipTest("no node and npm for dockerode")
    modules.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(["npm", "install", "--prefix", str(modules.parent), "--ignore-scripts", "--no-audit", "--no-fund",
                               "--no-save", "dockerode@4"], capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise unittest.SkipTest("npm did not bring dockerode within two minutes") from None
    if done.returncode != 0 or not (modules / "dockerode/package.json").exists():
        raise unittest.SkipTest(f"npm cannot bring dockerode: {done.stderr[-300:]}")
    return modules


if __name__ == "__main__":
    e2e.main()
