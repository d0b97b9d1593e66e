"""What the end-to-end tests share: a keepwell of the test's own, with directories, socket and metrics port of
its own, and a way to wait for things with a deadline.

    with Keepwell(compose) as kw:           # YAML text or a dict (JSON is YAML)
        kw.wait_health("web", "healthy")
        kw.run("restart", "web")

Whatever a test does, leaving the block ends all that it started: SIGTERM to the keeper, then, if that did not
do, SIGKILL to the processes that were seen to belong to it (by pid and start time, never by name), then the
cgroups and mounts below its directories. A test that cannot run here raises unittest.SkipTest with the reason;
a script whose tests were all skipped exits with 77 (see main())."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("KEEPWELL_BIN", ROOT / "build/release/bin"))
ROOTFS = pathlib.Path(os.environ.get("KEEPWELL_ROOTFS", ROOT / "build/rootfs"))
# Sanitizers and busy machines are slower; deadlines are for hangs, not for speed.
PATIENCE = float(os.environ.get("KEEPWELL_PATIENCE", "1"))


def rootfs(name):
    path = ROOTFS / name
    if not (path / ".complete").exists():
        raise unittest.SkipTest(f"no root file system {path}; tests/run.sh makes it")
    return str(path)


def need_containers():
    if os.geteuid() != 0:
        raise unittest.SkipTest("containers need root")
    if not (shutil.which("runc") or shutil.which("crun")):
        raise unittest.SkipTest("neither runc nor crun is installed")


def wait_until(what, condition, seconds=20.0, every=0.05):
    """Returns the first true value of condition(); fails after the deadline, saying what was waited for."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds * PATIENCE:g} s: {what}")
        time.sleep(every)


def start_ticks(pid):
    """Field 22 of /proc/PID/stat: tells a process from a later one with its number. None: it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def children_of(pid):
    found = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        try:
            found += [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
        except OSError:
            pass
    return found


def tree_of(pid):
    """PID and everything below it, as {pid: start ticks}."""
    seen = {}
    todo = [pid]
    while todo:
        one = todo.pop()
        ticks = start_ticks(one)
        if ticks is None or one in seen:
            continue
        seen[one] = ticks
        todo += children_of(one)
    return seen


def command_of(pid):
    """The words of its command line; none of one that is gone or a zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def comm_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Done:
    """A finished command."""

    def __init__(self, process):
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr

    def __repr__(self):
        return f"exit {self.code}\nstdout: {self.out}\nstderr: {self.err}"


