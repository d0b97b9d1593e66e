// Versions of the protocol between agent, keeper and logger live together for one step either way
// (keeper_protocol.h): the messages of version 1 as they were written down, a keeper that meets an
// agent of another version, an agent that meets a keeper of another version, and what a keeper
// leaves for one of another version.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "runtime/wire_socket.h"
#include "tests/catch.h"
#include "tests/unit/runtime/keeper_rig.h"

using namespace keepwell;
using namespace keepwell::test;

namespace {

std::string unhex(const std::string& text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

// The messages of version 1, by the name of their type.
std::map<std::string, std::string> golden() {
  std::map<std::string, std::string> messages;
  std::ifstream file("tests/golden/wire_v1.txt");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string name, id, hex;
    words >> name >> id >> hex;
    messages[name] = unhex(hex);
  }
  REQUIRE(messages.size() >= 30);
  return messages;
}

// BYTES as they would arrive.
wire::Datagram parsed(const std::string& bytes) {
  wire::Datagram message;
  std::memcpy(&message.head, bytes.data(), sizeof(message.head));
  message.bytes = bytes.substr(sizeof(message.head));
  return message;
}

void set_head(std::string& bytes, const std::function<void(wire::MessageHead&)>& change) {
  wire::MessageHead head{};
  std::memcpy(&head, bytes.data(), sizeof(head));
  change(head);
  std::memcpy(bytes.data(), &head, sizeof(head));
}

// The same message as a version after ours would send it: with more at the end of its body.
std::string grown(std::string bytes) {
  wire::MessageHead head{};
  std::memcpy(&head, bytes.data(), sizeof(head));
  bytes.insert(sizeof(head) + head.body_bytes, std::string(24, '\x7e'));
  set_head(bytes, [](wire::MessageHead& changed) {
    changed.body_bytes += 24;
    changed.version = wire::kVersion + 1;
  });
  return bytes;
}

// The same as a version before ours might have sent it: its body ends after BODY_BYTES.
std::string shortened(std::string bytes, std::uint32_t body_bytes) {
  wire::MessageHead head{};
  std::memcpy(&head, bytes.data(), sizeof(head));
  bytes.erase(sizeof(head) + body_bytes, head.body_bytes - body_bytes);
  set_head(bytes, [&](wire::MessageHead& changed) { changed.body_bytes = body_bytes; });
  return bytes;
}

// Reads the next message of TYPE from SOCKET, within 10 s; what comes before it is skipped.
wire::Datagram next_of(KeeperRig& rig, int socket, wire::Type type) {
  wire::Datagram message;
  bool found = rig.run_until([&] {
    while (wire::receive(socket, message) == wire::Received::message) {
      if (message.type() == type) return true;
    }
    return false;
  });
  REQUIRE(found);
  return message;
}

void send_raw(int socket, std::string bytes, std::span<const int> fds = {}) {
  wire::Outbox outbox;
  REQUIRE(outbox.send(socket, std::move(bytes), fds));
  REQUIRE(outbox.empty());
}

}  // namespace

