#!/usr/bin/env bash
# make_redis.sh DIR: Debian's redis-server and redis-cli, and busybox for a shell.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
begin_rootfs "${1:?usage: make_redis.sh DIR}"
unpack_packages redis-server redis-tools
copy_programs usr/bin/redis-check-rdb usr/bin/redis-cli
ln -sf redis-check-rdb "$root/usr/bin/redis-server"
mkdir -p "$root/data"
add_busybox
end_rootfs
