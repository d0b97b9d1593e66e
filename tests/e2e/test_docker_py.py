"""docker-py (Debian's python3-docker) against a running keepwell. It reads a hijacked connection in a way of its own:
output that comes too soon behind the head is lost there."""

import importlib.util
import os
import sys
import threading
import time
import unittest

from keepwell_e2e import Keepwell, main, need_containers, rootfs, wait_until

if importlib.util.find_spec("docker") is None and os.path.realpath(sys.executable) != os.path.realpath("/usr/bin/python3") \
        and os.path.exists("/usr/bin/python3"):
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])  # where Debian's package is
try:
    import docker
except ImportError:
    docker = None


class DockerPy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if docker is None:
            raise unittest.SkipTest("no docker module for Python (python3-docker)")
        need_containers()
        box = {"image": "bb", "stop_grace_period": "0s", "x-keepwell": {"rootfs": rootfs("busybox")}}
        cls.kw = Keepwell({"services": {
            "web": {**box, "command": ["sh", "-c", "echo hello; exec sleep 1000"], "labels": {"tier": "front"},
                    "healthcheck": {"test": ["CMD", "true"], "interval": "200ms"}},
            "once": {**box, "command": ["sh", "-c", "exit 7"]}}})
        cls.kw.wait_health("web", "healthy")
        cls.client = docker.DockerClient(base_url=f"unix://{cls.kw.run_dir}/keepwell.sock", version="auto", timeout=20)

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "client"):
            cls.client.close()
        cls.kw.close()

    def test_ping_version_info(self):
        self.assertTrue(self.client.ping())
        self.assertEqual(self.client.version()["ApiVersion"], "1.50")
        self.assertEqual(self.client.info()["Containers"], 2)

    def test_list_and_inspect(self):
        self.assertEqual([c.name for c in self.client.containers.list()], ["e2e-web-1"])
        self.assertEqual(len(self.client.containers.list(all=True)), 2)
        self.assertEqual([c.name for c in self.client.containers.list(filters={"health": "healthy", "label": ["tier=front"]})],
                         ["e2e-web-1"])
        web = self.client.containers.get("e2e-web-1")
        self.assertEqual((web.status, web.attrs["State"]["Health"]["Status"]), ("running", "healthy"))
        self.assertEqual(web.labels["tier"], "front")
        with self.assertRaises(docker.errors.NotFound):
            self.client.containers.get("nosuch")

    def test_exec_output_is_never_lost(self):
        web = self.client.containers.get("e2e-web-1")
        for i in range(100):
            code, output = web.exec_run(["echo", str(i)])
            self.assertEqual((code, output), (0, f"{i}\n".encode()))

    def test_exec(self):
        web = self.client.containers.get("e2e-web-1")
        code, (out, err) = web.exec_run(["sh", "-c", "echo out; echo err >&2; exit 3"], demux=True)
        self.assertEqual((code, out, err), (3, b"out\n", b"err\n"))
        self.assertEqual(web.exec_run("tty", tty=True).output, b"/dev/pts/0\r\n")
        self.assertEqual(web.exec_run("id -un", user="app").output, b"app\n")
        self.assertEqual(web.exec_run("nosuch").exit_code, 127)
        stream = web.exec_run(["sh", "-c", "for i in 1 2 3; do echo $i; done"], stream=True).output
        self.assertEqual(b"".join(stream), b"1\n2\n3\n")

    def test_exec_socket_with_input(self):
        web = self.client.containers.get("e2e-web-1")
        made = self.client.api.exec_create(web.id, ["cat"], stdin=True, tty=True)["Id"]
        socket = self.client.api.exec_start(made, tty=True, socket=True)
        raw = socket._sock
        raw.settimeout(10)
        raw.sendall(b"typed\n")
        got = b""
        while got.count(b"typed\r\n") < 2:  # the terminal's echo and cat's answer
            got += raw.recv(4096)
        self.client.api.exec_resize(made, height=40, width=100)
        raw.sendall(b"\x04")
        wait_until("cat ends", lambda: not self.client.api.exec_inspect(made)["Running"])
        self.assertEqual(self.client.api.exec_inspect(made)["ExitCode"], 0)
        raw.close()
        socket.close()

    def test_logs(self):
        web = self.client.containers.get("e2e-web-1")
        self.assertIn(b"hello\n", web.logs())
        self.assertEqual(web.logs(tail=0), b"")

    def test_events_and_lifecycle(self):
        web = self.client.containers.get("e2e-web-1")
        seen = []
        events = self.client.events(decode=True, filters={"container": "e2e-web-1"})
        thread = threading.Thread(target=lambda: seen.extend(e["Action"] for e in events), daemon=True)
        thread.start()
        time.sleep(0.3)
        web.pause()
        web.reload()
        self.assertEqual(web.status, "paused")
        web.unpause()
        web.restart(timeout=0)
        web.stop(timeout=0)
        self.assertEqual(web.wait(timeout=10)["StatusCode"], 137)
        web.start()
        wait_until("the events came", lambda: seen.count("start") >= 2)
        events.close()
        for action in ("pause", "unpause", "kill", "die", "stop", "start", "restart"):
            self.assertIn(action, seen)
        self.kw.wait_health("web", "healthy")  # as the tests after this one expect it

    def test_stats_top_wait(self):
        web = self.client.containers.get("e2e-web-1")
        self.assertEqual(web.stats(stream=False)["name"], "/e2e-web-1")
        self.assertEqual(web.top(ps_args="-eo pid,comm")["Titles"], ["PID", "COMMAND"])
        self.assertEqual(self.client.containers.get("e2e-once-1").wait()["StatusCode"], 7)
        with self.assertRaises(docker.errors.APIError):
            self.client.containers.get("e2e-once-1").kill()


if __name__ == "__main__":
    main()
