#!/usr/bin/env bash
# From a bare Debian machine to a watched service in one command:
#   ./config/quickstart.sh          installs what is missing, builds, makes a root file system with redis,
#                                   and runs keepwell on config/examples/quickstart.yaml in the foreground
#   ./config/quickstart.sh --demo   does it unattended: healthy, hung (SIGSTOP), unhealthy, restarted, healthy;
#                                   prints that timeline and the matching /metrics lines, stops everything
# Exit status of --demo: 0 when every step happened, else 1.
set -euo pipefail
cd "$(dirname "$0")/.."

demo=
case ${1:-} in
  '') ;;
  --demo) demo=yes ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0"; [ "$1" = --help ] && exit 0; exit 2 ;;
esac

say() { printf '%s\n' "$*"; }

# ---- prepare

. config/packages.sh
install_packages "${keepwell_run_packages[@]}"
# KEEPWELL_BIN: programs that are built already.
if [ -z "${KEEPWELL_BIN:-}" ]; then
  install_packages "${keepwell_build_packages[@]}"
  say "building (build/release)"
  build_log=$(mktemp)
  { cmake --preset release -DBUILD_TESTING=OFF && cmake --build --preset release --target keepwell keepwell-keeper keepwell-logger keepwell-enter keepwell-init; } \
    >"$build_log" 2>&1 || { tail -n 40 "$build_log"; rm -f "$build_log"; say "cannot build; see above" >&2; exit 1; }
  rm -f "$build_log"
fi
keepwell=${KEEPWELL_BIN:-$PWD/build/release/bin}/keepwell

containers_work() { [ "$(id -u)" = 0 ] && "$keepwell" doctor >/dev/null 2>&1; }
if containers_work; then
  service=redis
  file=config/examples/quickstart.yaml
  say "making a root file system with redis (build/rootfs/redis)"
  tests/e2e/rootfs/make_redis.sh build/rootfs/redis
  export KEEPWELL_ROOTFS_REDIS=$PWD/build/rootfs/redis
else
  service=web
  file=config/examples/quickstart-process.yaml
  say "this host cannot make containers (see: keepwell doctor); running a plain process instead"
  tests/e2e/rootfs/make_busybox.sh build/rootfs/busybox
  export KEEPWELL_BUSYBOX=$PWD/build/rootfs/busybox/bin/busybox
  export KEEPWELL_RUN_DIR=${KEEPWELL_RUN_DIR:-$PWD/build/quickstart/run}
  export KEEPWELL_DATA_DIR=${KEEPWELL_DATA_DIR:-$PWD/build/quickstart/data}
fi

if [ -z "$demo" ]; then
  say "running $keepwell run -f $file; in another terminal: $keepwell ps; Ctrl-C ends it"
  exec "$keepwell" run -f "$file"
fi

# ---- demo

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
port=9790
until port_is_free "$port"; do port=$((port + 1)); done

work=$(mktemp -d /tmp/keepwell-demo-XXXXXX)
export KEEPWELL_RUN_DIR=$work/run KEEPWELL_DATA_DIR=$work/data KEEPWELL_METRICS=127.0.0.1:$port
export KEEPWELL_HOST=unix://$work/run/keepwell.sock
agent=
events=
cleanup() {
  [ -z "$events" ] || kill "$events" 2>/dev/null || true
  if [ -n "$agent" ] && kill -TERM "$agent" 2>/dev/null; then
    for _ in $(seq 100); do kill -0 "$agent" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$agent" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT

give_up() {
  say "demo failed: $*"
  say "--- what keepwell said:"
  tail -n 40 "$work/log"
  say "--- the last probes:"
  "$keepwell" health "$service" 2>&1 || true
  exit 1
}

health() { "$keepwell" health "$service" --format json 2>/dev/null | sed -n 's/.*"Status": *"\([a-z]*\)".*/\1/p' | head -n 1; }
pid() { "$keepwell" inspect "$service" 2>/dev/null | sed -n 's/^ *"Pid": *\([0-9]*\).*/\1/p' | head -n 1; }
restarts() { "$keepwell" inspect "$service" 2>/dev/null | sed -n 's/^ *"RestartCount": *\([0-9]*\).*/\1/p' | head -n 1; }

# wait_until SECONDS WHAT COMMAND...: until COMMAND succeeds; gives up after SECONDS.
wait_until() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $end ] || give_up "not within the time: $what"
    kill -0 "$agent" 2>/dev/null || give_up "keepwell ended by itself"
    sleep 0.1
  done
}
is_healthy() { [ "$(health)" = healthy ]; }
was_unhealthy() { grep -q 'health_status: unhealthy' "$work/events"; }
has_restarted() { [ "$(restarts)" = 1 ] && [ "$(pid)" != 0 ] && [ "$(pid)" != "$first_pid" ]; }
events_are_on() { "$keepwell" ps >/dev/null 2>&1; }

mark() { printf '%s  %s\n' "$(date -u +%H:%M:%S.%3N)" "$*" | tee -a "$work/timeline"; }

mark "keepwell starts"
"$keepwell" run -f "$file" >"$work/log" 2>&1 &
agent=$!
wait_until 20 "the API answers" events_are_on
"$keepwell" events -f >"$work/events" 2>/dev/null &
events=$!
wait_until 60 "$service is healthy" is_healthy
first_pid=$(pid)
mark "$service is healthy (pid $first_pid)"
kill -STOP "$first_pid"
mark "$service hangs: SIGSTOP to pid $first_pid, it still runs and answers no more"
wait_until 60 "$service is found unhealthy" was_unhealthy
mark "$service was found unhealthy"
wait_until 60 "$service is restarted" has_restarted
mark "$service was restarted (pid $(pid))"
wait_until 60 "$service is healthy again" is_healthy
mark "$service is healthy again"

say
say "--- events"
sed -E 's/ ([0-9a-f]{12})[0-9a-f]{52} / \1 /; s/com\.docker\.[^,]*, //g; s/image=[^,]*, //' "$work/events"
say
say "--- http://$KEEPWELL_METRICS/metrics"
exec 3<>"/dev/tcp/127.0.0.1/$port" || give_up "nothing listens on $KEEPWELL_METRICS"
printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
cat <&3 >"$work/metrics"
exec 3<&-
grep -E "^keepwell_(service_health|service_state|service_restarts_total|check_transitions_total|probes_total|probe_failures_total|check_up)\{" "$work/metrics" |
  grep -vE ' 0$' || give_up "no metrics"
grep -qE '^keepwell_service_restarts_total\{.*reason="unhealthy".*\} 1' "$work/metrics" || give_up "the restart is not in the metrics"

kill -TERM "$agent"
wait_until_end=$((SECONDS + 20))
while kill -0 "$agent" 2>/dev/null; do
  [ $SECONDS -lt $wait_until_end ] || give_up "keepwell did not end"
  sleep 0.1
done
wait "$agent" || give_up "keepwell ended with $?"
agent=
mark "keepwell stopped everything and ended"
say
say "--- timeline"
cat "$work/timeline"
