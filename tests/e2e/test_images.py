#!/usr/bin/env python3
"""Images: loaded with the real skopeo and umoci from archives and layouts made here, run, listed, removed; and what
is wrong with an image is said, with nothing half-made left and nothing outside the data directory touched."""

import gzip
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import unittest

import image_builder as ib
from image_builder import DEVICE, DIR, FILE, HARD, LINK, SECOND
from keepwell_e2e import PATIENCE, Keepwell, children_of, main, need_containers, rootfs, start_ticks, wait_until

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
CHECK = {"Test": ["CMD-SHELL", "test -e /tmp/well"], "Interval": SECOND // 5, "Timeout": 2 * SECOND, "Retries": 2,
         "StartPeriod": SECOND}
CONFIG = {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["touch /tmp/well; exec sleep 1000"], "Env": ["PATH=/bin", "WHO=image"],
          "User": "1000:1000", "WorkingDir": "/home", "StopSignal": "SIGKILL", "Volumes": {"/data": {}},
          "ExposedPorts": {"6379/tcp": {}}, "Labels": {"from": "image", "also": "image"}, "Healthcheck": CHECK}


def need_tools():
    need_containers()
    for tool in ("skopeo", "umoci"):
        if not shutil.which(tool):
            raise unittest.SkipTest(f"{tool} is not installed; tests/run.sh installs it")


