#!/usr/bin/env python3
"""config/systemd/keepwell.service: what systemd's own checker says of it, and how it behaves under a real systemd, booted
as the first process of namespaces of its own on an overlay of this host's file system: readiness, restart, kills of the
unit's processes; services run on."""

import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import keepwell_e2e as e2e

UNIT = e2e.ROOT / "config/systemd/keepwell.service"
UNITS = sorted(UNIT.parent.iterdir())
HIERARCHIES = ("unified", "systemd", "pids", "memory", "freezer", "cpu")

# Outside: cgroups of its own. Inside: a root whose changes vanish, nothing of the host's settings writable, and of the
# host's units only what is needed to run one service.
BOOT = r"""
set -e
W=$1; BIN=$2; NAME=$3; shift 3
for d in "$@"; do mkdir -p "$d/$NAME"; echo $$ >"$d/$NAME/cgroup.procs"; done
exec unshare -m -p -f -C -u -i bash -ec '
W=$1; BIN=$2; R=$W/root
mount --make-rprivate /
mount -t tmpfs kw-test $W; mkdir $W/u $W/w $R
mount -t overlay overlay -o lowerdir=/,upperdir=$W/u,workdir=$W/w $R
mount -t proc proc $R/proc; mount --bind $R/proc/sys $R/proc/sys; mount -o remount,bind,ro $R/proc/sys
for d in run tmp; do mount -t tmpfs kw-test $R/$d; done
mount -t sysfs -o ro sysfs $R/sys; mount -t cgroup2 cgroup2 $R/sys/fs/cgroup
mount -t tmpfs -o mode=755 kw-test $R/dev; mkdir $R/dev/pts $R/dev/shm
for n in null zero full random urandom tty; do touch $R/dev/$n; mount --bind /dev/$n $R/dev/$n; done
ln -s /proc/self/fd $R/dev/fd
mount -t devpts -o newinstance,ptmxmode=666 devpts $R/dev/pts; ln -s pts/ptmx $R/dev/ptmx
touch $R/dev/console; mount --bind "$(tty)" $R/dev/console
rm -rf $R/etc/systemd/system $R/usr/lib/systemd/system/*.wants $R/lib/systemd/system/*.wants
mkdir -p $R/etc/systemd/system $R/etc/keepwell $R/bin-kw $R/var/lib/keepwell
mount --bind $BIN $R/bin-kw
cp $W.units/* $R/etc/systemd/system/
cp $W.compose $R/etc/keepwell/compose.yaml
for n in network-online local-fs; do printf "[Unit]\nDefaultDependencies=no\n" >$R/etc/systemd/system/$n.target; done
printf "[Unit]\nDefaultDependencies=no\nRequires=keepwell.service systemd-journald.service\n" >$R/etc/systemd/system/kw-test.target
cd $R
exec env -i container=keepwell-test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot $R /lib/systemd/systemd --unit=kw-test.target
' boot "$W" "$BIN"
"""


class Verify(unittest.TestCase):
    def test_verify(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not installed (package systemd)")
        with tempfile.TemporaryDirectory(prefix="kw-systemd-") as directory:
            units = [pathlib.Path(directory) / unit.name for unit in UNITS]
            for copy, unit in zip(units, UNITS):
                copy.write_text(unit.read_text().replace("/usr/bin/keepwell", str(e2e.BIN / "keepwell")))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, [line for line in done.stderr.splitlines() if "keepwell" in line]), (0, []))

    def test_what_the_unit_promises(self):
        text = UNIT.read_text()
        for line in ("Type=notify", "NotifyAccess=all", "KillMode=process", "Restart=always"):
            self.assertIn("\n" + line + "\n", text)


