#!/usr/bin/env python3
"""Services fall ill, hang, crash, are held and restarted by hand, the file is reloaded and the agent killed, as a seed
says. Afterwards every restart must be explained (`why`) and have its evidence, and the journal replayed must take the
same decisions.

    test_soak.py                        about half a minute
    KEEPWELL_SOAK=1800 test_soak.py     half an hour; KEEPWELL_SEED=N another course, KEEPWELL_SOAK_DEATHS=0 without
                                        deaths of the agent, KEEPWELL_SOAK_KEEP=DIR keeps the journal"""

import json
import os
import random
import shutil
import signal
import time
import unittest

import keepwell_e2e as e2e

SECONDS = float(os.environ.get("KEEPWELL_SOAK", "25"))
KEEP = os.environ.get("KEEPWELL_SOAK_KEEP")
DEATHS = os.environ.get("KEEPWELL_SOAK_DEATHS") != "0"
SEED = int(os.environ.get("KEEPWELL_SEED", "1"))
MAIN = "while [ ! -e {0}.die ]; do sleep 0.1; done; rm {0}.die; exit 3"
PROBE = "case $$(cat {0}) in fail) echo no; exit 7;; hang) sleep 100;; esac"


class Soak(unittest.TestCase):
    def service(self, path, i):
        keepwell = {"priority": i, "capture": {"log_lines": 10}}
        if i % 3 == 0:
            keepwell["flap"] = {"window": 10, "high": "60%", "low": "20%"}
        service = e2e.process(MAIN.format(path), restart="always", healthcheck={
            "test": ["CMD", "sh", "-c", PROBE.format(path)], "interval": f"{400 + 150 * i}ms", "timeout": "700ms",
            "retries": 1 + i % 3}, **{"x-keepwell": keepwell})
        service["x-keepwell"]["restart"] = {"delay": "200ms", "max_delay": "2s", "jitter": "50%" if i % 2 else "0%"}
        return service

    def test_everything_is_explained_and_can_be_replayed(self):
        chance = random.Random(SEED)
        kw = e2e.Keepwell(start=False)
        self.addCleanup(kw.close)
        if KEEP:
            self.addCleanup(lambda: shutil.copytree(kw.data_dir / "journal", KEEP, dirs_exist_ok=True))
        names = [f"s{i}" for i in range(6)]
        paths = {name: kw.dir / name for name in names}
        for path in paths.values():
            path.write_text("ok")
        budget = 4

        def write():
            kw.write({"x-keepwell": {"restart_budget": {"count": budget, "window": "10s"},
                                     "incidents": {"count": 10000, "max_size": "1g"},
                                     "journal": {"max_size": "64m", "max_files": 8}},
                      "services": {name: self.service(paths[name], i) for i, name in enumerate(names)}})
        write()
        kw.start()
        for name in names:
            kw.wait_health(name, "healthy", 30)
        end = time.monotonic() + SECONDS
        reloads = deaths = 0
        while time.monotonic() < end:
            name = chance.choice(names)
            what = chance.choices(["fail", "hang", "ok", "die", "restart", "hold", "reload", "kill"], [40, 20, 60, 20, 10, 10, 5, 2 * DEATHS])[0]
            if what in ("fail", "hang", "ok"):
                paths[name].write_text(what)
            elif what == "die":
                paths[name].with_suffix(".die").touch()
            elif what == "restart":
                kw.ok("restart", name)
            elif what == "reload":
                budget = chance.randint(2, 5)
                write()
                kw.ok("reload")
                reloads += 1
            elif what == "kill":
                os.kill(kw.agent_pid(), signal.SIGKILL)
                e2e.wait_until("the API answers", lambda: kw.run("ps").code == 0)
                deaths += 1
            else:
                kw.ok("hold", name, "--for", f"{chance.randint(1, 4)}s", "--reason", "soak")
            time.sleep(chance.uniform(0.2, 1.2))
        for path in paths.values():
            path.write_text("ok")
            path.with_suffix(".die").unlink(missing_ok=True)
        time.sleep(1)  # whoever was about to fall does
        e2e.wait_until("all are well again", lambda: all(self.well(kw, name) for name in names), 120, every=0.5)
        print(f"seed {SEED}: {SECONDS:g} s, {reloads} reloads, {deaths} deaths of the agent")
        self.check_why(kw, names)
        self.assertEqual(kw.stop(), 0)
        self.check_replay(kw)

    def well(self, kw, name):
        container = kw.inspect(name)
        return container["State"].get("Health", {}).get("Status") == "healthy" and not container["Keepwell"]["Incident"]

    def check_why(self, kw, names):
        bundles = {json.loads(line)["Id"] for line in kw.ok("incidents", "--format", "json").splitlines()}
        restarts, kinds = 0, set()
        for name in names:
            chains = kw.why(name, "--last", "100000")
            done = [chain for chain in chains if chain["restarted"]]
            counted = kw.metrics()
            total = sum(value for key, value in counted.items() if key.startswith("keepwell_service_restarts_total") and f'service="{name}"' in key)
            self.assertEqual(len(done), total, (name, [c["outcome"] for c in chains]))
            for chain in done:
                self.assertTrue(chain["complete"], chain)
                kinds.add(chain["outcome"])
                if chain["outcome"] != "restarted: manual":
                    self.assertIn(chain["incident"], bundles, chain)
            restarts += len(done)
        print(f"{restarts} restarts explained ({', '.join(sorted(kinds))}), {len(bundles)} bundles")
        self.assertGreater(restarts, 3)

    def check_replay(self, kw):
        # Without -f: under the files that were in force then.
        out = kw.ok("simulate", "--journal", kw.data_dir, "--quiet", timeout=300)
        verdict = out[out.index("decisions:"):]
        print(verdict.strip())
        self.assertRegex(verdict, r"recorded, \d+ simulated, the same")


if __name__ == "__main__":
    e2e.main()
