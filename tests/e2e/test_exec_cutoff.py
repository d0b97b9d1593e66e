#!/usr/bin/env python3
"""Exec sessions whose client breaks off at a random point, of every kind, some of them many at once; and then:
descriptors, processes, memory and the run directory are as before.

    tests/e2e/test_exec_cutoff.py [--sessions N] [--seed N]

Without arguments a short run, as in ctest."""

import argparse
import json
import os
import pathlib
import random
import socket
import struct
import sys
import threading
import time
import unittest

import keepwell_e2e as e2e

OPTIONS = argparse.Namespace(sessions=400, seed=None)
CLIENTS = 8
SPARE_CGROUPS = 8  # runtime/exec_leaves.cc
CGROUP_FILES = 4
MARK = "7654.321"  # by which the sessions' own processes are known

COMMANDS = [
    ["true"],
    ["cat"],
    ["sh", "-c", f"sleep {MARK}"],
    ["sh", "-c", f"sleep {MARK} & echo started; cat"],  # see LEAVES_SOMETHING
    ["sh", "-c", f"trap '' TERM HUP INT; setsid sleep {MARK} & exec sleep {MARK}"],
    ["dd", "if=/dev/zero", "bs=64k"],
    ["sh", "-c", "while :; do echo out; echo err >&2; done"],
    ["nosuch"],
]
# At the end of its input it ends, and what it has started goes on, as in Docker: so this one's input only ends with the
# client. (Half-closed, and the client a moment late with closing, the sleep would rightly stay.)
LEAVES_SOMETHING = COMMANDS[3]


class Client:
    """One after the other: what one client does to the agent."""

    def __init__(self, path, seed):
        self.path, self.random, self.failure = str(path), random.Random(seed), None

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(30)
        sock.connect(self.path)
        return sock

    def request(self, method, target, body):
        data = json.dumps(body).encode()
        return (f"{method} /v1.50{target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: Upgrade\r\n"
                f"Upgrade: tcp\r\nContent-Length: {len(data)}\r\n\r\n").encode() + data

    def create(self, command, tty):
        with self.connect() as sock:
            sock.sendall(self.request("POST", "/containers/box/exec", {
                "Cmd": command, "Tty": tty, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True}))
            reply = b""
            while b"}" not in reply:
                piece = sock.recv(4096)
                assert piece, f"no answer to a create: {reply}"
                reply += piece
        assert b" 201 " in reply, reply
        return json.loads(reply.partition(b"\r\n\r\n")[2])["Id"]

    def session(self):
        pick = self.random
        tty = pick.random() < 0.3
        command = pick.choice(COMMANDS)
        session = self.create(command, tty)
        if pick.random() < 0.05:
            return  # never started
        start = self.request("POST", f"/exec/{session}/start", {"Detach": False, "Tty": tty})
        start += bytes(pick.randrange(0, 2000)) if pick.random() < 0.3 else b""
        with self.connect() as sock:
            try:
                if pick.random() < 0.3:
                    sock.sendall(start[:pick.randrange(1, len(start))])  # within the request
                else:
                    sock.sendall(start)
                    self.use(sock, 2 if command is LEAVES_SOMETHING else 3)
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                pass
            if pick.random() < 0.3:  # a reset where TCP would send one
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def use(self, sock, ways):
        pick = self.random
        sock.settimeout(0.05)
        time.sleep(pick.choice([0, 0, 0.0005, 0.002, 0.01, 0.05]))
        for _ in range(pick.randrange(0, 4)):
            what = pick.randrange(ways)
            if what == 0:
                sock.sendall(b"x" * pick.choice([1, 100, 70000]))
            elif what == 1:
                sock.recv(pick.choice([1, 200, 65536]))
            else:
                sock.shutdown(socket.SHUT_WR)
                break

    def run(self, count):
        try:
            for _ in range(count):
                self.session()
        except Exception as error:  # noqa: BLE001: told by the test
            self.failure = error


