#!/usr/bin/env bash
# make_busybox.sh DIR: a root file system with a static busybox and nothing else.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_rootfs "${1:?usage: make_busybox.sh DIR}"
add_busybox
end_rootfs
