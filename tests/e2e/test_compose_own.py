#!/usr/bin/env python3
"""Volumes, secrets, hooks, limits and several files as a user meets them: what is kept, what is measured, what is
said when something is wrong, and what is not touched."""

import contextlib
import ctypes
import os
import pathlib
import shutil
import time
import unittest

import keepwell_e2e as e2e

SLEEP = "exec sleep 1000"


def out_of(kw, name, *command):
    return kw.ok("exec", name, *command).strip()


class Volumes(unittest.TestCase):
    def setUp(self):
        e2e.need_containers()

    def test_a_named_volume_begins_with_the_images_files_and_is_kept(self):
        # /etc of the image holds files; where it is mounted, docker's three are put over it.
        web = e2e.busybox(SLEEP, volumes=["data:/etc", "/anonymous", {"type": "volume", "source": "bare", "target": "/copy", "volume": {"nocopy": True}}])
        volumes = {"data": None, "bare": None}
        with e2e.Keepwell({"services": {"web": web}, "volumes": volumes}) as kw:
            kw.wait_state("web", "running")
            directory = kw.data_dir / "volumes"
            image = {p.name for p in pathlib.Path(e2e.rootfs("busybox"), "etc").iterdir()}
            self.assertTrue(image)
            self.assertLessEqual(image, {p.name for p in (directory / "e2e_data/_data").iterdir()})
            self.assertEqual(list((directory / "e2e_bare/_data").iterdir()), [])
            self.assertEqual(len(list(directory.iterdir())), 3)
            out_of(kw, "web", "sh", "-c", "echo kept >/etc/mine; echo kept >/anonymous/mine")
            first = kw.inspect("web")["Id"]
            web["environment"] = {"CHANGED": "1"}
            kw.write({"services": {"web": web}, "volumes": volumes})
            kw.ok("reload")
            e2e.wait_until("it is recreated", lambda: kw.inspect("web")["Id"] != first and kw.state("web")["Pid"])
            self.assertEqual(out_of(kw, "web", "cat", "/etc/mine", "/anonymous/mine"), "kept\nkept")
            self.assertFalse((directory / "e2e_data/copying").exists())

    def test_a_bind_is_the_hosts_directory_and_read_only_where_it_says_so(self):
        with e2e.Keepwell(start=False) as kw:
            (kw.dir / "here").mkdir()
            kw.write({"services": {"web": e2e.busybox(SLEEP, volumes=["./here:/a", "./here:/b:ro", "./made/new:/c"], tmpfs=["/t:size=64k"])}})
            kw.start()
            kw.wait_state("web", "running")
            out_of(kw, "web", "sh", "-c", "echo 1 >/a/file")
            self.assertEqual((kw.dir / "here/file").read_text(), "1\n")
            self.assertNotEqual(kw.run("exec", "web", "sh", "-c", "echo 2 >/b/file").code, 0)
            self.assertTrue((kw.dir / "made/new").is_dir())
            self.assertNotEqual(kw.run("exec", "web", "sh", "-c", "dd if=/dev/zero of=/t/f bs=1k count=100").code, 0)
            mounts = {m["Destination"]: m for m in kw.inspect("web")["Mounts"]}
            self.assertEqual((mounts["/a"]["Type"], mounts["/a"]["RW"], mounts["/b"]["RW"]), ("bind", True, False))

    def test_secrets_and_configs(self):
        with e2e.Keepwell(start=False, env={"TOKEN": "from the environment"}) as kw:
            (kw.dir / "s").write_text("from a file")
            kw.write({"services": {"web": e2e.busybox("exec sleep 1000", user="12:34", read_only=True, configs=[{"source": "c", "target": "/etc/c.conf"}],
                                                      secrets=["s", {"source": "t", "target": "other", "uid": "12", "gid": "34", "mode": 0o400}])},
                      "secrets": {"s": {"file": "./s"}, "t": {"environment": "TOKEN"}}, "configs": {"c": {"content": "inline"}}})
            text = kw.file.read_text().replace('"mode": 256', '"mode": "0400"')
            kw.file.write_text(text)
            kw.start()
            kw.wait_state("web", "running")
            self.assertEqual(out_of(kw, "web", "cat", "/run/secrets/s"), "from a file")
            self.assertEqual(out_of(kw, "web", "cat", "/run/secrets/other"), "from the environment")
            self.assertEqual(out_of(kw, "web", "stat", "-c", "%a %u %g", "/run/secrets/other"), "400 12 34")
            self.assertEqual(out_of(kw, "web", "cat", "/etc/c.conf"), "inline")
            self.assertNotEqual(kw.run("exec", "-u", "0", "web", "sh", "-c", "echo x >/run/secrets/s").code, 0)


