#!/usr/bin/env python3
"""50 services from one image: from nothing to all healthy, and the disk that it takes; the same through dockerd where
that is installed (one of our own: its own directories and socket, no bridge).

    tests/bench/bench_images.py [--services N] [--no-docker]

Needs root, skopeo and umoci. Prints one line a figure."""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import image_builder as ib  # noqa: E402
import keepwell_e2e as e2e  # noqa: E402

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
CONFIG = {"Cmd": ["sleep", "100000"], "Env": ["PATH=/usr/bin:/bin"],
          "Healthcheck": {"Test": ["CMD", "true"], "Interval": ib.SECOND, "Timeout": 5 * ib.SECOND, "Retries": 3}}


def disk_mb(path):
    """Blocks of each file once; file systems mounted below are not the directory's own."""
    done = subprocess.run(["du", "-skx", path], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0]) / 1024


def all_healthy(count, states):
    e2e.wait_until(f"{count} services are healthy", lambda: states() == count, 300, 0.2)


def keepwell(archive, count):
    services = {f"s{i:03}": {"image": "bench:1", "network_mode": "none", "stop_grace_period": "1s",
                             "x-keepwell": {"image": f"docker-archive:{archive}"}} for i in range(count)}

    def healthy(kw, starts):
        """Those that are, in their run number STARTS: a container on its way shows the health of its last run."""
        return sum(seen["Keepwell"]["StartsTotal"] == starts and seen["State"].get("Health", {}).get("Status") == "healthy"
                   for seen in json.loads(kw.ok("inspect", *services)))
    with e2e.Keepwell({"services": services}, start=False) as kw:
        for starts, what in ((1, "image loaded too"), (2, "image there")):
            begun = time.monotonic()
            kw.start(wait=False)
            e2e.wait_until("the API answers", kw.answers, 120)
            all_healthy(count, lambda run=starts: healthy(kw, run))
            print(f"keepwell: {count} services healthy after {time.monotonic() - begun:.1f} s ({what})", flush=True)
            print(f"keepwell: {disk_mb(kw.data_dir):.1f} MB on disk", flush=True)
            kw.stop(seconds=120)


def docker(archive, count):
    work = pathlib.Path(tempfile.mkdtemp(prefix="kw-bench-docker-"))
    host = f"unix://{work}/docker.sock"
    daemon = subprocess.Popen(["dockerd", "-H", host, "--data-root", work / "data", "--exec-root", work / "exec",
                               "--pidfile", work / "pid", "--bridge=none", "--iptables=false"],
                              stdout=subprocess.DEVNULL, stderr=open(work / "log", "w"))

    def client(*words):
        return subprocess.run(["docker", "-H", host, *words], capture_output=True, text=True, check=True).stdout
    names = [f"s{i:03}" for i in range(count)]
    try:
        e2e.wait_until("dockerd answers", lambda: subprocess.run(["docker", "-H", host, "info"], capture_output=True,
                                                                check=False).returncode == 0, 60)
        begun = time.monotonic()
        client("load", "-i", str(archive))
        for name in names:
            client("run", "-d", "--network=none", "--name", name, "bench:1")
        all_healthy(count, lambda: len(client("ps", "-q", "--filter", "health=healthy").split()))
        print(f"dockerd: {count} services healthy after {time.monotonic() - begun:.1f} s (image loaded too)", flush=True)
        print(f"dockerd: {disk_mb(work / 'data'):.1f} MB on disk", flush=True)
        begun = time.monotonic()
        client("kill", *names)
        client("start", *names)
        all_healthy(count, lambda: len(client("ps", "-q", "--filter", "health=healthy").split()))
        print(f"dockerd: {count} services killed, started and healthy after {time.monotonic() - begun:.1f} s", flush=True)
        client("rm", "-f", *names)
    finally:
        daemon.terminate()
        daemon.wait(60)
        shutil.rmtree(work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--services", type=int, default=50)
    parser.add_argument("--no-docker", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("cannot measure: containers need root")
    with tempfile.TemporaryDirectory(prefix="kw-bench-") as work:
        archive = pathlib.Path(work) / "bench.tar"
        ib.docker_archive(archive, [ib.layer_of(e2e.rootfs("redis"))], CONFIG, ["bench:1"], ARCH)
        print(f"image: {archive.stat().st_size / 1e6:.1f} MB", flush=True)
        keepwell(archive, options.services)
        if options.no_docker or not shutil.which("dockerd"):
            print("dockerd: not measured" + ("" if options.no_docker else ": it is not installed"))
        else:
            docker(archive, options.services)


if __name__ == "__main__":
    main()
