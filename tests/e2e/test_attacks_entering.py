#!/usr/bin/env python3
"""Attacks on the road into a container, on the real programs with real containers. The table of
security-reliability.md, section 2, row by row, and where each is tried:

  ptrace and descriptors of a joining process   enter_attack_test.cc: looking into a process that is entering (A, C, E);
                                                what CAP_SYS_PTRACE sees (B)
  CLONE_VM + setns                              test_nothing_but_raw_calls_between_vfork_and_exec (strace);
                                                enter_attack_test.cc: SIGSTOP to everything that enters;
                                                test_attacks.py: test_stopping_everything_that_enters
  /proc/self/exe                                enter_container_test.cc: #!/proc/self/exe; test_attacks.py:
                                                test_probe_programs_that_are_not_what_they_say
  leaked descriptor, cwd                        enter_container_test.cc: a working directory or program reached ...;
                                                test_attacks.py: test_a_probe_sees_nothing_of_ours
  helper code loaded from the container         enter_test.cc: a small static program; the strace test here
  inheritable capabilities                      test_file_capabilities_give_nothing; test_attacks.py: CapInh, CapAmb
  /dev/null, /dev/console, /dev/ptmx            test_devices_that_are_links_to_the_host; enter_container_test.cc: a terminal
  fake procfs                                   enter_attack_test.cc: a made-up /proc, or none
  AppArmor, SELinux labels                      enter_test.cc: a security label (the label itself: a visible skip without)
  /dev links at create                          of the runtime, not ours
  user strings                                  passwd_test.cc: specs, sixty of them
  passwd as FIFO, link, huge                    enter_container_test.cc: hostile passwd files; FUSE: test_a_passwd_file_that_never_answers
  hostile PATH, argv[0]                         enter_test.cc: a hostile PATH
  output flood                                  test_attacks.py: test_floods_of_output
  output never closed, forked holders, setsid   test_attacks.py: test_leftovers_in_sessions_of_their_own (10,000 by
                                                KEEPWELL_ATTACK_ROUNDS), test_a_result_does_not_wait_...
  fork bomb                                     test_attacks.py: test_a_fork_bomb_as_probe; enter_attack_test.cc
  pid reuse                                     keeper_test.cc: a number that was used again
  container's init replaced or dying            enter_attack_test.cc: the container's init is killed while others enter
  D state, v1 FROZEN                            test_frozen_by_somebody_else
  frozen v2, paused                             test_pausing_at_random_times; enter_attack_test.cc: a frozen cgroup
  SIGSTOPped probe                              test_a_probe_that_stops_itself
  seccomp notify                                test_a_profile_that_asks_a_listener
  abstract sockets                              test_no_abstract_sockets
  labels as commands                            bundle_test.cc: labels are no orders to the runtime"""

import os
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import keepwell_e2e as e2e
from test_attacks import cgroups_of, check, last, probes, processes_in, shell, stamp

PAUSES = int(os.environ.get("KEEPWELL_ATTACK_PAUSES", "40"))
SLEEPER = "exec sleep 100000"


def setUpModule():
    e2e.need_containers()


def voided(kw, name):
    return kw.metrics()[f'keepwell_probe_voided_total{{service="{name}",check="healthcheck"}}']


def went_unhealthy(kw, name):
    return [event for event in kw.events() if event.get("Action") == "health_status: unhealthy"
            and event["Actor"]["Attributes"].get("com.docker.compose.service", event["Actor"]["Attributes"].get("name", "")) in (
                name, f"e2e-{name}-1")]


def names_of(pids):
    names = []
    for pid in pids:
        try:
            names.append(pathlib.Path(f"/proc/{pid}/comm").read_text().strip())
        except OSError:
            pass
    return names


