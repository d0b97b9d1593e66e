"""What runs while test_chaos.py kills: services that write numbered lines, services that end with codes of which they
keep an account themselves, and clients that hold on to the API. Each can say afterwards what was lost.

A service's own account is a file of lines "RUN CODE BEGUN ENDED" (seconds since boot), written before it ends. What
keepwell told (die events, logs) is held against it."""

import collections
import http.client
import json
import pathlib
import re
import socket
import subprocess
import threading
import time
import urllib.parse

import keepwell_e2e as e2e

# A pause without a process: busybox's own read, on a pipe that nobody writes to.
PAUSE = 'mkfifo "$D/pipe" 2>/dev/null; exec 3<>"$D/pipe"; '

WRITER = PAUSE + 'i=0; while :; do i=$((i+1)); echo "o $i"; [ $((i % 5)) = 0 ] && echo "e $((i/5))" >&2; read -t 0.05 _ <&3; done'

ENDER = PAUSE + r'''
done_with() { trap "" TERM; read end _ </proc/uptime; echo "$n $1 $begun $end" >>"$D/account"; echo "run $n ends $1"; exit $1; }
n=0; [ -e "$D/n" ] && read n <"$D/n"; n=$((n+1)); echo $n >"$D/n"; read begun _ </proc/uptime
trap 'done_with 99' TERM
echo "run $n begins"
read -t LIFE _ <&3
done_with $(( (n * 7 + SALT) % 90 + 1 ))'''

UNKNOWN = 255
STOPPED = 99

Ended = collections.namedtuple("Ended", "run code begun ended")


def uptime():
    return float(pathlib.Path("/proc/uptime").read_text().split()[0])


