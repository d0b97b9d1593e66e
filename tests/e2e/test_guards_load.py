#!/usr/bin/env python3
"""Guards against a busy host and against too many restarts at once, each with and without.

    test_guards_load.py
    KEEPWELL_BUDGET_WINDOW=60 test_guards_load.py Budget    five restarts a minute: six minutes"""

import os
import pathlib
import subprocess
import tempfile
import time
import unittest

import keepwell_e2e as e2e


class Pressure(unittest.TestCase):
    """A CPU burner on every processor beside a service whose probe needs some of it."""

    # Of this processor's time: short enough that the probe passes alone, long enough that it times out while eight
    # burners share each processor with it.
    PROBE_SECONDS = 0.15
    TIMEOUT_SECONDS = 0.4

    @classmethod
    def setUpClass(cls):
        def loop(count):
            return f"i=0; while [ $i -lt {count} ]; do i=$((i+1)); done"

        def cpu_seconds(count):
            before = os.times().children_user
            subprocess.run(["sh", "-c", loop(count)], check=True)
            return os.times().children_user - before
        count = 50_000
        while (took := cpu_seconds(count)) < cls.PROBE_SECONDS:
            count *= 2
        cls.probe = loop(round(count * cls.PROBE_SECONDS / took)).replace("$", "$$")

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="keepwell-burn-")
        self.addCleanup(directory.cleanup)
        self.burning = pathlib.Path(directory.name) / "burning"

    def burner(self):
        """Services of their own: the kernel divides the processors among cgroups before it does among processes."""
        return e2e.process(f"while [ ! -e {self.burning} ]; do sleep 0.05; done; while :; do :; done",
                           scale=8 * os.cpu_count(), stop_signal="SIGKILL")

    def run_with(self, guard):
        if not pathlib.Path("/proc/pressure/cpu").exists():
            raise unittest.SkipTest("this kernel has no /proc/pressure")
        web = e2e.process("exec sleep 1000", restart="always", healthcheck={
            "test": ["CMD", "sh", "-c", self.probe], "interval": "500ms",
            "timeout": f"{self.TIMEOUT_SECONDS * 1000:g}ms", "retries": 2})
        kw = e2e.Keepwell({"x-keepwell": {"pressure_guard": guard}, "services": {"web": web, "burner": self.burner()}})
        self.addCleanup(kw.close)
        return kw

    def test_a_slow_probe_under_pressure_is_held_and_without_the_guard_restarts(self):
        for guard, restarts in (({"cpu": "30%", "max_hold": "10m"}, False), ("off", True)):
            kw = self.run_with(guard)
            kw.wait_health("web", "healthy")  # it passes alone
            self.burning.touch()
            if restarts:
                e2e.wait_until("it is restarted", lambda: kw.inspect("web")["RestartCount"] > 0, 40)
            else:
                # A burner may let one through: what counts is that two in a row, which would have been a restart, were held.
                def held():
                    metrics = kw.metrics()
                    return (metrics['keepwell_probe_held_total{service="web",check="healthcheck"}'] >= 5
                            and metrics['keepwell_service_restarts_suppressed_total{service="web",reason="pressure"}'] >= 1
                            and metrics['keepwell_guard_active{guard="pressure"}'] == 1
                            and metrics['keepwell_check_status{service="web",check="healthcheck",status="held"}'] == 1)
                e2e.wait_until("timeouts are held", held, 60)
                self.assertEqual(kw.inspect("web")["RestartCount"], 0)
                self.assertTrue(any("held" in step["text"] for step in kw.why("web", "--all")[-1]["steps"]))
            kw.stop()
            self.burning.unlink()

    def test_a_hung_service_is_restarted_after_max_hold(self):
        web = e2e.process("exec sleep 1000", restart="always", healthcheck={
            "test": ["CMD", "sleep", "100"], "interval": "300ms", "timeout": "500ms", "retries": 2})
        kw = e2e.Keepwell({"x-keepwell": {"pressure_guard": {"cpu": "10%", "max_hold": "4s"}},
                           "services": {"web": web, "burner": self.burner()}})
        self.addCleanup(kw.close)
        self.burning.touch()
        e2e.wait_until("it is restarted", lambda: kw.inspect("web")["RestartCount"] > 0, 60)
        held = kw.metrics()['keepwell_probe_held_total{service="web",check="healthcheck"}']
        self.assertGreaterEqual(held, 1)
        chain = kw.why("web")[-1]
        self.assertTrue(any("held" in step["text"] for step in chain["steps"]), chain)


class Budget(unittest.TestCase):
    def test_thirty_services_at_once(self):
        kw = e2e.Keepwell(start=False)
        self.addCleanup(kw.close)
        flag = kw.dir / "ok"
        flag.touch()
        services = {}
        for i in range(30):
            services[f"s{i:02d}"] = e2e.process("exec sleep 1000", restart="always", healthcheck=e2e.there(flag, retries=1),
                                                **{"x-keepwell": {"priority": i % 3, "capture": "off"}})
        # The least important is what the most important needs.
        services["s02"]["x-keepwell"]["priority"] = 10
        services["s02"]["depends_on"] = ["s09"]
        window = float(os.environ.get("KEEPWELL_BUDGET_WINDOW", "3"))
        kw.write({"x-keepwell": {"restart_budget": {"count": 5, "window": f"{window:g}s"}}, "services": services})
        kw.start()
        e2e.wait_until("all are healthy", lambda: all(s["Status"].endswith("(healthy)") for s in kw.ps()), 60)
        began = time.time()
        flag.unlink()
        e2e.wait_until("all are unhealthy", lambda: all("unhealthy" in s["Status"] or "Restart" in s["Status"] for s in kw.ps()), 20)
        kills = lambda: [e for e in kw.events() if e["Action"] == "kill" and e["Actor"]["Attributes"]["signal"] == "15"
                         and e["timeNano"] > began * 1e9]
        first = {}

        def all_killed():
            for event in kills():
                first.setdefault(event["Actor"]["Attributes"]["com.docker.compose.service"], event["timeNano"] / 1e9)
            return len(first) == 30
        e2e.wait_until("each was restarted", all_killed, 20 + 8 * window, every=0.5)
        times = sorted(event["timeNano"] / 1e9 for event in kills())
        for earlier, later in zip(times, times[5:]):
            self.assertGreaterEqual(later - earlier, window - 0.2)
        order = sorted(first, key=first.get)
        self.assertEqual(set(order[:2]), {"s09", "s02"}, order)
        self.assertLess(first["s09"], first["s02"] + 0.001)
        priorities = [int(name[1:]) % 3 for name in order[2:]]
        self.assertEqual(priorities, sorted(priorities, reverse=True), order)
        metrics = kw.metrics()
        self.assertIn("keepwell_restart_budget_remaining", metrics)
        held = sum(v for k, v in metrics.items() if k.startswith("keepwell_service_restarts_suppressed_total") and 'reason="budget"' in k)
        self.assertGreaterEqual(held, 25)


if __name__ == "__main__":
    e2e.main()
