#!/usr/bin/env python3
"""keepwell upgrade: keeper, agent and logger are replaced by other programs while services run; nothing is lost.

    tests/e2e/test_upgrade.py [--times N]     8, or the issue's 50"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import unittest

import chaos_load
import keepwell_e2e as e2e

OPTIONS = argparse.Namespace(times=8)
PROGRAMS = ("keepwell", "keepwell-keeper", "keepwell-logger", "keepwell-enter")


def program_of(pid):
    return os.path.dirname(os.readlink(f"/proc/{pid}/exe"))


class Upgrade(unittest.TestCase):
    def upgrade(self, kw, place):
        done = subprocess.run([place / "keepwell", "upgrade"], capture_output=True, text=True, env=kw.env, cwd=kw.dir,
                              timeout=60 * e2e.PATIENCE, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_again_and_again(self):
        load = {
            "writes": e2e.process(chaos_load.WRITER.replace('"$D/pipe"', "pipe-writes"), restart="always",
                                  healthcheck={"test": "exit 0", "interval": "500ms", "retries": 1}),
            "ends": e2e.process("sleep 0.9; exit 7", restart="always",
                                **{"x-keepwell": {"restart": {"delay": "100ms", "max_delay": "100ms"}}}),
            "off": e2e.process("exec sleep 1000", restart="always"),
        }
        with e2e.Keepwell(start=False) as kw:
            shell = e2e.rootfs("busybox") + "/bin/busybox"
            load["writes"]["command"] = [shell, "sh", "-c", load["writes"]["command"][-1]]
            load["writes"]["working_dir"] = str(kw.dir)
            places = [kw.dir / "one", kw.dir / "two"]
            for place in places:
                place.mkdir()
                for program in PROGRAMS:
                    shutil.copy2(e2e.BIN / program, place)
            kw.bin = places[0]
            kw.write({"services": load})
            kw.start()
            kw.wait_health("writes", "healthy")
            kw.wait_state("off", "running")
            kw.ok("stop", "off")
            before, keeper = kw.inspect("writes"), kw.keeper_pid()
            events = chaos_load.Events(kw.run_dir / "keepwell.sock")
            events.start()
            descriptors = len(os.listdir(f"/proc/{keeper}/fd"))
            began, probes = time.monotonic(), self.probes(kw)
            took = []
            for i in range(OPTIONS.times):
                place = places[(i + 1) % 2]
                start = time.monotonic()
                code, text = self.upgrade(kw, place)
                took.append(time.monotonic() - start)
                self.assertEqual(code, 0, text)
                self.assertIn("upgraded", text)
                self.assertEqual(kw.keeper_pid(), keeper)
                self.assertEqual(program_of(keeper), str(place))
                self.assertEqual(program_of(kw.agent_pid()), str(place))
                e2e.wait_until("the logger of that version", lambda p=place: kw.logger_pid() and program_of(kw.logger_pid()) == str(p))
                self.assertEqual(kw.pid("writes"), before["State"]["Pid"])
                time.sleep(0.2)
            took.sort()
            elapsed = time.monotonic() - began
            print(f"{len(took)} upgrades: {took[len(took) // 2] * 1000:.0f} ms (p50), {took[-1] * 1000:.0f} ms at most",
                  file=sys.stderr)
            # Each may cost the probe that was running, and an interval.
            self.assertGreaterEqual(self.probes(kw) - probes, elapsed / 0.5 - 2 * OPTIONS.times - 2)
            e2e.wait_until("descriptors are as before", lambda: len(os.listdir(f"/proc/{keeper}/fd")) <= descriptors)
            events.end()
            now = kw.inspect("writes")
            self.assertEqual((now["State"]["Pid"], now["RestartCount"], now["State"]["Health"]["Status"]),
                             (before["State"]["Pid"], 0, "healthy"))
            self.assertEqual([e["Action"] for e in events.of("writes") if not e["Action"].startswith("exec_")],
                             ["create", "start", "health_status: healthy"])
            ends = [e for e in events.of("ends") if e["Action"] in ("start", "die")]
            self.assertEqual([e["Action"] for e in ends], (["start", "die"] * len(ends))[:len(ends)])
            self.assertEqual({e["Actor"]["Attributes"]["exitCode"] for e in ends if e["Action"] == "die"}, {"7"})
            self.assertEqual(kw.state("off")["Status"], "exited")
            logs = kw.run("logs", "writes")
            self.assertEqual((chaos_load.check_numbers(logs.out, "o"), chaos_load.check_numbers(logs.err, "e")), ("", ""))
            self.assertEqual(kw.stop(), 0)

    def probes(self, kw):
        return sum(v for k, v in kw.metrics().items() if k.startswith("keepwell_probes_total{") and 'service="writes"' in k)

    def test_what_is_no_keepwell_changes_nothing(self):
        with e2e.Keepwell({"services": {"web": e2e.process("exec sleep 1000")}}) as kw:
            kw.wait_state("web", "running")
            pids = kw.keeper_pid(), kw.agent_pid(), kw.pid("web")
            order = {name: str(e2e.BIN / f"keepwell-{name}") for name in ("keeper", "logger", "enter")}
            order["agent"] = str(e2e.BIN / "keepwell")
            writable = kw.dir / "keepwell-keeper"
            shutil.copy2(e2e.BIN / "keepwell-keeper", writable)
            writable.chmod(0o777)
            for change, words in (({"keeper": "/bin/false"}, "cannot upgrade"), ({"keeper": str(writable)}, "others can change it"),
                                  ({"keeper": "keepwell-keeper"}, "no full path"), ({"agent": "/nowhere"}, "cannot run /nowhere"),
                                  ({"logger": None}, "no path of logger")):
                status, answer = kw.api("POST", "/keepwell/upgrade", {**order, **change})
                self.assertGreaterEqual(status, 400)
                self.assertIn(words, json.dumps(answer))
            self.assertEqual((kw.keeper_pid(), kw.agent_pid(), kw.pid("web")), pids)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=OPTIONS.times)
    OPTIONS, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    e2e.main()