class Entering(unittest.TestCase):
    def furnished(self, furnish):
        """A copy of the busybox root, changed by FURNISH."""
        root = pathlib.Path(tempfile.mkdtemp(prefix="kw-root-"))
        self.addCleanup(shutil.rmtree, root)
        shutil.copytree(e2e.rootfs("busybox"), root / "root", symlinks=True)
        furnish(root / "root")
        return {"rootfs": str(root / "root")}

    def test_nothing_but_raw_calls_between_vfork_and_exec(self):
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")

        def hostile(root):
            (root / "etc").mkdir(exist_ok=True)
            (root / "etc/ld.so.preload").write_text("/lib/evil.so\n")
            (root / "etc/nsswitch.conf").write_text("passwd: evil\n")
            (root / "lib").mkdir(exist_ok=True)
            (root / "lib/libnss_evil.so.2").write_bytes(b"\x7fELF evil")

        # One that a zygote enters, and one that must be entered from the host each time.
        rooted = self.furnished(hostile)
        with e2e.Keepwell({"services": {
                "web": e2e.busybox(SLEEPER, **{"x-keepwell": rooted, "healthcheck": check(["CMD", "true"], timeout="20s")}),
                "host": e2e.busybox(SLEEPER, pid="host", **{
                    "x-keepwell": rooted, "healthcheck": check(["CMD", "true"], timeout="20s")})}}) as kw:
            kw.wait_health("web", "healthy")
            kw.wait_health("host", "healthy")
            e2e.wait_until("one zygote", lambda: len(kw.zygotes()) == 1)
            trace = kw.dir / "trace"
            traced = [argument for pid in (kw.keeper_pid(), *kw.zygotes()) for argument in ("-p", str(pid))]
            tracer = subprocess.Popen(["strace", "-f", "-q", *traced, "-o", trace], stderr=subprocess.PIPE)
            try:
                done = {name: probes(kw, name) for name in ("web", "host")}
                if tracer.poll() is not None:
                    self.skipTest("strace cannot attach here: " + tracer.stderr.read().decode())
                e2e.wait_until("probes under strace", lambda: all(probes(kw, name) >= was + 5 for name, was in done.items()), 60)
            finally:
                tracer.send_signal(signal.SIGINT)
                tracer.wait(20)
                tracer.stderr.close()
            calls = {}  # pid -> [(name, arguments)]
            for line in trace.read_text().splitlines():
                match = re.match(r"(\d+)\s+(\w+)\((.*)", line)
                if match:
                    calls.setdefault(int(match[1]), []).append((match[2], match[3]))
            entered = [seen for seen in calls.values() if any(name == "execveat" for name, _ in seen)]
            self.assertGreaterEqual(len(entered), 3)
            for seen in entered:
                names = [name for name, _ in seen]
                before = set(names[:names.index("execveat")])
                self.assertLessEqual(before, {"fcntl", "dup2", "dup3", "close_range", "prlimit64", "setrlimit"})
            programs = [seen for seen in calls.values() if any(name == "execve" for name, _ in seen)]
            self.assertGreaterEqual(len(programs), 6)
            for seen in entered + programs:
                ours = [call for call in seen[:next((i for i, (name, _) in enumerate(seen) if name == "execve"), len(seen))]
                        if call[0] in ("open", "openat", "openat2")]
                for _, arguments in ours:
                    path = re.search(r'"([^"]*)"', arguments)[1]
                    self.assertIn(path, ("/proc/self/oom_score_adj", "/etc/passwd", "/etc/group"))

    def test_a_probe_that_stops_itself(self):
        with e2e.Keepwell({"services": {"stops": e2e.busybox(
                SLEEPER, healthcheck=shell("kill -STOP $$; exit 0", timeout="500ms", retries=1))}}) as kw:
            kw.wait_health("stops", "unhealthy")
            entry = last(kw, "stops")
            self.assertIn("exceeded timeout", entry["Output"])
            self.assertLess(stamp(entry["End"]) - stamp(entry["Start"]), 1.5 * e2e.PATIENCE)

    def test_frozen_by_somebody_else(self):
        services = {
            "cold": e2e.busybox(SLEEPER, healthcheck=shell("if [ -e /slow ]; then rm /slow; sleep 1000; fi", timeout="5s", retries=1)),
            "neighbour": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "true"])),
        }
        with e2e.Keepwell({"services": services}) as kw:
            kw.wait_health("cold", "healthy")
            kw.wait_health("neighbour", "healthy")
            container = kw.inspect("cold")["Id"]
            freezers = list(pathlib.Path("/sys/fs/cgroup/freezer").glob(f"keepwell-*/{container}/payload/freezer.state"))
            if not freezers:
                self.skipTest("no v1 freezer on this host")
            kw.ok("exec", "cold", "touch", "/slow")
            e2e.wait_until("a probe is under way", lambda: "sleep" in names_of(processes_in(container)))
            try:
                freezers[0].write_text("FROZEN")
                before, done = voided(kw, "cold"), probes(kw, "neighbour")
                began = time.monotonic()
                e2e.wait_until("its probe counts for nothing", lambda: voided(kw, "cold") >= before + 3, 30)
                time.sleep(2)
                self.assertLessEqual(len(processes_in(container)), 2)  # one probe: its shell, and the sleep
                self.assertGreater(probes(kw, "neighbour") - done, (time.monotonic() - began) / 0.1 * 0.3 / e2e.PATIENCE)
                self.assertEqual(kw.health("cold"), "healthy")
            finally:
                freezers[0].write_text("THAWED")
            done = probes(kw, "cold")
            e2e.wait_until("it is probed again", lambda: probes(kw, "cold") >= done + 3)
            self.assertEqual(went_unhealthy(kw, "cold"), [])
            kw.ok("pause", "cold")
            e2e.wait_until("its last probe is gone", lambda: processes_in(container) == set(), 5)
            self.assertLessEqual(len({path.rpartition("/")[2] for path in cgroups_of(container)} - {"payload"}), 2)
            e2e.wait_until("no zombie is left", lambda: not [
                pid for pid in e2e.children_of(kw.keeper_pid()) if e2e.start_ticks(pid) is None], 5)

    def test_pausing_at_random_times(self):
        chance = random.Random(4)
        with e2e.Keepwell({"services": {"web": e2e.busybox(
                SLEEPER, healthcheck=check(["CMD", "true"], interval="20ms", timeout="5s", retries=1))}}) as kw:
            kw.wait_health("web", "healthy")
            for _ in range(PAUSES):
                time.sleep(chance.random() * 0.1)
                kw.ok("pause", "web")
                time.sleep(chance.random() * 0.1)
                kw.ok("unpause", "web")
            done = probes(kw, "web")
            e2e.wait_until("it is probed again", lambda: probes(kw, "web") > done)
            self.assertEqual(went_unhealthy(kw, "web"), [])
            self.assertEqual(kw.health("web"), "healthy")

    def test_file_capabilities_give_nothing(self):
        def furnish(root):
            shutil.copy(root / "bin/busybox", root / "bin/busybox-cap")
            net_raw = 1 << 13
            # Version 2, effective; nothing permitted, CAP_NET_RAW inheritable.
            os.setxattr(root / "bin/busybox-cap", "security.capability", struct.pack("<IIIII", 0x02000001, 0, net_raw, 0, 0))

        with e2e.Keepwell({"services": {"web": e2e.busybox(SLEEPER, user="1000:1000", **{
                "x-keepwell": self.furnished(furnish),
                "healthcheck": check(["CMD", "/bin/busybox-cap", "cat", "/proc/self/status"])})}}) as kw:
            kw.wait_health("web", "healthy")
            text = last(kw, "web")["Output"]
            self.assertIn("Uid:\t1000\t1000\t1000\t1000\n", text)
            for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertIn(f"{name}:\t0000000000000000\n", text)

    def test_devices_that_are_links_to_the_host(self):
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern")
        before = pattern.read_text()
        script = ("rm -f /dev/null /dev/ptmx /dev/console; for i in null ptmx console; do "
                  "ln -s /proc/sys/kernel/core_pattern /dev/$i; done; touch /done; " + SLEEPER)
        with e2e.Keepwell({"services": {"web": e2e.busybox(script, healthcheck=shell(
                "[ -e /done ] && cat && echo said", retries=20))}}) as kw:
            kw.wait_health("web", "healthy")
            self.assertEqual(last(kw, "web")["Output"], "said\n")  # its standard input is the host's /dev/null
            self.assertEqual(kw.run("exec", "web", "echo", "hi").out, "hi\n")
            kw.ok("restart", "web")
            self.assertEqual(pattern.read_text(), before)

    def test_a_passwd_file_that_never_answers(self):
        if not pathlib.Path("/dev/fuse").exists():
            self.skipTest("this host has no FUSE")
        # Nobody reads requests from the descriptor, so every access waits until it is killed.
        script = ("exec 9<>/dev/fuse && mount -t fuse nobody /etc/passwd -o fd=9,rootmode=100000,user_id=0,group_id=0 "
                  "&& touch /ready; " + SLEEPER)
        with e2e.Keepwell({"services": {
            "fuse": e2e.busybox(script, privileged=True, **{"x-keepwell": self.furnished(lambda root: (
                root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n"))}, healthcheck=check(["CMD", "true"])),
            "neighbour": e2e.busybox(SLEEPER, healthcheck=check(["CMD", "true"])),
        }}) as kw:
            kw.wait_health("neighbour", "healthy")
            kw.wait_state("fuse", "running")
            try:
                e2e.wait_until("it is mounted", lambda: kw.run("exec", "fuse", "test", "-e", "/ready").code == 0, 10)
            except AssertionError:
                self.skipTest("FUSE cannot be mounted in a container here")
            stuck = kw.popen("exec", "-u", "alice", "fuse", "true", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                done, began = probes(kw, "neighbour"), time.monotonic()
                time.sleep(2)
                self.assertIsNone(stuck.poll())  # it waits for the file
                self.assertGreater(probes(kw, "neighbour") - done, (time.monotonic() - began) / 0.1 * 0.3 / e2e.PATIENCE)
                kw.wait_health("fuse", "healthy")  # probes have no name to look up
            finally:
                stuck.kill()
                stuck.wait(10)
            kw.ok("kill", "fuse")
            kw.wait_state("fuse", "exited")

    def test_a_profile_that_asks_a_listener(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as profile:
            profile.write('{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nonexistent",'
                          ' "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_NOTIFY"}]}')
            profile.flush()
            with e2e.Keepwell({"services": {"web": e2e.busybox(SLEEPER, security_opt=[f"seccomp:{profile.name}"])}}) as kw:
                e2e.wait_until("it is refused", lambda: kw.state("web")["Error"] != "", 30)
                self.assertRegex(kw.state("web")["Error"], "(?i)notify|seccomp agent")
                self.assertEqual(kw.pid("web"), 0)

    def test_no_abstract_sockets(self):
        with e2e.Keepwell({"services": {"web": e2e.busybox(SLEEPER, network_mode="host",
                                                           healthcheck=check(["CMD", "cat", "/proc/net/unix"]))}}) as kw:
            kw.wait_health("web", "healthy")
            kw.remember()
            ours = set()
            for pid in kw.seen:
                for entry in pathlib.Path(f"/proc/{pid}/fd").glob("*"):
                    try:
                        match = re.match(r"socket:\[(\d+)\]", os.readlink(entry))
                    except OSError:
                        continue
                    if match:
                        ours.add(match[1])
            named = [line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]]
            paths = [words[7] for words in named if len(words) > 7 and words[6] in ours]
            self.assertTrue(paths)
            self.assertEqual([path for path in paths if path.startswith("@")], [])
            mode = kw.run_dir.joinpath("keepwell.sock").stat().st_mode & 0o777
            self.assertEqual(mode & 0o007, 0)


if __name__ == "__main__":
    e2e.main()