class Files(unittest.TestCase):
    def test_include_extends_and_override_with_real_files(self):
        with e2e.Keepwell(start=False) as kw:
            (kw.dir / "sub").mkdir()
            (kw.dir / "sub/inc.yaml").write_text("services:\n  db:\n    extends: { file: base.yaml, service: base }\n    environment: { WHO: $WHO }\n")
            (kw.dir / "sub/base.yaml").write_text("services:\n  base:\n    x-keepwell: { runtime: process }\n    env_file: e\n    command: [sleep, '1000']\n")
            (kw.dir / "sub/e").write_text("FROM=sub\n")
            (kw.dir / "sub/.env").write_text("WHO=included\n")
            kw.file.write_text("name: e2e\ninclude: [sub/inc.yaml]\nservices:\n  web:\n    x-keepwell: { runtime: process }\n"
                               "    command: [sleep, '1000']\n    environment: { A: 1 }\n")
            (kw.dir / "over.yaml").write_text("services:\n  web:\n    environment: !reset null\n    hostname: !reset x\n")
            done = kw.run("check", "-f", kw.file, "-f", kw.dir / "over.yaml", "--print")
            self.assertEqual(done.code, 0, done)
            self.assertIn("WHO: included", done.out)
            self.assertIn("FROM: sub", done.out)
            self.assertNotIn("A: ", done.out)

    def refused(self, compose, *words, setup=lambda kw: None):
        with e2e.Keepwell(start=False) as kw:
            setup(kw)
            kw.write(compose)
            begun = time.monotonic()
            done = kw.run("check", "-f", kw.file)
            self.assertLess(time.monotonic() - begun, 1.0 * e2e.PATIENCE)
            self.assertEqual(done.code, 2, done)
            self.assertRegex(done.err, r"compose\.yaml:\d+:\d+: error: ")
            for word in words:
                self.assertIn(word, done.err)
            self.assertFalse(kw.data_dir.exists())

    @staticmethod
    def make_huge(kw):
        (kw.dir / "huge").touch()
        os.truncate(kw.dir / "huge", 1 << 40)

    def test_bad_input(self):
        def service(**keys):
            return {"services": {"web": {"x-keepwell": {"rootfs": "/srv"}, "command": ["x"], **keys}}}
        self.refused({"services": {n: {**service()["services"]["web"], "depends_on": [d]} for n, d in (("a", "b"), ("b", "c"), ("c", "a"))}},
                     "depends_on goes in a circle")
        self.refused(service(volumes=["./link:/x"]), "is a symbolic link to /", setup=lambda kw: (kw.dir / "link").symlink_to("/"))
        self.refused(service(env_file="fifo"), "not a regular file", setup=lambda kw: os.mkfifo(kw.dir / "fifo"))
        self.refused({**service(secrets=["s"]), "secrets": {"s": {"file": "huge"}}}, "KB large",
                     setup=self.make_huge)
        self.refused(service(devices=["/dev/no-such-device"]), "does not exist on this host")
        self.refused(service(volumes=[{"type": "bind", "source": "./none", "target": "/x", "bind": {"create_host_path": False}}]), "does not exist")
        self.refused(service(mem_limit="1m"), "is too small")
        self.refused({"include": ["compose.yaml"], **service()}, "include goes in a circle")

    def test_a_source_that_becomes_a_link_to_the_root_is_refused_at_the_start(self):
        e2e.need_containers()
        with e2e.Keepwell(start=False) as kw:
            (kw.dir / "here").mkdir()
            kw.write({"services": {"web": e2e.busybox(SLEEP, volumes=["./here:/a"])}})
            kw.start()
            kw.wait_state("web", "running")
            kw.ok("stop", "web")
            (kw.dir / "here").rmdir()
            (kw.dir / "here").symlink_to("/")
            self.assertNotEqual(kw.run("start", "web").code, 0)
            self.assertIn("is a symbolic link to /", kw.state("web")["Error"])


    def test_a_target_that_the_image_leads_out_stays_inside(self):
        """The image's own links: a volume below one of them lands in the container, or is refused; nothing on the host."""
        e2e.need_containers()
        links = {"all": "/", "up": "../../../../../../..", "host": None, "loop": "loop"}
        with e2e.Keepwell(start=False) as kw:
            outside = kw.dir / "outside"
            outside.mkdir()
            links["host"] = str(outside)
            tree = kw.dir / "tree"
            shutil.copytree(e2e.rootfs("busybox"), tree, symlinks=True)
            for name, target in links.items():
                (tree / name).symlink_to(target)
            (kw.dir / "data").mkdir()
            (kw.dir / "data/mine").write_text("mine")
            kw.write({"services": {name: e2e.busybox(SLEEP, volumes=[f"./data:/{name}" + ("" if name == "all" else "/deep/x")],
                                                     **{"x-keepwell": {"rootfs": str(tree)}}) for name in links}})
            before = sorted(os.listdir("/")), sorted(p.name for p in tree.rglob("*"))
            kw.start()
            e2e.wait_until("all have started or failed", lambda: all(
                kw.state(name)["Pid"] or kw.state(name)["Status"] == "exited" for name in links), 30)
            kw.wait_state("up", "running")
            kw.wait_state("host", "running")
            self.assertEqual(out_of(kw, "up", "cat", "/deep/x/mine"), "mine")
            self.assertEqual(out_of(kw, "host", "cat", f"{outside}/deep/x/mine"), "mine")
            self.assertEqual(kw.state("loop")["Status"], "exited")
            self.assertRegex(kw.state("loop")["Error"], "(?i)too many levels of symbolic links|loop|symlink")
            self.assertEqual(list(outside.iterdir()), [])
            self.assertEqual((sorted(os.listdir("/")), sorted(p.name for p in tree.rglob("*"))), before)


