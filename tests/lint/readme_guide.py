#!/usr/bin/env python3
"""Writes the README's guide to the files: every header with the first sentence of its opening comment, folder by
folder, what to read first at the top. Run it after adding a header; tidy_test.py notices when it was forgotten."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARK = "## Guide to the files"
FOLDERS = {
    "agent": "the program: the pure Supervisor and the shell that runs it",
    "probes": "pure rules about time and verdicts",
    "runtime": "the only folder that touches the operating system",
    "exporters": "pure: from state and events to text",
    "config": "the vocabulary, and the way from Compose YAML to it",
}
FIRST = ["agent/supervisor.h", "agent/supervisor_io.h", "agent/driver.h", "agent/agent.h",
         "probes/health_tracker.h", "runtime/engine.h", "runtime/linux_engine.h", "runtime/keeper_client.h",
         "runtime/keeper_protocol.h", "exporters/container_status.h", "exporters/metrics.h", "config/spec.h",
         "config/load.h", "config/result.h", "config/time.h"]


def first_sentence(path):
    words = []
    for line in (ROOT / path).read_text().splitlines():
        if not line.startswith("//"):
            break
        line = line[2:].strip()
        if not line and words:
            break
        words.append(line)
    text = " ".join(words)
    match = re.match(r"(.+?[.:])(\s|$)", text)
    text = match.group(1) if match else text
    return text.rstrip(".:").replace("|", "\\|")


def guide():
    names = subprocess.run(["git", "-C", str(ROOT), "ls-files", "*.h"], check=True, capture_output=True, text=True)
    headers = [n for n in names.stdout.split() if n.split("/")[0] in FOLDERS and (ROOT / n).is_file()]
    order = {name: i for i, name in enumerate(FIRST)}
    out = [MARK, "", "Start with `agent/supervisor.h`, then `probes/health_tracker.h`, then `runtime/engine.h`; a header's",
           "opening comment says what its file is about. (`tests/lint/readme_guide.py` writes this list.)", ""]
    for folder, meaning in FOLDERS.items():
        out += [f"**{folder}/**: {meaning}", ""]
        mine = sorted((n for n in headers if n.startswith(folder + "/")),
                      key=lambda n: (order.get(n, 99), n.count("/"), n))
        out += [f"- `{n}`: {first_sentence(n)}" for n in mine]
        out.append("")
    return "\n".join(out)


def main():
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(MARK)
    after = rest[rest.index("\n## "):].lstrip("\n")
    readme.write_text(before + guide() + "\n" + after)


if __name__ == "__main__":
    main()
