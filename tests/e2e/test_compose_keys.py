#!/usr/bin/env python3
"""What the Compose keys make of a container, seen from outside. Where dockerd is installed, a daemon of the test's
own runs the same settings with `docker run`, and mounts, /proc, cgroup values and device nodes of both containers
are compared; where it is not, that part is skipped, saying so. The rest needs only a runtime."""

import contextlib
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

import keepwell_e2e as e2e

NETWORK_SYSCTL = "/proc/sys/net/core/somaxconn"


# ---- what a container looks like from outside

def mounts_of(pid):
    """{mount point: (type, options, propagation)} without what differs from host to host."""
    found = {}
    for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        front, _, back = line.partition(" - ")
        point, options = front.split()[4:6]
        propagation = sorted(word.split(":")[0] for word in front.split()[6:])
        kind, _, more = back.split()[:3]
        if point == "/":
            kind, options, propagation = "root", ",".join(sorted(set(options.split(",")) & {"ro", "rw"})), []
        sizes = [word for word in more.split(",") if kind == "tmpfs" and word.split("=")[0] in ("size", "mode", "nr_inodes", "uid", "gid")]
        found[point] = (kind, tuple(sorted(options.split(",")) + sorted(sizes)), tuple(propagation))
    return found


def cgroup_values(pid):
    """The limits of the payload's cgroup, in whichever hierarchy they are."""
    names = {"memory": ["memory.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.swappiness"],
             "cpu": ["cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"], "cpuset": ["cpuset.cpus"], "pids": ["pids.max"],
             "devices": ["devices.list"],
             "": ["memory.max", "memory.low", "memory.swap.max", "cpu.max", "cpu.weight", "cpuset.cpus", "pids.max"]}
    mounted = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        front, _, back = line.partition(" - ")
        kind, _, options = back.split()[:3]
        if kind == "cgroup2":
            mounted[""] = (front.split()[3], front.split()[4])
        elif kind == "cgroup":
            for option in options.split(","):
                mounted[option] = (front.split()[3], front.split()[4])
    values = {}
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller not in mounted:
                continue
            root, point = mounted[controller]
            inside = path[len(root):] if root != "/" and path.startswith(root) else path
            for name in names.get(controller, []):
                with contextlib.suppress(OSError):
                    text = pathlib.Path(f"{point}/{inside}/{name}").read_text()
                    values[name] = tuple(sorted(text.split("\n"))) if name == "devices.list" else text.strip()
            if controller == "memory":
                with contextlib.suppress(OSError):
                    values["oom_kill_disable"] = pathlib.Path(f"{point}/{inside}/memory.oom_control").read_text().split()[1]
    return values


def nodes_of(pid):
    found = {}
    root = pathlib.Path(f"/proc/{pid}/root/dev")
    for path in root.rglob("*"):
        if str(path.relative_to(root)).startswith(("pts", "shm", "mqueue")):
            continue
        with contextlib.suppress(OSError):
            facts = path.lstat()
            if stat.S_ISCHR(facts.st_mode) or stat.S_ISBLK(facts.st_mode):
                found[str(path.relative_to(root))] = (oct(facts.st_mode), facts.st_rdev, facts.st_uid, facts.st_gid)
    return found


def inside(pid, namespaces, *argv):
    return subprocess.run(["nsenter", "-t", str(pid), *namespaces, *argv], capture_output=True, text=True, check=True).stdout.strip()