class Keepwell:
    # NETWORKS: services that say nothing of networks get the project's default one, as they do outside of tests. Only
    # for a test that runs in a network namespace of its own: bridges and rules are the whole machine's.
    def __init__(self, compose=None, *, start=True, env=None, args=(), metrics=True, wait=True, wrap=(), networks=False):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-e2e-"))
        self.run_dir = self.dir / "run"
        self.data_dir = self.dir / "data"
        self.file = self.dir / "compose.yaml"
        self.log_path = self.dir / "log"
        self.port = free_port()
        self.process = None
        self.log = None
        self.seen = {}
        self.args = list(args)
        self.wrap = list(wrap)  # a command that runs the one behind it, with fewer rights or limits
        self.bin = BIN
        self.networks = networks
        self.user_dirs = False  # True: they are those that keepwell chooses
        self.env = dict(os.environ, KEEPWELL_HOST=f"unix://{self.run_dir}/keepwell.sock", **(env or {}))
        if compose is not None:
            self.write(compose, metrics)
        if start and compose is not None:
            try:
                self.start(wait)
            except BaseException:
                self.close()
                raise

    def write(self, compose, metrics=True):
        if isinstance(compose, dict):
            compose = json.loads(json.dumps(compose))
            compose.setdefault("name", "e2e")
            if not self.networks:
                compose.setdefault("x-keepwell", {}).setdefault("defaults", {}).setdefault("network_mode", "none")
            if metrics:
                compose.setdefault("x-keepwell", {}).setdefault("metrics", {}).setdefault("listen", f"127.0.0.1:{self.port}")
            compose = json.dumps(compose, indent=1)
        self.file.write_text(compose)

    # ---- the programs

    def start(self, wait=True):
        """keepwell run, in the background; with WAIT until the API answers."""
        assert self.process is None
        self.log = self.log or open(self.log_path, "ab")
        self.process = subprocess.Popen(
            [*self.wrap, self.bin / "keepwell", "run", "-f", self.file, *self.place(), *self.args],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=self.env, cwd=self.dir, start_new_session=True)
        if wait:
            wait_until("the API answers", self.answers, 15)

    def place(self):
        return ["--run-dir", self.run_dir, "--data-dir", self.data_dir] if not self.user_dirs else []

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"keepwell ended with {self.process.returncode}\n{self.log_text()}")
        return (self.run_dir / "keepwell.sock").exists() and self.run("ps").code == 0

    def run(self, *args, timeout=60, input=None, text=True):
        """A command line against this keepwell, finished."""
        return Done(subprocess.run([BIN / "keepwell", *map(str, args)], capture_output=True, text=text,
                                   timeout=timeout * PATIENCE, env=self.env, cwd=self.dir,
                                   **({"stdin": subprocess.DEVNULL} if input is None else {"input": input})))

    def ok(self, *args, **kwargs):
        done = self.run(*args, **kwargs)
        if done.code != 0:
            raise AssertionError(f"keepwell {' '.join(map(str, args))}: {done}")
        return done.out

    def popen(self, *args, **kwargs):
        return subprocess.Popen([BIN / "keepwell", *map(str, args)], env=self.env, cwd=self.dir,
                                stdin=subprocess.DEVNULL, **kwargs)

    def remember(self):
        """Notes what runs now, so that it can be ended even if its parent is gone by then."""
        if self.process is not None:
            self.seen.update(tree_of(self.process.pid))

    def stop(self, sig=signal.SIGTERM, seconds=30):
        """Signals the keeper and returns its exit code."""
        self.remember()
        self.process.send_signal(sig)
        try:
            code = self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"keepwell did not end within {seconds} s\n{self.log_text()}") from None
        self.process = None
        return code

    def close(self):
        try:
            if self.process is not None:
                self.remember()
                if self.process.poll() is None:
                    self.process.terminate()
                    try:
                        self.process.wait(15 * PATIENCE)
                    except subprocess.TimeoutExpired:
                        pass
        finally:
            self.kill_all_seen()
            if self.log is not None:
                self.log.close()
            self.clean()

    def kill_all_seen(self):
        for pid, ticks in self.seen.items():
            if start_ticks(pid) == ticks:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def clean(self):
        mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{self.dir}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
        self.remove_cgroups()
        shutil.rmtree(self.dir, ignore_errors=True)

    def cgroups(self):
        """Its own cgroup (runtime/cgroup_layout.cc names it by the run directory) in every hierarchy that has it."""
        number = 2166136261
        for byte in str(self.run_dir).encode():
            number = ((number ^ byte) * 16777619) & 0xffffffff
        top = pathlib.Path("/sys/fs/cgroup")
        return [*top.glob(f"keepwell-{number:08x}"), *top.glob(f"*/keepwell-{number:08x}")]

    def remove_cgroups(self):
        """What a clean stop has removed; a killed keepwell leaves it, with whatever still runs in there."""
        for _ in range(100):
            left = self.cgroups()
            if not left:
                return
            for root in left:
                for path, _, files in os.walk(root, topdown=False):
                    try:
                        if "cgroup.kill" in files:
                            pathlib.Path(path, "cgroup.kill").write_text("1")
                        os.rmdir(path)
                    except OSError:
                        pass  # somebody is dying in there
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            sys.stderr.write(f"--- keepwell's log\n{self.log_text()[-8000:]}\n---\n")
        self.close()

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # ---- what is seen

    def keeper_pid(self):
        return self.process.pid

    def agent_pid(self):
        """The keeper's child that is the agent; None while there is none."""
        for pid in children_of(self.process.pid):
            if b"agent" in command_of(pid)[1:2] and start_ticks(pid) is not None:
                return pid
        return None

    def zygotes(self):
        """Those that serve (runtime/zygote.h): one that is still on its way in has another name, a clone another namespace."""
        def serves(pid):
            try:
                return comm_of(pid) == "keepwell-zygote" and os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
            except OSError:
                return False
        return [pid for pid in children_of(self.process.pid) if serves(pid)]

    def logger_pid(self):
        for pid in children_of(self.process.pid):
            if any(b"keepwell-logger" in word for word in command_of(pid)[:1]):
                return pid
        return None

    def inspect(self, name):
        return json.loads(self.ok("inspect", name))[0]

    def state(self, name):
        return self.inspect(name)["State"]

    def pid(self, name):
        return self.state(name)["Pid"]

    def ps(self):
        return [json.loads(line) for line in self.ok("ps", "-a", "--format", "json").splitlines()]

    def health(self, name):
        return self.state(name).get("Health", {}).get("Status", "none")

    def events(self, *args):
        """All events from the beginning."""
        out = self.ok("events", "--since", "1", "--until", f"{time.time():.9f}", "--format", "json", *args)
        return [json.loads(line) for line in out.splitlines()]

    def why(self, name, *args):
        """The chains of `keepwell why`, oldest first."""
        return [json.loads(line) for line in self.ok("why", name, "--format", "json", *args).splitlines()]

    def metrics(self, port=None):
        """{series: value}."""
        status, body = self.get("/metrics", port)
        assert status == 200, status
        return {m.group(1): float(m.group(2)) for m in re.finditer(r"^([^#\s]\S*(?:\{.*\})?) (\S+)$", body, re.M)}

    def get(self, path, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def api(self, method, path, body=None):
        """A request to the unix socket: (status, parsed body)."""
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        connection.sock.connect(str(self.run_dir / "keepwell.sock"))
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            raw = response.read()
            return response.status, json.loads(raw) if raw.strip() else None
        finally:
            connection.close()

    # ---- waiting

    def wait_state(self, name, status, seconds=20.0):
        def reached():
            state = self.state(name)
            # A container that is being started is shown as running, without a pid yet.
            return state["Status"] == status and (status != "running" or state["Pid"] != 0)
        return wait_until(f"{name} is {status}", reached, seconds)

    def wait_health(self, name, status, seconds=20.0):
        return wait_until(f"{name} is {status}", lambda: self.health(name) == status, seconds)


class Follower:
    """The lines of a running command, as they come."""

    def __init__(self, process):
        self.process, self.lines = process, []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_line(self, pattern, seconds=20.0):
        def found():
            return next((line for line in list(self.lines) if re.search(pattern, line)), None)
        return wait_until(f"a line with {pattern!r}", found, seconds)

    def end(self):
        self.process.terminate()
        self.process.wait(10)
        self.thread.join(10)
        self.process.stdout.close()
        return self.lines


def busybox(command, **more):
    """A service that runs COMMAND (a script for sh) in a busybox container."""
    keepwell = {"rootfs": rootfs("busybox"), **more.pop("x-keepwell", {})}
    return {"x-keepwell": keepwell, "command": ["sh", "-c", command.replace("$", "$$")], "stop_grace_period": "1s", **more}


def process(command, **more):
    """The same as a plain process."""
    keepwell = {"runtime": "process", **more.pop("x-keepwell", {})}
    return {"x-keepwell": keepwell, "command": ["sh", "-c", command.replace("$", "$$")], "stop_grace_period": "1s", **more}


def there(path, **more):
    """A healthcheck that passes while PATH exists."""
    return {"test": ["CMD", "test", "-e", str(path)], "interval": "300ms", "retries": 2, **more}


def main_side_by_side():
    """As main(), but without arguments that name tests each TestCase is run in a process of its own, all at once: for
    tests that mostly wait."""
    if any(not word.startswith("-") for word in sys.argv[1:]):
        return main()
    module = sys.modules["__main__"]
    cases = [name for name, what in vars(module).items()
             if isinstance(what, type) and issubclass(what, unittest.TestCase) and any(n.startswith("test") for n in dir(what))]
    runs = [subprocess.Popen([sys.executable, module.__file__, *SAME_OPTIONS, case], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True) for case in cases]
    codes = []
    for case, run in zip(cases, runs):
        out, _ = run.communicate()
        sys.stderr.write(f"=== {case}\n{out}")
        codes.append(run.returncode)
    sys.exit(1 if any(code not in (0, 77) for code in codes) else 77 if all(code == 77 for code in codes) else 0)


SAME_OPTIONS = []  # of the script itself, for main_side_by_side()


def main():
    """Runs the tests of the calling script; exit code 77 where every one of them was skipped."""
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    if result.testsRun and len(result.skipped) >= result.testsRun:
        print("skipped:", "; ".join(sorted({reason for _, reason in result.skipped})))
        sys.exit(77)
    sys.exit(0)
