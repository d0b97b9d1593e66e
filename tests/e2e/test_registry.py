#!/usr/bin/env python3
"""Images from a registry: a real one (Debian's docker-registry) on a free port of the loopback, started and ended
here; one that is down, one that is silent, and one that stops in the middle of a layer. And config/examples/images.yaml
as it stands, its Docker Hub being that registry."""

import gzip
import hashlib
import http.server
import json
import os
import pathlib
import platform
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import image_builder as ib
from keepwell_e2e import PATIENCE, ROOT, Keepwell, free_port, main, need_containers, rootfs, wait_until

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
WELL = {"Test": ["CMD", "true"], "Interval": ib.SECOND // 5, "Timeout": 2 * ib.SECOND, "Retries": 2}


class StallingRegistry(http.server.BaseHTTPRequestHandler):
    """Gives the manifest and config of one image, and of its layer only the beginning."""
    LAYER = gzip.compress(os.urandom(1 << 20), 1)
    CONFIG = json.dumps({"architecture": ARCH, "os": "linux", "config": {"Cmd": ["true"]},
                         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}).encode()
    KIND = "application/vnd.oci.image."

    @classmethod
    def blob(cls, data, kind):
        return {"mediaType": cls.KIND + kind, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}

    def do_GET(self):
        layer = self.blob(self.LAYER, "layer.v1.tar+gzip")
        config = self.blob(self.CONFIG, "config.v1+json")
        manifest = json.dumps({"schemaVersion": 2, "mediaType": self.KIND + "manifest.v1+json", "config": config,
                               "layers": [layer]}).encode()
        body = {"manifests": manifest, "blobs": self.LAYER if self.path.endswith(layer["digest"]) else self.CONFIG}
        data = next((value for word, value in body.items() if f"/{word}/" in self.path), b"{}")
        self.send_response(200)
        self.send_header("Content-Type", self.KIND + "manifest.v1+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if data is not self.LAYER:
            self.wfile.write(data)
            return
        self.wfile.write(data[:len(data) // 2])
        self.wfile.flush()
        self.server.over.wait(60)

    def log_message(self, *_):
        pass


class Registry(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need_containers()
        for tool in ("skopeo", "umoci", "docker-registry"):
            if not shutil.which(tool):
                raise unittest.SkipTest(f"{tool} is not installed; tests/run.sh installs it")
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-registry-"))
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)
        cls.base = ib.layer_of(rootfs("busybox"))
        cls.host = f"127.0.0.1:{free_port()}"
        (cls.dir / "config.yml").write_text(f"version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {cls.dir}/blobs }} }}\n"
                                            f"http: {{ addr: '{cls.host}' }}\n")
        log = open(cls.dir / "log", "wb")
        cls.addClassCleanup(log.close)
        cls.registry = subprocess.Popen(["docker-registry", "serve", cls.dir / "config.yml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        cls.addClassCleanup(cls.end, cls.registry)
        wait_until("the registry answers", cls.answers)

    @classmethod
    def answers(cls):
        host, port = cls.host.split(":")
        with socket.socket() as s:
            return s.connect_ex((host, int(port))) == 0

    @staticmethod
    def end(process):
        process.kill()
        process.wait()

    def keepwell(self, compose, env=None, **more):
        kw = Keepwell(start=False, env={"KEEPWELL_REGISTRY_TIMEOUT": "2", **(env or {})}, **more)
        self.addCleanup(kw.close)
        kw.write(compose)
        return kw

    def push(self, name, config=None, tree=None):
        """Makes an image and pushes it; returns its id."""
        archive = self.dir / "push.tar"
        image_id = ib.docker_archive(archive, [ib.layer_of(tree) if tree else self.base],
                                     {"Cmd": ["sleep", "1000"], "Env": [PATH], "Healthcheck": WELL, **(config or {})}, ["push:1"], ARCH)
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", f"docker-archive:{archive}",
                        f"docker://{self.host}/{name}"], check=True)
        return image_id

    def service(self, image, **more):
        return {"image": f"{self.host}/{image}" if "/" not in image else image, "stop_grace_period": "1s", "network_mode": "none", **more}

    def finished(self, kw, *words):
        """keepwell run, which is expected to end by itself."""
        return kw.run("run", "-f", kw.file, "--run-dir", kw.run_dir, "--data-dir", kw.data_dir, *words)

    def load(self, kw, source):
        return kw.run("image", "load", source, "--data-dir", kw.data_dir, "--run-dir", kw.run_dir)

    # ---- a registry that is well

    def test_names_of_every_form(self):
        image_id = self.push("app:tag")
        digest = subprocess.run(["skopeo", "inspect", "--tls-verify=false", "-f", "{{.Digest}}", f"docker://{self.host}/app:tag"],
                                check=True, capture_output=True, text=True).stdout.strip()
        kw = self.keepwell({"services": {
            "plain": self.service("app:tag"), "digest": self.service(f"{self.host}/app@{digest}"),
            "other": {**self.service("mine/app:1"), "x-keepwell": {"image": f"docker://{self.host}/app:tag"}}}})
        kw.start()
        for name in ("plain", "digest", "other"):
            kw.wait_health(name, "healthy")
            self.assertEqual(kw.inspect(name)["Image"], image_id)
        self.assertEqual(kw.inspect("plain")["Config"]["Image"], f"{self.host}/app:tag")
        rows = [json.loads(line) for line in kw.ok("images", "--no-trunc", "--format", "json", "--data-dir", kw.data_dir).splitlines()]
        self.assertEqual({(row["Repository"], row["Tag"], row["ID"], row["Digest"]) for row in rows},
                         {(f"{self.host}/app", "tag", image_id, digest), (f"{self.host}/app", "<none>", image_id, digest),
                          ("mine/app", "1", image_id, digest)})
        self.assertEqual(self.load(kw, f"{self.host}/app:tag").code, 0)

    def test_pull_policies(self):
        policies = ("always", "missing", "if_not_present", "never", "every_1h")
        first = {policy: self.push(f"{policy}:1", {"Labels": {"n": "1"}}) for policy in policies}
        mixed = self.push("mixed:1")
        services = {policy: self.service(f"{policy}:1", pull_policy=policy) for policy in policies}
        # One image, of which one service wants the newest: it is brought for all, whoever stands first.
        services |= {"mixed-never": self.service("mixed:1", pull_policy="never"), "mixed-always": self.service("mixed:1", pull_policy="always")}
        kw = self.keepwell({"services": services})
        refused = self.finished(kw)
        self.assertEqual(refused.code, 1, refused)
        self.assertRegex(refused.err, rf"compose.yaml:\d+:\d+: error: image {self.host}/never:1 is not here, and pull_policy is never")
        self.assertEqual(self.load(kw, f"docker://{self.host}/never:1").code, 0)
        kw.start()
        for policy in policies:
            kw.wait_state(policy, "running")
            self.assertEqual(kw.inspect(policy)["Image"], first[policy])
        second = {policy: self.push(f"{policy}:1", {"Labels": {"n": "2"}}) for policy in policies}
        newer = self.push("mixed:1", {"Labels": {"n": "2"}})
        self.assertNotEqual(newer, mixed)
        kw.ok("reload")
        wait_until("always is new", lambda: kw.inspect("always")["Image"] == second["always"])
        for name in ("mixed-never", "mixed-always"):
            wait_until(f"{name} is new", lambda n=name: kw.inspect(n)["Image"] == newer)
        for policy in policies[1:]:
            self.assertEqual(kw.inspect(policy)["Image"], first[policy], policy)
        self.assertEqual(kw.ok("reload"), "nothing to do\n")

    def test_a_registry_that_a_registries_conf_allows(self):
        image_id = self.push("app:conf")
        compose = {"services": {"web": self.service("registry.test/app:conf")}}
        conf = self.dir / "registries.conf"
        env = {"CONTAINERS_REGISTRIES_CONF": str(conf)}
        head = f'[[registry]]\nprefix = "registry.test"\nlocation = "{self.host}"\n'
        conf.write_text(head)
        kw = self.keepwell(compose, env)
        refused = self.finished(kw)
        self.assertEqual(refused.code, 1, refused)
        self.assertRegex(refused.err, "cannot load image registry.test/app:conf from .*HTTP response to HTTPS client")
        conf.write_text(head + "insecure = true\n")
        kw.start()
        kw.wait_health("web", "healthy")
        self.assertEqual(kw.inspect("web")["Image"], image_id)
        conf.write_text("no toml")
        self.assertRegex(self.load(kw, "registry.test/app:other").err, "cannot load image .*registries")

    def test_the_example(self):
        redis = self.push("library/redis:7-alpine", {"Cmd": ["redis-server", "--save", "", "--dir", "/data"], "Healthcheck": None}, rootfs("redis"))
        conf = self.dir / "hub.conf"
        conf.write_text(f'[[registry]]\nprefix = "docker.io"\nlocation = "{self.host}"\ninsecure = true\n')
        kw = self.keepwell((ROOT / "config/examples/images.yaml").read_text(), {"CONTAINERS_REGISTRIES_CONF": str(conf)},
                           args=["--project-name", "example"])
        app = ib.docker_archive(kw.dir / "app.tar", [self.base], {"Cmd": ["sleep", "1000"], "Env": [PATH], "StopSignal": "SIGKILL",
                                                                  "Healthcheck": {**WELL, "Timeout": 3 * ib.SECOND}}, ["example/app:1"], ARCH)
        text = kw.file.read_text()
        # Its only change: a metrics port that nobody else has.
        kw.file.write_text(f"x-keepwell: {{ metrics: {{ listen: '127.0.0.1:{kw.port}' }} }}\n{text.replace('interval: 10s', 'interval: 1s')}")
        checked = kw.run("check", "-f", kw.file)
        self.assertEqual(checked.code, 0, checked)
        self.assertIn("image redis:7-alpine is not here yet", checked.err)
        kw.start()
        for name, image in (("cache", redis), ("app", app)):
            kw.wait_health(name, "healthy")
            self.assertEqual(kw.inspect(name)["Image"], image)
        self.assertEqual(kw.inspect("app")["Config"]["Healthcheck"]["Timeout"], 3 * ib.SECOND)

    # ---- what goes wrong

    def test_a_tag_that_is_not_there(self):
        self.push("app:tag")
        kw = self.keepwell({"services": {"good": self.service("app:tag"), "tag": self.service("app:nope"), "name": self.service("nothing:1")}})
        refused = self.finished(kw)
        self.assertEqual(refused.code, 1, refused)
        self.assertRegex(refused.err, rf"compose.yaml:\d+:\d+: error: cannot load image {self.host}/app:nope from docker://{self.host}/app:nope: .*manifest unknown")
        self.assertRegex(refused.err, rf"compose.yaml:\d+:\d+: error: cannot load image {self.host}/nothing:1 from .*name unknown|manifest unknown")
        self.assertNotIn("compose.yaml:0", refused.err)
        # What runs goes on when a reload names one.
        kw.write({"services": {"good": self.service("app:tag")}})
        kw.start()
        kw.wait_health("good", "healthy")
        pid = kw.pid("good")
        kw.write({"services": {"good": self.service("app:tag"), "tag": self.service("app:nope")}})
        refused = kw.run("reload")
        self.assertEqual(refused.code, 1, refused)
        self.assertIn("manifest unknown", refused.err)
        self.assertEqual((kw.pid("good"), len(kw.ps())), (pid, 1))

    def test_a_registry_that_is_down(self):
        self.push("app:down")
        kw = self.keepwell({"services": {"web": self.service("app:down", pull_policy="always")}})
        self.assertEqual(self.load(kw, f"{self.host}/app:down").code, 0)
        down = f"127.0.0.1:{free_port()}"
        refused = self.load(kw, f"{down}/app:1")
        self.assertRegex(refused.err, f"cannot load image {down}/app:1 from docker://{down}/app:1: .*connection refused")
        # Whose image is here runs, also after the registry went.
        kw.write({"services": {"web": {**self.service("app:down", pull_policy="always"), "x-keepwell": {"image": f"docker://{down}/app:down"}}}})
        kw.start()
        kw.wait_health("web", "healthy")
        self.assertRegex(kw.log_text(), r"compose.yaml:\d+:\d+: warning: cannot look at image .*connection refused; the image that is here is used")

    def test_a_registry_that_is_silent(self):
        image_id = self.push("app:silent")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            host = f"127.0.0.1:{silent.getsockname()[1]}"
            services = {f"web{i}": {**self.service(f"{self.host}/app:silent"), "pull_policy": "always",
                                    "x-keepwell": {"image": f"docker://{host}/app:{i}"}} for i in range(4)}
            kw = self.keepwell({"services": services})
            begun = time.monotonic()
            refused = self.finished(kw)
            self.assertEqual(refused.code, 1, refused)
            self.assertRegex(refused.err, rf"error: cannot load image .*{host}/app:0: there was no answer within 2s")
            self.assertRegex(refused.err, rf"error: cannot look at image docker://{host}/app:3: {host} has not answered before")
            self.assertLess(time.monotonic() - begun, 8 * PATIENCE)
            self.assertEqual(self.load(kw, f"{self.host}/app:silent").code, 0)
            kw.start()
            for name in services:
                kw.wait_health(name, "healthy")
                self.assertEqual(kw.inspect(name)["Image"], image_id)
            self.assertIn("there was no answer within 2s; the image that is here is used", kw.log_text())

    def test_a_registry_that_stops_in_a_layer(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StallingRegistry)
        server.daemon_threads, server.over = True, threading.Event()
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.addCleanup(server.over.set)
        host = f"127.0.0.1:{server.server_port}"
        kw = self.keepwell({"services": {"web": self.service(f"{host}/app:1")}})
        refused = self.finished(kw)
        self.assertEqual(refused.code, 1, refused)
        self.assertRegex(refused.err, f"cannot load image {host}/app:1 from docker://{host}/app:1: the registry has sent nothing for 2s")
        left = [p.name for p in (kw.data_dir / "images").iterdir() if p.name != "lock"]
        self.assertEqual(left, [])
        # Whose image is here runs with that.
        image_id = self.push("app:stall")
        self.assertEqual(self.load(kw, f"{self.host}/app:stall").code, 0)
        kw.write({"services": {"web": {**self.service("app:stall", pull_policy="always"), "x-keepwell": {"image": f"docker://{host}/app:1"}}}})
        kw.start()
        kw.wait_health("web", "healthy")
        self.assertEqual(kw.inspect("web")["Image"], image_id)
        self.assertIn("has sent nothing for 2s; the image that is here is used", kw.log_text())


if __name__ == "__main__":
    main()
