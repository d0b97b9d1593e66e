#!/usr/bin/env python3
"""A three-service Compose file: nginx in front, an application, redis behind, each from an image that is built here
from Debian packages with its HEALTHCHECK in it. Up from nothing with one `keepwell run`; then each is killed, hung
and starved of memory in turn, and heals."""

import contextlib
import os
import pathlib
import platform
import shutil
import signal
import tempfile
import time
import unittest

import image_builder as ib
from image_builder import SECOND
from keepwell_e2e import Keepwell, main, need_containers, rootfs, wait_until

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
# More than mem_limit and as much swap again, all at once, by the first process itself.
STARVE = "exec dd if=/dev/zero of=/dev/null bs=400M count=999"
# The service in front of a shell that starves when it is told to.
LOOP = f"while sleep 0.1; do if [ -e /starve ]; then rm /starve; {STARVE}; fi; done"


def healthcheck(*command):
    return {"Test": ["CMD", *command], "Interval": SECOND // 2, "Timeout": SECOND, "Retries": 3,
            "StartPeriod": 10 * SECOND, "StartInterval": SECOND // 5}


IMAGES = {
    "redis": {"Entrypoint": ["sh", "-c"], "Cmd": [f"redis-server --save '' --dir /data & {LOOP}"],
              "Healthcheck": healthcheck("redis-cli", "ping"), "WorkingDir": "/data"},
    "app": {"Cmd": ["sh", "-c", f"mkdir -p /www; echo app > /www/index.html; httpd -f -p 9000 -h /www & {LOOP}"],
            "Healthcheck": healthcheck("wget", "-qO-", "http://127.0.0.1:9000/")},
    "nginx": {"Cmd": ["sh", "-c", f"nginx -c /etc/nginx.conf & {LOOP}"],
              "Healthcheck": healthcheck("wget", "-qO-", "http://127.0.0.1:8080/")},
}


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need_containers()
        for tool in ("skopeo", "umoci"):
            if not shutil.which(tool):
                raise unittest.SkipTest(f"{tool} is not installed; tests/run.sh installs it")
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-compose-"))
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)
        for name, config in IMAGES.items():
            tree = rootfs("busybox" if name == "app" else name)
            ib.docker_archive(cls.dir / f"{name}.tar", [ib.layer_of(tree)], {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                                                                            **config}, [f"{name}:e2e"], ARCH)

    def compose(self):
        def service(image, **more):
            return {"image": f"{image}:e2e", "restart": "always", "stop_grace_period": "1s", "mem_limit": "64m",
                    "pids_limit": 50, "volumes": [f"{image}-data:/data"], "x-keepwell": {"image": f"docker-archive:{self.dir}/{image}.tar"}, **more}
        return {"services": {
            "web": service("nginx", depends_on={"app": {"condition": "service_healthy"}}),
            "app": service("app", depends_on={"redis": {"condition": "service_healthy"}}),
            "redis": service("redis")},
            "volumes": {f"{name}-data": {} for name in IMAGES}}

    def healed(self, kw, name, restarts):
        """NAME has been restarted, and is healthy."""
        def well():
            seen = kw.inspect(name)
            return seen["Keepwell"]["StartsTotal"] > restarts and seen["State"].get("Health", {}).get("Status") == "healthy"
        wait_until(f"{name} has healed", well, 40)

    def starts(self, kw, name):
        return kw.inspect(name)["Keepwell"]["StartsTotal"]

    def pids(self, kw, name):
        top = kw.api("GET", f"/containers/{name}/top?ps_args=-o%20pid,comm")[1]
        return [int(row[0]) for row in top["Processes"]]

    def test_up_and_healing(self):
        with Keepwell(self.compose()) as kw:
            names = ("redis", "app", "web")
            for name in names:
                kw.wait_health(name, "healthy", 60)
            started = [kw.state(name)["StartedAt"] for name in names]
            self.assertEqual(started, sorted(started), "each waits for the one behind it to be healthy")
            self.assertEqual([kw.inspect(n)["Config"]["Healthcheck"]["Retries"] for n in names], [3, 3, 3])

            kw.ok("exec", "redis", "sh", "-c", "printf kept > /data/mark")
            for name in names:
                with self.subTest(f"{name} is killed"):
                    before = self.starts(kw, name)
                    os.kill(kw.pid(name), signal.SIGKILL)
                    self.healed(kw, name, before)
                with self.subTest(f"{name} hangs"):
                    before = self.starts(kw, name)
                    for pid in self.pids(kw, name):
                        with contextlib.suppress(ProcessLookupError):  # the loop's sleep
                            os.kill(pid, signal.SIGSTOP)
                    self.healed(kw, name, before)
                    reason = kw.inspect(name)["Keepwell"]["LastRestart"]
                    self.assertEqual(reason["Reason"], "unhealthy", reason)
                with self.subTest(f"{name} wants too much memory"):
                    before = self.starts(kw, name)
                    ooms = self.oom_events(kw, name)
                    kw.ok("exec", name, "touch", "/starve")
                    wait_until(f"{name} is killed for it", lambda n=name, o=ooms: self.oom_events(kw, n) > o, 40)
                    self.healed(kw, name, before)
            # What lies in a volume has outlived all of this.
            self.assertEqual(kw.ok("exec", "redis", "cat", "/data/mark"), "kept")
            metrics = kw.metrics()
            for name in names:
                self.assertEqual(metrics[f'keepwell_service_health{{service="{name}",health="healthy"}}'], 1)

    @staticmethod
    def oom_events(kw, name):
        return sum(e.get("Action") == "oom" and e["Actor"]["Attributes"].get("com.docker.compose.service") == name
                   for e in kw.events())

    def test_a_second_run_needs_no_archive(self):
        compose = self.compose()
        with Keepwell(compose, start=False) as kw:
            kw.start()
            kw.wait_health("web", "healthy", 60)
            self.assertEqual(kw.stop(), 0)
            for service in compose["services"].values():
                del service["x-keepwell"]
                service["pull_policy"] = "missing"
            kw.write(compose)
            before = 1  # what a stopped container shows as its health is of its last run
            begun = time.monotonic()
            kw.start()
            self.healed(kw, "web", before)
            print(f"healthy again after {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
