#!/usr/bin/env python3
"""Who may do what through the socket: its mode and group, and the access levels of x-keepwell.api, each asked by a
real process of that user and group."""

import grp
import http.client
import json
import os
import pwd
import socket
import stat
import subprocess
import unittest

import keepwell_e2e as e2e

READER, ADMIN, OTHER = 54321, 54322, 54323  # numbers that need no entry anywhere
READERS, TEAM = 54331, 54332

def as_user(uid, gid, groups, function):
    """What FUNCTION returns in a process of that user and those groups: something that JSON can tell."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(list(groups))
            os.setgid(gid)
            os.setuid(uid)
            os.write(write_end, json.dumps(function()).encode())
        except BaseException as error:  # noqa: BLE001: told by the parent
            os.write(write_end, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(child, 0)
    assert not isinstance(answer, str), answer
    return answer


def ask(path, questions):
    """[[status, message], ...] of each "METHOD PATH"."""
    answers = []
    for question in questions:
        method, target = question.split()
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(path)
        except OSError as error:
            answers.append([type(error).__name__, ""])
            continue
        body = json.dumps({"Cmd": ["true"]}) if target.endswith("/exec") else None
        connection.request(method, target, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        answers.append([response.status, json.loads(text).get("message", "") if response.status >= 400 and text else ""])
    return answers


def crowd(path):
    """Opens 40 connections; how many of them are answered."""
    sockets = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    answered = 0
    for one in sockets:
        one.connect(path)
    for one in sockets:
        try:
            one.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
            answered += one.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            pass
    return answered


QUESTIONS = ["GET /_ping", "GET /containers/json", "HEAD /_ping", "GET /containers/web/logs?stdout=1", "POST /containers/web/exec",
             "POST /containers/web/kill?signal=0x", "PUT /containers/web/archive?path=/", "DELETE /containers/web",
             "POST /keepwell/reload", "POST /images/create"]
READS = 4


class Access(unittest.TestCase):
    def keepwell(self, api):
        if os.geteuid() != 0:
            self.skipTest("becoming another user needs root")
        kw = e2e.Keepwell({"services": {"web": e2e.process("exec sleep 1000")}, "x-keepwell": {"api": api}})
        self.addCleanup(kw.close)
        kw.dir.chmod(0o711)
        kw.wait_state("web", "running")
        return kw

    def ask(self, kw, uid, gid, groups=(), questions=QUESTIONS):
        return as_user(uid, gid, groups, lambda: ask(str(kw.run_dir / "keepwell.sock"), questions))

    def may_all(self, answers):
        self.assertNotIn(403, [status for status, _ in answers])
        self.assertEqual([status for status, _ in answers[:READS + 1]], [200, 200, 200, 200, 201])

    def may_read(self, answers):
        self.assertEqual([status for status, _ in answers[:READS]], [200] * READS)
        for status, message in answers[READS:]:
            self.assertEqual(status, 403)
            self.assertIn("x-keepwell.api", message)

    def may_nothing(self, answers):
        for status, message in (one for i, one in enumerate(answers) if not QUESTIONS[i].startswith("HEAD")):
            self.assertEqual(status, 403)
            self.assertIn("permission denied: user id", message)

    def test_mode_and_group_of_the_socket(self):
        group = grp.getgrall()[-1]
        kw = self.keepwell({"group": group.gr_name, "mode": "0660"})
        facts = os.stat(kw.run_dir / "keepwell.sock")
        self.assertEqual((stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid), (0o660, 0, group.gr_gid))
        self.may_all(self.ask(kw, OTHER, OTHER, [group.gr_gid]))
        self.may_all(self.ask(kw, OTHER, group.gr_gid))
        self.assertEqual({status for status, _ in self.ask(kw, OTHER, OTHER)}, {"PermissionError"})

    def test_the_default_is_root_alone(self):
        kw = self.keepwell({})
        facts = os.stat(kw.run_dir / "keepwell.sock")
        self.assertEqual((stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid), (0o660, 0, os.getegid()))
        self.assertEqual({status for status, _ in self.ask(kw, OTHER, OTHER)}, {"PermissionError"})

    def test_levels_by_number(self):
        kw = self.keepwell({"mode": "0666", "read": [str(READER)], "admin": [str(ADMIN)]})
        self.may_read(self.ask(kw, READER, OTHER))
        self.may_all(self.ask(kw, ADMIN, OTHER))
        self.may_nothing(self.ask(kw, OTHER, OTHER))
        self.may_nothing(self.ask(kw, OTHER, READER))  # a user's number is no group's
        self.may_all(self.ask(kw, 0, 0))
        self.assertEqual(kw.state("web")["Status"], "running")

    def test_levels_by_group(self):
        kw = self.keepwell({"mode": "0666", "read": [f"@{READERS}"], "admin": [f"@{TEAM}"]})
        self.may_read(self.ask(kw, OTHER, READERS))
        self.may_read(self.ask(kw, OTHER, OTHER, [OTHER + 1, READERS]))
        self.may_all(self.ask(kw, OTHER, OTHER, [READERS, TEAM]))  # the higher level counts
        many = list(range(60000, 60200))  # more than are asked for at first
        self.may_read(self.ask(kw, OTHER, OTHER, [*many, READERS]))
        self.may_nothing(self.ask(kw, OTHER, OTHER, many))

    def test_levels_by_name(self):
        try:
            user, group = pwd.getpwnam("nobody"), grp.getgrnam("daemon")
        except KeyError as missing:
            self.skipTest(f"this host has no {missing}")
        kw = self.keepwell({"mode": "0666", "read": ["nobody", "no-such-user"], "admin": ["@daemon", "@no-such-group"]})
        self.may_read(self.ask(kw, user.pw_uid, OTHER))
        self.may_all(self.ask(kw, OTHER, group.gr_gid))
        self.may_nothing(self.ask(kw, OTHER, OTHER))

    def test_readers_alone_leave_root_as_the_admin(self):
        kw = self.keepwell({"mode": "0666", "read": [str(READER)]})
        self.may_read(self.ask(kw, READER, OTHER))
        self.may_nothing(self.ask(kw, OTHER, OTHER))
        self.may_all(self.ask(kw, 0, 0))

    def test_admins_alone_leave_reading_to_who_can_connect(self):
        kw = self.keepwell({"mode": "0666", "admin": [str(ADMIN)]})
        self.may_all(self.ask(kw, ADMIN, OTHER))
        self.may_read(self.ask(kw, OTHER, OTHER))

    def test_levels_follow_a_reload(self):
        kw = self.keepwell({"mode": "0666", "read": [str(READER)]})
        self.may_nothing(self.ask(kw, OTHER, OTHER))
        kw.write({"services": {"web": e2e.process("exec sleep 1000")},
                  "x-keepwell": {"api": {"mode": "0666", "read": [str(OTHER)], "admin": [str(READER)]}}})
        kw.ok("reload")
        self.may_read(self.ask(kw, OTHER, OTHER))
        self.may_all(self.ask(kw, READER, OTHER))

    def test_our_own_command_line_says_why(self):
        kw = self.keepwell({"mode": "0666", "read": [str(READER)]})
        program = os.open(e2e.BIN / "keepwell", os.O_RDONLY)
        self.addCleanup(os.close, program)

        def run(uid, *args):
            return subprocess.run(["keepwell", *args], executable=f"/proc/self/fd/{program}", pass_fds=[program], user=uid, group=uid,
                                  extra_groups=[], capture_output=True, text=True, env=kw.env, cwd="/", timeout=30, check=False)
        self.assertEqual(run(READER, "ps").returncode, 0)
        refused = run(READER, "restart", "web")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("permission denied", refused.stderr)

    def test_connections_of_one_user_are_bounded(self):
        kw = self.keepwell({"mode": "0666"})
        path = str(kw.run_dir / "keepwell.sock")
        self.assertEqual(as_user(OTHER, OTHER, [], lambda: crowd(path)), 32)
        self.assertEqual(kw.api("GET", "/version")[0], 200)


if __name__ == "__main__":
    e2e.main()