class CutOff(unittest.TestCase):
    def setUp(self):
        e2e.need_containers()
        self.seed = OPTIONS.seed if OPTIONS.seed is not None else random.randrange(1 << 32)
        print(f"seed {self.seed}", file=sys.stderr)

    def cut_off(self, kw, count, seed):
        clients = [Client(kw.run_dir / "keepwell.sock", f"{seed} {i}") for i in range(CLIENTS)]
        threads = [threading.Thread(target=one.run, args=(count // CLIENTS,)) for one in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failures = [one.failure for one in clients if one.failure]
        self.assertFalse(failures)

    def counts(self, kw):
        """What must not grow."""
        agent, keeper = kw.agent_pid(), kw.keeper_pid()
        status, info = kw.api("GET", "/containers/box/top?ps_args=-eo%20pid,args")
        self.assertEqual(status, 200)
        cgroups = set()
        for line in pathlib.Path(f"/proc/{kw.pid('box')}/cgroup").read_text().splitlines():
            base = pathlib.Path("/sys/fs/cgroup")
            controllers, path = line.split(":")[1:]
            for place in (base / path.lstrip("/"), base / controllers / path.lstrip("/"), base / "unified" / path.lstrip("/")):
                cgroups.update(str(p) for p in place.glob("*") if p.is_dir())
        return {
            "agent's descriptors": len(os.listdir(f"/proc/{agent}/fd")),
            "keeper's descriptors": len(os.listdir(f"/proc/{keeper}/fd")),
            "the container's processes": len(info["Processes"]),
            "processes of keepwell": len(e2e.tree_of(keeper)),
            "run directory": sum(1 for _ in kw.run_dir.rglob("*")),
            "cgroups of sessions": len(cgroups),
        }

    def rss_mb(self, kw):
        text = pathlib.Path(f"/proc/{kw.agent_pid()}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    def settled(self, kw, before):
        """Counts, once nothing is above BEFORE; what ends a session, and is removed then, takes a moment. Some empty
        cgroups are kept for the next sessions, each with the descriptors of its files."""
        allowed = dict(before)
        allowed["cgroups of sessions"] = SPARE_CGROUPS
        allowed["run directory"] += 1  # events.log.old
        # And the connection of whoever asked last may not be closed on that side yet.
        allowed["agent's descriptors"] += (SPARE_CGROUPS - before["cgroups of sessions"]) * CGROUP_FILES + 2

        def small():
            now = self.counts(kw)
            return now if all(now[what] <= allowed[what] for what in now) else None
        try:
            return e2e.wait_until("everything is as before", small, 20, 0.3)
        except AssertionError:
            raise AssertionError(f"before {before}, now {self.counts(kw)}") from None

    def test_sessions_cut_off_at_random_points(self):
        with e2e.Keepwell({"services": {"box": e2e.busybox("exec sleep 100000")}}) as kw:
            kw.wait_state("box", "running")
            agent, box = kw.agent_pid(), kw.pid("box")
            kw.ok("exec", "box", "true")  # what is opened once for a container is open
            before = self.counts(kw)
            # Warm: allocator, page cache and the records of sessions (2,000 ended, some unstarted) have their size.
            self.cut_off(kw, min(OPTIONS.sessions, 6000), f"{self.seed} warm")
            self.settled(kw, before)
            warm = self.rss_mb(kw)
            begun = time.monotonic()
            self.cut_off(kw, OPTIONS.sessions, self.seed)
            took = time.monotonic() - begun
            after = self.settled(kw, before)
            rss = self.rss_mb(kw)
            print(f"{OPTIONS.sessions} sessions in {took:.1f} s: rss {warm:.1f} -> {rss:.1f} MB, {before} -> {after}", file=sys.stderr)
            self.assertEqual((kw.agent_pid(), kw.pid("box")), (agent, box))
            if e2e.PATIENCE == 1:  # a sanitizer keeps freed memory
                self.assertLess(rss - warm, 3, f"memory grew: {warm:.1f} -> {rss:.1f} MB")
            self.assertEqual(kw.ok("exec", "box", "echo", "fine"), "fine\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=OPTIONS.sessions)
    parser.add_argument("--seed")
    OPTIONS, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    e2e.main()
