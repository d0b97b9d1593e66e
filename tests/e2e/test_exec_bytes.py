#!/usr/bin/env python3
"""What an exec session carries arrives byte for byte, whoever is slow: most of it is spliced, and what a socket takes
only in part is copied and queued. A container that reads its own output away spoils nothing but that."""

import hashlib
import json
import random
import socket
import threading
import time
import unittest

import keepwell_e2e as e2e

MEGABYTE = 1 << 20


class Session:
    """One attached session without a terminal, frames taken apart."""

    def __init__(self, kw, command, stdin=False):
        status, made = kw.api("POST", "/containers/box/exec", {
            "Cmd": command, "AttachStdin": stdin, "AttachStdout": True, "AttachStderr": True})
        assert status == 201, made
        self.kw, self.id = kw, made["Id"]
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(kw.run_dir / "keepwell.sock"))
        body = b'{"Detach": false}'
        self.sock.sendall(f"POST /exec/{self.id}/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                          f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        self.waiting = b""
        while b"\r\n\r\n" not in self.waiting:
            self.waiting += self.sock.recv(4096)
        head, _, self.waiting = self.waiting.partition(b"\r\n\r\n")
        assert b" 101 " in head, head
        self.sums = {1: hashlib.sha256(), 2: hashlib.sha256()}
        self.sizes = {1: 0, 2: 0}

    def feed(self, data):
        """Takes whole frames out of what has come so far."""
        self.waiting += data
        at = 0
        while len(self.waiting) - at >= 8:
            stream, size = self.waiting[at], int.from_bytes(self.waiting[at + 4:at + 8], "big")
            assert stream in (1, 2) and self.waiting[at + 1:at + 4] == b"\0\0\0", self.waiting[at:at + 8]
            if len(self.waiting) - at - 8 < size:
                break
            payload = self.waiting[at + 8:at + 8 + size]
            self.sums[stream].update(payload)
            self.sizes[stream] += size
            at += 8 + size
        self.waiting = self.waiting[at:]

    def read_to_end(self, piece=lambda: 256 * 1024, pause=lambda: 0):
        self.feed(b"")
        while True:
            data = self.sock.recv(piece())
            if not data:
                break
            self.feed(data)
            time.sleep(pause())
        self.sock.close()
        assert not self.waiting, f"a torn frame at the end: {self.waiting[:16]}"

    def exit_code(self):
        return e2e.wait_until("it has ended", lambda: [
            state["ExitCode"] for state in [self.kw.api("GET", f"/exec/{self.id}/json")[1]] if not state["Running"]])[0]


def numbers(count):
    return "".join(f"{i}\n" for i in range(1, count + 1)).encode()


class Bytes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        e2e.need_containers()
        cls.kw = e2e.Keepwell({"services": {"box": e2e.busybox("exec sleep 100000")}})
        cls.kw.wait_state("box", "running")

    @classmethod
    def tearDownClass(cls):
        cls.kw.close()

    def assertCarried(self, session, stream, expected):
        self.assertEqual(session.sizes[stream], len(expected))
        self.assertEqual(session.sums[stream].hexdigest(), hashlib.sha256(expected).hexdigest())

    def test_there_and_back_in_uneven_pieces(self):
        chance = random.Random(7)
        data = chance.randbytes(12 * MEGABYTE)
        session = Session(self.kw, ["cat"], stdin=True)

        def send():
            at = 0
            while at < len(data):
                size = chance.choice([1, 7, 4096, 65536, 300_000])
                session.sock.sendall(data[at:at + size])
                at += size
                time.sleep(chance.choice([0, 0, 0, 0.002]))
            session.sock.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        other = random.Random(8)
        session.read_to_end(lambda: other.choice([100, 5000, 65536, 400_000]), lambda: other.choice([0, 0, 0, 0.003]))
        sender.join()
        self.assertCarried(session, 1, data)
        self.assertEqual(session.exit_code(), 0)

    def test_both_outputs_at_once(self):
        session = Session(self.kw, ["sh", "-c", "seq 1 400000 & seq 1 400000 >&2; wait"])
        session.read_to_end(lambda: 30_000)
        self.assertCarried(session, 1, numbers(400_000))
        self.assertCarried(session, 2, numbers(400_000))

    def test_a_client_that_reads_late(self):
        session = Session(self.kw, ["sh", "-c", "seq 1 1000000; echo the end >&2"])
        time.sleep(1)  # socket and pipe are full, and the program waits
        session.read_to_end()
        self.assertCarried(session, 1, numbers(1_000_000))
        self.assertCarried(session, 2, b"the end\n")
        self.assertEqual(session.exit_code(), 0)

    def test_a_client_that_reads_when_all_is_over(self):
        """Some do, and rely on about a megabyte that the program can be rid of, in pieces of whatever size."""
        line = "0123456789" * 10
        sessions = [(Session(self.kw, ["seq", "1", str(count)]), numbers(count)) for count in (90_000, 120_000, 140_000)]
        sessions.append((Session(self.kw, ["sh", "-c", f"i=0; while [ $i -lt 5000 ]; do echo {line}; i=$((i+1)); done"]),
                         (line + "\n").encode() * 5000))
        for session, _ in sessions:
            self.assertEqual(session.exit_code(), 0)  # nobody has read
        time.sleep(5)  # longer than the agent waits for what a finished program may still have left
        for session, expected in sessions:
            session.read_to_end()
            self.assertCarried(session, 1, expected)

    def test_output_that_is_read_away(self):
        thief = "exec 3</proc/self/fd/1; cat <&3 >/dev/null & dd if=/dev/zero bs=64k count=600 2>/dev/null; kill $!; exit 5"
        session = Session(self.kw, ["sh", "-c", thief])
        session.read_to_end()  # frames all the way
        self.assertEqual(session.exit_code(), 5)
        self.assertLessEqual(session.sizes[1], 600 << 16)
        self.assertEqual(json.loads(self.kw.ok("inspect", "box"))[0]["State"]["Status"], "running")


if __name__ == "__main__":
    e2e.main()
