#!/usr/bin/env python3
"""Bad input to the API: every field and parameter wrong, missing, of another type, huge; ids that are nobody's;
containers that are stopped or paused; HTTP that is malformed, in pieces, pipelined, slow or too large. Each gets its
status and {"message": ...}, and nothing else is disturbed."""

import json
import socket
import time
import unittest
import urllib.parse

import keepwell_e2e as e2e

ID = "f" * 64
DEEP = "[" * 40 + "]" * 40


class Reply:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}

    def message(self):
        assert self.fields.get("content-type") == "application/json", (self.status, self.fields)
        said = json.loads(self.body)
        assert list(said) == ["message"] and said["message"], said
        return said["message"]


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kw = e2e.Keepwell({"services": {
            "web": e2e.process("while :; do echo tick; sleep 0.1; done", healthcheck={"test": "exit 0", "interval": "200ms"}),
            "down": e2e.process("exit 3"),
            "still": e2e.process("exec sleep 1000"),
        }})
        cls.kw.wait_health("web", "healthy")
        cls.kw.wait_state("down", "exited")
        cls.kw.wait_state("still", "running")
        cls.kw.ok("pause", "still")
        cls.pids = (cls.kw.agent_pid(), cls.kw.pid("web"))

    @classmethod
    def tearDownClass(cls):
        cls.kw.close()

    def tearDown(self):
        """Nothing else was disturbed."""
        self.assertEqual((self.kw.agent_pid(), self.kw.pid("web"), self.kw.health("web")), (*self.pids, "healthy"))

    # ---- how it is asked

    def connect(self, seconds=20):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(seconds)
        sock.connect(str(self.kw.run_dir / "keepwell.sock"))
        return sock

    def send(self, raw, seconds=20):
        """RAW on a connection of its own; all that comes back until it is closed."""
        with self.connect(seconds) as sock:
            try:
                sock.sendall(raw)
            except (BrokenPipeError, ConnectionResetError):
                pass
            got = b""
            while True:
                try:
                    piece = sock.recv(65536)
                except ConnectionResetError:
                    return got
                if not piece:
                    return got
                got += piece

    def ask(self, method, target, body=None, kind="application/json", more=""):
        data = body if isinstance(body, bytes) else (body or "").encode() if not isinstance(body, dict) else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}"
        if kind and body is not None:
            head += f"Content-Type: {kind}\r\n"
        if method != "GET":
            head += f"Content-Length: {len(data)}\r\n"
        return Reply(self.send(f"{head}\r\n".encode("latin-1") + data))

    def refused(self, status, text, method, target, *args, **kwargs):
        with self.subTest(f"{method} {target[:80]} {str(args)[:80]}"):
            reply = self.ask(method, target, *args, **kwargs)
            self.assertEqual(reply.status, status, reply.body[:300])
            self.assertIn(text.lower(), reply.message().lower())

    # ---- JSON bodies

    def test_every_field_of_an_exec(self):
        good = {"Cmd": ["true"]}
        strings, flags, lists = ("User", "WorkingDir", "DetachKeys"), ("Tty", "Privileged", "AttachStdin", "AttachStdout",
                                                                       "AttachStderr"), ("Cmd", "Env")
        for field in (*strings, *flags, *lists, "ConsoleSize"):
            wrong = [1, 1.5, {"a": 1}]
            if field not in strings:
                wrong.append("text")
            if field not in flags:
                wrong.append(True)
            if field not in (*lists, "ConsoleSize"):
                wrong.append(["a"])
            if field in lists:
                wrong += [[1], ["a", None], [["a"]]]
            if field == "ConsoleSize":
                wrong += [[1], [1, 2, 3], [-1, 2], [1, 70000], [1.5, 2], ["1", "2"], [None, None], [10**30, 1]]
            for value in wrong:
                self.refused(400, field, "POST", "/containers/web/exec", {**good, field: value})
            if field != "Cmd":  # null is as good as missing
                self.assertEqual(self.ask("POST", "/containers/web/exec", {**good, field: None}).status, 201, field)
        for body in ({}, {"Cmd": None}, {"Cmd": []}, {"Tty": True}):
            self.refused(400, "No exec command specified", "POST", "/containers/web/exec", body)
        for keys in ("ctrl-", "ctrl-ab", "a,,b", "ctrl-A", "x" * 70000, "é"):
            self.refused(400, "Invalid detach keys", "POST", "/containers/web/exec", {**good, "DetachKeys": keys})
        for user in ("-1", "1:-1", "a b", "x:y:z", "4294967295", ":", "no-such-user", "0:no-such-group", "u" * 70000, "\n"):
            self.refused(400, "", "POST", "/containers/web/exec", {**good, "User": user})
        self.refused(400, "unable to find user no-such-user: no matching entries in passwd file", "POST", "/containers/web/exec",
                     {**good, "User": "no-such-user"})
        self.assertEqual(self.ask("POST", "/containers/web/exec", {**good, "Unknown": [1], "cmd": ["false"]}).status, 201)

    BODIES = [(400, "", b"EOF"), (400, "{", b""), (400, "[]", b"object"), (400, "7", b"object"), (400, '"x"', b"object"),
              (400, '{"Cmd":["true"]', b""), (400, '{"Cmd":["true"]}{}', b"after JSON"), (400, "{'Cmd':1}", b""),
              (400, '{"Cmd":["true"],}', b""), (400, '{"x":' + DEEP + "}", b"deep"), (400, "[" * 100000, b"deep"),
              (400, b'{"Cmd":["\xff\xfe"]}', b""), (400, b"\0", b""), (400, '{"Cmd":["a\\u0000b"]}', b""),
              (413, '{"Cmd":["' + "x" * (1 << 20) + '"]}', b"too large")]

    def test_bodies_that_are_no_json(self):
        made = self.create()
        for status, body, text in self.BODIES:
            self.refused(status, text.decode(), "POST", "/containers/web/exec", body)
            if body != "" and "u0000" not in str(body):  # a start reads no Cmd, and may be empty
                self.refused(status, text.decode(), "POST", f"/exec/{made}/start", body)
        for kind in ("text/plain", "application/jsonx", "application", ";", "application/x-www-form-urlencoded"):
            self.refused(400, "Content-Type", "POST", "/containers/web/exec", {"Cmd": ["true"]}, kind=kind)
            self.refused(400, "Content-Type", "POST", f"/v1.22/exec/{made}/start", {"Detach": True}, kind=kind)
        self.refused(400, "Content-Type", "POST", "/containers/web/exec", {"Cmd": ["true"]}, kind="")
        for kind in ("application/json", "application/json; charset=utf-8", "Application/JSON"):
            self.assertEqual(self.ask("POST", "/containers/web/exec", {"Cmd": ["true"]}, kind=kind).status, 201, kind)
        # Up to 1.21 the type of a start's body is not looked at.
        self.assertEqual(self.ask("POST", f"/v1.21/exec/{made}/start", {"Detach": True}, kind="text/plain").status, 200)

    def create(self, command=("true",)):
        reply = self.ask("POST", "/containers/web/exec", {"Cmd": list(command)})
        self.assertEqual(reply.status, 201, reply.body)
        return json.loads(reply.body)["Id"]

    def test_every_field_of_a_start(self):
        made = self.create()
        for field in ("Detach", "Tty"):
            for value in (1, "true", [True], {}):
                self.refused(400, field, "POST", f"/exec/{made}/start", {field: value})
        for value in (1, "1x1", [1], [1, 2, 3], ["a", "b"], [-1, 1]):
            self.refused(400, "ConsoleSize", "POST", f"/exec/{made}/start", {"Tty": True, "ConsoleSize": value})
        self.assertEqual(self.ask("POST", f"/exec/{made}/start", {"Detach": True}).status, 200)
        self.refused(409, "exec command", "POST", f"/exec/{made}/start", {"Detach": True})
        e2e.wait_until("it has run", lambda: json.loads(self.ask("GET", f"/exec/{made}/json").body)["ExitCode"] == 0)
        self.refused(409, "has already run", "POST", f"/exec/{made}/start", {"Detach": False})
        self.refused(409, "", "POST", f"/exec/{made}/resize?h=1&w=1")
        self.refused(409, "not running", "POST", f"/exec/{made}/kill")

    # ---- parameters

    def test_parameters(self):
        made = self.create(("sleep", "100"))
        for path in (f"/exec/{made}/resize", "/containers/web/resize"):
            for query, text in (("", 'invalid resize height "": invalid syntax'), ("?h=1", 'invalid resize width ""'), ("?w=1", "height"),
                                ("?h=x&w=1", "invalid syntax"), ("?h=-1&w=1", "invalid syntax"), ("?h=1.5&w=1", "invalid syntax"),
                                ("?h=4294967296&w=1", "out of range"), ("?h=1&w=99999999999999999999999", "out of range"),
                                ("?h=%20&w=1", "invalid syntax"), ("?h=%zz&w=1", "escape"), ("?h=%00&w=1", "NUL")):
                self.refused(400, text, "POST", path + query)
        self.assertEqual(self.ask("POST", f"/exec/{made}/resize?h=4294967295&w=0").status, 200)
        for signal in ("NOSUCH", "0", "-1", "99999", "SIG", "1.5", "%F0%9F%92%A3", "9" * 5000):
            self.refused(400, "signal", "POST", f"/exec/{made}/kill?signal={signal}")
            self.refused(400, "invalid signal", "POST", f"/containers/web/kill?signal={signal}")
            self.refused(400, "invalid signal", "POST", f"/containers/web/stop?signal={signal}")
        for t in ("x", "1.5", "1h", "99999999999999999999", "0x1"):
            self.refused(400, "t", "POST", f"/containers/web/stop?t={t}")
            self.refused(400, "t", "POST", f"/containers/web/restart?t={t}")
        for condition in ("healthy", "x" * 5000, "next%00exit"):
            self.refused(400, "", "POST", f"/containers/web/wait?condition={condition}")
        for arguments in ("--sort=x", "-o nosuch", "-o", "-o%20comm", "$(reboot)", ";reboot", "-C" * 2000):
            self.refused(400, "", "GET", f"/containers/web/top?ps_args={urllib.parse.quote(arguments, safe='%')}")

    def test_parameters_of_streams(self):
        for query, text in (("", "choose at least one stream"), ("stdout=0&stderr=no", "at least one"), ("stdout=1&since=x", "since"),
                            ("stdout=1&until=yesterday", "until"), ("stdout=1&since=2020-01-01T00:00:00Z", "since"),
                            ("stdout=1&since=1e400", "since"), ("stdout=1&since=99999999999999999999999", "since")):
            self.refused(400, text, "GET", f"/containers/web/logs?{query}")
        for query in ("tail=x", "tail=-1", "tail=1e9", "tail=99999999999999999999999"):  # everything, as Docker
            self.assertEqual(self.ask("GET", f"/containers/web/logs?stdout=1&{query}").status, 200, query)
        for query, text in (("since=x", "since"), ("until=x", "until"), ("since=2&until=1", "after"), ("since=1.x", "since")):
            self.refused(400, text, "GET", f"/events?{query}")
        for text in ("x", "[]", "7", '{"label":7}', '{"label":{"a":7}}', '{"label":[7]}', "{", '{"a":' + DEEP + "}",
                     json.dumps({"label": ["x" * 70000]})[:7000], json.dumps({"label": [str(i) for i in range(300)]})):
            filters = urllib.parse.quote(text)
            self.refused(400, "invalid filter", "GET", f"/containers/json?filters={filters}")
            self.refused(400, "invalid filter", "GET", f"/events?filters={filters}")
        for text in ('{"bad":["x"]}', '{"health":["fine"]}', '{"status":["x"]}', '{"exited":["x"]}', '{"name":["("]}', '{"name":["(a*)*b"]}'):
            if "(a*)*b" in text:  # a pattern, and no trap
                self.assertEqual(self.ask("GET", f"/containers/json?filters={urllib.parse.quote(text)}").status, 200)
            else:
                self.refused(400, "invalid filter", "GET", f"/containers/json?filters={urllib.parse.quote(text)}")
        for limit in ("x", "1.5", "99999999999999999999"):
            self.refused(400, "limit", "GET", f"/containers/json?limit={limit}")
        reply = self.ask("POST", "/containers/web/attach?stream=1&stdout=1&detachKeys=ctrl-", "")
        self.assertEqual((reply.status, reply.fields["content-type"]), (400, "application/vnd.docker.raw-stream"))
        self.assertIn(b"Invalid detach keys", reply.body)

    def test_paths_of_cp(self):
        # `web` is a process of the host: its files are nobody's to copy.
        for method in ("GET", "PUT"):
            self.refused(501, "process of this host", method, "/containers/web/archive?path=/")
            self.refused(400, "path cannot be empty", method, "/containers/web/archive")
            self.refused(400, "NUL", method, "/containers/web/archive?path=%00")

    # ---- who is asked

    ROUTES = [("GET", "/containers/{}/json"), ("GET", "/containers/{}/top"), ("GET", "/containers/{}/logs?stdout=1"),
              ("GET", "/containers/{}/stats?stream=0"), ("GET", "/containers/{}/archive?path=/"), ("PUT", "/containers/{}/archive?path=/"),
              ("POST", "/containers/{}/start"), ("POST", "/containers/{}/stop"), ("POST", "/containers/{}/restart"),
              ("POST", "/containers/{}/kill"), ("POST", "/containers/{}/pause"), ("POST", "/containers/{}/unpause"),
              ("POST", "/containers/{}/wait"), ("POST", "/containers/{}/resize?h=1&w=1"), ("POST", "/containers/{}/exec")]

    def test_containers_that_are_nobodys(self):
        for method, path in self.ROUTES:
            for name in ("nosuch", ID, "%2Fnosuch", "n" * 5000, "%C3%A9", "..%2f..%2fetc", "%20", "web%20", "WEB"):
                body = {"Cmd": ["true"]} if path.endswith("exec") else None
                self.refused(404, "No such container", method, path.format(name), body)
        reply = self.ask("POST", "/containers/nosuch/attach?stream=1&stdout=1", "")
        self.assertEqual((reply.status, reply.fields["content-type"]), (404, "application/vnd.docker.raw-stream"))
        for name in ("nosuch", ID, "f" * 63, "e" * 5000):
            for method, path, body in (("POST", "start", {"Detach": True}), ("POST", "resize?h=1&w=1", None), ("GET", "json", None),
                                       ("POST", "kill", None)):
                self.refused(404, "No such exec instance", method, f"/exec/{name}/{path}", body)

    def test_paths_that_are_nothing(self):
        for method, path in (("GET", "/"), ("GET", "/nosuch"), ("POST", "/containers/json"), ("PATCH", "/containers/web/json"),
                             ("GET", "/containers/web/exec"), ("GET", "/containers//json/x"), ("DELETE", "/events"), ("GET", "/v1.40"),
                             ("GET", "/v1.40/nosuch"), ("GET", "/containers/web"), ("OPTIONS", "/containers/json")):
            self.refused(404, "page not found", method, path)
        for version, text in (("1.99", "too new"), ("1.11", "too old"), ("2.0", "too new"), ("0.9", "too old"), ("1.999999999999", "too new")):
            self.refused(400, text, "GET", f"/v{version}/containers/json")
        self.assertEqual(self.ask("GET", "/v1.12/containers/json").status, 200)

    def test_stopped_containers(self):
        for method, path, status, text in (
                ("GET", "top", 409, "is not running"), ("POST", "kill", 409, "is not running"), ("POST", "pause", 409, "is not running"),
                ("POST", "unpause", 500, "is not paused"), ("POST", "resize?h=1&w=1", 409, "is not running"),
                ("POST", "exec", 409, "is not running")):
            body = {"Cmd": ["true"]} if path == "exec" else None
            self.refused(status, text, method, f"/containers/down/{path}", body)
        self.assertEqual(self.ask("POST", "/containers/down/stop").status, 304)
        self.assertEqual(self.ask("GET", "/containers/down/stats?stream=0").status, 200)
        self.assertEqual(self.ask("GET", "/containers/down/logs?stdout=1&follow=1").status, 200)
        self.assertEqual(json.loads(self.ask("POST", "/containers/down/wait").body.split(b"\r\n")[1]), {"StatusCode": 3})
        self.assertEqual(self.kw.state("down")["Status"], "exited")

    def test_paused_containers(self):
        for method, path, status, text in (
                ("POST", "exec", 409, "is paused, unpause the container before exec"), ("POST", "pause", 409, "already paused"),
                ("POST", "start", 409, "cannot start a paused container, try unpause instead")):
            body = {"Cmd": ["true"]} if path == "exec" else None
            self.refused(status, text, method, f"/containers/still/{path}", body)
        reply = self.ask("POST", "/containers/still/attach?stream=1&stdout=1", "")
        self.assertEqual(reply.status, 409)
        self.assertEqual(self.ask("GET", "/containers/still/top").status, 200)
        self.assertEqual(self.kw.state("still")["Status"], "paused")

    # ---- HTTP

    def test_malformed_http(self):
        get = b"GET /_ping HTTP/1.1\r\nHost: x\r\n"
        for status, raw in (
                (400, b"\0\0\0\0\r\n\r\n"), (400, b"GET\r\n\r\n"), (400, b"GET /_ping\r\n\r\n"), (400, b"GET /_ping HTTP/1.1\n\n"),
                (505, b"GET /_ping HTTP/9.9\r\nHost: x\r\n\r\n"), (400, b"GET http://x/_ping HTTP/1.1\r\nHost: x\r\n\r\n"),
                (400, b"GET /_ping HTTP/1.1\r\n\r\n"), (400, get + b"Host: y\r\n\r\n"), (400, get + b"X : y\r\n\r\n"),
                (400, get + b"X: a\r\n b\r\n\r\n"), (400, get + b"X: \0\r\n\r\n"), (400, get + b"X: a\rb\r\n\r\n"),
                (400, get + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), (400, get + b"Content-Length: -1\r\n\r\n"),
                (400, get + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                (400, get + b"Content-Length: 99999999999999999999999\r\n\r\n"),
                (501, get + b"Transfer-Encoding: gzip\r\n\r\n"), (501, get + b"Transfer-Encoding: chunked, identity\r\n\r\n"),
                (400, b"POST /containers/web/exec HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzzzz\r\n"),
                (403, get + b"Origin: http://evil.example\r\n\r\n"), (403, get + b"Sec-Fetch-Site: cross-site\r\n\r\n"),
                (431, get + b"X: " + b"y" * 20000 + b"\r\n\r\n"), (431, get + b"X: y\r\n" * 100 + b"\r\n"),
                (414, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")):
            with self.subTest(raw[:90]):
                reply = Reply(self.send(raw))
                self.assertIn(reply.status, (status, 400), raw[:90])
                reply.message()

    def test_in_pieces_and_pipelined(self):
        body = json.dumps({"Cmd": ["true"]}).encode()
        request = (b"POST /containers/web/exec HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
                   + str(len(body)).encode() + b"\r\n\r\n" + body)
        with self.connect() as sock:
            for i in range(len(request)):
                sock.sendall(request[i:i + 1])
            self.assertTrue(sock.recv(65536).startswith(b"HTTP/1.1 201"))
        chunked = b"POST /containers/web/exec HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunked += b"".join(b"1\r\n" + body[i:i + 1] + b"\r\n" for i in range(len(body))) + b"0\r\n\r\n"
        bad = b"GET /nosuch HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        got = self.send(request + chunked + bad + request + last)
        statuses = [int(piece[:3]) for piece in got.split(b"HTTP/1.1 ")[1:]]
        self.assertEqual(statuses, [201, 201, 404, 201, 200])
        # What is malformed ends the connection; what came before it is answered.
        got = self.send(last.replace(b"Connection: close\r\n", b"") + b"NONSENSE\r\n\r\n" + last)
        self.assertEqual([int(piece[:3]) for piece in got.split(b"HTTP/1.1 ")[1:]], [200, 400])

    def test_more_requests_than_a_connection_may_have(self):
        got = self.send(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n" * 150)
        self.assertEqual(got.count(b"HTTP/1.1 200"), 100)

    def test_slow_clients_do_not_hold_others(self):
        slow = []
        for start in (b"", b"G", b"GET /_ping HTTP/1.1\r\nHo", b"POST /containers/web/exec HTTP/1.1\r\nHost: x\r\nContent-Type: "
                      b"application/json\r\nContent-Length: 100\r\n\r\n{"):
            for _ in range(5):
                sock = self.connect()
                sock.sendall(start)
                slow.append(sock)
        reader = self.connect()  # asks for much and reads nothing
        reader.sendall(b"GET /containers/web/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n"
                       b"GET /events?since=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        begun = time.monotonic()
        for _ in range(20):
            self.assertEqual(self.ask("GET", "/_ping").status, 200)
        self.assertLess(time.monotonic() - begun, 5 * e2e.PATIENCE)
        # A head that does not come to its end in five seconds is answered so.
        got = slow[-6].recv(65536)
        self.assertTrue(got.startswith(b"HTTP/1.1 408"), got)
        Reply(got).message()
        for sock in (*slow, reader):
            sock.close()

    def test_abandoned_requests(self):
        for raw in (b"GET /events?since=1 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /containers/web/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"GET /containers/web/stats?stream=1 HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /containers/web/wait HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"POST /containers/web/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n"):
            before = self.descriptors()
            for _ in range(20):
                with self.connect() as sock:
                    sock.sendall(raw)
            e2e.wait_until(f"descriptors as before {raw[:40]}", lambda: self.descriptors() <= before + 1, 10)

    def descriptors(self):
        import os
        return len(os.listdir(f"/proc/{self.kw.agent_pid()}/fd"))


if __name__ == "__main__":
    e2e.main()
