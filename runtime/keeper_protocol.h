// What agent, keeper and logger say to each other: datagrams over a SOCK_SEQPACKET pair, each one
//
//   MessageHead | body: a fixed struct named after the type | text: strings, in the order of the
//   body's lengths
//
// with descriptors attached by SCM_RIGHTS. All three run on one host, so integers are in its byte
// order. How versions live together, for one step either way:
//   - a body may grow at its end. `body_bytes` says where the text starts; a reader takes what it
//     knows of a longer body and sees zeroes for what a shorter one lacks. Zero must mean "as
//     before".
//   - a type that the reader does not know is answered by `refused` with that type, and by nothing
//     else; a sender treats `refused` as "the other side cannot".
//   - numbers are never used again for something else.
// A datagram that breaks these rules (wrong magic, lengths beyond its end) is a bug of the sender:
// it is dropped, with a line on stderr.
//
// Conversations (A agent, K keeper, L logger):
//   - start. K: hello, child*, exited*, kept*, hello_end. A: ready (once it supervises)
//   - spawn. A: spawn+fds. K: started+pidfd and later exited, or failed
//   - zygote. A: zygote+fds. K: started when it serves, failed when it has ended. A: zygote_end. A
//     `spawn` of one gets its process from there, and is answered as above
//   - claim. A: claim. K: claimed+pidfd and later exited, or claimed (errno), followed by exited if
//     it had ended
//   - exit. K: exited. A: ack (durable ones only; until then it is told to every new agent)
//   - fds. A: keep+fd. K: kept_ok. A: fetch. K: fetched+fd. A: drop. K: dropped
//   - signals. K: signal
//   - end. A: stopping(code), then exits. K: ends with that code
//   - upgrade. A: upgrade. K: re-executes itself, upgraded, or upgraded (errno). A: respawn, then
//     exits. K: starts the next agent at once
//   - logger. K: stream+fd, drain, finish. L: drained
#pragma once

#include <cstdint>

