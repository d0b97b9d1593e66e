"""A network namespace of the test's own, in which a keepwell runs: the machine's interfaces and rules are never
touched, and tests do not meet. "The host" is that namespace then.

    with HostNetwork() as host:
        with Keepwell(compose, wrap=host.wrap) as kw:
            host.http(8080, "/")
"""

import ctypes
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import unittest

import keepwell_e2e as e2e

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000

# Serves HTTP: / is its own name, /ask/HOST:PORT/PATH what another says, /resolve/NAME the address of a name. And
# answers UDP on the same port.
SERVER = r"""
import http.server, os, signal, socket, sys, threading, urllib.request
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
NAME, PORT = sys.argv[1], int(sys.argv[2])

def answer(path):
    verb, _, rest = path.lstrip("/").partition("/")
    if verb == "ask":
        return urllib.request.urlopen("http://" + rest, timeout=3).read().decode()
    if verb == "resolve":
        return socket.getaddrinfo(rest, None, type=socket.SOCK_STREAM)[0][4][0]
    return NAME

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            status, text = 200, answer(self.path)
        except Exception as error:
            status, text = 502, f"{type(error).__name__}: {error}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *words):
        pass

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if len(sys.argv) > 3 else socket.AF_INET

def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", PORT))
    while True:
        data, peer = s.recvfrom(2048)
        s.sendto(NAME.encode() + b" heard " + data, peer)

threading.Thread(target=udp, daemon=True).start()
Server(("", PORT), Handler).serve_forever()
"""


def need_networks():
    e2e.need_containers()
    for tool in ("/usr/lib/podman/netavark", "/usr/lib/podman/aardvark-dns", "/usr/bin/python3"):
        if not os.path.exists(tool):
            raise unittest.SkipTest(f"{tool} is not installed")
    if shutil.which("iptables") is None:
        raise unittest.SkipTest("iptables is not installed")


class HostNetwork:
    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kw-net-"))
        self.path = self.dir / "ns"
        self.path.touch()
        subprocess.run(["unshare", f"--net={self.path}", "true"], check=True)
        self.wrap = ["nsenter", f"--net={self.path}"]
        self.run("ip", "link", "set", "lo", "up")
        self.server = self.dir / "server.py"
        self.server.write_text(SERVER)
        (self.dir / "nsswitch.conf").write_text("hosts: files dns\n")
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.path], check=False, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, *argv):
        return subprocess.run([*self.wrap, *argv], check=True, capture_output=True, text=True, timeout=60).stdout

    def foreign_rules(self):
        """What another program has made here: it must be there at the end, as it was."""
        for tool in ("iptables", "ip6tables"):
            address = "192.0.2.1" if tool == "iptables" else "2001:db8::1"
            self.run(tool, "-A", "FORWARD", "-s", address, "-j", "DROP")
            self.run(tool, "-t", "nat", "-N", "FOREIGN")
            self.run(tool, "-t", "nat", "-A", "POSTROUTING", "-s", address, "-j", "FOREIGN")
            self.run(tool, "-t", "nat", "-A", "FOREIGN", "-j", "RETURN")
        self.run("ip", "link", "add", "foreign0", "type", "bridge")

    def state(self):
        """Interfaces and rules, without counters and times; the rules also as nft lists them, where there is nf_tables."""
        rules = [line for tool in ("iptables-save", "ip6tables-save") for line in self.run(tool).splitlines()
                 if not line.startswith("#")]
        rules = [line.partition(" [")[0] for line in rules]
        links = [(link["ifname"], link["link_type"]) for link in json.loads(self.run("ip", "-j", "link"))]
        return {"rules": rules, "links": links, "nft": self.nft()}

    def nft(self):
        """None, with a line that says why, where that cannot be asked."""
        why = "nft is not installed"
        if shutil.which("nft"):
            done = subprocess.run([*self.wrap, "nft", "-s", "list", "ruleset"], capture_output=True, text=True, timeout=60, check=False)
            if done.returncode == 0:
                # The kernel's own chains as iptables makes them for any rule, and never removes: empty, and letting all pass.
                text = re.sub(r"\tchain \w+ \{\n\t\ttype [^;]*; policy accept;\n\t\}\n", "", done.stdout)
                return [line for line in text.splitlines() if line]
            why = f"nft: {done.stderr.strip()}"
        print(f"the rulesets of nft were not compared, only those of iptables-save: {why}")
        return None

    def socket(self, kind=socket.SOCK_STREAM, family=socket.AF_INET):
        """Made in the namespace, in which it stays."""
        with open("/proc/thread-self/ns/net", encoding="ascii") as own, open(self.path, "rb") as there:
            if LIBC.setns(there.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                made = socket.socket(family, kind)
            finally:
                assert LIBC.setns(own.fileno(), CLONE_NEWNET) == 0
        made.settimeout(5)
        return made

    def http(self, port, path="/", address="127.0.0.1"):
        """(status, body); status 0 where nobody answers."""
        with self.socket() as s:
            try:
                s.connect((address, port))
                s.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
                answer = b""
                while piece := s.recv(65536):
                    answer += piece
            except OSError as error:
                return 0, str(error)
        head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
        return (int(head.split()[1]) if head.startswith("HTTP/") else 0), body

    def wait_http(self, port, path, body, seconds=20, address="127.0.0.1"):
        return e2e.wait_until(f"{address}:{port}{path} answers {body!r}",
                              lambda: self.http(port, path, address) == (200, body), seconds)

    def udp(self, port, text, address="127.0.0.1"):
        with self.socket(socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            s.sendto(text.encode(), (address, port))
            try:
                return s.recv(2048).decode()
            except OSError as error:
                return str(error)

    def service(self, name, port=8000, v6=False, **more):
        """A container with the server above."""
        words = ["/usr/bin/python3", "-I", "/server.py", name, str(port), *(["6"] if v6 else [])]
        return {"x-keepwell": {"rootfs": e2e.rootfs("busybox")}, "command": words, "stop_grace_period": "1s",
                "volumes": ["/usr:/usr:ro", "/lib:/lib:ro", "/lib64:/lib64:ro", f"{self.server}:/server.py:ro",
                            f"{self.dir}/nsswitch.conf:/etc/nsswitch.conf:ro",
                            *more.pop("volumes", [])],
                "environment": {"PYTHONDONTWRITEBYTECODE": "1"}, **more}