class Load:
    def __init__(self, containers, oci, random):
        """CONTAINERS services, a fifth of which end every two seconds; every OCI-th is a container, the rest are
        processes of the host."""
        self.random = random
        self.dir = pathlib.Path(e2e.tempfile.mkdtemp(prefix="kw-chaos-"))
        self.writers, self.enders, self.oci = [], [], set()
        self.services = {}
        for i in range(containers):
            ends = i % 5 == 4
            name = f"{'ends' if ends else 'writes'}{i}"
            (self.enders if ends else self.writers).append(name)
            self.services[name] = self.service(name, i, ends, (i // 5 if ends else i) % oci == 0)

    def service(self, name, number, ends, in_container):
        script = WRITER
        if ends:
            script = ENDER.replace("LIFE", f"1.{self.random.randrange(5, 9)}").replace("SALT", str(number))
        place = "/tmp" if in_container else str(self.dir / name)
        if in_container:
            self.oci.add(name)
        else:
            pathlib.Path(place).mkdir()
        shell = "/bin/sh" if in_container else e2e.rootfs("busybox") + "/bin/busybox"
        arguments = ["-c", f"D={place}; {script}"]
        more = {
            "command": [shell] + ([] if in_container else ["sh"]) + [a.replace("$", "$$") for a in arguments],
            "x-keepwell": {"rootfs": e2e.rootfs("busybox")} if in_container else {"runtime": "process"},
            "restart": "always", "stop_grace_period": "10s",
            "logging": {"driver": "json-file", "options": {"max-size": "100k", "max-file": "1000"}},
        }
        if ends:
            more["x-keepwell"]["restart"] = {"delay": "100ms", "factor": 1, "max_delay": "100ms"}
        else:
            more["healthcheck"] = {"test": "exit 0", "interval": "1s", "timeout": "20s", "retries": 1}
        return more

    def account(self, kw, name):
        """What service NAME says of its own ends, oldest first."""
        place = self.dir / name
        if name in self.oci:
            place = kw.data_dir / "containers" / kw.inspect(name)["Id"] / "upper" / "tmp"
        try:
            lines = (place / "account").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [Ended(int(a), int(b), float(c), float(d)) for a, b, c, d in (line.split() for line in lines)]

    def close(self):
        e2e.shutil.rmtree(self.dir, ignore_errors=True)


# ---- clients

def connect(path, timeout=30):
    connection = http.client.HTTPConnection("localhost", timeout=timeout)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(timeout)
    connection.sock.connect(str(path))
    return connection


def answers(path):
    """Whether the API answers, without starting a program."""
    try:
        connection = connect(path, 2)
    except OSError:
        return False
    raw = connection.sock
    try:
        connection.request("GET", "/_ping")
        with connection.getresponse() as response:
            return response.read() == b"OK"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
        raw.close()


class Client(threading.Thread):
    """Holds a streaming request to the API, and makes it again whenever it has ended."""

    def __init__(self, socket_path):
        super().__init__(daemon=True)
        self.socket_path = socket_path
        self.ending = False
        self.connections = 0
        self.connection = self.raw = None

    def run(self):
        while not self.ending:
            try:
                self.connection = connect(self.socket_path, 60)
                self.raw = self.connection.sock
                self.connection.request("GET", self.target())
                with self.connection.getresponse() as response:
                    if response.status != 200:
                        raise OSError(response.status)
                    self.connections += 1
                    for line in response:
                        self.take(line)
                        if self.ending:
                            break
            except (OSError, http.client.HTTPException, ValueError, AttributeError):
                pass
            finally:
                if self.connection:
                    self.connection.close()
                if self.raw:
                    self.raw.close()
            time.sleep(0.02)

    def end(self):
        self.ending = True
        try:
            self.raw.shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            pass
        self.join(10)


class Events(Client):
    """Every event, once each: asks again from the last one on, as a client does that wants all."""

    def __init__(self, socket_path):
        super().__init__(socket_path)
        self.told = []
        self.seen = set()
        self.twice = []
        self.here = set()
        self.since = "1"

    def target(self):
        self.here = set()
        return "/events?since=" + self.since

    def take(self, line):
        event = json.loads(line)
        attributes = tuple(sorted(event["Actor"].get("Attributes", {}).items()))
        what = (event["timeNano"], event["Actor"]["ID"], event["Action"], attributes)
        if what in self.here:
            self.twice.append(event)
        self.here.add(what)
        if what not in self.seen:
            self.seen.add(what)
            self.told.append(event)
        self.since = f"{event['timeNano'] // 10**9}.{event['timeNano'] % 10**9:09d}"

    def of(self, service):
        return [e for e in list(self.told)
                if e["Actor"].get("Attributes", {}).get("com.docker.compose.service") == service]


class LogFollower(Client):
    """Follows the output of a writer; within one connection no number may be missing."""

    def __init__(self, socket_path, name):
        super().__init__(socket_path)
        self.name = name
        self.gaps = []
        self.last = None

    def target(self):
        self.last = None
        return f"/containers/{urllib.parse.quote(self.name)}/logs?follow=1&stdout=1&tail=0"

    def take(self, line):
        for number in re.findall(rb"o (\d+)\n", line):
            if self.last is not None and int(number) != self.last + 1:
                self.gaps.append((self.name, self.last, int(number)))
            self.last = int(number)


class Sessions(threading.Thread):
    """An exec session that lasts; begun again whenever it has ended."""

    def __init__(self, kw, name):
        super().__init__(daemon=True)
        self.kw, self.name = kw, name
        self.ending = False
        self.process = None
        self.begun = 0

    def run(self):
        while not self.ending:
            self.process = self.kw.popen("exec", self.name, "sh", "-c", "echo here; exec sleep 7777",
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            if self.process.stdout.readline():
                self.begun += 1
            self.process.wait()
            self.process.stdout.close()
            time.sleep(0.2)

    def end(self):
        self.ending = True
        if self.process:
            self.process.kill()
        self.join(10)


# ---- the reckoning

class Windows:
    """When there was no keeper, so that nobody could wait for an exit (seconds since boot)."""

    def __init__(self):
        self.spans = []

    def add(self, begun, ended):
        self.spans.append((begun - 0.05, ended + 0.05))

    def holds(self, *moments):
        return any(all(a <= m <= b for m in moments) for a, b in self.spans)


def compare_ends(account, dies, windows):
    """Holds the die events of a service (exit codes) against its own account of its ends.
    Returns (wrong, unknown, untold): what cannot be, what is said to be unknown and may, and runs of which nobody can
    have known, since they began and ended without a keeper."""
    wrong, unknown, untold = [], 0, 0
    j = 0
    for i, end in enumerate(account):
        code = dies[j] if j < len(dies) else None
        if code == end.code:
            j += 1
        elif code == UNKNOWN and windows.holds(end.ended):
            unknown += 1
            j += 1
        elif windows.holds(end.begun, end.ended):
            untold += 1
        elif code in (137, 143) and i + 1 < len(account):
            wrong.append((end, code, "killed"))
            j += 1
        else:
            wrong.append((end, code))
            j += 1
    # One more: it was stopped before it had begun to keep its account.
    if len(dies) > j and not (len(dies) == j + 1 and dies[j] in (137, 143)):
        wrong.append(("more ends told than there were", dies[j:], "the last of its own", account[-3:]))
    return wrong, unknown, untold


def check_numbers(text, letter):
    """'' if TEXT has the lines "LETTER 1", "LETTER 2", ... and nothing else; else what is wrong, where."""
    for expected, line in enumerate(text.splitlines(), 1):
        if line != f"{letter} {expected}":
            return f"line {expected} is {line!r}"
    return ""


def check_runs(text, account, nobody):
    """The same for a service that ends: each run begins once and ends once with its code, in order. The last lines of
    one that ended while NOBODY of keepwell lived (Windows) were in a pipe that nobody held, and may be missing: their
    number is the second result."""
    codes = {end.run: end.code for end in account}
    excused = {end.run for end in account if nobody.holds(end.ended)}
    expected = []
    for line in text.splitlines():
        match = re.fullmatch(r"run (\d+) (begins|ends (\d+))", line)
        if not match:
            return f"torn line {line!r}", 0
        run = int(match.group(1))
        if match.group(2) == "begins":
            expected.append(run)
        elif not expected or expected[-1] != run or codes.get(run) != int(match.group(3)):
            return f"unexpected {line!r}", 0
        else:
            codes.pop(run)
    if expected != sorted(set(expected)):
        return "a run begins twice", 0
    missing = sorted(set(codes) - excused)
    return f"lines of runs {missing} are missing" if missing else "", len(set(codes) & excused)