namespace keepwell::wire {

inline constexpr std::uint32_t kMagic = 0x314b574b;  // "KWK1"
inline constexpr std::uint16_t kVersion = 1;

// Descriptors that the keeper gives to the programs it starts.
inline constexpr int kControlFd = 3;  // agent and logger: their end of the SOCK_SEQPACKET pair
inline constexpr int kListenFd = 4;   // agent: the API's listening socket, if keeper got one

inline constexpr std::uint32_t kMessageBytesMax = 32 * 1024;
inline constexpr std::uint32_t kFdsMax =
    64;  // descriptors in one message (the kernel's limit is 253)
inline constexpr std::uint32_t kKeyBytesMax = 1024;
inline constexpr std::uint32_t kPathBytesMax = 4096;
inline constexpr std::uint32_t kBlobBytesMax = 16 * 1024;

enum class Type : std::uint16_t {
  // agent -> keeper
  spawn = 1,
  claim = 2,
  ack = 3,
  keep = 4,
  drop = 5,
  fetch = 6,
  ready = 7,
  stopping = 8,
  upgrade = 9,
  respawn = 10,
  stats = 11,
  zygote = 12,
  zygote_end = 13,
  // keeper -> agent
  hello = 64,
  hello_end = 65,
  child = 66,
  exited = 67,
  kept = 68,
  started = 69,
  failed = 70,
  claimed = 71,
  kept_ok = 72,
  fetched = 73,
  dropped = 74,
  signal = 75,
  upgraded = 76,
  stats_are = 77,
  // keeper -> logger
  stream = 128,
  drain = 129,
  finish = 130,
  // logger -> keeper
  drained = 160,
  // whoever was asked for something that it does not know
  refused = 255,
};

struct MessageHead {
  std::uint32_t magic;
  std::uint16_t version;  // of the sender
  std::uint16_t type;
  std::uint32_t body_bytes;
  std::uint32_t fd_count;  // descriptors attached; fewer arriving means that the receiver ran out
  std::uint64_t id;        // see each type; an answer carries the id of its question
};
static_assert(sizeof(MessageHead) == 24);

// id: chosen by the agent, (generation << 32) + counter, so that it never comes twice in the life
// of a keeper. Attached: what becomes descriptors 0..n-1 of keepwell-enter.
struct Spawn {
  std::uint32_t durable;            // 1: outlives the agent; its exit is held until acknowledged
  std::uint32_t kill_cgroup_bytes;  // directory whose cgroup.kill is written when the agent dies
  std::uint32_t key_bytes;          // opaque; given back to the next agents
  std::uint32_t reserved;
  std::uint64_t zygote;  // not 0: the zygote that makes it; attached is then what that one is sent
};

// zygote (id: as for spawn; it ends with its agent). Attached: what becomes descriptors 0..n-1 of
// keepwell-enter, then the keeper's end of its control socket. zygote_end (id: of the zygote): what
// it was asked before is still made. No bodies.

// Takes over a process that was not spawned by `spawn`. id: as for spawn.
struct Claim {
  std::int32_t pid;
  std::uint32_t durable;
  std::uint64_t start_ticks;  // field 22 of /proc/PID/stat: the same pid, the same process
  std::uint32_t kill_cgroup_bytes;
  std::uint32_t key_bytes;
};

// id: of the spawn or claim whose exit was taken note of. No body.
struct Ack {};

// Keeps the attached descriptor under a name, replacing one of that name. id: free.
struct Keep {
  std::uint32_t for_logger;  // 1: it is a log stream; the keeper gives it to every logger
  std::uint32_t name_bytes;
  std::uint32_t blob_bytes;
  std::uint32_t reserved;
};

struct Name {  // drop, fetch; dropped, kept_ok, fetched answer with id and errno only
  std::uint32_t name_bytes;
  std::uint32_t reserved;
};

struct Stopping {
  std::int32_t exit_code;
  std::uint32_t reserved;
};

// Replaces the keeper's program while everything runs. Text: paths of keeper, logger and enter (an
// empty one: as before), then the agent's new argv, NUL-separated (empty: as before).
struct Upgrade {
  std::uint32_t keeper_bytes;
  std::uint32_t logger_bytes;
  std::uint32_t enter_bytes;
  std::uint32_t argv_bytes;
};

struct Hello {
  std::uint32_t generation;  // 0 for the first agent of this keeper, then 1, 2...
  std::int32_t keeper_pid;
  std::int32_t
      last_wait_status;         // how the agent before ended, as waitpid says; 0 if there was none
  std::uint32_t version_bytes;  // text: the keeper's version, "0.1.0"
};

// A durable child that lives. id: of its spawn or claim. Attached: pidfd.
struct Child {
  std::int32_t pid;
  std::uint32_t key_bytes;
  std::uint64_t start_ticks;
};

// id: of its spawn or claim.
struct Exited {
  std::int32_t pid;
  std::uint32_t known;  // 0: nobody could wait for it, code and signal mean nothing
  std::int32_t code;    // exit code, if signal is 0
  std::int32_t signal;  // what killed it, else 0
  std::uint32_t core;   // 1: dumped core
  std::uint32_t key_bytes;
  std::uint32_t durable;  // 1: wants an ack
  std::uint32_t reserved;
  std::uint64_t user_us;
  std::uint64_t system_us;
  std::uint64_t rss_bytes_max;
  std::int64_t mono_ns;  // when it was reaped
  std::int64_t wall_ns;
};

struct Kept {  // one entry of the list at hello; no descriptor (see fetch)
  std::uint32_t for_logger;
  std::uint32_t name_bytes;
  std::uint32_t blob_bytes;
  std::uint32_t reserved;
};

// Attached: pidfd.
struct Started {
  std::int32_t pid;
  std::uint32_t reserved;
  std::uint64_t start_ticks;
};

struct Failed {
  std::int32_t error_number;  // of the keeper's own step; 0: keepwell-enter ran and failed
  std::int32_t enter_status;  // its wait status then
};

struct Claimed {
  std::int32_t error_number;  // 0: alive, pidfd attached; ESRCH: no such process was known
  std::int32_t pid;  // (an exit that was held follows as `exited` with error_number 0 and no pidfd)
  std::uint64_t start_ticks;
};

struct Answer {  // kept_ok, fetched (+fd), dropped, upgraded
  std::int32_t error_number;
  std::uint32_t reserved;
};

struct Signal {
  std::int32_t number;
  std::uint32_t reserved;
};

struct Refused {
  std::uint32_t type;
  std::uint32_t version;
};

// Counters since the keeper began (they survive its upgrades).
struct Stats {
  std::uint64_t spawns;
  std::uint64_t spawn_failures;
  std::uint64_t reaped;
  std::uint64_t unclaimed_exits_lost;  // exits of strangers pushed out of the bounded list
  std::uint64_t agent_starts;
  std::uint64_t logger_starts;
  std::uint64_t loop_lag_ns_max;  // longest time between readiness and the end of its handling
  std::uint64_t children;         // alive now
  std::uint64_t kept_fds;
};

// id: the keeper's number of this stream. Attached: the read end. Text: name, blob (stream_blob.h).
struct LogStream {
  std::uint32_t name_bytes;
  std::uint32_t blob_bytes;
};

// drain (id: of the stream): read what is there, then forget it and answer `drained`.
// finish: drain all, then exit 0.
struct Nothing {};

}  // namespace keepwell::wire
