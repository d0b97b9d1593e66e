#!/usr/bin/env python3
"""`keepwell forward-ports` by itself: the program that serves an ordinary user's published ports, given sockets and
targets as the agent gives them (runtime/network/port_relay.h). Needs neither containers nor root."""

import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import keepwell_e2e as e2e


def listening(address="127.0.0.1", port=0):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.bind((address, port))
    s.listen(64)
    return s


def datagrams(address="127.0.0.1"):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 0))
    s.settimeout(5)
    return s


def target(address, port, udp=False):
    v6 = ":" in address
    packed = socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, address)
    return struct.pack("=BBH16s", udp, v6, port, packed)


class Relay(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-relay-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.pid = None
        self.addCleanup(self.end)

    def end(self):
        if self.pid is not None and b"forward-ports" in e2e.command_of(self.pid):
            os.kill(self.pid, signal.SIGKILL)
        self.pid = None

    def hand_over(self, messages):
        """The program with these messages of (bytes, sockets); what it exits with, says, and answers."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            for data, sockets in messages:
                socket.send_fds(ours, [data], [s.fileno() for s in sockets])
            ours.shutdown(socket.SHUT_WR)
            with theirs:
                done = subprocess.run([e2e.BIN / "keepwell", "forward-ports", self.dir / "pid"], stdin=theirs, capture_output=True,
                                      text=True, timeout=30 * e2e.PATIENCE, check=False)
            ours.settimeout(10 * e2e.PATIENCE)
            return done, ours.recv(16)

    def relay(self, *pairs):
        """Serves pairs of (socket, target); the sockets are its own from then on."""
        done, answer = self.hand_over([(b"".join(t for _, t in pairs), [s for s, _ in pairs])])
        self.assertEqual((done.returncode, done.stderr, answer), (0, "", b"\1"))
        self.pid = int((self.dir / "pid").read_text())
        for s, _ in pairs:
            s.close()

    def test_streams(self):
        blob = os.urandom(8 << 20)

        def serve(server):
            """Takes all, and only then gives it back: each direction is ended by itself."""
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    taken = bytearray()
                    while piece := peer.recv(1 << 16):
                        taken += piece
                    peer.sendall(taken)

        with listening() as server:
            threading.Thread(target=serve, args=[server], daemon=True).start()
            front = listening()
            place = front.getsockname()
            self.relay((front, target(*server.getsockname())))
            for data in (blob, b"small", b""):
                with socket.create_connection(place, timeout=20 * e2e.PATIENCE) as s:
                    s.sendall(data)
                    s.shutdown(socket.SHUT_WR)
                    back = bytearray()
                    while piece := s.recv(1 << 16):
                        back += piece
                    self.assertEqual(len(back), len(data))
                    self.assertEqual(bytes(back), data)
            status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
            self.assertRegex(status, r"CapEff:\s+0+\n")
            self.assertRegex(status, r"NoNewPrivs:\s+1\n")
            self.assertRegex(status, r"Threads:\s+1\n")
            # And nothing is left of them.
            e2e.wait_until("its connections are closed", lambda: self.sockets() <= 1)

    def sockets(self):
        found = 0
        for fd in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found += os.readlink(fd).startswith("socket:")
            except OSError:
                pass
        return found

    def test_one_side_ends_first(self):
        with listening() as server:
            front = listening()
            place = front.getsockname()
            self.relay((front, target(*server.getsockname())))
            server.settimeout(10)
            # The service speaks and closes: what it said arrives whole.
            with socket.create_connection(place, timeout=10) as client:
                peer, _ = server.accept()
                peer.sendall(b"x" * 300_000)
                peer.close()
                got = 0
                while piece := client.recv(1 << 16):
                    got += len(piece)
                self.assertEqual(got, 300_000)
            # The client is gone in the middle: so is the connection to the service.
            client = socket.create_connection(place, timeout=10)
            peer, _ = server.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            peer.settimeout(10)
            with peer, self.assertRaises(ConnectionResetError):
                peer.recv(1)
            # One that reads nothing does not make it read on for ever.
            with socket.create_connection(place, timeout=10) as client:
                peer, _ = server.accept()
                peer.settimeout(2)
                with peer, self.assertRaises(TimeoutError):
                    for _ in range(64):
                        peer.sendall(b"y" * (1 << 20))
            rss = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            self.assertLess(rss, (64 << 20) * e2e.PATIENCE)
            e2e.wait_until("its connections are closed", lambda: self.sockets() <= 1)
            used = self.cpu()
            time.sleep(0.5)
            self.assertLess(self.cpu() - used, 5)  # ticks: it rests

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def test_nobody_answers(self):
        with listening() as closed:
            nowhere = closed.getsockname()
        front = listening()
        place = front.getsockname()
        self.relay((front, target(*nowhere)))
        with self.assertRaises(ConnectionResetError):  # as early as in connect()
            with socket.create_connection(place, timeout=10) as client:
                client.recv(1)
        # Later somebody does.
        with listening(*nowhere) as server:
            server.settimeout(10)
            with socket.create_connection(place, timeout=10) as client:
                peer, _ = server.accept()
                with peer:
                    peer.sendall(b"here")
                self.assertEqual(client.recv(16), b"here")

    def test_datagrams_find_their_way_back(self):
        with datagrams() as server:
            front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            front.bind(("0.0.0.0", 0))
            port = front.getsockname()[1]
            self.relay((front, target(*server.getsockname(), udp=True)))
            clients = [datagrams() for _ in range(20)]
            for n, client in enumerate(clients):
                # Connected: only what comes from the address that was asked is taken.
                client.connect((f"127.0.0.{n % 3 + 1}", port))
                client.send(b"ask %d" % n)
            for _ in clients:
                data, peer = server.recvfrom(64)
                server.sendto(b"answer to " + data, peer)
            for n, client in enumerate(clients):
                self.assertEqual(client.recv(64), b"answer to ask %d" % n)
                client.close()

    def test_many_at_once_and_version_6(self):
        """200 ports in several messages, from IPv6 to IPv4 among them."""
        with listening() as server:
            to = target(*server.getsockname())
            fronts = [listening("::1" if n % 2 else "127.0.0.1") for n in range(200)]
            places = [f.getsockname() for f in fronts]
            messages = [(to * len(part), part) for part in (fronts[i:i + 64] for i in range(0, 200, 64))]
            done, answer = self.hand_over(messages)
            self.assertEqual((done.returncode, answer), (0, b"\1"), done)
            self.pid = int((self.dir / "pid").read_text())
            server.settimeout(10)
            for front, place in zip(fronts, places):
                front.close()
                with socket.create_connection(place[:2], timeout=10) as client:
                    peer, _ = server.accept()
                    with peer:
                        peer.sendall(b"ok")
                    self.assertEqual(client.recv(4), b"ok")

    def test_what_is_not_understood_is_said(self):
        with listening() as front:
            for messages in ([(b"short", [front])], [(target("127.0.0.1", 1) * 2, [front])]):
                done, answer = self.hand_over(messages)
                self.assertEqual((done.returncode, answer), (1, b""))
                self.assertIn("sockets are missing", done.stderr)
        done = subprocess.run([e2e.BIN / "keepwell", "forward-ports", self.dir / "pid"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot receive what is to be forwarded", done.stderr)
        self.assertFalse((self.dir / "pid").exists())


if __name__ == "__main__":
    e2e.main()
