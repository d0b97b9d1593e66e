#!/usr/bin/env python3
"""Networks, ports and names with real containers, in a network namespace that the test makes (net_stage.py)."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

import keepwell_e2e as e2e
import net_stage

FIXED = {"ipam": {"config": [{"subnet": "10.77.0.0/24"}]}}


def settings(kw, name):
    return kw.inspect(name)["NetworkSettings"]


def address(kw, name, network=None):
    networks = settings(kw, name)["Networks"]
    return (networks[network] if network else next(iter(networks.values())))["IPAddress"]


def not_foreign(state):
    """The rules in no order, without those that net_stage.py makes and a flush takes away for good."""
    return sorted(rule for rule in state["rules"] if not re.search(r"FOREIGN|192\.0\.2\.1|2001:db8::1", rule))


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        net_stage.need_networks()
        self.host = self.enterContext(net_stage.HostNetwork())
        self.host.foreign_rules()
        self.before = self.host.state()

    def keepwell(self, services, **top):
        start = top.pop("start", True)
        return e2e.Keepwell({"services": services, **top}, wrap=self.host.wrap, start=start, networks=True)

    def check_clean(self):
        self.assertEqual(self.host.state(), self.before)

    def aardvarks(self, kw):
        """Pids of the aardvark-dns of this run directory."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"aardvark-dns" in words[0] and any(str(kw.run_dir).encode() in word for word in words):
                found.append(int(path.parent.name))
        return found


class Whole(Case):
    """Proxy, app and database, as people write them."""

    def services(self):
        s = self.host.service
        return {"proxy": s("proxy", networks=["front"], ports=["8080:8000", "8080:8000/udp"]),
                "app": s("app", networks={"front": None, "back": {"aliases": ["backend"]}}, hostname="apphost"),
                "db": s("db", networks={"back": {"ipv4_address": "10.77.0.9"}}, expose=["8000"])}

    def top(self):
        return {"networks": {"front": None, "back": FIXED}}

    def check_works(self, kw):
        host = self.host
        host.wait_http(8080, "/", "proxy")
        host.wait_http(8080, "/ask/app:8000", "app")
        host.wait_http(8080, "/ask/app:8000/ask/db:8000", "db")
        self.assertEqual(host.udp(8080, "ping"), "proxy heard ping")

    def test_names_ports_isolation_restarts_and_a_clean_end(self):
        host = self.host
        with self.keepwell(self.services(), **self.top()) as kw:
            self.check_works(kw)
            # By every name: service, container, alias, hostname, id.
            for name in ("app", "e2e-app-1", kw.inspect("app")["Id"][:12], "apphost"):
                self.assertEqual(host.http(8080, f"/resolve/{name}"), (200, address(kw, "app", "e2e_front")), name)
            self.assertEqual(host.http(8080, "/ask/app:8000/resolve/db")[1], "10.77.0.9")
            db = kw.ok("exec", "db", "getent", "ahosts", "backend")
            self.assertIn(address(kw, "app", "e2e_back"), db)
            # Who is on no common network has neither name nor way.
            self.assertNotEqual(host.http(8080, "/resolve/db")[0], 200)  # a newer aardvark-dns asks the host's servers first
            self.assertEqual(host.http(8080, "/ask/10.77.0.9:8000")[0], 502)
            # And from the host's own address, not only its loopback.
            front = settings(kw, "proxy")["Networks"]["e2e_front"]
            host.wait_http(8080, "/", "proxy", address=front["Gateway"])

            for name in ("proxy", "app", "db"):
                kept = address(kw, name)
                kw.ok("restart", name)
                self.check_works(kw)
                self.assertEqual(address(kw, name), kept)
            self.assertEqual(len(self.aardvarks(kw)), 1)
            self.assertEqual(kw.stop(), 0)
            self.check_clean()
            self.assertEqual(self.aardvarks(kw), [])
            self.assertEqual([p.name for p in (kw.run_dir / "networks").glob("*.*")], [])

    def test_everything_killed_and_a_clean_next_start(self):
        with self.keepwell(self.services(), **self.top()) as kw:
            self.check_works(kw)
            agent = kw.agent_pid()
            addresses = {name: address(kw, name) for name in ("proxy", "app", "db")}
            os.kill(agent, signal.SIGKILL)  # alone: all goes on
            e2e.wait_until("a new agent", lambda: kw.agent_pid() not in (None, agent) and kw.run("ps").code == 0)
            self.check_works(kw)
            self.assertEqual({name: address(kw, name) for name in addresses}, addresses)

            # Names are resolved again when whoever resolves them has died.
            for pid in self.aardvarks(kw):
                os.kill(pid, signal.SIGKILL)
            self.check_works(kw)

            kw.remember()
            tree = dict(kw.seen)
            for pid, ticks in tree.items():  # keeper, agent, logger, containers, aardvark-dns
                if e2e.start_ticks(pid) == ticks:
                    os.kill(pid, signal.SIGKILL)
            kw.process.wait(20)
            kw.process = None
            self.assertNotEqual(self.host.state(), self.before)  # what nobody could take down
            kw.start()
            for name in addresses:  # they have no restart policy
                kw.wait_state(name, "exited")
                kw.ok("start", name)
            self.check_works(kw)
            self.assertEqual(kw.stop(), 0)
            self.check_clean()