TEST_CASE("the messages of version 1 are read as they were meant", "[protocol]") {
  auto messages = golden();
  for (const bool newer : {false, true}) {
    auto read = [&](const char* name) {
      return parsed(newer ? grown(messages.at(name)) : messages.at(name));
    };
    INFO(std::string(newer ? "as a later version sends them" : "as they are"));
    wire::Datagram spawn = read("spawn");
    auto order = spawn.body<wire::Spawn>();
    wire::Text text(spawn);
    CHECK(spawn.head.id == (std::uint64_t{3} << 32) + 5);
    CHECK(order.durable == 1);
    CHECK(text.take(order.kill_cgroup_bytes) == "/sys/fs/cgroup/kw/probe-1");
    CHECK(text.take(order.key_bytes) == "container 0f 7");
    CHECK(text.ok());

    wire::Datagram exited = read("exited");
    auto exit = exited.body<wire::Exited>();
    CHECK(exit.pid == 4711);
    CHECK(exit.known == 1);
    CHECK(exit.signal == 9);
    CHECK(exit.durable == 1);
    CHECK(exit.rss_bytes_max == 4096);
    CHECK(exit.wall_ns == 1764000000000000000);
    CHECK(wire::Text(exited).take(exit.key_bytes) == "container 0f 7");

    wire::Datagram hello = read("hello");
    CHECK(hello.body<wire::Hello>().generation == 2);
    CHECK(hello.body<wire::Hello>().last_wait_status == 9);
    CHECK(wire::Text(hello).take(hello.body<wire::Hello>().version_bytes) == "0.1.0");

    auto claim = read("claim").body<wire::Claim>();
    CHECK(claim.pid == 4711);
    CHECK(claim.start_ticks == 123456789);
    CHECK(read("claimed").body<wire::Claimed>().start_ticks == 123456789);
    CHECK(read("child").body<wire::Child>().pid == 4711);
    CHECK(read("started").body<wire::Started>().start_ticks == 123456789);
    CHECK(read("failed").body<wire::Failed>().error_number == 11);
    CHECK(read("keep").body<wire::Keep>().for_logger == 1);
    CHECK(read("stopping").body<wire::Stopping>().exit_code == 3);
    CHECK(read("signal").body<wire::Signal>().number == 15);
    CHECK(read("upgraded").body<wire::Answer>().error_number == 8);
    CHECK(read("stats_are").body<wire::Stats>().kept_fds == 9);
    CHECK(read("refused").body<wire::Refused>().type == 200);
    wire::Datagram stream = read("stream");
    CHECK(wire::Text(stream).take(stream.body<wire::LogStream>().name_bytes) == "stdout");
  }
}

TEST_CASE("every message that we send begins as version 1 knows it", "[protocol]") {
  // Numbers and the places of fields never change; only more may follow.
  auto messages = golden();
  auto same = [&](const char* name, std::string ours) {
    const std::string& theirs = messages.at(name);
    set_head(ours, [&](wire::MessageHead& head) {
      wire::MessageHead golden_head{};
      std::memcpy(&golden_head, theirs.data(), sizeof(golden_head));
      CHECK(head.type == golden_head.type);
      CHECK(head.body_bytes >= golden_head.body_bytes);
      head.fd_count = golden_head.fd_count;  // filled in when it is sent
    });
    ours = shortened(std::move(ours), parsed(theirs).head.body_bytes);
    INFO(name);
    CHECK(ours == theirs);
  };
  const std::uint64_t id = (std::uint64_t{3} << 32) + 5;
  const std::string key = "container 0f 7";
  same("spawn", encode(wire::Type::spawn, id, wire::Spawn{1, 25, 14, 0, 0},
                       {"/sys/fs/cgroup/kw/probe-1", key}));
  same("claim", encode(wire::Type::claim, id, wire::Claim{4711, 1, 123456789, 0, 14}, {key}));
  same("stopping", encode(wire::Type::stopping, 0, wire::Stopping{3, 0}));
  same("upgrade", encode(wire::Type::upgrade, id, wire::Upgrade{2, 2, 2, 8},
                         {"/k", "/l", "/e", std::string_view("/a\0agent", 8)}));
  same("exited",
       encode(wire::Type::exited, id,
              wire::Exited{4711, 1, 0, 9, 1, 14, 1, 0, 10, 20, 4096, 1000, 1764000000000000000},
              {key}));
  same("hello", encode(wire::Type::hello, 0, wire::Hello{2, 99, 9, 5}, {"0.1.0"}));
  same("child", encode(wire::Type::child, id, wire::Child{4711, 14, 123456789}, {key}));
}

