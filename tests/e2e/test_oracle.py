#!/usr/bin/env python3
"""Native entering held against a runtime's own exec, field by field (tests/unit/runtime/enter_oracle_test.cc), on other
kinds of hosts than this one: cgroup v2 alone, and crun. Each runs in a mount namespace of its own in which
/sys/fs/cgroup is what such a host has there. What this host is itself is tried by unit_runtime. And the engine with
real containers where there is no v2 tree at all, with what `keepwell doctor` says of such a host."""

import os
import pathlib
import shutil
import subprocess
import unittest

import keepwell_e2e as e2e

V2 = "mount --make-rprivate / && umount -l -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"
V1 = "mount --make-rprivate / && umount -a -t cgroup2"


def setUpModule():
    e2e.need_containers()


def within(setup, command, **env):
    """COMMAND in a mount namespace changed by SETUP; None where that cannot be made."""
    if subprocess.run(["unshare", "-m", "sh", "-c", setup], capture_output=True, check=False).returncode != 0:
        return None
    return subprocess.run(["unshare", "-m", "sh", "-c", f'{setup} && exec "$@"', "sh", *map(str, command)], capture_output=True,
                          text=True, timeout=280, env=dict(os.environ, **env), check=False)


class Oracle(unittest.TestCase):
    def compare(self, runtime):
        if not shutil.which(runtime):
            self.skipTest(f"{runtime} is not installed")
        done = within(V2, [e2e.BIN / "test_runtime", "the runtime's exec and keepwell-enter*", "--durations", "no"],
                      KEEPWELL_TEST_ORACLE=runtime)
        if done is None:
            self.skipTest("no cgroup2 can be mounted here")
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])
        if "SKIPPED: these tests run in a chroot" in done.stdout:
            self.skipTest("in a chroot the runtime's own exec enters the host")
        self.assertIn("All tests passed", done.stdout)
        print(done.stdout.strip().splitlines()[-1], "against", runtime, end=" ", flush=True)

    def test_runc_on_cgroup_v2(self):
        self.compare("runc")

    def test_crun_on_cgroup_v2(self):
        self.compare("crun")


def check_probes(case, setup, why_not):
    """The engine's probes in real containers, within SETUP."""
    done = within(setup, [e2e.BIN / "engine_test"], KEEPWELL_TEST_ONLY="probes")
    if done is None:
        case.skipTest(why_not)
    case.assertEqual(done.returncode, 0, done.stdout + done.stderr)
    case.assertIn("all passed", done.stderr)


class OnlyV2(unittest.TestCase):
    """The controllers of this host may all be v1's: then this is also a v2 tree with none, as a user may be given."""

    def test_containers_are_probed(self):
        check_probes(self, V2, "no cgroup2 can be mounted here")


class WithoutV2(unittest.TestCase):
    def setUp(self):
        if not pathlib.Path("/sys/fs/cgroup/freezer").is_dir():
            self.skipTest("this host has no v1 hierarchies")

    def test_doctor_says_what_the_fallback_is(self):
        done = within(V1, [e2e.BIN / "keepwell", "doctor"])
        if done is None:
            self.skipTest("the v2 tree cannot be unmounted here")
        self.assertRegex(done.stdout, r"cgroup v1 only: .*killed by freezing and walking their cgroup")

    def test_probes_are_killed_whole_all_the_same(self):
        check_probes(self, V1, "the v2 tree cannot be unmounted here")


if __name__ == "__main__":
    e2e.main()