def facts_of(pid):
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    facts = {name: status[name] for name in ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")}
    facts["Groups"] = sorted(status["Groups"].split())
    facts.update({f"mount {point}": mount for point, mount in mounts_of(pid).items()})
    facts.update({f"limit {line[:26].strip()}": line[26:].split() for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]})
    facts["oom_score_adj"] = pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
    facts["own namespaces"] = sorted(name for name in os.listdir("/proc/self/ns") if not name.endswith("_for_children")
                                     and os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"))
    facts["hostname"] = inside(pid, ["-u"], "cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname")
    facts["sysctl"] = inside(pid, ["-n"], "cat", NETWORK_SYSCTL, "/proc/sys/net/ipv4/ip_unprivileged_port_start")
    for name in ("hosts", "resolv.conf"):
        lines = pathlib.Path(f"/proc/{pid}/root/etc/{name}").read_text().splitlines()
        facts[name] = [line.split() for line in lines if line and not line.startswith("#")]
    facts["devices"] = nodes_of(pid)
    facts.update(cgroup_values(pid))
    return facts


# ---- the cases: Compose keys, and what `docker run` calls the same

def cases(directory):
    data = f"{directory}/data"
    one = next((f"/dev/{n}" for n in ("fuse", "net/tun", "loop-control", "random") if os.path.exists(f"/dev/{n}")), "/dev/null")
    return {
        "plain": ({}, []),
        "bind": ({"volumes": [f"{data}:/a", f"{data}:/b:ro", f"{data}/file:/c/file"]},
                 ["-v", f"{data}:/a", "-v", f"{data}:/b:ro", "-v", f"{data}/file:/c/file"]),
        "bind-long": ({"volumes": [{"type": "bind", "source": data, "target": "/a", "read_only": True, "bind": {"propagation": "private"}}]},
                      ["--mount", f"type=bind,source={data},target=/a,readonly,bind-propagation=private"]),
        "nested": ({"volumes": [f"{data}:/a/b"], "tmpfs": "/a"}, ["-v", f"{data}:/a/b", "--tmpfs", "/a"]),
        "over": ({"volumes": [f"{data}:/dev/shm", f"{data}/file:/etc/hostname"]},
                 ["-v", f"{data}:/dev/shm", "-v", f"{data}/file:/etc/hostname"]),
        "volume": ({"volumes": ["named:/v", "named:/w:ro", "/anonymous"]}, ["-v", "named:/v", "-v", "named:/w:ro", "-v", "/anonymous"]),
        "tmpfs": ({"tmpfs": ["/t:size=1m,mode=700,exec", "/u"],
                   "volumes": [{"type": "tmpfs", "target": "/w", "tmpfs": {"size": "2m", "mode": "1770"}, "read_only": True}]},
                  ["--tmpfs", "/t:size=1m,mode=700,exec", "--tmpfs", "/u", "--mount", "type=tmpfs,target=/w,tmpfs-size=2m,tmpfs-mode=1770,readonly"]),
        "read-only": ({"read_only": True, "tmpfs": "/run"}, ["--read-only", "--tmpfs", "/run"]),
        "caps": ({"cap_drop": ["ALL"], "cap_add": ["NET_BIND_SERVICE", "CHOWN"]},
                 ["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE", "--cap-add", "CHOWN"]),
        "security": ({"security_opt": ["no-new-privileges:true", "seccomp=unconfined", "systempaths=unconfined"]},
                     ["--security-opt", "no-new-privileges:true", "--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"]),
        "memory": ({"mem_limit": "64m", "mem_reservation": "32m"}, ["--memory", "64m", "--memory-reservation", "32m"]),
        "swap": ({"mem_limit": "64m", "memswap_limit": "80m"}, ["--memory", "64m", "--memory-swap", "80m"]),
        "swappiness": ({"mem_limit": "64m", "mem_swappiness": 13, "oom_kill_disable": True},
                       ["--memory", "64m", "--memory-swappiness", "13", "--oom-kill-disable"]),
        "cpu": ({"cpus": 0.5, "cpu_shares": 512, "cpuset": "0"}, ["--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0"]),
        "pids": ({"pids_limit": 33, "oom_score_adj": 321}, ["--pids-limit", "33", "--oom-score-adj", "321"]),
        "deploy": ({"deploy": {"resources": {"limits": {"cpus": "0.25", "memory": "32m", "pids": 20}}}},
                   ["--cpus", "0.25", "--memory", "32m", "--pids-limit", "20"]),
        "ulimits": ({"ulimits": {"nofile": {"soft": 100, "hard": 200}, "core": 0}}, ["--ulimit", "nofile=100:200", "--ulimit", "core=0"]),
        "sysctls": ({"sysctls": {"net.core.somaxconn": 77}}, ["--sysctl", "net.core.somaxconn=77"]),
        "names": ({"domainname": "example.org", "extra_hosts": ["db=10.0.0.5", "six=::5"], "dns": ["10.0.0.1"],
                   "dns_search": ["x.org"], "dns_opt": ["ndots:2"]},
                  ["--domainname", "example.org", "--add-host", "db:10.0.0.5", "--add-host", "six:::5", "--dns", "10.0.0.1",
                   "--dns-search", "x.org", "--dns-option", "ndots:2"]),
        "shm": ({"shm_size": "8m"}, ["--shm-size", "8m"]),
        "user": ({"user": "12:34", "group_add": ["56", "www-data"]}, ["--user", "12:34", "--group-add", "56", "--group-add", "www-data"]),
        "devices": ({"devices": [f"{one}:/dev/mine:r"], "device_cgroup_rules": ["c 7:* rm"]},
                    ["--device", f"{one}:/dev/mine:r", "--device-cgroup-rule", "c 7:* rm"]),
        "namespaces": ({"pid": "host", "ipc": "host", "cgroup": "host"}, ["--pid", "host", "--ipc", "host", "--cgroupns", "host"]),
        "ipc-none": ({"ipc": "none"}, ["--ipc", "none"]),
        "privileged": ({"privileged": True}, ["--privileged"]),
    }


def without_what_is_meant_to_differ(facts, keys):
    """Docker lets every container have the host's console (5:1), keepwell only privileged ones; keepwell masks
    /proc/interrupts, as newer dockers do; gives each container a cgroup namespace, as docker does with cgroup v2 only; and
    a soft limit of 1024 descriptors, as distributions do, where docker hands on its own. Named volumes are slaves of docker's
    own shared mount, and of nothing here."""
    if not keys.get("privileged"):
        facts["devices.list"] = tuple(rule for rule in facts.get("devices.list", ()) if rule != "c 5:1 rwm")
    facts.pop("mount /proc/interrupts", None)
    for point in ("/v", "/w", "/anonymous"):
        if f"mount {point}" in facts:
            facts[f"mount {point}"] = facts[f"mount {point}"][:2]
    if "cgroup" not in keys:
        facts["own namespaces"] = [name for name in facts["own namespaces"] if name != "cgroup"]
    if "nofile" not in keys.get("ulimits", {}):
        facts.pop("limit Max open files")
    return facts


@contextlib.contextmanager
def dockerd():
    """A daemon of our own, and a function that runs docker against it."""
    if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("docker"):
        raise unittest.SkipTest("dockerd and docker are not installed (or this is not root), so nothing is compared with docker run")
    with tempfile.TemporaryDirectory(prefix="kw-docker-") as name:
        host = f"unix://{name}/docker.sock"
        with open(f"{name}/log", "wb") as log:
            daemon = subprocess.Popen(["dockerd", "-H", host, "--data-root", f"{name}/data", "--exec-root", f"{name}/exec", "--pidfile",
                                       f"{name}/pid", "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"],
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

        def docker(*args, stdin=None):
            done = subprocess.run(["docker", "-H", host, *args], stdin=stdin, capture_output=True, text=True, check=False, timeout=120)
            if done.returncode != 0:
                raise RuntimeError(f"docker {' '.join(args)}: {done.stderr.strip()}")
            return done.stdout.strip()

        def answers():
            if daemon.poll() is not None:
                raise unittest.SkipTest("dockerd does not run here: " + pathlib.Path(f"{name}/log").read_text()[-400:])
            return subprocess.run(["docker", "-H", host, "version"], capture_output=True, check=False).returncode == 0
        try:
            e2e.wait_until("dockerd answers", answers, 60)
            yield docker
        finally:
            with contextlib.suppress(Exception):
                for container in docker("ps", "-aq").split():
                    docker("rm", "-f", container)
            daemon.terminate()
            daemon.wait(60)


class Understood(unittest.TestCase):
    def test_check_has_nothing_to_say_against_the_cases(self):
        with tempfile.TemporaryDirectory(prefix="kw-keys-") as directory:
            os.mkdir(f"{directory}/data")
            services = {name: {"x-keepwell": {"rootfs": "/"}, "command": ["true"], **keys} for name, (keys, _) in cases(directory).items()}
            with e2e.Keepwell(start=False) as kw:
                kw.write({"services": services, "volumes": {"named": None}})
                done = kw.run("check", "-f", kw.file, "--print")
                self.assertEqual((done.code, done.err), (0, ""))
                self.assertEqual(kw.run("check", "-f", kw.file, "--print").out, done.out)


class LikeDocker(unittest.TestCase):

    def test_every_key_is_what_docker_run_makes_of_it(self):
        e2e.need_containers()
        rootfs = e2e.rootfs("busybox")
        with dockerd() as docker, tempfile.TemporaryDirectory(prefix="kw-keys-") as directory:
            os.mkdir(f"{directory}/data")
            pathlib.Path(f"{directory}/data/file").write_text("x")
            with subprocess.Popen(["tar", "-C", rootfs, "-c", "."], stdout=subprocess.PIPE) as tar:
                docker("import", "-", "kw-busybox", stdin=tar.stdout)
            all_cases = cases(directory)
            services = {name: e2e.busybox("exec sleep 1000", **{"hostname": "h", **keys}) for name, (keys, _) in all_cases.items()}
            with e2e.Keepwell({"services": services, "volumes": {"named": None}}) as kw, ThreadPoolExecutor(4) as pool:
                theirs = {name: pool.submit(self.docker_facts, docker, args) for name, (_, args) in all_cases.items()}
                for name, (keys, _) in all_cases.items():
                    with self.subTest(name):
                        kw.wait_state(name, "running", 60)
                        own = facts_of(kw.pid(name))
                        try:
                            docker_made = theirs[name].result()
                        except RuntimeError as refused:  # by docker itself, on this host
                            self.skipTest(str(refused))
                        self.compare(*(without_what_is_meant_to_differ(facts, keys) for facts in (own, docker_made)))

    def docker_facts(self, docker, args):
        made = docker("run", "-d", "--network", "none", "--hostname", "h", *args, "kw-busybox", "sleep", "1000")
        try:
            return facts_of(int(docker("inspect", "-f", "{{.State.Pid}}", made)))
        finally:
            docker("kill", made)

    def compare(self, own, theirs):
        different = [f"{fact}:\n  keepwell {own.get(fact)}\n  docker   {theirs.get(fact)}"
                     for fact in sorted(own.keys() | theirs.keys()) if own.get(fact) != theirs.get(fact)]
        if different:
            self.fail("\n".join(different))


if __name__ == "__main__":
    e2e.main()
