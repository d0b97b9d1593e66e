"""The real docker command against a running keepwell: every command that is promised to work unchanged."""

import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
import unittest

from keepwell_e2e import Keepwell, main, need_containers, rootfs, wait_until

DOCKER = shutil.which("docker")
LOOP = ("echo hello; echo oops >&2; trap 'echo got usr1' USR1; trap 'exit 21' TERM; i=0; "
        "while true; do i=$$((i+1)); echo line $$i; sleep 0.2; done")


def compose():
    box = {"image": "bb", "stop_grace_period": "3s", "x-keepwell": {"rootfs": rootfs("busybox")}}
    return {"services": {
        "web": {**box, "command": ["sh", "-c", LOOP], "labels": {"tier": "front"}, "environment": {"GREETING": "hi"},
                "healthcheck": {"test": ["CMD", "true"], "interval": "200ms"}},
        "idle": {**box, "command": ["sleep", "1000"], "stop_grace_period": "0s"},
        "once": {**box, "command": ["sh", "-c", "echo one; echo two >&2; exit 7"]},
    }}


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, argv, env, rows=24, columns=80):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.text = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self):
        if select.select([self.master], [], [], 0.05)[0]:
            try:
                self.text += os.read(self.master, 65536).decode(errors="replace")
            except OSError:
                return

    def expect(self, text, seconds=15):
        def seen():
            self.read()
            return text in self.text
        try:
            wait_until(f"{text!r} on the terminal", seen, seconds, 0)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is: {self.text!r}") from None
        self.text = self.text.split(text, 1)[1]

    def wait(self, seconds=15):
        def ended():
            self.read()
            return self.process.poll() is not None
        wait_until("the command on the terminal ends", ended, seconds, 0)
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self.master)


