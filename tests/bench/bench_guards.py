#!/usr/bin/env python3
"""What guards and evidence cost on this machine: scrape time and bytes with many services, the agent's loop lag while
it captures, and what the journal would grow by in a day.

    bench_guards.py [SERVICES]      (default 100; checks every second, one in fifty fails)"""

import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import keepwell_e2e as e2e


def lag_buckets(kw):
    return {k: v for k, v in kw.metrics().items() if k.startswith("keepwell_loop_lag_seconds_bucket")}


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    kw = e2e.Keepwell(start=False)
    try:
        flag = kw.dir / "ok"
        flag.touch()
        kw.write({"services": {f"s{i:04d}": e2e.process(
            "exec sleep 100000", restart="always",
            healthcheck={"test": ["CMD", "test", "-e", str(flag)], "interval": "30s" if i % 50 else "1s", "retries": 1})
            for i in range(count)}})
        kw.start()
        e2e.wait_until("all run", lambda: sum(s["State"] == "running" for s in kw.ps()) == count, 300)
        times = []
        for _ in range(10):
            began = time.monotonic()
            _, body = kw.get("/metrics")
            times.append(time.monotonic() - began)
        print(f"scrape of {count} services: {1000 * min(times):.1f} ms, {len(body)} bytes")
        journal = kw.data_dir / "journal/journal.log"
        before, began = journal.stat().st_size, time.monotonic()
        time.sleep(20)
        quiet = (journal.stat().st_size - before) / (time.monotonic() - began)
        print(f"journal while all is well: {86400 * quiet / 1e6:.2f} MB a day")
        lag = lag_buckets(kw)
        before, began = journal.stat().st_size, time.monotonic()
        flag.unlink()
        time.sleep(5)
        flag.touch()
        time.sleep(15)
        grown = journal.stat().st_size - before
        after = lag_buckets(kw)
        restarts = sum(v for k, v in kw.metrics().items() if k.startswith("keepwell_service_restarts_total") and "unhealthy" in k)
        print(f"{restarts:.0f} restarts, {kw.metrics()['keepwell_captures_total']:.0f} captures, "
              f"{grown / max(1, restarts):.0f} journal bytes a restart")
        total = after['keepwell_loop_lag_seconds_bucket{le="+Inf"}'] - lag['keepwell_loop_lag_seconds_bucket{le="+Inf"}']
        for key in sorted(after, key=lambda k: float(re.search(r'le="([^"]+)"', k)[1].replace("+Inf", "inf"))):
            bound = re.search(r'le="([^"]+)"', key)[1]
            print(f"  loop lag <= {bound} s: {(after[key] - lag[key]) / max(1, total):.4f}")
    finally:
        kw.close()


if __name__ == "__main__":
    main()
