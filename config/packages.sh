# What keepwell needs from Debian, by purpose; sourced by config/quickstart.sh and tests/run.sh.
# Installs only what is missing and starts no daemon: a policy-rc.d that says no stands in the way
# of every service that a package might bring.

keepwell_build_packages=(g++ cmake ninja-build ccache pkg-config libuv1-dev libyaml-cpp-dev
  prometheus-cpp-dev libspdlog-dev catch2 libcli11-dev nlohmann-json3-dev libexpected-dev
  libboost-dev libseccomp-dev libcap-dev libssl-dev libnghttp2-dev libre2-dev zlib1g-dev ca-certificates)
keepwell_run_packages=(runc iproute2 procps netavark aardvark-dns iptables)
keepwell_test_packages=(python3 busybox-static crun curl openssl git skopeo umoci strace systemd uidmap passt nftables
  docker.io docker-compose docker-registry python3-docker prometheus prometheus-alertmanager)

# sudo where we are not root; a plain call where we are.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# The docker command is part of docker.io in Debian 12, and a package of its own after it.
[ "$(. /etc/os-release && echo "${VERSION_ID:-13}")" = 12 ] || keepwell_test_packages+=(docker-cli)

# install_packages NAME...: installs those that are not installed. Returns 1 (saying what is missing)
# where it cannot.
install_packages() {
  local name missing=()
  for name in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "cannot install ${missing[*]}: no apt-get here; install them by hand" >&2
    return 1
  fi
  if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    echo "cannot install ${missing[*]}: not root, and sudo asks for a password; install them by hand" >&2
    return 1
  fi
  echo "installing: ${missing[*]}"
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    made=yes
  fi
  local status=0 log
  log=$(mktemp)
  {
    apt_lists_present || as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" ||
      { as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; }
  } >"$log" 2>&1 || status=1
  [ -z "$made" ] || as_root rm -f "$policy"
  if [ $status -ne 0 ]; then
    tail -n 20 "$log" >&2
    echo "cannot install ${missing[*]}: see apt-get's words above" >&2
  fi
  rm -f "$log"
  return $status
}

apt_lists_present() {
  compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null
}
