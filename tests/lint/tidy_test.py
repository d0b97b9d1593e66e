#!/usr/bin/env python3
"""Style as a test: layout, direction of includes, banned calls with what to use instead, file length,
opening comments, and the README's guide to the files against the tree. Looks at what git tracks."""

import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md",
             "agent", "probes", "runtime", "exporters", "config", "tests"}

# folder -> what it may include from
BELOW = {
    "config": {"config"},
    "probes": {"probes", "config"},
    "runtime": {"runtime", "config"},
    "exporters": {"exporters", "probes", "config"},
    "agent": {"agent", "exporters", "probes", "runtime", "config"},
}

# (pattern, where it is allowed, what to use instead)
BANNED = [
    (r"\buv_close\s*\(", r"runtime/(uv_handle\.h|loop\.cc)$", "a UvPtr (runtime/uv_handle.h)"),
    (r"(steady|system|high_resolution)_clock::now\s*\(|\bclock_gettime\s*\(|\bgettimeofday\s*\(",
     r"runtime/(loop\.cc|keeper/|logger/|enter/)|tests/", "Loop::now(), handed down as an argument"),
    (r"(?<![_\w])(v?fork\s*\(\s*\)|clone3?\s*\((?!\)))", r"runtime/(keeper|enter)/|tests/", "the keeper (runtime/keeper_client.h)"),
    (r"(?<![_\w:])(system|popen)\s*\(", r"^$", "the keeper, with an argument vector"),
    (r"yaml-cpp", r"config/compose_tree\.cc$|tests/e2e/rootfs/", "config/compose_tree.h"),
    (r"\bExposer\b", r"^$", "agent/http: the Exposer brings threads of its own"),
    (r"std::(jthread|thread|async)\b", r"tests/", "the loop: one thread per process"),
    (r"\buv_(fs_\w+|queue_work|getaddrinfo|getnameinfo)\s*\(", r"^$", "a plain call: libuv would start threads"),
    (r"(?<!\w)getaddrinfo\s*\(", r"^$", "an IP literal"),
    # logger_test.cc waits for a random instant at which to kill; attacker.cc is what is tested.
    (r"\bsleep_for\b|(?<![_\w.])u?sleep\s*\(", r"tests/unit/runtime/(logger_test|attacker)\.cc$", "a Timer, or a deadline on the loop"),
    (r"\b(TODO|FIXME|XXX|HACK)\b", r"^$", "an issue, or the thing itself"),
    (r"\b(pkill|killall)\b", r"^$", "the pid that you started"),
    (r"\busing namespace std;", r"^$", "std:: in front of the name"),
    (r"#include <(iostream)>", r"^tests/", "std::fputs or spdlog"),
]

LINES_MAX = 500        # of a source file; about 400 is large
TEST_LINES_MAX = 700


def tracked():
    out = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True).stdout
    return sorted(name for name in out.decode().split("\0") if name and (ROOT / name).is_file())


FILES = tracked()
SOURCES = [f for f in FILES if re.search(r"\.(cc|h|c|S)$", f)]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def without_comments(text):
    """C++ text with comments blanked (strings are kept), line numbers unchanged."""
    def blank(match):
        piece = match.group(0)
        return piece if piece[0] in "\"'" else re.sub(r"[^\n]", " ", piece)
    return re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|//[^\n]*|/\*.*?\*/', blank, text, flags=re.S)


class Tidy(unittest.TestCase):
    def report(self, problems):
        self.assertFalse(problems, "\n" + "\n".join(problems))

    def test_top_level(self):
        entries = {f.split("/")[0] for f in FILES}
        self.report([f"{e}: not one of the fixed top-level names" for e in sorted(entries)
                     if e not in TOP_LEVEL and not e.startswith(".")])

    def test_include_direction(self):
        problems = []
        for name in SOURCES:
            folder = name.split("/")[0]
            for number, line in enumerate(read(name).splitlines(), 1):
                match = re.match(r'\s*#include "([^"]+)"', line)
                if not match:
                    continue
                target = match.group(1)
                if not (ROOT / target).is_file() and not (ROOT / name).parent.joinpath(target).is_file():
                    problems.append(f"{name}:{number}: {target} is not in the tree; name it from the top")
                elif folder in BELOW and target.split("/")[0] not in BELOW[folder]:
                    problems.append(f"{name}:{number}: {folder}/ must not include {target}")
                elif target.startswith("agent/cli/") and not name.startswith(("agent/cli/", "tests/")) and name != "agent/main.cc":
                    problems.append(f"{name}:{number}: the command line is above all else; move what is needed below it")
        self.report(problems)

    def test_banned_calls(self):
        problems = []
        for name in SOURCES + [f for f in FILES if re.search(r"\.(sh|py)$", f) and "tests/lint/" not in f]:
            text = read(name)
            code = without_comments(text) if name in SOURCES else text
            for pattern, allowed, instead in BANNED:
                word_ban = "TODO" in pattern
                if re.search(allowed, name) or (name not in SOURCES and "TODO" not in pattern and "pkill" not in pattern):
                    continue
                for match in re.finditer(pattern, text if word_ban else code):
                    line = text.count("\n", 0, match.start()) + 1
                    problems.append(f"{name}:{line}: {match.group(0).strip()}: use {instead}")
        self.report(problems)

    def test_file_length(self):
        problems = []
        for name in SOURCES + [f for f in FILES if f.endswith(".py")]:
            limit = TEST_LINES_MAX if name.startswith("tests/") else LINES_MAX
            lines = read(name).count("\n")
            if lines > limit:
                problems.append(f"{name}: {lines} lines; split it ({limit} at most)")
        self.report(problems)

    def test_files_open_with_their_idea(self):
        problems = [f"{name}: begin with a comment that says what the file is about"
                    for name in SOURCES
                    if not name.endswith(".cc") and not re.match(r"\s*(//|/\*)", read(name))]
        self.report(problems)

    def test_headers_are_guarded(self):
        self.report([f"{f}: #pragma once is missing" for f in SOURCES
                     if f.endswith(".h") and "#pragma once" not in read(f)])

    def test_libraries_name_only_what_is_below(self):
        problems = []
        for folder, below in BELOW.items():
            text = read(f"{folder}/CMakeLists.txt")
            for other in re.findall(r"\bkeepwell_(config|probes|runtime|exporters|agent)\b", text):
                if other not in below:
                    problems.append(f"{folder}/CMakeLists.txt: must not link keepwell_{other}")
        self.report(problems)

    def test_readme_guide_names_every_header(self):
        readme = read("README.md") if (ROOT / "README.md").exists() else ""
        guide = readme.split("## Guide to the files", 1)[-1].split("\n## ", 1)[0]
        named = set(re.findall(r"`((?:agent|probes|runtime|exporters|config)/[\w./-]+)`", guide))
        headers = {f for f in SOURCES if f.split("/")[0] in BELOW and f.endswith(".h")}
        problems = [f"README.md: the guide does not name {h}" for h in sorted(headers - named)]
        problems += [f"README.md: the guide names {n}, which is not in the tree" for n in sorted(named)
                     if not (ROOT / n).exists()]
        self.report(problems)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
