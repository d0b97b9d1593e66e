#!/usr/bin/env python3
"""keepwell for an ordinary user, whom the test makes: in a mount namespace of its own, with copies of /etc/passwd,
/etc/group, /etc/subuid and /etc/subgid, so that the machine's own files stay as they are."""

import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import keepwell_e2e as e2e

USER, UID, FIRST_SUBID = "kwtest", 64321, 3_000_000
PRIVATE = "KEEPWELL_TEST_PRIVATE_ETC"
USER_CHECK = {"interval": "200ms", "timeout": "5s", "retries": 3}


def private_etc():
    """Runs this script again where /etc knows the user."""
    if os.geteuid() != 0:
        print("skipped: making a user needs root")
        sys.exit(77)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) != 0:  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with tempfile.TemporaryDirectory(prefix="kw-etc-") as place:
        lines = {"passwd": f"{USER}:x:{UID}:{UID}::/nonexistent:/bin/sh\n", "group": f"{USER}:x:{UID}:\n",
                 "subuid": f"{USER}:{FIRST_SUBID}:65536\n", "subgid": f"{USER}:{FIRST_SUBID}:65536\n"}
        for name, line in lines.items():
            path = pathlib.Path("/etc", name)
            if not path.exists():
                path.touch()
            copy = pathlib.Path(place, name)
            copy.write_text(path.read_text() + line)
            copy.chmod(0o644)
            subprocess.run(["mount", "--bind", copy, path], check=True)
        done = subprocess.run([sys.executable, *sys.argv], env=dict(os.environ, **{PRIVATE: "1"}), check=False)
        for name in lines:
            subprocess.run(["umount", "-l", f"/etc/{name}"], check=True)
    sys.exit(done.returncode)


def setUpModule():
    # Programs where that user can reach them, wherever this clone is.
    place = pathlib.Path(tempfile.mkdtemp(prefix="kw-user-bin-", dir="/tmp"))
    unittest.addModuleCleanup(shutil.rmtree, place)
    place.chmod(0o755)
    for program in e2e.BIN.glob("keepwell*"):
        shutil.copy(program, place)
    e2e.BIN = place


def become_user():
    return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--init-groups"]