class DockerCli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if DOCKER is None:
            raise unittest.SkipTest("no docker command on PATH")
        need_containers()
        cls.kw = Keepwell(compose())
        cls.env = dict(os.environ, DOCKER_HOST=f"unix://{cls.kw.run_dir}/keepwell.sock", DOCKER_CLI_HINTS="false")
        cls.kw.wait_health("web", "healthy")

    @classmethod
    def tearDownClass(cls):
        cls.kw.close()

    def docker(self, *args, input=None, seconds=30):
        stdin = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        return subprocess.run([DOCKER, *args], capture_output=True, text=True, env=self.env, timeout=seconds, **stdin)

    def ok(self, *args, **kwargs):
        done = self.docker(*args, **kwargs)
        self.assertEqual(done.returncode, 0, f"docker {args}: {done}")
        return done.stdout

    def background(self, *args, **kwargs):
        return subprocess.Popen([DOCKER, *args], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                stdin=subprocess.DEVNULL, **kwargs)

    def running(self):
        if self.kw.state("web")["Status"] != "running":
            self.kw.ok("start", "web")
        self.kw.wait_health("web", "healthy")

    def setUp(self):
        self.running()

    # ---- looking

    def test_ps(self):
        self.assertEqual(self.ok("ps", "--filter", "name=web", "--format", "{{.Names}} {{.State}}"), "e2e-web-1 running\n")
        self.assertIn("(healthy)", self.ok("ps", "--filter", "health=healthy", "--format", "{{.Status}}"))
        self.assertEqual(self.ok("ps", "-q", "--filter", "health=unhealthy"), "")
        self.assertEqual(self.ok("ps", "-a", "--filter", "status=exited", "--format", "{{.Names}}"), "e2e-once-1\n")
        self.assertEqual(self.ok("ps", "--filter", "label=tier=front", "--format", "{{.Names}}"), "e2e-web-1\n")
        self.assertEqual(self.ok("ps", "--filter", "label=com.docker.compose.service=idle", "--format", "{{.Names}}"),
                         "e2e-idle-1\n")
        bad = self.docker("ps", "--filter", "health=fine")
        self.assertEqual(bad.returncode, 1)
        self.assertIn("must be one of none, starting, healthy, unhealthy", bad.stderr)

    def test_inspect(self):
        self.assertEqual(self.ok("inspect", "-f", "{{.State.Health.Status}} {{.Name}}", "web"), "healthy /e2e-web-1\n")
        whole = json.loads(self.ok("inspect", "e2e-web-1", "idle"))
        self.assertEqual([c["Config"]["Image"] for c in whole], ["bb", "bb"])
        self.assertEqual(whole[0]["Id"], self.kw.inspect("web")["Id"])
        self.assertNotIn("Health", whole[1]["State"])
        self.assertEqual(json.loads(self.ok("inspect", whole[0]["Id"][:10]))[0]["Id"], whole[0]["Id"])
        missing = self.docker("inspect", "nosuch")
        self.assertEqual((missing.returncode, missing.stdout), (1, "[]\n"))
        self.assertIn("No such object: nosuch", missing.stderr)

    def test_version_and_info(self):
        self.assertEqual(self.ok("version", "--format", "{{.Server.APIVersion}}"), "1.50\n")
        info = json.loads(self.ok("info", "--format", "{{json .}}"))
        self.assertEqual((info["Containers"], info["OSType"]), (3, "linux"))

    def test_logs(self):
        done = self.docker("logs", "once")
        self.assertEqual((done.stdout, done.stderr), ("one\n", "two\n"))
        last = self.docker("logs", "--tail", "1", "once")  # two pipes: which came last is not said
        self.assertIn(last.stdout + last.stderr, ("one\n", "two\n"))
        self.assertEqual(len(self.ok("logs", "--tail", "5", "web").splitlines()), 5)
        self.assertRegex(self.ok("logs", "-t", "--tail", "1", "web"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")
        self.assertEqual(self.ok("logs", "--since", "2099-01-01T00:00:00Z", "web"), "")
        self.assertEqual(self.ok("logs", "--until", "2001-01-01T00:00:00Z", "web"), "")
        follow = self.background("logs", "-f", "--tail", "0", "web")
        try:
            lines = [follow.stdout.readline() for _ in range(3)]
        finally:
            follow.kill()
            follow.communicate()
        numbers = [int(line.split()[1]) for line in lines]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 3)))

    def test_events(self):
        follow = self.background("events", "--since", f"{time.time():.9f}", "--filter", "container=e2e-web-1",
                                 "--format", "{{.Action}}")
        try:
            self.ok("pause", "web")
            self.ok("unpause", "web")
            self.assertEqual([follow.stdout.readline() for _ in range(2)], ["pause\n", "unpause\n"])
        finally:
            follow.kill()
            follow.communicate()
        past = self.ok("events", "--since", "1h", "--until", "0s", "--filter", "event=health_status", "--format",
                       "{{.Action}} {{.Actor.Attributes.name}}")
        self.assertIn("health_status: healthy e2e-web-1\n", past)

    def test_stats_top_port(self):
        row = json.loads(self.ok("stats", "--no-stream", "--format", "{{json .}}", "web"))
        self.assertEqual(row["Name"], "e2e-web-1")
        self.assertGreaterEqual(int(row["PIDs"]), 1)
        self.assertEqual(len(self.ok("stats", "--no-stream", "--format", "{{.Name}}").splitlines()), 2)
        self.assertIn("sleep 1000", self.ok("top", "idle"))
        self.assertEqual(self.ok("top", "idle", "-eo", "pid,comm").split(), ["PID", "COMMAND", str(self.kw.pid("idle")), "sleep"])
        self.assertEqual(self.ok("top", "idle", "-o", "pid,cmd").split("\n")[0].split(), ["PID", "CMD"])
        self.assertIn("sleep 1000", self.ok("top", "idle", "aux"))
        self.assertEqual(self.ok("top", "idle", "-ef").split()[:8], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"])
        self.assertEqual(self.ok("top", "idle", "-aux").split()[0], "USER")
        self.assertEqual(self.docker("top", "once").returncode, 1)
        self.assertEqual(self.ok("port", "web"), "")

    # ---- acting

    def test_stop_start_wait(self):
        wait = self.background("wait", "web")
        time.sleep(0.3)
        self.assertEqual(self.ok("stop", "web"), "web\n")
        self.assertEqual(wait.communicate(timeout=10)[0], "21\n")
        self.assertEqual(self.ok("stop", "web"), "web\n")
        self.assertEqual(self.ok("wait", "web"), "21\n")
        self.assertEqual(self.docker("kill", "web").returncode, 1)
        self.assertEqual(self.docker("exec", "web", "true").returncode, 1)
        self.assertEqual(self.ok("start", "web"), "web\n")
        self.assertEqual(self.ok("start", "web"), "web\n")
        before = self.kw.pid("web")
        self.ok("restart", "-t", "1", "web")
        self.kw.wait_state("web", "running")
        self.assertNotEqual(self.kw.pid("web"), before)

    def test_kill_signals(self):
        # The log keeps what earlier runs said, test_attach's signal too.
        before = self.ok("logs", "web").count("got usr1")
        self.ok("kill", "-s", "USR1", "web")
        wait_until("the trap has run", lambda: self.ok("logs", "web").count("got usr1") == before + 1)
        bad = self.docker("kill", "-s", "NOSUCH", "web")
        self.assertEqual(bad.returncode, 1)
        self.assertIn("nvalid signal: NOSUCH", bad.stderr)

    def test_pause(self):
        self.ok("pause", "web")
        try:
            self.assertIn("(Paused)", self.ok("ps", "--filter", "name=web", "--format", "{{.Status}}"))
            self.assertIn("is paused", self.docker("exec", "web", "true").stderr)
            self.assertIn("already paused", self.docker("pause", "web").stderr)
        finally:
            self.ok("unpause", "web")
        self.assertIn("is not paused", self.docker("unpause", "web").stderr)
        self.assertEqual(self.kw.health("web"), "healthy")

    def test_attach(self):
        attached = self.background("attach", "--no-stdin", "web")
        line = attached.stdout.readline()
        self.assertTrue(line.startswith("line "), line)
        attached.send_signal(signal.SIGUSR1)  # is passed on
        wait_until("the signal arrived", lambda: attached.stdout.readline() == "got usr1\n", 10, 0)
        self.ok("stop", "web")
        attached.communicate(timeout=10)
        self.assertEqual(attached.returncode, 21)

    def test_start_attached(self):
        done = self.docker("start", "-a", "once")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "one\n", "two\n"))

    def test_what_is_done_elsewhere(self):
        for args in (["pull", "x"], ["rm", "-f", "web"], ["create", "x"], ["network", "create", "x"], ["volume", "create"],
                     ["swarm", "init"], ["rename", "web", "b"]):
            done = self.docker(*args)
            self.assertNotEqual(done.returncode, 0, args)
            self.assertIn("Compose file", done.stderr, args)

    # ---- exec

    def test_exec(self):
        done = self.docker("exec", "web", "sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "out\n", "err\n"))
        self.assertEqual(self.ok("exec", "-e", "A=b", "-w", "/tmp", "web", "sh", "-c", "echo $A $PWD $GREETING"), "b /tmp hi\n")
        self.assertEqual(self.ok("exec", "-u", "app", "web", "id", "-un"), "app\n")
        self.assertEqual(self.ok("exec", "-u", "1:2", "web", "sh", "-c", "id -u; id -g"), "1\n2\n")
        for user, text in (("nosuch", "unable to find user nosuch: no matching entries in passwd file"),
                           ("0:nosuch", "unable to find group nosuch: no matching entries in group file")):
            unknown = self.docker("exec", "-u", user, "web", "true")
            self.assertEqual(unknown.returncode, 1)
            self.assertIn(text, unknown.stderr)
        self.assertEqual(self.ok("exec", "-i", "web", "cat", input="typed"), "typed")
        for command, code in ((["nosuch"], 127), (["/nosuch"], 127), (["/etc"], 126), (["sh", "-c", "kill -9 $$"], 137)):
            self.assertEqual(self.docker("exec", "web", *command).returncode, code, command)
        full = int(self.ok("exec", "--privileged", "web", "grep", "CapBnd", "/proc/self/status").split()[1], 16)
        self.assertGreater(full, int(self.ok("exec", "web", "grep", "CapBnd", "/proc/self/status").split()[1], 16))

    def test_exec_detached(self):
        self.ok("exec", "-d", "web", "sh", "-c", "echo done > /tmp/detached")
        wait_until("the file is there", lambda: self.docker("exec", "web", "cat", "/tmp/detached").stdout == "done\n")
        self.assertNotEqual(self.docker("exec", "-d", "web", "nosuch").returncode, 0)

    def test_exec_much_data(self):
        data = "0123456789abcdef" * 65536 * 8
        self.assertEqual(self.docker("exec", "-i", "web", "cat", input=data).stdout, data)
        self.assertEqual(len(self.ok("exec", "web", "dd", "if=/dev/zero", "bs=1M", "count=20")), 20 << 20)

    def test_exec_background_child_does_not_hold_the_session(self):
        began = time.monotonic()
        self.assertEqual(self.ok("exec", "web", "sh", "-c", "sleep 30 & echo ok"), "ok\n")
        self.assertLess(time.monotonic() - began, 5)

    def test_exec_on_a_terminal(self):
        shell = Terminal([DOCKER, "exec", "-it", "web", "sh"], self.env, 30, 100)
        try:
            shell.expect("# ")
            shell.type("stty size\r")
            shell.expect("30 100")
            shell.resize(40, 120)
            os.kill(shell.process.pid, signal.SIGWINCH)
            time.sleep(0.3)
            shell.type("stty size\r")
            shell.expect("40 120")
            shell.expect("# ")
            shell.type("sleep 100\r")
            time.sleep(0.3)
            shell.type("\x03")
            shell.expect("# ")
            shell.type("echo $TERM; exit 5\r")
            shell.expect("xterm")
            self.assertEqual(shell.wait(), 5)
        finally:
            shell.close()

    def test_detach_keys(self):
        shell = Terminal([DOCKER, "exec", "-it", "web", "sh", "-c", "echo ready; exec sleep 77"], self.env)
        try:
            shell.expect("ready")
            shell.type("\x10\x11")
            shell.wait()
            self.assertIn("sleep 77", self.ok("top", "web"))
        finally:
            shell.close()
            self.docker("exec", "web", "sh", "-c", "kill -9 $(pidof sleep)")

    def test_a_client_that_vanishes_ends_its_session(self):
        client = self.background("exec", "web", "sh", "-c", "sleep 4321 & exec sleep 4321")
        wait_until("it runs", lambda: "sleep 4321" in self.ok("top", "web"))
        client.kill()
        client.communicate()
        wait_until("it is gone with what it started", lambda: "sleep 4321" not in self.ok("top", "web"))

    # ---- cp

    def test_cp(self):
        place = self.kw.dir / "cp"
        shutil.rmtree(place, ignore_errors=True)
        (place / "tree/sub").mkdir(parents=True)
        (place / "one").write_text("one\n")
        (place / "tree/sub/two").write_text("two\n")
        (place / "tree/big").write_bytes(os.urandom(3 << 20))
        (place / "tree/link").symlink_to("sub/two")
        (place / ("n" * 200)).write_text("long\n")
        self.ok("cp", str(place / "one"), "web:/srv-new")
        self.assertEqual(self.ok("exec", "web", "cat", "/srv-new"), "one\n")
        self.ok("cp", str(place / "tree"), "web:/copied")
        self.assertEqual(self.ok("exec", "web", "cat", "/copied/link"), "two\n")
        self.ok("cp", str(place / ("n" * 200)), "web:/copied/")
        self.ok("cp", "web:/copied", str(place / "back"))
        self.assertEqual((place / "back/big").read_bytes(), (place / "tree/big").read_bytes())
        self.assertEqual((place / "back/sub/two").read_text(), "two\n")
        self.assertEqual(os.readlink(place / "back/link"), "sub/two")
        self.assertEqual((place / "back" / ("n" * 200)).read_text(), "long\n")
        self.ok("cp", "web:/copied/.", str(place / "content"))
        self.assertEqual((place / "content/sub/two").read_text(), "two\n")
        self.ok("cp", "web:/srv-new", str(place / "one-back"))
        self.assertEqual((place / "one-back").read_text(), "one\n")
        self.assertNotEqual(self.docker("cp", "web:/nosuch", str(place)).returncode, 0)
        self.assertNotEqual(self.docker("cp", str(place / "one"), "web:/nosuch/dir/").returncode, 0)

    def test_cp_of_a_stopped_container(self):
        place = self.kw.dir / "cp-stopped"
        place.mkdir(exist_ok=True)
        (place / "in").write_text("brought\n")
        self.ok("cp", "once:/etc/passwd", str(place / "passwd"))
        self.assertIn("root:", (place / "passwd").read_text())
        self.ok("cp", str(place / "in"), "web:/tmp/kept")
        self.ok("stop", "web")
        self.ok("cp", "web:/tmp/kept", str(place / "out"))
        self.assertEqual((place / "out").read_text(), "brought\n")
        self.ok("cp", str(place / "in"), "web:/tmp/later")
        outside = self.kw.dir / "outside-stopped"
        outside.mkdir(exist_ok=True)
        self.ok("start", "web")
        self.assertEqual(self.ok("exec", "web", "cat", "/tmp/kept", "/tmp/later"), "brought\nbrought\n")
        # Links that it left lead nowhere else when nobody runs.
        self.ok("exec", "web", "sh", "-c", f"mkdir -p /trap2; ln -sfn {outside} /trap2/out; ln -sfn / /trap2/root")
        self.ok("stop", "web")
        self.docker("cp", str(place / "in"), "web:/trap2/out/planted")
        self.docker("cp", str(place / "in"), f"web:/trap2/root{outside}/planted")
        self.assertEqual(os.listdir(outside), [])

    def test_cp_stays_within_the_container(self):
        outside = self.kw.dir / "outside"
        outside.mkdir(exist_ok=True)
        (outside / "secret").write_text("of the host\n")
        self.ok("exec", "web", "sh", "-c", f"mkdir -p /trap; ln -sfn / /trap/root; ln -sfn {outside} /trap/out; "
                                           f"ln -sfn ../../../../../..{outside} /trap/up; mkfifo /trap/fifo; true")
        for path in (f"/trap/out/secret", f"/trap/up/secret", f"/trap/root{outside}/secret", f"/proc/1/root{outside}/secret"):
            done = self.docker("cp", f"web:{path}", str(self.kw.dir / "stolen"))
            self.assertNotEqual(done.returncode, 0, path)
        self.assertFalse((self.kw.dir / "stolen").exists())
        (self.kw.dir / "planted").write_text("x\n")
        self.docker("cp", str(self.kw.dir / "planted"), "web:/trap/out/planted")
        self.docker("cp", str(self.kw.dir / "planted"), "web:/trap/up/planted")
        self.assertEqual(os.listdir(outside), ["secret"])
        began = time.monotonic()
        self.docker("cp", "web:/trap/fifo", str(self.kw.dir / "stolen"))
        self.docker("cp", "web:/trap", str(self.kw.dir / "trap"))  # the FIFO is left out
        self.assertLess(time.monotonic() - began, 10)

    # ---- our own command line

    def test_keepwell_exec(self):
        kw = self.kw
        done = kw.run("exec", "web", "sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual((done.code, done.out, done.err), (7, "out\n", "err\n"))
        self.assertEqual(kw.ok("exec", "-i", "web", "cat", input="typed"), "typed")
        self.assertEqual(kw.ok("exec", "-e", "A=b", "-w", "/tmp", "-u", "app", "web", "sh", "-c", "echo $A $PWD; id -un"),
                         "b /tmp\napp\n")
        self.assertEqual(kw.run("exec", "web", "nosuch").code, 127)
        self.assertEqual(kw.run("exec", "web", "/etc").code, 126)
        self.assertEqual(kw.run("exec", "nosuch", "true").code, 1)
        self.assertEqual(kw.run("exec", "once", "true").code, 1)
        data = "0123456789abcdef" * 65536
        self.assertEqual(kw.ok("exec", "-i", "web", "cat", input=data), data)

    def test_keepwell_exec_on_a_terminal(self):
        from keepwell_e2e import BIN
        shell = Terminal([str(BIN / "keepwell"), "exec", "-it", "web", "sh"], self.kw.env, 30, 100)
        try:
            shell.expect("# ")
            shell.type("stty size\r")
            shell.expect("30 100")
            shell.resize(40, 120)
            os.kill(shell.process.pid, signal.SIGWINCH)
            time.sleep(0.3)
            shell.type("stty size\r")
            shell.expect("40 120")
            shell.expect("# ")
            shell.type("sleep 100\r")
            time.sleep(0.3)
            shell.type("\x03")
            shell.expect("# ")
            shell.type("exit 5\r")
            self.assertEqual(shell.wait(), 5)
        finally:
            shell.close()


if __name__ == "__main__":
    main()