class DeadServer(unittest.TestCase):
    """A file system whose server never answers (a FUSE one that nobody serves) as the source of a volume."""

    def setUp(self):
        e2e.need_containers()

    @contextlib.contextmanager
    def mounted(self, path):
        path.mkdir()
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            self.skipTest(f"there is no FUSE here, so no file system that does not answer: {error}")
        try:
            options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
            if libc.mount(b"dead", os.fsencode(path), b"fuse", 0, options) != 0:
                self.skipTest(f"cannot mount a FUSE file system: {os.strerror(ctypes.get_errno())}")
            yield
        finally:
            libc.umount2(os.fsencode(path), 2)  # MNT_DETACH
            os.close(fd)  # ends all that waits for it

    def test_the_agent_goes_on(self):
        check = {"test": ["CMD", "true"], "interval": "200ms", "timeout": "5s", "retries": 3}
        web = e2e.busybox(SLEEP, healthcheck=check)
        with e2e.Keepwell({"services": {"web": web}}) as kw, self.mounted(kw.dir / "dead"):
            kw.wait_health("web", "healthy")
            kw.write({"services": {"web": web, "stuck": e2e.busybox(SLEEP, volumes=["./dead/data:/x"], secrets=["s"])},
                      "secrets": {"s": {"file": "./dead/secret"}}})
            self.assertEqual(kw.run("check", "-f", kw.file).code, 0)
            self.assertIn("stuck", kw.ok("reload"))
            begun, slowest = time.monotonic(), 0.0
            series = 'keepwell_probes_total{service="web",check="healthcheck"}'
            probes = kw.metrics()[series]
            while kw.state("stuck")["Status"] != "exited" and time.monotonic() < begun + 30 * e2e.PATIENCE:
                asked = time.monotonic()
                kw.get("/healthz")
                slowest = max(slowest, time.monotonic() - asked)
            self.assertIn("lies on a file system that does not answer", kw.state("stuck")["Error"])
            self.assertIn(str(kw.dir / "dead/data"), kw.state("stuck")["Error"])
            self.assertLess(slowest, 1.0 * e2e.PATIENCE)
            self.assertGreater(kw.metrics()[series], probes + 10)
            self.assertEqual(kw.health("web"), "healthy")