class Systemd:
    """A booted systemd."""

    def __init__(self, compose):
        self.work = tempfile.mkdtemp(prefix="kw-systemd-")
        self.name = f"keepwell-test-{os.getpid()}"
        os.mkdir(self.work + ".units")
        for unit in UNITS:
            pathlib.Path(self.work + ".units", unit.name).write_text(unit.read_text().replace("/usr/bin/keepwell", "/bin-kw/keepwell"))
        pathlib.Path(self.work + ".compose").write_text(json.dumps(compose))
        self.places = [f"/sys/fs/cgroup/{h}" for h in HIERARCHIES if os.path.isdir(f"/sys/fs/cgroup/{h}")] or ["/sys/fs/cgroup"]
        self.console = bytearray()
        master, slave = pty.openpty()
        self.master = master
        self.process = subprocess.Popen(["bash", "-c", BOOT, "boot", self.work, str(e2e.BIN), self.name, *self.places],
                                        stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        try:
            while chunk := os.read(self.master, 65536):
                self.console += chunk
        except OSError:
            pass

    def init(self):
        if self.process.poll() is not None:
            raise unittest.SkipTest("systemd cannot be booted here: " + self.console.decode(errors="replace")[-400:])
        return next(iter(e2e.children_of(self.process.pid)), None)

    def run(self, *command, check=True):
        done = subprocess.run(["nsenter", "-t", str(self.init()), "-m", "-p", "-C", "-u", "-i", "-r", "-w", *command],
                              capture_output=True, text=True, timeout=60 * e2e.PATIENCE, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}\n"
                                 + self.console.decode(errors="replace")[-2000:])
        return done

    def show(self, name):
        return self.run("systemctl", "show", "-P", name, "keepwell.service").stdout.strip()

    def active(self):
        self.init()
        return self.run("systemctl", "is-active", "keepwell.service", check=False).stdout.strip() == "active"

    def state(self, service):
        done = self.run("/bin-kw/keepwell", "inspect", service, check=False)
        return json.loads(done.stdout)[0]["State"] if done.returncode == 0 else None

    def running(self, service, pid=None):
        state = self.state(service)
        return state and state["Status"] == "running" and state["Pid"] and pid in (None, state["Pid"]) and state["Pid"]

    def close(self):
        # The first process of a pid namespace takes all others along.
        for pid in e2e.children_of(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(20)
        os.close(self.master)
        for place in self.places:
            e2e.wait_until("its cgroups are empty", lambda p=place: self.removed(f"{p}/{self.name}"))
        shutil.rmtree(self.work + ".units")
        os.unlink(self.work + ".compose")
        os.rmdir(self.work)

    def removed(self, place):
        for directory, _, _ in sorted(os.walk(place), reverse=True):
            try:
                os.rmdir(directory)
            except OSError:
                return False
        return True


class Booted(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0 or not os.path.exists("/lib/systemd/systemd"):
            self.skipTest("booting systemd needs root, and systemd installed (package systemd)")
        line = "i=0; while :; do i=$$((i+1)); echo $$i; sleep 0.1; done"
        self.systemd = Systemd({"name": "sd", "services": {"web": {
            "x-keepwell": {"runtime": "process"}, "command": ["sh", "-c", line], "restart": "always",
            "stop_grace_period": "1s", "healthcheck": {"test": "exit 0", "interval": "200ms", "retries": 1}}}})
        self.addCleanup(self.systemd.close)

    def test_the_unit(self):
        sd = self.systemd
        e2e.wait_until("systemd has started keepwell", sd.active, 40)
        pid = e2e.wait_until("the service runs", lambda: sd.running("web"), 20)
        cgroup = sd.run("cat", f"/proc/{pid}/cgroup").stdout
        self.assertRegex(re.search(r"^0::(.*)$", cgroup, re.M).group(1),
                         "^/keepwell.slice/keepwell-containers.service/keepwell-[0-9a-f]+/[0-9a-f]{64}/")
        keeper = sd.run("cat", f"/proc/{sd.show('MainPID')}/cgroup").stdout
        self.assertRegex(keeper, "(?m)^0::/keepwell.slice/keepwell.service$")

        # Its main process killed: systemd starts it again, the service has not noticed.
        for victim in ("MainPID", "all"):
            main = int(sd.show("MainPID"))
            if victim == "MainPID":
                sd.run("kill", "-9", str(main))
            else:
                sd.run("systemctl", "kill", "-s", "SIGKILL", "--kill-whom=all", "keepwell.service")
            e2e.wait_until("another keeper", lambda old=main: sd.active() and int(sd.show("MainPID")) not in (0, old), 20)
            e2e.wait_until("the same process", lambda: sd.running("web", pid), 20)

        # The agent alone: not even systemd notices.
        main = sd.show("MainPID")
        agent = sd.run("pgrep", "-P", main, "-f", "keepwell agent").stdout.split()[0]
        sd.run("kill", "-9", agent)
        e2e.wait_until("the same process", lambda: sd.running("web", pid), 20)
        self.assertEqual(sd.show("MainPID"), main)

        # `systemctl reload` and an upgrade: the same process still.
        sd.run("systemctl", "daemon-reload")
        sd.run("systemctl", "reload", "keepwell.service")
        self.assertTrue(sd.running("web", pid))
        sd.run("/bin-kw/keepwell", "upgrade")
        self.assertTrue(sd.running("web", pid))
        self.assertEqual(sd.show("MainPID"), main)
        self.assertEqual(sd.show("NRestarts"), "2")
        lines = sd.run("/bin-kw/keepwell", "logs", "web").stdout.splitlines()
        self.assertEqual(lines, [str(i) for i in range(1, len(lines) + 1)])

        # A restart stops the services in order, by x-keepwell.on_exit, and starts them again.
        sd.run("systemctl", "restart", "keepwell.service")
        e2e.wait_until("a new process", lambda: sd.running("web") not in (None, 0, pid), 20)
        sd.run("systemctl", "stop", "keepwell.service")
        self.assertEqual(sd.show("Result"), "success")
        self.assertEqual(sd.run("pgrep", "-c", "keepwell", check=False).stdout.strip(), "0")
        print(f"unit: {sd.show('NRestarts')} restarts by systemd, result {sd.show('Result')}", file=sys.stderr)


if __name__ == "__main__":
    e2e.main()
