#!/usr/bin/env bash
# Installs what the tests need, builds, and runs every test: ./tests/run.sh [PRESET] [CTEST ARGUMENTS]
# PRESET is release (default), debug, asan, tsan or fuzz. Starts no daemon; servers for test images come
# from apt-get download + dpkg-deb (tests/e2e/rootfs). The exit status is ctest's.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
[ $# -eq 0 ] || shift

. config/packages.sh
packages=("${keepwell_build_packages[@]}" "${keepwell_run_packages[@]}" "${keepwell_test_packages[@]}")
[ "$preset" != fuzz ] || packages+=(clang-16 libclang-rt-16-dev)
install_packages "${packages[@]}"

# Another clone of the same sources finds what this one compiled.
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1
cmake --preset "$preset" -DBUILD_TESTING=ON
cmake --build --preset "$preset"

# Root file systems of the end-to-end tests. One that cannot be made (no network, say) makes its tests
# skip with the reason, which .ci/run does not accept.
for name in busybox redis nginx grpc; do
  "tests/e2e/rootfs/make_$name.sh" "build/rootfs/$name" || echo "no $name root file system: its tests will be skipped" >&2
done

export KEEPWELL_ROOTFS="$PWD/build/rootfs"
# Tests with real containers watch clocks; they run one at a time (RUN_SERIAL), the others side by side.
# No exec: where this script is the first process of a pid namespace, somebody must reap what is left to it.
ctest --preset "$preset" --no-tests=error -j "$(nproc)" "$@"