TEST_CASE("a keeper serves an agent of the version before and after it", "[protocol]") {
  KeeperRig rig;
  UniqueFd control = rig.become_raw_agent();
  auto messages = golden();
  next_of(rig, control.get(), wire::Type::hello_end);
  send_raw(control.get(), grown(messages.at("ready")));

  // What it does not know it refuses, and only that.
  std::string unknown = messages.at("stats");
  set_head(unknown, [](wire::MessageHead& head) { head.type = 63; });
  send_raw(control.get(), unknown);
  wire::Datagram refused = next_of(rig, control.get(), wire::Type::refused);
  CHECK(refused.body<wire::Refused>().type == 63);
  CHECK(refused.body<wire::Refused>().version == wire::kVersion);
  CHECK(refused.head.id == (std::uint64_t{3} << 32) + 5);

  // An order with more in it than it knows, and one with less.
  const bool newer = GENERATE(true, false);
  UniqueFd in = text_fd("exit 5");
  UniqueFd out(::open("/dev/null", O_RDWR | O_CLOEXEC));
  UniqueFd order = text_fd("");
  std::string spawn = encode(wire::Type::spawn, 9, wire::Spawn{newer ? 1U : 0U, 0, 0, 0, 0});
  send_raw(control.get(), newer ? grown(spawn) : shortened(spawn, 4),
           std::array<int, 3>{in.get(), out.get(), order.get()});
  wire::Datagram exited = next_of(rig, control.get(), wire::Type::exited);
  CHECK(exited.head.id == 9);
  CHECK(exited.body<wire::Exited>().code == 5);
  CHECK(exited.body<wire::Exited>().durable == (newer ? 1 : 0));
}

TEST_CASE("an agent works with a keeper of the version before and after it", "[protocol]") {
  auto loop = std::move(*Loop::open());
  auto messages = golden();
  const bool newer = GENERATE(true, false);
  wire::SocketPair pair = wire::make_pair();
  int keeper = pair.theirs.get();
  auto say = [&](const char* name) {
    std::string bytes = messages.at(name);
    set_head(bytes, [](wire::MessageHead& head) { head.fd_count = 0; });
    send_raw(keeper, newer ? grown(bytes) : bytes);
  };
  say("hello");
  say("child");
  say("exited");
  say("kept");
  say("signal");  // nothing that belongs to a greeting: passed over
  say("hello_end");
  auto opened = KeeperClient::open(*loop, std::move(pair.ours), {});
  REQUIRE(opened);
  KeeperClient& client = **opened;
  CHECK(client.inherited().protocol_version == (newer ? 2 : 1));
  CHECK(client.inherited().generation == 2);
  CHECK(client.inherited().exits.size() == 1);
  CHECK(client.inherited().exits.front().status() == 137);
  CHECK(client.inherited().kept.size() == 1);

  // What the keeper refuses is an error of its own, and no hang.
  std::optional<Status> upgraded;
  std::optional<Error> failed;
  client.upgrade({}, [&](Status done) { upgraded = done; });
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  client.spawn({.fds = {null.get()}, .kill_cgroup = {}},
               {.on_failed = [&](Error error) { failed = error; }});
  wire::Datagram asked;
  while (wire::receive(keeper, asked) == wire::Received::message) {
    send_raw(keeper, encode(wire::Type::refused, asked.head.id,
                            wire::Refused{asked.head.type, asked.head.version}));
  }
  std::string unknown = messages.at("signal");
  set_head(unknown, [](wire::MessageHead& head) { head.type = 99; });
  send_raw(keeper, unknown);  // news of a kind that we do not know
  for (int i = 0; i < 100 && (!upgraded || !failed); ++i) loop->run_once();
  REQUIRE(upgraded);
  REQUIRE(failed);
  CHECK(upgraded->error().code == Errc::unsupported);
  CHECK(failed->code == Errc::unsupported);
  opened->reset();
  loop->close();
}

TEST_CASE("a keeper takes over from one of the version before and after it", "[protocol]") {
  std::ifstream file("tests/golden/keeper_state_1.txt");
  std::string state{std::istreambuf_iterator<char>(file), {}};
  REQUIRE(state.ends_with("\nend\n"));
  auto accepted = [](const std::string& text) {
    UniqueFd memory = text_fd(text);
    std::string option = "--check-state-fd=3";
    pid_t pid = fork();
    if (pid == 0) {
      dup2(memory.get(), 3);
      fcntl(3, F_SETFD, 0);
      execl(KEEPWELL_TEST_KEEPER, "keepwell-keeper", option.c_str(), nullptr);
      _exit(126);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  };
  CHECK(accepted(state));
  std::string later = state;
  later.insert(later.find("end\n"), "promise =of%20a%20later%20keeper 1 2 3\n");
  later.insert(later.find("\nsignal"), " 1 =more");
  CHECK(accepted(later));
  CHECK_FALSE(accepted(state.substr(0, state.size() - 4)));  // torn
  std::string other = state;
  other.replace(0, 14, "keeper-state 2");
  CHECK_FALSE(accepted(other));
}
