#!/usr/bin/env python3
"""Exec sessions over the Docker API, in one run against keepwell and, where one is installed, dockerd: create +
start + exit of `true`, echo through a terminal, throughput of stdout and stdin, 200 sessions at once.

    tests/bench/bench_exec_session.py [--no-dockerd]
    DOCKER_BENCH_HOST=/path/docker.sock DOCKER_BENCH_CONTAINER=name tests/bench/bench_exec_session.py

The dockerd is the bench's own: directories, socket and container of its own, stopped and removed afterwards; the
environment names another one. Both speak the same requests from the same client, so what differs is the server. A
plain pipe copy (same chunk size) is the bare limit of the throughput. Prints a table with ratios and the aims."""

import contextlib
import http.client
import io
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import keepwell_e2e as e2e  # noqa: E402

CHUNK = 64 * 1024
RUNS = 9  # of each throughput: where the scheduler puts two ends of a pipe makes a factor of two
AIMS = {"create+start+exit of true, ms": 20, "tty echo, us": 3, "stdout, MB/s": 5, "stdin, MB/s": 5}


class Peer:
    """One server's API: socket path and the container to enter."""

    def __init__(self, path, container):
        self.path, self.container = str(path), container
        self.spare = None

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(self.path)
        return sock

    def request(self, method, target, body=None):
        """One exchange on a kept connection; returns the decoded JSON or None."""
        sock = self.spare or self.connect()
        self.spare = None
        data = json.dumps(body).encode() if body is not None else b""
        head = f"{method} /v1.41{target} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(data)}\r\n"
        head += "Content-Type: application/json\r\n\r\n" if data else "\r\n"
        sock.sendall(head.encode() + data)
        reply = b""
        while b"\r\n\r\n" not in reply:
            piece = sock.recv(CHUNK)
            assert piece, f"{target}: the connection was closed after {reply!r}"
            reply += piece
        head, _, rest = reply.partition(b"\r\n\r\n")
        lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        assert lengths, head
        while len(rest) < lengths[0]:
            rest += sock.recv(CHUNK)
        status = int(head.split()[1])
        assert status < 300, (target, status, rest)
        if b"\r\nconnection: close" in head.lower():
            sock.close()
        else:
            self.spare = sock
        return json.loads(rest) if rest.strip() else None

    def create(self, command, **fields):
        return self.request("POST", f"/containers/{self.container}/exec", {"Cmd": command, **fields})["Id"]

    def start(self, session, tty=False):
        """Starts attached; returns the hijacked socket and what came behind the response's head."""
        sock = self.connect()
        body = json.dumps({"Detach": False, "Tty": tty}).encode()
        sock.sendall(f"POST /v1.41/exec/{session}/start HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                     f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        reply = b""
        while b"\r\n\r\n" not in reply:
            piece = sock.recv(CHUNK)
            assert piece, f"start: the connection was closed after {reply!r}"
            reply += piece
        head, _, rest = reply.partition(b"\r\n\r\n")
        assert b" 101 " in head.split(b"\r\n")[0], head
        return sock, rest

    def exit_code(self, session):
        return self.request("GET", f"/exec/{session}/json")["ExitCode"]


def drain(sock):
    total = 0
    buffer = bytearray(1 << 20)
    while True:
        count = sock.recv_into(buffer)
        if count == 0:
            return total
        total += count


def once(peer):
    session = peer.create(["true"], AttachStdout=True, AttachStderr=True)
    sock, _ = peer.start(session)
    with sock:
        drain(sock)
    code = peer.exit_code(session)
    assert code == 0, code


def start_ms(peer, rounds):
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        once(peer)
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def echo_us(peer, rounds):
    session = peer.create(["cat"], AttachStdin=True, AttachStdout=True, Tty=True)
    sock, _ = peer.start(session, tty=True)
    times = []
    with sock:
        for i in range(rounds):
            begun = time.perf_counter()
            sock.sendall(b"x")
            while b"x" not in sock.recv(4096):
                pass
            times.append((time.perf_counter() - begun) * 1e6)
            if i % 100 == 99:  # a terminal line holds 4096 bytes
                sock.sendall(b"\x15")
                time.sleep(0.01)
                sock.recv(4096)
        sock.sendall(b"\x15\x04")
    return statistics.median(times)


def stdout_mb_s(peer, megabytes):
    session = peer.create(["dd", "if=/dev/zero", "bs=64k", f"count={megabytes * 16}"], AttachStdout=True)
    begun = time.perf_counter()
    sock, rest = peer.start(session)
    with sock:
        total = len(rest) + drain(sock)
    assert total >= megabytes << 20, total
    return megabytes / (time.perf_counter() - begun)


def stdin_mb_s(peer, megabytes):
    session = peer.create(["dd", "of=/dev/null", "bs=64k"], AttachStdin=True, AttachStdout=True)
    sock, _ = peer.start(session)
    data = bytes(1 << 20)
    begun = time.perf_counter()
    with sock:
        for _ in range(megabytes):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        drain(sock)
    assert peer.exit_code(session) == 0
    return megabytes / (time.perf_counter() - begun)


def together_s(peer, count):
    """COUNT sessions of `cat` at once, each echoing one line."""
    failures = []

    def one():
        try:
            mine = Peer(peer.path, peer.container)
            session = mine.create(["cat"], AttachStdin=True, AttachStdout=True)
            sock, _ = mine.start(session)
            with sock:
                barrier.wait(60)
                sock.sendall(b"hello\n")
                sock.shutdown(socket.SHUT_WR)
                total = drain(sock)
            assert total == 14, total
            assert mine.exit_code(session) == 0
            mine.spare.close()
        except Exception as error:  # noqa: BLE001: every failure is counted
            failures.append(error)

    barrier = threading.Barrier(count)
    threads = [threading.Thread(target=one) for _ in range(count)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, (len(failures), failures[:3])
    return time.perf_counter() - begun


def pipe_mb_s(megabytes):
    """The bare limit: dd into a pipe that this program reads."""
    begun = time.perf_counter()
    with subprocess.Popen(["dd", "if=/dev/zero", "bs=64k", f"count={megabytes * 16}"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        buffer = bytearray(1 << 20)
        while process.stdout.readinto(buffer):
            pass
    return megabytes / (time.perf_counter() - begun)


def median_of(runs, measured, *args):
    return statistics.median(measured(*args) for _ in range(runs))


def measure(peer):
    once(peer)
    return {
        "create+start+exit of true, ms": start_ms(peer, 50),
        "tty echo, us": echo_us(peer, 500),
        "stdout, MB/s": median_of(RUNS, stdout_mb_s, peer, 200),
        "stdin, MB/s": median_of(RUNS, stdin_mb_s, peer, 200),
        "200 sessions at once, s": together_s(peer, 200),
    }


# ---- a dockerd of our own


def call(path, method, target, body=b"", kind="application/json"):
    connection = http.client.HTTPConnection("localhost", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    try:
        connection.sock.connect(path)
        connection.request(method, target, body, {"Content-Type": kind})
        response = connection.getresponse()
        text = response.read()
        assert response.status < 300, (target, response.status, text)
        return text
    finally:
        connection.close()


def answers(path):
    try:
        return call(path, "GET", "/_ping") == b"OK"
    except OSError:
        return False


@contextlib.contextmanager
def dockerd():
    """(socket, container) of a dockerd that runs meanwhile; None where there is none to be had."""
    if os.environ.get("DOCKER_BENCH_HOST"):
        yield os.environ["DOCKER_BENCH_HOST"], os.environ["DOCKER_BENCH_CONTAINER"]
        return
    if "--no-dockerd" in sys.argv or not shutil.which("dockerd"):
        yield None
        return
    place = pathlib.Path(tempfile.mkdtemp(prefix="kw-dockerd-"))
    path = str(place / "docker.sock")
    with open(place / "log", "wb") as log:
        process = subprocess.Popen(
            ["dockerd", "-H", f"unix://{path}", "--data-root", place / "data", "--exec-root", place / "exec", "--pidfile",
             place / "pid", "--bridge=none", "--iptables=false"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        e2e.wait_until("dockerd answers", lambda: process.poll() is not None or answers(path), 60)
        if process.poll() is not None:
            print(f"dockerd does not run here: {(place / 'log').read_text()[-300:]}", file=sys.stderr)
            yield None
            return
        image = io.BytesIO()
        with tarfile.open(fileobj=image, mode="w") as tar:
            tar.add(e2e.rootfs("busybox"), arcname=".")
        call(path, "POST", "/images/create?fromSrc=-&repo=bb", image.getvalue(), "application/x-tar")
        call(path, "POST", "/containers/create?name=bench", json.dumps({
            "Image": "bb", "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "none"}}).encode())
        call(path, "POST", "/containers/bench/start")
        yield path, "bench"
        call(path, "DELETE", "/containers/bench?force=1")
    finally:
        process.terminate()
        process.wait(30)
        mounts = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(f"{place}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


def main():
    e2e.need_containers()
    columns = {}
    with e2e.Keepwell({"services": {"box": e2e.busybox("exec sleep 100000")}}) as kw:
        kw.wait_state("box", "running")
        columns["keepwell"] = measure(Peer(kw.run_dir / "keepwell.sock", "box"))
    with dockerd() as other:
        if other:
            columns["dockerd"] = measure(Peer(*other))
    print(f"{'':34}" + "".join(f"{name:>12}" for name in columns) + (f"{'ratio':>9}{'aim':>6}" if other else ""))
    for name in columns["keepwell"]:
        values = [column[name] for column in columns.values()]
        ratio = ""
        if other:
            better = values[0] / values[1] if name.endswith("MB/s") else values[1] / values[0]
            ratio = f"{better:8.1f}x" + (f"{AIMS[name]:5}x" if name in AIMS else "")
        print(f"{name:34}" + "".join(f"{value:12.2f}" for value in values) + ratio)
    print(f"{'a bare pipe, MB/s':34}{median_of(RUNS, pipe_mb_s, 200):12.2f}")
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs, Linux {os.uname().release}")


if __name__ == "__main__":
    main()
