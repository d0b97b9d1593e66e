#!/usr/bin/env python3
"""keepwell for an ordinary user, whom the test makes: in a mount namespace of its own, with copies of /etc/passwd,
/etc/group, /etc/subuid and /etc/subgid, so that the machine's own files stay as they are."""

import ctypes
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

import keepwell_e2e as e2e
import net_stage

USER, UID, FIRST_SUBID = "kwtest", 64321, 3_000_000
PRIVATE = "KEEPWELL_TEST_PRIVATE_ETC"
TUN = "KEEPWELL_TEST_TUN"  # why the user gets no /dev/net/tun; empty: it does
USER_CHECK = {"interval": "200ms", "timeout": "5s", "retries": 3}


def open_tun(place):
    """A /dev/net/tun that the user may open, in this mount namespace; why not, where there is none."""
    node = place / "tun"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(10, 200))
        node.chmod(0o666)
        with open(node, "rb+", buffering=0):
            pass
    except OSError as error:
        return f"this kernel gives no /dev/net/tun: {error}"
    pathlib.Path("/dev/net").mkdir(exist_ok=True)
    if not os.path.exists("/dev/net/tun"):
        return "this machine has no /dev/net/tun to bind another over"
    done = subprocess.run(["mount", "--bind", node, "/dev/net/tun"], capture_output=True, text=True, check=False)
    return done.stderr.strip()


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
        devices = pathlib.Path(place, "dev")
        devices.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", devices], check=True)
        env = dict(os.environ, **{PRIVATE: "1", TUN: open_tun(devices)})
        done = subprocess.run([sys.executable, *sys.argv], env=env, check=False)
        for path in (*([] if env[TUN] else ["/dev/net/tun"]), devices, *(f"/etc/{name}" for name in lines)):
            subprocess.run(["umount", "-l", path], check=True)
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
    probe = subprocess.Popen([*become_user(), "unshare", "--user", "--map-root-user", "--map-auto", "--mount", "true"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        probe.wait(10)
    except subprocess.TimeoutExpired:  # in a chroot, where the kernel refuses them, it waits for a child that waits for it
        os.killpg(probe.pid, signal.SIGKILL)
        probe.wait()
    if probe.returncode != 0:
        raise unittest.SkipTest("users get no user namespaces here (unshare --user --map-auto fails)")


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-user-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        os.chown(self.dir, UID, UID)
        self.env = {"HOME": str(self.dir), "XDG_RUNTIME_DIR": str(self.dir / "run"), "USER": USER}
        (self.dir / "run").mkdir(mode=0o700)
        os.chown(self.dir / "run", UID, UID)

    def keepwell(self, services, wrap=()):
        """Run and data directory are those of the user."""
        kw = e2e.Keepwell(None, start=False, wrap=[*wrap, *become_user()], networks=True, env=self.env)
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


class UserContainers(Case):
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

    def check_nothing_left(self):
        left = [p for p in pathlib.Path("/proc").glob("[0-9]*")
                if self.owner(p) in (UID, *range(FIRST_SUBID, FIRST_SUBID + 65536)) and e2e.start_ticks(int(p.name)) is not None]
        self.assertEqual([(p / "cmdline").read_bytes() for p in left], [])

    @staticmethod
    def owner(path):
        try:
            return path.stat().st_uid
        except OSError:
            return -1


class Containers(UserContainers):
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
            self.check_nothing_left()


class Networks(UserContainers):
    """"The host" is a namespace of the test's own, "the world" another behind it."""

    def setUp(self):
        super().setUp()
        net_stage.need_networks()
        need_user_namespaces()
        self.host, self.world = self.enterContext(net_stage.HostNetwork()), self.enterContext(net_stage.HostNetwork())
        self.host.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", str(self.world.path))
        for side, name, own in ((self.host, "up0", "192.0.2.2/24"), (self.world, "up1", "192.0.2.1/24")):
            side.run("ip", "addr", "add", own, "dev", name)
            side.run("ip", "link", "set", name, "up")
            side.dir.chmod(0o755)
        self.host.run("ip", "addr", "add", "198.51.100.7/32", "dev", "lo")
        self.host.run("ip", "route", "add", "default", "via", "192.0.2.1")
        self.host.foreign_rules()
        self.before = self.host.state()

    def server(self, name, **more):
        service = self.host.service(name, **more)
        service["x-keepwell"]["rootfs"] = self.rootfs()
        return service

    def outside(self, where, name, port):
        """A server beside the containers."""
        process = subprocess.Popen([*where.wrap, "/usr/bin/python3", "-I", where.server, name, str(port)])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def forwarder(self, kw, name):
        return int((kw.run_dir / "networks" / f"{kw.inspect(name)['Id']}.ports").read_text())

    def check_served(self):
        self.host.wait_http(18080, "/", "web")
        self.host.wait_http(18080, "/", "web", address="192.0.2.2")
        self.world.wait_http(18080, "/", "web", address="192.0.2.2")
        self.host.wait_http(18081, "/", "web")
        self.assertEqual(self.world.http(18081, "/", "192.0.2.2")[0], 0)  # on the loopback alone
        for where, address in ((self.host, "127.0.0.1"), (self.host, "198.51.100.7"), (self.world, "192.0.2.2")):
            e2e.wait_until("udp is answered", lambda w=where, a=address: w.udp(18080, "ping", a) == "web heard ping")

    def test_published_ports(self):
        host = self.host
        taken = self.enterContext(host.socket())
        taken.bind(("0.0.0.0", 18090))
        taken.listen()
        kw = self.keepwell({"web": self.server("web", ports=["18080:8000", "127.0.0.1:18081:8000", "18080:8000/udp", "8000"], restart="always"),
                            "peer": self.server("peer", ports=["18100-18101:8000-8001"]),
                            "low": self.server("low", ports=["80:8000"]),
                            "taken": self.server("taken", ports=["18090:8000"])}, wrap=host.wrap)
        with kw:
            kw.start()
            self.check_served()
            host.wait_http(18100, "/", "peer")
            host.wait_http(18080, "/ask/peer:8000", "peer")  # and names
            self.assertRegex(kw.state("low")["Error"], r"cannot publish port 80/tcp: ports below 1024 are root's \(sysctl "
                             r"net\.ipv4\.ip_unprivileged_port_start\); choose a higher one, or as root: sysctl -w .*=80")
            self.assertIn("cannot publish port 18090/tcp: another program", kw.state("taken")["Error"])
            # As it is seen.
            ports = kw.inspect("web")["NetworkSettings"]["Ports"]
            self.assertEqual(ports["8000/udp"], [{"HostIp": "0.0.0.0", "HostPort": "18080"}])
            shown = [(p["HostIp"], p["HostPort"]) for p in ports["8000/tcp"]]
            self.assertEqual(shown[:2], [("0.0.0.0", "18080"), ("127.0.0.1", "18081")])
            chosen = int(shown[2][1])
            host.wait_http(chosen, "/", "web")
            self.assertIn("18080->8000/tcp", kw.ok("ps"))
            if shutil.which("docker"):
                done = subprocess.run(["docker", "-H", f"unix://{kw.run_dir}/keepwell.sock", "port", "web"], check=True, capture_output=True, text=True)
                self.assertIn("8000/tcp -> 127.0.0.1:18081", done.stdout)
                self.assertIn("8000/udp -> 0.0.0.0:18080", done.stdout)
            else:
                print("docker is not installed: its own command line was not tried")
            metrics = host.http(kw.port, "/metrics")[1]
            self.assertRegex(metrics, r'keepwell_service_network_receive_bytes_total\{[^}]*service="web"[^}]*\} [1-9]')

            # Who serves them has died: the ports stay ours, and are served again.
            first = self.forwarder(kw, "web")
            os.kill(first, signal.SIGKILL)
            self.check_served()
            again = self.forwarder(kw, "web")
            self.assertNotEqual(again, first)
            # The agent has died: nobody notices.
            agent = kw.agent_pid()
            os.kill(agent, signal.SIGKILL)
            self.check_served()
            e2e.wait_until("a new agent", lambda: kw.agent_pid() not in (None, agent) and kw.run("ps").code == 0)
            self.check_served()
            self.assertEqual(self.forwarder(kw, "web"), again)
            # Both: the new agent finds out, and takes the port again.
            agent = kw.agent_pid()
            os.kill(agent, signal.SIGKILL)
            os.kill(again, signal.SIGKILL)
            e2e.wait_until("a new agent", lambda: kw.agent_pid() not in (None, agent) and kw.run("ps").code == 0)
            self.check_served()
            # The keeper: the services and their ports go on, and the next one takes them up.
            kw.remember()
            web = kw.pid("web")
            os.kill(kw.keeper_pid(), signal.SIGKILL)
            kw.process.wait(20)
            kw.process = None
            self.check_served()
            kw.start()
            self.assertEqual(kw.pid("web"), web)
            self.check_served()

            kw.ok("restart", "web")
            self.check_served()
            self.assertEqual(kw.inspect("web")["NetworkSettings"]["Ports"], ports)
            kw.ok("stop", "web")
            for port, address in ((18080, "127.0.0.1"), (18081, "127.0.0.1"), (chosen, "192.0.2.2")):
                e2e.wait_until("the port is gone", lambda p=port, a=address: "refused" in host.http(p, "/", a)[1])
            self.assertEqual(host.http(18100, "/"), (200, "peer"))
            kw.ok("start", "web")
            self.check_served()
            taken.close()
            kw.ok("start", "taken")
            host.wait_http(18090, "/", "taken")
            # All but who serves web's ports is killed: it goes, and all is made anew.
            kw.remember()
            left = self.forwarder(kw, "web")
            for pid, ticks in kw.seen.items():
                if pid != left and e2e.start_ticks(pid) == ticks:
                    os.kill(pid, signal.SIGKILL)
            kw.process.wait(20)
            kw.process = None
            kw.start()
            self.check_served()
            self.assertNotEqual(self.forwarder(kw, "web"), left)
            self.assertIsNone(e2e.start_ticks(left))
            self.assertEqual(kw.stop(), 0)
            self.assertIn("refused", host.http(18080, "/")[1])
            self.check_nothing_left()
            self.assertEqual(host.state(), self.before)

    def test_the_way_out(self):
        """With a /dev/net/tun that the user may open."""
        if os.environ.get(TUN):
            self.skipTest(os.environ[TUN])
        if shutil.which("pasta") is None:
            self.skipTest("pasta is not installed (passt)")
        host = self.host
        self.outside(self.world, "world", 7001)
        self.outside(host, "host", 7002)
        self.outside(host, "loopback", 7001)  # at the gateway's port, where pasta would lead to without --no-map-gw
        kw = self.keepwell({"web": self.server("web", ports=["18080:8000"])}, wrap=host.wrap)
        with kw:
            kw.start()
            host.wait_http(18080, "/", "web")
            self.assertNotIn("reach each other and nothing else", kw.log_text())
            for _ in range(2):
                host.wait_http(18080, "/ask/192.0.2.1:7001", "world")
                host.wait_http(18080, "/ask/198.51.100.7:7002", "host")
                pasta = int((kw.run_dir / "networks/pasta.pid").read_text())
                os.kill(pasta, signal.SIGKILL)
                e2e.wait_until("pasta was started again", lambda p=pasta: (kw.run_dir / "networks/pasta.pid").read_text().strip() not in ("", str(p)))
            host.wait_http(18080, "/ask/192.0.2.1:7001", "world")
            self.assertIn("pasta had ended, and was started again", kw.log_text())
            # One that ended while there was no agent.
            agent, pasta = kw.agent_pid(), int((kw.run_dir / "networks/pasta.pid").read_text())
            os.kill(agent, signal.SIGKILL)
            os.kill(pasta, signal.SIGKILL)
            host.wait_http(18080, "/ask/192.0.2.1:7001", "world")
            self.assertEqual(kw.stop(), 0)
            self.check_nothing_left()
            self.assertEqual(host.state(), self.before)


if __name__ == "__main__":
    if PRIVATE not in os.environ:
        private_etc()
    e2e.main()