class Views(Case):
    def test_what_docker_and_prometheus_see(self):
        host = self.host
        services = {"web": host.service("web", ports=["8081:8000", "9000"], expose=["7000"], restart="always"),
                    "side": {**host.service("side", 8001), "network_mode": "service:web"},
                    "mute": e2e.busybox("exec sleep 1000", network_mode="none")}
        with self.keepwell(services) as kw:
            host.wait_http(8081, "/", "web")
            web = kw.inspect("web")
            network = web["NetworkSettings"]["Networks"]["e2e_default"]
            self.assertEqual(web["HostConfig"]["NetworkMode"], "e2e_default")
            self.assertRegex(network["IPAddress"], r"^10\.\d+\.\d+\.\d+$")
            self.assertEqual(network["IPPrefixLen"], 20)
            self.assertRegex(network["MacAddress"], r"^02:42(:[0-9a-f]{2}){4}$")
            self.assertIn("web", network["Aliases"])
            ports = web["NetworkSettings"]["Ports"]
            self.assertEqual(ports["8000/tcp"], [{"HostIp": "0.0.0.0", "HostPort": "8081"}])
            self.assertGreater(int(ports["9000/tcp"][0]["HostPort"]), 0)
            self.assertIsNone(ports["7000/tcp"])
            inside = json.loads(subprocess.run(["nsenter", f"--net={web['NetworkSettings']['SandboxKey']}", "ip", "-j", "addr", "show", "eth0"],
                                               check=True, capture_output=True, text=True).stdout)[0]
            self.assertEqual(inside["address"], network["MacAddress"])
            self.assertIn(network["IPAddress"], [a["local"] for a in inside["addr_info"]])
            self.assertIn(f"{network['IPAddress']}\t{web['Id'][:12]}", kw.ok("exec", "web", "cat", "/etc/hosts"))
            self.assertIn("8081->8000/tcp", kw.ok("ps"))

            status, networks = kw.api("GET", "/networks")
            self.assertEqual((status, [n["Name"] for n in networks]), (200, ["e2e_default"]))
            self.assertEqual(networks[0]["Id"], network["NetworkID"])
            status, one = kw.api("GET", f"/networks/{network['NetworkID'][:10]}")
            self.assertEqual(one["Containers"][web["Id"]]["IPv4Address"], f"{network['IPAddress']}/20")
            self.assertEqual(kw.api("GET", "/networks/nobody")[0], 404)
            self.assertEqual([c["Names"] for c in kw.api("GET", '/containers/json?filters={"network":["e2e_default"]}')[1]], [["/e2e-web-1"]])
            if shutil.which("docker"):
                docker = ["docker", "-H", f"unix://{kw.run_dir}/keepwell.sock"]
                self.assertIn("8000/tcp -> 0.0.0.0:8081", subprocess.run([*docker, "port", "web"], check=True, capture_output=True, text=True).stdout)
                self.assertIn("e2e_default", subprocess.run([*docker, "network", "ls"], check=True, capture_output=True, text=True).stdout)
            else:
                print("docker is not installed: its own command line was not tried")

            # Shared: side's server is reached on web's address, web's on side's loopback; the probe enters it too.
            self.assertEqual(kw.inspect("side")["HostConfig"]["NetworkMode"], f"container:{web['Id']}")
            e2e.wait_until("side answers", lambda: host.http(8081, "/ask/127.0.0.1:8001") == (200, "side"))
            self.assertEqual(settings(kw, "mute")["Networks"].keys(), {"none"})

            stats = kw.api("GET", "/containers/web/stats?stream=0&one-shot=1")[1]
            self.assertGreater(stats["networks"]["eth0"]["rx_bytes"], 0)
            metrics = host.http(kw.port, "/metrics")[1]
            received = [line for line in metrics.splitlines() if line.startswith('keepwell_service_network_receive_bytes_total{') and 'service="web"' in line]
            self.assertEqual(len(received), 1)
            self.assertGreater(float(received[0].split()[-1]), 0)
            self.assertNotIn('keepwell_service_network_receive_bytes_total{service="mute"', metrics)

            # Who shares follows a restart, also after a crash, and is where the new one is.
            side = kw.pid("side")
            os.kill(kw.pid("web"), signal.SIGKILL)
            e2e.wait_until("side was restarted", lambda: kw.pid("side") not in (0, side))
            e2e.wait_until("side answers again", lambda: host.http(8081, "/ask/127.0.0.1:8001") == (200, "side"))
            self.assertEqual(kw.stop(), 0)
            self.check_clean()

    def test_ipv6_internal_and_probes(self):
        host = self.host
        check = {"interval": "200ms", "timeout": "2s", "retries": 3, "http": {"port": 8000, "path": "/"}}
        services = {"six": host.service("six", v6=True, networks=["six"], ports=["8082:8000"]),
                    "inner": host.service("inner", networks=["inner"])}
        services["inner"]["x-keepwell"]["checks"] = {"web": check}
        services["peer"] = {**host.service("peer", 8001, networks=["inner"])}
        with self.keepwell(services, networks={"six": {"enable_ipv6": True}, "inner": {"internal": True}}) as kw:
            host.wait_http(8082, "/", "six")
            six = settings(kw, "six")["Networks"]["e2e_six"]
            self.assertTrue(six["GlobalIPv6Address"].startswith("fd"), six)
            self.assertIn(six["GlobalIPv6Address"], kw.ok("exec", "six", "ip", "-6", "addr"))
            kw.wait_health("inner", "healthy")
            self.assertNotIn("default", kw.ok("exec", "inner", "ip", "route"))
            self.assertIn("inner", kw.ok("exec", "peer", "python3", "-I", "-c", "import urllib.request as u; print(u.urlopen('http://inner:8000/').read())"))
            self.assertEqual(kw.stop(), 0)
            self.check_clean()