def need_user_namespaces():
    if shutil.which("newuidmap") is None:
        raise unittest.SkipTest("newuidmap is not installed (uidmap)")
    # (In a chroot, where the kernel refuses them, this unshare waits for itself.)
    done = subprocess.run(["timeout", "--signal=KILL", "10", *become_user(), "unshare", "--user", "--map-root-user", "--map-auto",
                           "--mount", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise unittest.SkipTest("users get no user namespaces here (unshare --user --map-auto fails)")


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-user-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        os.chown(self.dir, UID, UID)
        self.env = {"HOME": str(self.dir), "XDG_RUNTIME_DIR": str(self.dir / "run"), "USER": USER}
        (self.dir / "run").mkdir(mode=0o700)
        os.chown(self.dir / "run", UID, UID)

    def keepwell(self, services):
        """Run and data directory are those of the user."""
        kw = e2e.Keepwell(None, start=False, wrap=become_user(), networks=True, env=self.env)
        os.chmod(kw.dir, 0o755)
        kw.run_dir = self.dir / "run/keepwell"
        kw.data_dir = self.dir / ".local/share/keepwell"
        kw.env["KEEPWELL_HOST"] = f"unix://{kw.run_dir}/keepwell.sock"
        kw.env.pop("XDG_DATA_HOME", None)
        kw.user_dirs = True
        kw.write({"services": services})
        kw.file.chmod(0o644)
        return kw

    def as_user(self, *argv, timeout=60):
        return e2e.Done(subprocess.run([*become_user(), *map(str, argv)], env=dict(os.environ, **self.env), capture_output=True,
                                       text=True, timeout=timeout * e2e.PATIENCE, cwd=self.dir, check=False))


class Processes(Case):
    def test_the_process_runtime_in_full(self):
        check = {"test": ["CMD-SHELL", "test -e up"], **USER_CHECK}
        kw = self.keepwell({"web": e2e.process("touch up; exec sleep 1000", healthcheck=check, restart="always",
                                               working_dir=str(self.dir)),
                            "once": e2e.process("id -u; exit 3")})
        with kw:
            kw.start()
            kw.wait_health("web", "healthy")
            self.assertTrue((self.dir / "run/keepwell/keepwell.sock").exists())
            self.assertTrue((self.dir / ".local/share/keepwell").is_dir())
            e2e.wait_until("the job's exit code", lambda: kw.state("once")["ExitCode"] == 3)
            self.assertIn(str(UID), kw.ok("logs", "once"))
            # The user's own client finds it without being told where.
            listed = self.as_user(e2e.BIN / "keepwell", "ps")
            self.assertIn("web", listed.out, listed)
            self.assertEqual(self.as_user(e2e.BIN / "keepwell", "exec", "web", "id", "-u").out.strip(), str(UID))
            first = kw.pid("web")
            os.kill(kw.agent_pid(), signal.SIGKILL)
            e2e.wait_until("a new agent", lambda: kw.run("ps").code == 0 and kw.agent_pid())
            self.assertEqual(kw.pid("web"), first)
            (self.dir / "up").unlink()  # unhealthy: restarted, which makes it well
            e2e.wait_until("it was restarted", lambda: kw.pid("web") not in (0, first))
            kw.wait_health("web", "healthy")
            self.assertEqual(kw.stop(), 0)

    def test_what_is_missing_is_said_with_the_way_out(self):
        (self.dir / "compose.yaml").write_text('services: { web: { command: x, x-keepwell: { rootfs: /tmp } } }')
        script = ("mount --bind /dev/null /etc/subuid; exec setpriv --reuid=%d --regid=%d --init-groups \"$@\"" % (UID, UID))
        for word in ("run", "check"):
            done = e2e.Done(subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", str(e2e.BIN / "keepwell"), word],
                                           env=dict(os.environ, **self.env), capture_output=True, text=True, timeout=60,
                                           cwd=self.dir, check=False))
            self.assertEqual(done.code, 1, done)
            self.assertIn(f"/etc/subuid gives user {USER} no ids: as root, usermod --add-subuids", done.out + done.err)
        doctor = self.as_user(e2e.BIN / "keepwell", "doctor")
        self.assertIn("containers without root", doctor.out)
        self.assertIn("networks without root", doctor.out)


class Containers(Case):
    def rootfs(self):
        """A copy that is the user's own."""
        root = self.dir / "rootfs"
        if not root.exists():
            shutil.copytree(e2e.rootfs("busybox"), root, symlinks=True)
            (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
            for path in [root, *root.rglob("*")]:
                os.chown(path, UID, UID, follow_symlinks=False)
        return str(root)

    def service(self, command, **more):
        return {"x-keepwell": {"rootfs": self.rootfs(), **more.pop("x-keepwell", {})}, "stop_grace_period": "1s",
                "command": ["sh", "-c", command.replace("$", "$$")], **more}

    def test_containers_in_a_user_namespace(self):
        e2e.need_containers()
        need_user_namespaces()
        kw = self.keepwell({
            "web": self.service("mkdir -p /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www", user="0:0",
                                **{"x-keepwell": {"checks": {"page": {**USER_CHECK, "http": {"port": 80, "path": "/", "body": "served"}}}}},
                                healthcheck={"test": ["CMD", "test", "-e", "/www"], **USER_CHECK}),
            "peer": self.service("exec sleep 1000", user="1000:1000"),
            "lone": self.service("exec sleep 1000", network_mode="none"),
            "host": self.service("exec sleep 1000", network_mode="host")})
        with kw:
            kw.start()
            for name in ("web", "peer", "lone", "host"):
                kw.wait_state(name, "running")
            kw.wait_health("web", "healthy")
            # Root in there is the user outside, and others are of the user's range.
            self.assertEqual(pathlib.Path(f"/proc/{kw.pid('web')}").stat().st_uid, UID)
            self.assertEqual(pathlib.Path(f"/proc/{kw.pid('peer')}").stat().st_uid, FIRST_SUBID + 999)
            self.assertEqual(kw.ok("exec", "web", "id", "-u").strip(), "0")
            self.assertEqual(kw.ok("exec", "peer", "id", "-u").strip(), "1000")
            if os.path.exists("/usr/lib/podman/netavark"):
                e2e.wait_until("peer reaches web by its name", lambda: "served" in kw.run("exec", "peer", "wget", "-qO-", "http://web/").out)
            else:
                print("netavark is not installed: names were not tried")

            pids = {name: kw.pid(name) for name in ("web", "peer", "lone")}
            os.kill(kw.agent_pid(), signal.SIGKILL)
            e2e.wait_until("a new agent", lambda: kw.run("ps").code == 0 and kw.agent_pid())
            self.assertEqual({name: kw.pid(name) for name in pids}, pids)
            self.assertEqual(kw.ok("exec", "peer", "id", "-u").strip(), "1000")

            # A new keeper gets into the same namespace, and takes them up.
            kw.remember()
            os.kill(kw.keeper_pid(), signal.SIGKILL)
            kw.process.wait(20)
            kw.process = None
            kw.start()
            self.assertEqual({name: kw.pid(name) for name in pids}, pids)
            self.assertEqual(kw.ok("exec", "peer", "id", "-u").strip(), "1000")
            kw.wait_health("web", "healthy")
            kw.ok("restart", "lone")
            kw.wait_state("lone", "running")
            self.assertNotEqual(kw.pid("lone"), pids["lone"])
            self.assertEqual(kw.stop(), 0)
            self.assertFalse((kw.run_dir / "user-namespace").exists())
            left = [p for p in pathlib.Path("/proc").glob("[0-9]*")
                    if self.owner(p) in (UID, *range(FIRST_SUBID, FIRST_SUBID + 65536)) and e2e.start_ticks(int(p.name)) is not None]
            self.assertEqual([(p / "cmdline").read_bytes() for p in left], [])

    @staticmethod
    def owner(path):
        try:
            return path.stat().st_uid
        except OSError:
            return -1


if __name__ == "__main__":
    if PRIVATE not in os.environ:
        private_etc()
    e2e.main()