class Images(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need_tools()
        cls.base = ib.layer_of(rootfs("busybox"))

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-images-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.kw = Keepwell(start=False)
        self.addCleanup(self.kw.close)

    # ---- helpers

    def archive(self, *layers, name="image.tar", config=CONFIG, **more):
        path = self.dir / name
        return path, ib.docker_archive(path, layers or [self.base], config, arch=more.pop("arch", ARCH), **more)

    def image(self, *words, **kwargs):
        return self.kw.run(*words, "--data-dir", self.kw.data_dir, "--run-dir", self.kw.run_dir, **kwargs)

    def load(self, path, *options):
        done = self.image("image", "load", path, *options)
        self.assertEqual(done.code, 0, done)
        return done

    def listed(self):
        done = self.image("images", "--no-trunc", "--format", "json")
        self.assertEqual(done.code, 0, done)
        return [json.loads(line) for line in done.out.splitlines()]

    def store(self):
        """What is in the store besides what belongs to no image."""
        path = self.kw.data_dir / "images"
        return sorted(p.name for p in path.iterdir() if p.name != "lock" and not p.name.startswith("names.json")) \
            if path.exists() else []

    def root(self, image_id):
        return self.kw.data_dir / "images" / image_id[7:] / "rootfs"

    def service(self, source, **more):
        own = {"image": str(source), **more.pop("x-keepwell", {})}
        return {"image": "test:1", "stop_grace_period": "1s", "x-keepwell": own, **more}

    # ---- loading and listing

    def test_an_archive_of_docker_save_keeps_its_id_names_and_healthcheck(self):
        path, image_id = self.archive(tags=["test:1", "quay.io/me/test:2"])
        done = self.load(path)
        self.assertIn("Loaded image: docker.io/library/test:1", done.out)
        self.assertIn("Loaded image: quay.io/me/test:2", done.out)
        self.assertRegex(done.err, r"test:1: fetching\n.*test:1: checking\n.*test:1: unpacking.*\n.*test:1: ready")
        self.assertEqual({(row["Repository"], row["Tag"], row["ID"]) for row in self.listed()},
                         {("test", "1", image_id), ("quay.io/me/test", "2", image_id)})
        table = self.image("images").out.splitlines()
        self.assertRegex(table[0], r"^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE$")
        self.assertRegex(table[1], rf"^\S+ +\S+ +{image_id[7:19]} +2 years ago +[\d.]+[kM]B$")
        self.assertEqual(self.store(), [image_id[7:]])
        kept = json.loads((self.kw.data_dir / "images" / image_id[7:] / "config.json").read_text())
        self.assertEqual(kept["config"]["Healthcheck"], CHECK)
        # A second time nothing is fetched.
        self.assertNotIn("fetching", self.load(path).err)
        packed = self.dir / "image.tar.gz"
        packed.write_bytes(gzip.compress(path.read_bytes(), 1))
        self.assertIn("Loaded image: quay.io/me/test:2", self.load(packed).out)
        self.assertEqual(self.store(), [image_id[7:]])

    def test_layers_are_applied_in_their_order(self):
        _, image_id = path_and_id = self.archive(
            ib.layer(("a", DIR, None), ("a/one", FILE, b"1"), ("a/two", FILE, b"2", {"uid": 7, "gid": 8, "mode": 0o4755}),
                     ("b", DIR, None), ("b/old", FILE, b"x"), ("lib", LINK, "usr/lib"), ("usr", DIR, None),
                     ("usr/lib", DIR, None), ("abs", LINK, "/a/one"), ("dev", DIR, None), ("dev/null", DEVICE, None)),
            ib.layer(("a/.wh.one", FILE, b""), ("b/.wh..wh..opq", FILE, b""), ("b/new", FILE, b"y"),
                     ("lib/x", FILE, b"through the link"), ("same", HARD, "a/two")))
        self.load(path_and_id[0])
        root = self.root(image_id)
        self.assertEqual(sorted(str(p.relative_to(root)) for p in root.rglob("*")),
                         ["a", "a/two", "abs", "b", "b/new", "dev", "lib", "same", "usr", "usr/lib", "usr/lib/x"])
        two = (root / "a/two").stat()
        self.assertEqual((two.st_uid, two.st_gid, two.st_mode & 0o7777, two.st_nlink), (7, 8, 0o4755, 2))
        self.assertEqual(os.readlink(root / "abs"), "/a/one")

    def test_oci_layouts_and_archives(self):
        layout = self.dir / "layout"
        image_id = ib.oci_layout(layout, [self.base], CONFIG, "quay.io/me/app:3", ARCH)
        self.assertIn("Loaded image: quay.io/me/app:3", self.load(layout).out)
        archive = self.dir / "oci.tar"
        with tarfile.open(archive, "w") as tar:
            for path in sorted(layout.iterdir()):
                tar.add(path, path.name)
        self.assertIn("Loaded image: docker.io/library/other:latest", self.load(archive, "--name", "other").out)
        self.assertEqual({row["ID"] for row in self.listed()}, {image_id})
        self.assertEqual({row["Repository"] for row in self.listed()}, {"quay.io/me/app", "other"})
        plain = self.dir / "plain"
        subprocess.run(["skopeo", "copy", "-q", f"oci:{layout}", f"dir:{plain}"], check=True)
        self.load(plain)
        self.load(f"oci:{layout}")
        self.assertEqual(self.store(), [image_id[7:]])

    def test_an_image_without_a_name_is_known_by_its_id(self):
        path, image_id = self.archive(tags=[])
        self.assertIn(f"Loaded image ID: {image_id}", self.load(path).out)
        self.assertEqual(self.listed()[0]["Repository"], "<none>")
        self.assertEqual(self.image("images", "-q").out, image_id[7:19] + "\n")
        done = self.image("image", "prune")
        self.assertIn(f"Deleted: {image_id}", done.out)
        self.assertRegex(done.out, r"Total reclaimed space: [\d.]+[kM]B")
        self.assertEqual(self.store(), [])

    # ---- running

    def test_one_run_brings_the_image_and_its_settings(self):
        path, image_id = self.archive()
        self.kw.write({"services": {"web": self.service(f"docker-archive:{path}", labels={"also": "file"},
                                                        healthcheck={"timeout": "3s"})}})
        self.kw.start()
        self.kw.wait_health("web", "healthy")
        seen = self.kw.inspect("web")
        config = seen["Config"]
        self.assertEqual(seen["Image"], image_id)
        self.assertEqual(config["Image"], "test:1")
        self.assertEqual(config["Entrypoint"] + config["Cmd"], CONFIG["Entrypoint"] + CONFIG["Cmd"])
        for key in ("User", "WorkingDir", "StopSignal", "Volumes", "ExposedPorts"):
            self.assertEqual(config[key], CONFIG[key], key)
        self.assertEqual(config["Labels"] | {"from": "image", "also": "file"}, config["Labels"])
        self.assertEqual(config["Healthcheck"] | {"Test": CHECK["Test"], "Interval": CHECK["Interval"],
                                                  "Timeout": 3 * SECOND, "Retries": 2, "StartPeriod": SECOND},
                         config["Healthcheck"])
        done = self.kw.run("exec", "web", "sh", "-c", "id -u; pwd; echo $WHO")
        self.assertEqual(done.out.split(), ["1000", "/home", "image"], done)
        # The API, as docker images and docker inspect ask it.
        status, images = self.kw.api("GET", "/v1.43/images/json")
        self.assertEqual((status, images[0]["Id"], images[0]["RepoTags"]), (200, image_id, ["test:1"]))
        status, one = self.kw.api("GET", "/images/test:1/json")
        self.assertEqual((status, one["Config"]["Healthcheck"]), (200, CHECK))
        self.assertEqual(self.kw.api("GET", "/images/absent/json")[0], 404)
        for ancestor, count in (("test:1", 1), ("docker.io/library/test:1", 1), (image_id, 1), (image_id[7:19], 1),
                                ("test", 0), ("other", 0)):
            filters = json.dumps({"ancestor": [ancestor]}).replace('"', "%22").replace(" ", "")
            self.assertEqual(len(self.kw.api("GET", f"/containers/json?filters={filters}")[1]), count, ancestor)
        # A dead agent's successor has no skopeo to ask.
        os.kill(self.kw.agent_pid(), signal.SIGKILL)
        wait_until("a new agent answers", lambda: self.kw.run("ps").code == 0)
        self.kw.wait_health("web", "healthy")
        self.assertEqual(self.kw.inspect("web")["Image"], image_id)

    def test_the_layer_is_kept_over_a_restart_and_new_after_a_recreate(self):
        path, image_id = self.archive(config={"Cmd": ["sh", "-c", "echo run >> /mark; exec sleep 1000"]})
        source = f"docker-archive:{path}"
        self.kw.write({"services": {"a": self.service(source), "b": self.service(source)}})
        self.kw.start()

        def marks(name):
            return self.kw.run("exec", name, "cat", "/mark").out.count("run")
        for name in "ab":
            wait_until("it runs", lambda n=name: marks(n) == 1)
        self.kw.ok("restart", "-t", "0", "a")
        wait_until("a ran twice", lambda: marks("a") == 2)
        self.assertEqual(marks("b"), 1)
        self.kw.write({"services": {"a": self.service(source, environment={"NEW": "1"}), "b": self.service(source)}})
        self.assertIn("a: recreate", self.kw.ok("reload"))
        wait_until("a is new", lambda: marks("a") == 1)
        self.assertFalse((self.root(image_id) / "mark").exists())

    def test_read_only_has_no_layer(self):
        path, _ = self.archive(config={"Cmd": ["sh", "-c", "exec sleep 1000"]})
        self.kw.write({"services": {"web": self.service(f"docker-archive:{path}", read_only=True)}})
        self.kw.start()
        self.kw.wait_state("web", "running")
        done = self.kw.run("exec", "web", "sh", "-c", "echo x > /etc/x")
        self.assertIn("Read-only file system", done.err + done.out)
        container = self.kw.data_dir / "containers" / self.kw.inspect("web")["Id"]
        self.assertFalse((container / "upper").exists(), list(container.rglob("*"))[:9])

    def test_a_changed_archive_is_a_new_container_with_reload(self):
        path, first = self.archive(config={"Cmd": ["sleep", "1000"], "Labels": {"n": "1"}})
        compose = {"services": {"web": self.service(f"docker-archive:{path}")}}
        self.kw.write(compose)
        self.kw.start()
        self.kw.wait_state("web", "running")
        self.assertEqual(self.kw.ok("reload"), "nothing to do\n")
        _, second = self.archive(config={"Cmd": ["sleep", "1000"], "Labels": {"n": "2"}})
        self.assertRegex(self.kw.ok("reload"), "web: recreate .*image_id")
        wait_until("the new image runs", lambda: self.kw.inspect("web")["Image"] == second)
        # The first is nobody's now; the second is used.
        self.kw.wait_state("web", "running")
        refused = self.image("image", "rm", "test:1")
        self.assertEqual(refused.code, 1, refused)
        self.assertIn("a service uses it", refused.err)
        wait_until("the first is let go", lambda: first not in self.kw.run("images", "-q").out and
                   f"Deleted: {first}" in self.image("image", "prune").out)
        self.assertEqual(self.store(), [second[7:]])
        # Without its archive it goes on with what is here.
        path.unlink()
        done = self.kw.run("reload")
        self.assertEqual((done.code, done.out), (0, "nothing to do\n"), done)
        self.assertIn("the image that is here is used", done.err)
        # SIGHUP reads the file again without fetching anything.
        compose["services"]["more"] = {"image": "absent:1", "command": ["x"]}
        self.kw.write(compose)
        self.kw.process.send_signal(signal.SIGHUP)
        wait_until("the reload is refused", lambda: "image absent:1 is not here" in self.kw.log_text())
        self.assertEqual(self.kw.stop(), 0)
        done = self.image("image", "rm", "test:1")
        self.assertEqual(done.code, 1, "the stopped container is still the file's")

    def test_pull_policy_never_and_check(self):
        self.kw.write({"services": {"web": {"image": "absent:1", "pull_policy": "never"}}})
        done = self.kw.run("run", "-f", self.kw.file, "--run-dir", self.kw.run_dir, "--data-dir", self.kw.data_dir)
        self.assertEqual(done.code, 1, done)
        self.assertRegex(done.err, r"compose.yaml:\d+:\d+: error: image absent:1 is not here, and pull_policy is never; "
                                   "bring it with: keepwell image load")
        done = self.kw.run("check", "-f", self.kw.file)
        self.assertEqual(done.code, 0, done)
        self.assertIn("image absent:1 is not here yet", done.err)

    def test_a_dependency_on_health_that_only_the_image_has(self):
        path, _ = self.archive(config={"Cmd": ["sleep", "1000"]})
        self.kw.write({"services": {
            "db": self.service(f"docker-archive:{path}"),
            "app": self.service(f"docker-archive:{path}", depends_on={"db": {"condition": "service_healthy"}})}})
        done = self.kw.run("run", "-f", self.kw.file, "--run-dir", self.kw.run_dir, "--data-dir", self.kw.data_dir)
        self.assertEqual(done.code, 2, done)
        self.assertIn("which has no healthcheck, nor has its image", done.err)

    # ---- what is wrong with an image

    def refused(self, path, why, *options):
        """Loading PATH fails with a reason, and leaves the store as it was, which was empty."""
        outside = self.dir / "outside"
        outside.mkdir(exist_ok=True)
        before = sorted(p.name for p in self.dir.rglob("*")) + sorted(os.listdir(self.kw.data_dir.parent))
        done = self.image("image", "load", path, *options)
        self.assertEqual(done.code, 1, done)
        self.assertRegex(done.err.splitlines()[-1], rf"^keepwell: cannot load .*{why}", done)
        self.assertEqual(self.store(), [])
        self.assertEqual(self.listed(), [])
        after = sorted(p.name for p in self.dir.rglob("*")) + sorted(os.listdir(self.kw.data_dir.parent))
        self.assertEqual([n for n in after if n != "data"], [n for n in before if n != "data"])

    def test_hostile_layers(self):
        outside = self.dir / "outside"
        cases = {
            "the name \"\\.\\./evil\" leads out": [("../evil", FILE, b"x")],
            "the name \"a/\\.\\./\\.\\./evil\" leads out": [("a/../../evil", FILE, b"x")],
            "the hard link \"h\" to \"\\.\\./\\.\\./etc/passwd\" leads out": [("h", HARD, "../../etc/passwd")],
            "the hard link \"h\" to \"/etc/passwd\" leads out": [("h", HARD, "/etc/passwd")],
            "the link \"d/l\" to \"\\.\\./\\.\\./etc\" leads out": [("d", DIR, None), ("d/l", LINK, "../../etc")],
            "it has a device node, \"tmp/null\"": [("tmp", DIR, None), ("tmp/null", DEVICE, None)],
            "the whiteout \"\\.wh\\.\\.\\.\" hides no file": [(".wh...", FILE, b"")],
            "the whiteout \"a/\\.wh\\.\" hides no file": [("a", DIR, None), ("a/.wh.", FILE, b"")],
            "is of an unknown kind": [("x", b"Z", None)],
        }
        for number, (why, entries) in enumerate(cases.items()):
            with self.subTest(why):
                path, _ = self.archive(self.base, ib.layer(*entries), name=f"{number}.tar")
                self.refused(path, f"layer 2 of 2: .*{why}")
        # Through a link that leads out, what is written stays inside.
        path, image_id = self.archive(ib.layer(("x", LINK, str(outside)), ("x/file", FILE, b"evil")), name="link.tar")
        self.load(path)
        self.assertFalse(list(outside.iterdir()))
        self.assertEqual((self.root(image_id) / str(outside)[1:] / "file").read_bytes(), b"evil")

    def test_sizes(self):
        path, _ = self.archive(ib.sparse_layer("huge", 100 << 30), name="sparse.tar")
        self.refused(path, r"layer 1 of 1: with \"huge\" \(100g\) it is larger than 20g")
        # 64 MB of zeros, packed small: more than is allowed while it is fetched.
        layout = self.dir / "bomb"
        ib.oci_layout(layout, [ib.layer(("zeros", FILE, bytes(64 << 20)))], CONFIG, arch=ARCH)
        self.refused(layout, "it is larger than 16m, which", "--max-size", "16m")
        # Each layer fits, all of them do not.
        parts = [ib.layer((f"part{i}", FILE, bytes(6 << 20))) for i in range(4)]
        path, _ = self.archive(*parts, name="parts.tar")
        self.refused(path, "it is larger than 16m", "--max-size", "16m")

    def test_bad_archives(self):
        path, _ = self.archive()
        whole = path.read_bytes()
        other = {"x86_64": "arm64"}.get(platform.machine(), "amd64")
        foreign, _ = self.archive(name="foreign.tar", arch=other)
        self.refused(self.dir / "absent.tar", ".*absent.tar")
        self.refused(foreign, f"it is for linux/{other}, and this machine is linux/{ARCH}")
        for name, data in {"empty.tar": b"", "text.tar": b"no archive at all\n" * 99, "cut.tar": whole[:len(whole) // 2],
                           "head.tar": whole[:700], "zeros.tar": bytes(20480)}.items():
            with self.subTest(name):
                (self.dir / name).write_bytes(data)
                self.refused(self.dir / name, "it is neither an archive of docker save")
        # A layer that is not what the config says: a bit fell over.
        at = whole.index(b"root:x:0:0") + 3
        (self.dir / "flipped.tar").write_bytes(whole[:at] + b"y" + whole[at + 1:])
        self.refused(self.dir / "flipped.tar", "")
        bad, _ = self.archive(name="config.tar", config={"Cmd": "no list"})
        self.refused(bad, "cannot use the image's config: Cmd is no list|.*cannot unmarshal")
        cut = ib.layer(("file", FILE, b"x" * 5000))[:4000]
        path, _ = self.archive(cut, name="cutlayer.tar")
        self.refused(path, "layer 1 of 1: cannot read the archive: it is cut off")
        os.mkfifo(self.dir / "fifo")
        self.refused(self.dir / "fifo", "it is neither a file nor a directory")
        self.refused(self.dir / "outside", "neither an index.json")

    def test_a_full_disk(self):
        self.kw.data_dir.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=711", "tmpfs", self.kw.data_dir], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.kw.data_dir], check=False, capture_output=True)
        path, _ = self.archive(ib.layer(("big", FILE, os.urandom(16 << 20))))
        self.refused(path, ".*(no space left|short write)")
        path, _ = self.archive(ib.layer(("big", FILE, os.urandom(8 << 20))), name="half.tar")
        self.refused(path, "unpacked it needs .* has only .* left")
        path, image_id = self.archive(ib.layer(("small", FILE, os.urandom(1 << 20))), name="small.tar")
        self.load(path)
        self.assertEqual(self.store(), [image_id[7:]])

    # ---- cut short, and at the same time

    def test_a_load_that_is_killed_leaves_nothing_that_is_used(self):
        path, image_id = self.archive(ib.layer(("big", FILE, os.urandom(64 << 20))))
        for moment in ("fetching", "unpacking"):
            with self.subTest(moment):
                log = open(self.dir / "log", "w+")
                self.addCleanup(log.close)
                load = self.kw.popen("image", "load", path, "--data-dir", self.kw.data_dir, stderr=log, stdout=log)
                wait_until(moment, lambda: moment in (self.dir / "log").read_text(), every=0.005)
                tools = {pid: start_ticks(pid) for pid in children_of(load.pid)}
                load.kill()
                load.wait()
                wait_until("its tools are gone", lambda: all(start_ticks(pid) != ticks or ticks is None
                                                             for pid, ticks in tools.items()))
                self.assertEqual(self.listed(), [])
                self.assertTrue(all(name.startswith("tmp.") for name in self.store()), self.store())
        self.load(path)
        self.assertEqual(self.store(), [image_id[7:]])

    def test_several_loads_at_once(self):
        path, first = self.archive(ib.layer(("a", FILE, os.urandom(8 << 20))))
        more, second = self.archive(ib.layer(("b", FILE, b"b")), name="more.tar", tags=["more:1"])
        loads = [self.kw.popen("image", "load", one, "--data-dir", self.kw.data_dir, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True) for one in (path, path, more, path)]
        for load in loads:
            out, err = load.communicate(timeout=60 * PATIENCE)
            self.assertEqual(load.returncode, 0, err)
            self.assertIn("Loaded image: ", out)
        self.assertEqual(self.store(), sorted([first[7:], second[7:]]))
        self.assertEqual(len(self.listed()), 2)

    def test_rm(self):
        path, image_id = self.archive(tags=["test:1", "test:2"])
        self.load(path)
        self.assertEqual(self.image("image", "rm", "test:1").out, "Untagged: docker.io/library/test:1\n")
        self.assertEqual(self.store(), [image_id[7:]])
        self.assertEqual(self.image("image", "prune").out, "Total reclaimed space: 0B\n")
        done = self.image("image", "rm", "test:2", "absent")
        self.assertEqual(done.code, 1)
        self.assertEqual(done.out, f"Untagged: docker.io/library/test:2\nDeleted: {image_id}\n")
        self.assertIn("No such image: absent", done.err)
        self.assertEqual((self.store(), self.listed()), ([], []))
        self.load(path)
        self.assertIn("Deleted:", self.image("image", "rm", image_id[7:19]).out)
        self.load(path)
        self.assertIn("Deleted:", self.image("image", "prune", "--all").out)
        self.assertEqual(self.store(), [])


if __name__ == "__main__":
    main()