class BadDays(Case):
    def test_ports_addresses_and_subnets_in_use(self):
        host = self.host
        host.run("ip", "link", "add", "other0", "type", "bridge")
        host.run("ip", "addr", "add", "10.66.0.1/16", "dev", "other0")
        host.run("ip", "link", "set", "other0", "up")
        self.before = host.state()
        taken = self.enterContext(host.socket())
        taken.bind(("0.0.0.0", 8090))
        taken.listen()
        services = {"good": host.service("good", ports=["8091:8000"]),
                    "port": host.service("port", ports=["8090:8000"]),
                    "subnet": host.service("subnet", networks=["clash"])}
        with self.keepwell(services, networks={"clash": {"ipam": {"config": [{"subnet": "10.66.3.0/24"}]}}}) as kw:
            host.wait_http(8091, "/", "good")
            self.assertIn("cannot publish port 8090/tcp: another program", kw.state("port")["Error"])
            self.assertIn("10.66.3.0/24 is in use by the route 10.66.0.0/16 of interface other0", kw.state("subnet")["Error"])
            # A port that became free is taken.
            taken.close()
            kw.ok("start", "port")
            host.wait_http(8090, "/", "port")
            # And held: nobody else gets it.
            with host.socket() as second, self.assertRaises(OSError):
                second.bind(("0.0.0.0", 8090))
            # A second keepwell beside it: other subnets, and its port is refused.
            with e2e.Keepwell({"name": "second", "services": {"web": host.service("web", ports=["8090:8000"]),
                                                              "more": host.service("more")}}, wrap=host.wrap, networks=True) as other:
                other.wait_state("more", "running")
                self.assertIn("cannot publish port 8090/tcp", other.state("web")["Error"])
                self.assertNotEqual(settings(other, "more")["Gateway"], settings(kw, "good")["Gateway"])
                self.assertEqual(other.stop(), 0)
            host.wait_http(8091, "/", "good")
            self.assertEqual(kw.stop(), 0)
            self.check_clean()

    def reload_firewall(self, saved):
        """As a firewall's own service does it: what it knows nothing of is gone."""
        for tool, rules in saved.items():
            subprocess.run([*self.host.wrap, f"{tool}-restore"], input=rules, check=True, text=True, timeout=60)

    def test_firewall_reloaded_underneath(self):
        host = self.host
        saved = {tool: host.run(f"{tool}-save") for tool in ("iptables", "ip6tables")}
        self.reload_firewall(saved)  # makes the kernel's own chains, which nft lists from then on
        self.before = host.state()
        services = {"web": host.service("web", ports=["8080:8000"], networks=["front", "six"]),
                    "db": host.service("db", networks=["front"]),
                    "six": host.service("six", v6=True, networks=["six"], ports=["8082:8000"]),
                    "inner": host.service("inner", networks=["inner"])}
        networks = {"front": None, "six": {"enable_ipv6": True}, "inner": {"internal": True}}
        with self.keepwell(services, networks=networks) as kw:
            host.wait_http(8080, "/ask/db:8000", "db")
            host.wait_http(8082, "/", "six")
            kw.wait_state("inner", "running")
            whole, links = not_foreign(host.state()), host.state()["links"]
            pids = {name: kw.pid(name) for name in services}
            for flush in (lambda: self.reload_firewall(saved), lambda: host.run("iptables", "-t", "nat", "-F"),
                          lambda: host.run("ip6tables", "-t", "filter", "-F"), lambda: None):
                flush()
                kw.ok("reload")  # puts them back, and touches no container
                e2e.wait_until("the rules are back", lambda: not_foreign(host.state()) == whole)
                host.wait_http(8080, "/ask/db:8000", "db")
                host.wait_http(8082, "/", "six")
                e2e.wait_until("the scratch interface is gone", lambda: host.state()["links"] == links)
                self.assertEqual(not_foreign(host.state()), whole)
            self.assertEqual({name: kw.pid(name) for name in services}, pids)
            self.assertEqual(host.http(8080, "/resolve/db"), (200, address(kw, "db")))
            self.assertEqual(kw.log_text().count("the firewall had lost the rules of"), 3)
            # So does the start of a service, for itself.
            self.reload_firewall(saved)
            kw.ok("restart", "web")
            host.wait_http(8080, "/ask/db:8000", "db")
            # And a stop finds nothing of its own to remove.
            self.reload_firewall(saved)
            self.assertEqual(kw.stop(), 0)
            self.check_clean()

    def test_netavark_fails_half_way_or_is_missing(self):
        host = self.host
        with self.keepwell({}, start=False) as kw:
            tools = kw.dir / "tools"
            tools.mkdir()
            fake = tools / "netavark"
            fake.write_text("#!/bin/sh\nfor verb; do\n case $verb in setup) /usr/lib/podman/netavark \"$@\" >/dev/null; "
                            "echo '{\"error\":\"the moon is in the way\"}'; exit 1;; esac\ndone\nexec /usr/lib/podman/netavark \"$@\"\n")
            fake.chmod(0o755)
            kw.env["PATH"] = f"{tools}:{kw.env['PATH']}"
            kw.write({"services": {"web": host.service("web", ports=["8080:8000"]),
                                   "mute": e2e.busybox("exec sleep 1000", network_mode="none")}})
            kw.start()
            kw.wait_state("mute", "running")
            e2e.wait_until("why it did not start", lambda: "the moon is in the way" in kw.state("web")["Error"])
            self.assertEqual(kw.stop(), 0)
            self.check_clean()


if __name__ == "__main__":
    e2e.main_side_by_side()