class Limits(unittest.TestCase):
    def test_out_of_memory_is_the_reason_of_the_restart(self):
        e2e.need_containers()
        hog = "sleep 0.3; [ -e /tmp/again ] && exec sleep 1000; touch /tmp/again; exec tail /dev/zero"
        with e2e.Keepwell({"services": {"web": e2e.busybox(hog, mem_limit="8m", restart="always", volumes=["/tmp"])}}) as kw:
            e2e.wait_until("it is restarted", lambda: kw.inspect("web")["RestartCount"] >= 1, 30)
            kw.wait_state("web", "running")
            oom = [e for e in kw.events() if e["Action"] == "oom"]
            self.assertEqual(len(oom), 1)
            last = kw.inspect("web")["Keepwell"]["LastRestart"]
            self.assertEqual(last["Reason"], "oom")
            self.assertEqual(kw.metrics()['keepwell_service_restarts_total{service="web",reason="oom"}'], 1)

    def test_oom_killed_is_in_inspect(self):
        e2e.need_containers()
        with e2e.Keepwell({"services": {"web": e2e.busybox("tail /dev/zero; exit $?", mem_limit="8m", restart="no")}}) as kw:
            kw.wait_state("web", "exited")
            self.assertTrue(kw.state("web")["OOMKilled"])
            self.assertEqual(kw.state("web")["ExitCode"], 137)

    def check_usage(self, service, limited):
        with e2e.Keepwell({"services": {"web": service}}) as kw:
            kw.wait_state("web", "running")
            time.sleep(0.5)
            _, stats = kw.api("GET", "/containers/e2e-web-1/stats?stream=false&one-shot=true")
            self.assertGreater(stats["memory_stats"]["usage"], 50_000)
            self.assertGreater(stats["cpu_stats"]["cpu_usage"]["total_usage"], 10_000_000)
            self.assertGreaterEqual(stats["pids_stats"]["current"], 1)
            self.assertEqual(stats["Keepwell"]["OomKills"], 0)
            metrics = kw.metrics()
            self.assertGreater(metrics['keepwell_service_memory_bytes{service="web"}'], 50_000)
            self.assertGreater(metrics['keepwell_service_cpu_seconds_total{service="web"}'], 0.01)
            self.assertGreaterEqual(metrics['keepwell_service_processes{service="web"}'], 1)
            self.assertEqual(metrics['keepwell_service_oom_kills_total{service="web"}'], 0)
            if limited:
                self.assertEqual(metrics['keepwell_service_memory_limit_bytes{service="web"}'], 64 << 20)
                self.assertEqual(stats["memory_stats"]["limit"], 64 << 20)
            else:
                self.assertNotIn('keepwell_service_memory_limit_bytes{service="web"}', metrics)
            top = kw.ok("top", "--usage")
            self.assertRegex(top, r"NAME +CPU +MEMORY +LIMIT +PIDS +OOM KILLS +PRESSURE")
            self.assertRegex(top, r"e2e-web-1 +\d+\.\d% +\d+\.\d.iB +\d+\.\d.iB +\d+ +0 +\d")
            if pathlib.Path("/proc/pressure/cpu").exists():
                self.assertIn('keepwell_service_pressure_seconds_total{service="web",resource="cpu"}', metrics)
                self.assertIn("cpu", stats["Keepwell"]["Pressure"])

    def test_what_a_process_service_uses(self):
        if os.geteuid() != 0:
            self.skipTest("without root there may be no cgroup to measure")
        work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 1000"
        self.check_usage(e2e.process(work), False)
        self.check_usage(e2e.process(work, mem_limit="64m", cpus=1, cpuset="0", cpu_shares=512), True)

    def test_what_a_container_uses(self):
        e2e.need_containers()
        work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 1000"
        self.check_usage(e2e.busybox(work, mem_limit="64m"), True)


class Hooks(unittest.TestCase):
    def test_hooks_run_in_the_container(self):
        e2e.need_containers()
        with e2e.Keepwell(start=False) as kw:
            (kw.dir / "out").mkdir()
            kw.write({"services": {
                "web": e2e.busybox("trap 'echo stopped >>/out/order; exit 0' TERM; while :; do sleep 0.1; done", volumes=["./out:/out"], stop_grace_period="10s",
                                   post_start=[{"command": ["sh", "-c", "echo started $$A >>/out/order"], "environment": {"A": "b"}},
                                               {"command": ["sh", "-c", "id -u >/out/user"], "user": "12"}],
                                   pre_stop=[{"command": ["sh", "-c", "echo stopping >>/out/order"]}]),
                "bad": e2e.busybox(SLEEP, post_start=[{"command": ["sh", "-c", "echo no; exit 3"]}])}})
            (kw.dir / "out").chmod(0o777)
            kw.start()
            order = kw.dir / "out/order"
            e2e.wait_until("both hooks ran", lambda: (kw.dir / "out/user").exists() and (kw.dir / "out/user").read_text() == "12\n", 20)
            kw.wait_state("bad", "exited")
            e2e.wait_until("it says so", lambda: "cannot run hook sh in e2e-bad-1: it ended with 3: no; it is stopped" in kw.log_text(), 5)
            kw.ok("stop", "web")
            lines = order.read_text().split()
            self.assertEqual(lines, ["started", "b", "stopping", "stopped"])


if __name__ == "__main__":
    e2e.main()
