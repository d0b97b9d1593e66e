// The logger: its lines, and what a SIGKILL at any instant leaves. A child process runs a real
// Logger over a real FIFO; the test is its keeper.
#include "runtime/logger/logger.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <random>

#include "runtime/logger/log_lines.h"
#include "runtime/logger/stream_blob.h"
#include "tests/catch.h"
#include "tests/unit/runtime/keeper_rig.h"

using namespace keepwell;
using namespace keepwell::test;

namespace {

constexpr std::int64_t kTime = 1795550400'123456789;  // 2026-11-24T20:00:00.123456789Z
constexpr std::size_t kNoLimit = SIZE_MAX;
constexpr timespec kTick{0, 50'000'000};

class LoggerRig {
 public:
  ~LoggerRig() { kill_logger(); }

  void start(rlim_t file_bytes_max = RLIM_INFINITY) {
    wire::SocketPair pair = wire::make_pair();
    ours_ = std::move(pair.ours);
    pid_ = fork();
    if (pid_ == 0) {
      // What the keeper would hold, and so what a dead logger does not.
      ours_.reset();
      std::signal(SIGXFSZ, SIG_IGN);
      rlimit limit{file_bytes_max, RLIM_INFINITY};
      setrlimit(RLIMIT_FSIZE, &limit);
      _exit(Logger(std::move(pair.theirs)).run());
    }
  }

  void lift_limit() {
    rlimit none{RLIM_INFINITY, RLIM_INFINITY};
    REQUIRE(prlimit(pid_, RLIMIT_FSIZE, &none, nullptr) == 0);
  }

  void kill_logger() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

  void send(std::string message, std::vector<int> fds = {}) {
    REQUIRE(outbox_.send(ours_.get(), std::move(message), fds));
  }
  void add(std::uint64_t id, int fifo, const StreamBlob& blob) {
    std::string text = encode_stream_blob(blob);
    send(encode(wire::Type::stream, id, wire::LogStream{4, static_cast<std::uint32_t>(text.size())},
                {"name", text}),
         {fifo});
  }
  bool drain(std::uint64_t id) {
    send(encode(wire::Type::drain, id, wire::Nothing{}));
    pollfd ready{ours_.get(), POLLIN, 0};
    wire::Datagram answer;
    return poll(&ready, 1, 20'000) == 1 &&
           wire::receive(ours_.get(), answer) == wire::Received::message &&
           answer.type() == wire::Type::drained && answer.head.id == id;
  }
  int finish() {
    send(encode(wire::Type::finish, 0, wire::Nothing{}));
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return status;
  }

 private:
  UniqueFd ours_;
  wire::Outbox outbox_;
  pid_t pid_ = 0;
};

UniqueFd make_fifo(const std::string& path) {
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  UniqueFd fd(open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  REQUIRE(fd);
  return fd;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The program's output, had back from CRI lines of one stream. Fails on a torn line.
std::string output_of(const std::string& log, const std::string& stream) {
  std::string output;
  for (std::size_t at = 0; at < log.size();) {
    std::size_t end = log.find('\n', at);
    if (end == std::string::npos) FAIL("torn last line: " << log.substr(at));
    std::string line = log.substr(at, end - at);
    at = end + 1;
    // "2026-11-24T20:00:00.123456789Z stdout F text"
    bool whole = line.size() >= 39 && line[29] == 'Z' && line[30] == ' ' && line[37] == ' ' &&
                 line[39] == ' ';
    if (!whole) FAIL("torn line: " << line);
    if (line.substr(31, 6) != stream) continue;
    output += line.substr(40);
    if (line[38] == 'F') output += '\n';
  }
  return output;
}

LogRecord record_of(const StreamBlob& blob) {
  LogRecord record{};
  std::string bytes = read_file(blob.record_path);
  if (bytes.size() >= sizeof(record)) std::memcpy(&record, bytes.data(), sizeof(record));
  return record;
}

pid_t child_of(pid_t parent, const std::string& name) {
  std::ifstream children("/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) +
                         "/children");
  for (pid_t pid = 0; children >> pid;) {
    std::string comm = read_file("/proc/" + std::to_string(pid) + "/comm");
    if (comm.starts_with(name.substr(0, 15))) return pid;
  }
  return -1;
}

bool wait_for(const std::function<bool()>& condition) {
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    poll(nullptr, 0, 2);
  }
  return false;
}

StreamBlob blob_in(const TempDir& dir, const std::string& stream = "stdout") {
  return {.log_path = dir.path + "/logs/a.log",
          .stream = stream,
          .record_path = dir.path + "/run/a.record",
          .file_bytes_max = 0,
          .files_max = 1};
}

}  // namespace

TEST_CASE("CRI lines", "[logger]") {
  CHECK(rfc3339_nanos(kTime) == "2026-11-24T20:00:00.123456789Z");
  LogBatch batch = make_lines("one\n\ntwo\nrest", "stdout", kTime, false, kNoLimit);
  CHECK(batch.raw_bytes == 9);
  CHECK(batch.lines == 3);
  std::string prefix = "2026-11-24T20:00:00.123456789Z stdout ";
  CHECK(batch.text == prefix + "F one\n" + prefix + "F \n" + prefix + "F two\n");

  batch = make_lines("rest", "stdout", kTime, true, kNoLimit);
  CHECK(batch.text == prefix + "P rest\n");

  std::string just(kLinePartBytes, 'x');
  CHECK(make_lines(just, "stdout", kTime, false, kNoLimit).raw_bytes == 0);
  batch = make_lines(just + "\n", "stdout", kTime, false, kNoLimit);
  CHECK(batch.text == prefix + "F " + just + "\n");
  batch = make_lines(just + "y\n", "stdout", kTime, false, kNoLimit);
  CHECK(batch.text == prefix + "P " + just + "\n" + prefix + "F y\n");

  batch = make_lines("one\ntwo\n", "stdout", kTime, false, 10);
  CHECK(batch.lines == 1);
  CHECK(batch.raw_bytes == 4);
}

TEST_CASE("a stream's description survives the way to the logger", "[logger]") {
  StreamBlob blob{"/a =b\n/c", "stderr", "/r", 5, 7};
  auto parsed = parse_stream_blob(encode_stream_blob(blob) + std::string("new=1\0", 6));
  REQUIRE(parsed);
  CHECK(parsed->log_path == blob.log_path);
  CHECK(parsed->stream == "stderr");
  CHECK(parsed->file_bytes_max == 5);
  CHECK(parsed->files_max == 7);
  CHECK(!parse_stream_blob(""));
  CHECK(!parse_stream_blob("log"));
  CHECK(!parse_stream_blob(std::string("log=a\0stream=x\0record=b\0", 24)));
}

TEST_CASE("both streams of a container land in one log, unfinished lines at the end", "[logger]") {
  TempDir dir;
  LoggerRig rig;
  rig.start();
  UniqueFd out = make_fifo(dir.path + "/out");
  UniqueFd err = make_fifo(dir.path + "/err");
  rig.add(1, out.get(), blob_in(dir));
  rig.add(2, err.get(), blob_in(dir, "stderr"));
  REQUIRE(write(out.get(), "hello\nwor", 9) == 9);
  REQUIRE(write(err.get(), "oops\n", 5) == 5);
  REQUIRE(rig.drain(1));
  REQUIRE(rig.drain(2));
  std::string log = read_file(dir.path + "/logs/a.log");
  CHECK(output_of(log, "stdout") == "hello\nwor");
  CHECK(output_of(log, "stderr") == "oops\n");
  CHECK(rig.finish() == 0);
}

TEST_CASE("a log is rotated by size and count, and no line falls between", "[logger]") {
  TempDir dir;
  LoggerRig rig;
  rig.start();
  UniqueFd out = make_fifo(dir.path + "/out");
  StreamBlob blob = blob_in(dir);
  blob.file_bytes_max = 1000;
  blob.files_max = 3;
  rig.add(1, out.get(), blob);
  std::string written;
  for (int i = 0; i < 200; ++i) {
    std::string line = "line " + std::to_string(i) + "\n";
    written += line;
    REQUIRE(write(out.get(), line.data(), line.size()) == std::ssize(line));
  }
  REQUIRE(rig.drain(1));
  std::string all;
  for (const char* suffix : {".2", ".1", ""}) {
    std::string path = dir.path + "/logs/a.log" + suffix;
    CHECK(std::filesystem::file_size(path) <= 1000);
    all += read_file(path);
  }
  CHECK(!std::filesystem::exists(dir.path + "/logs/a.log.3"));
  std::string output = output_of(all, "stdout");
  CHECK(output.size() > 300);
  CHECK(written.ends_with(output));
}

TEST_CASE("where a log cannot be opened, lines wait until it can", "[logger]") {
  TempDir dir;
  LoggerRig rig;
  UniqueFd out = make_fifo(dir.path + "/out");
  StreamBlob blob = blob_in(dir);
  std::ofstream(dir.path + "/logs") << "in the way of a directory";
  rig.start();
  rig.add(1, out.get(), blob);
  REQUIRE(write(out.get(), "waits\n", 6) == 6);
  REQUIRE(wait_for([&] { return record_of(blob).streams[0].write_failures > 0; }));
  std::filesystem::remove(dir.path + "/logs");
  REQUIRE(rig.finish() == 0);
  CHECK(output_of(read_file(dir.path + "/logs/a.log"), "stdout") == "waits\n");
}

TEST_CASE("a full disk makes lines wait, whole and once each", "[logger]") {
  TempDir dir;
  LoggerRig rig;
  UniqueFd out = make_fifo(dir.path + "/out");
  StreamBlob blob = blob_in(dir);
  rig.start(10'000);  // a limit of file size fails as a full disk does: in the middle of a write
  rig.add(1, out.get(), blob);
  std::string written;
  for (int i = 0; i < 1000; ++i) written += "line " + std::to_string(i) + "\n";
  REQUIRE(write(out.get(), written.data(), written.size()) == std::ssize(written));
  REQUIRE(wait_for([&] { return record_of(blob).streams[0].write_failures > 0; }));
  bool killed = GENERATE(false, true);
  if (!killed) REQUIRE(wait_for([&] { return record_of(blob).streams[0].write_failures > 1; }));
  if (killed) {
    rig.kill_logger();
    rig.start();
    rig.add(1, out.get(), blob);
  } else {
    rig.lift_limit();
  }
  REQUIRE(rig.drain(1));
  CHECK((output_of(read_file(blob.log_path), "stdout") == written));
  CHECK(record_of(blob).streams[0].bytes == written.size());
  CHECK(record_of(blob).streams[0].lines == 1000);
  if (!killed) CHECK(record_of(blob).streams[0].stalled_ms > 0);
}

namespace {

// Writes lines into FIFO until told to stop; knows how many it wrote.
class Writer {
 public:
  Writer(int fifo, bool identical) {
    shared_ = static_cast<std::atomic<int>*>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    pid_ = fork();
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; shared_[1] == 0; ++i) {
      std::string line = Writer::line(i, identical);
      ssize_t n = -1;
      while ((n = write(fifo, line.data(), line.size())) < 0 && errno == EAGAIN) {
        pollfd ready{fifo, POLLOUT, 0};
        poll(&ready, 1, 10);
      }
      if (n != std::ssize(line)) _exit(1);
      shared_[0] = i + 1;
    }
    _exit(0);
  }
  ~Writer() { munmap(shared_, 4096); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  static std::string line(int i, bool identical) {
    return identical ? "the same line\n" : std::to_string(i) + " line\n";
  }
  int stop() {  // REQUIRES: somebody reads the FIFO
    shared_[1] = 1;
    int status = 0;
    waitpid(pid_, &status, 0);
    return status == 0 ? shared_[0].load() : -1;
  }

 private:
  std::atomic<int>* shared_ = nullptr;
  pid_t pid_ = 0;
};

}  // namespace

// A line too many or too few would show with numbers; only identical lines would show a batch that
// was taken for another of the same content.
TEST_CASE("no line is lost, doubled or torn by killing loggers at random instants", "[logger]") {
  bool identical = GENERATE(false, true);
  unsigned seed = std::random_device()();
  INFO("seed " << seed << (identical ? ", identical lines" : ", numbered lines"));
  TempDir dir;
  LoggerRig rig;
  UniqueFd out = make_fifo(dir.path + "/out");
  StreamBlob blob = blob_in(dir);
  blob.file_bytes_max = 1 << 20;
  blob.files_max = 1000;
  Writer writer(out.get(), identical);
  std::mt19937 random(seed);
  constexpr int kKills = 300;
  for (int i = 0; i < kKills; ++i) {
    rig.start();
    rig.add(1, out.get(), blob);
    timespec lives{0, std::uniform_int_distribution<long>(1'000, 5'000'000)(random)};
    ppoll(nullptr, 0, &lives, nullptr);
    rig.kill_logger();
  }
  rig.start();
  rig.add(1, out.get(), blob);
  int count = writer.stop();
  REQUIRE(count > 0);
  REQUIRE(rig.drain(1));

  std::string log;
  int files = 0;
  while (std::filesystem::exists(dir.path + "/logs/a.log." + std::to_string(files + 1))) ++files;
  for (int i = files; i > 0; --i) log += read_file(dir.path + "/logs/a.log." + std::to_string(i));
  log += read_file(dir.path + "/logs/a.log");
  std::string output = output_of(log, "stdout");
  std::string expected;
  for (int i = 0; i < count; ++i) expected += Writer::line(i, identical);
  INFO(count << " lines, " << kKills << " kills, " << files << " rotations");
  CHECK(output.size() == expected.size());
  CHECK((output == expected));  // not printed: it is long
}

TEST_CASE("a keeper gives its streams to every logger, and tells when one is drained", "[logger]") {
  KeeperRig rig(KEEPWELL_TEST_LOGGER);
  rig.become_agent();
  rig.client().ready();
  TempDir dir;
  UniqueFd out = make_fifo(dir.path + "/out");
  StreamBlob blob = blob_in(dir);
  rig.client().keep_fd("log", out.get(), encode_stream_blob(blob), true);
  std::string written;
  std::uint64_t loggers = 0;
  for (int round = 0; round < 4; ++round) {
    std::string line = "round " + std::to_string(round) + "\n";
    written += line;
    REQUIRE(write(out.get(), line.data(), line.size()) == std::ssize(line));
    REQUIRE(rig.run_until([&] { return record_of(blob).streams[0].bytes >= written.size(); }));
    if (round == 3) break;
    if (round == 1) {
      std::optional<Status> upgraded;  // an upgrade replaces the logger as well
      rig.client().upgrade({}, [&](Status ok) { upgraded = ok; });
      REQUIRE(rig.run_until([&] { return upgraded.has_value(); }));
      CHECK(upgraded->has_value());
    } else {
      REQUIRE(kill(child_of(rig.keeper(), "keepwell-logger"), SIGKILL) == 0);
    }
    REQUIRE(rig.run_until([&] {
      rig.client().stats([&](Result<KeeperStats> stats) { loggers = stats->logger_starts; });
      return loggers == static_cast<std::uint64_t>(round) + 2;
    }));
  }
  REQUIRE(write(out.get(), "no end", 6) == 6);
  written += "no end";
  std::optional<Status> dropped;
  rig.client().drop_fd("log", [&](Status ok) { dropped = ok; });
  REQUIRE(rig.run_until([&] { return dropped.has_value(); }));
  CHECK(dropped->has_value());
  CHECK(output_of(read_file(blob.log_path), "stdout") == written);
  rig.client().stopping(0);
  rig.exit_agent(0);
  CHECK(rig.wait_keeper() == 0);
}

TEST_CASE("what is in a pipe when keeper and writer are gone is kept for the next logger",
          "[logger]") {
  TempDir dir;
  std::string fifo = dir.path + "/out";
  StreamBlob blob = blob_in(dir);
  pid_t logger = 0;
  {
    KeeperRig rig(KEEPWELL_TEST_LOGGER);
    rig.become_agent();
    rig.client().ready();
    UniqueFd out = make_fifo(fifo);
    rig.client().keep_fd("log", out.get(), encode_stream_blob(blob), true);
    REQUIRE(write(out.get(), "read\n", 5) == 5);
    REQUIRE(rig.run_until([&] { return record_of(blob).streams[0].bytes == 5; }));
    logger = child_of(rig.keeper(), "keepwell-logger");
    kill(rig.keeper(), SIGKILL);
    REQUIRE(rig.wait_keeper() != -1);
    REQUIRE(write(out.get(), "last words\n", 11) == 11);
    kill(rig.agent(), SIGKILL);
  }  // and its writer has ended: nobody but the old logger has the pipe
  LoggerRig next;
  next.start();
  UniqueFd again(open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  REQUIRE(again);
  next.add(1, again.get(), blob);
  REQUIRE(next.drain(1));
  CHECK(output_of(read_file(blob.log_path), "stdout") == "read\nlast words\n");
  // It has been taken over, and so the old one has nothing to hold any more.
  bool gone = false;
  for (int i = 0; i < 100 && !gone; ++i) {
    ppoll(nullptr, 0, &kTick, nullptr);
    gone = !std::filesystem::exists("/proc/" + std::to_string(logger) + "/exe");
  }
  CHECK(gone);
}

TEST_CASE("a new run's lines come after what the old run's pipe still holds", "[logger]") {
  TempDir dir;
  LoggerRig rig;
  UniqueFd old_run = make_fifo(dir.path + "/1");
  UniqueFd new_run = make_fifo(dir.path + "/2");
  std::string old_lines;
  for (int i = 0; i < 1000; ++i) old_lines += "old " + std::to_string(i) + "\n";
  REQUIRE(write(old_run.get(), old_lines.data(), old_lines.size()) == std::ssize(old_lines));
  REQUIRE(write(new_run.get(), "new\n", 4) == 4);
  StreamBlob blob = blob_in(dir);
  blob.file_bytes_max = 500;  // so that the old ones take many batches
  blob.files_max = 1000;
  rig.start();
  rig.add(1, old_run.get(), blob);
  rig.send(encode(wire::Type::drain, 1, wire::Nothing{}));
  rig.add(2, new_run.get(), blob);
  REQUIRE(rig.finish() == 0);
  std::string last = output_of(
      read_file(dir.path + "/logs/a.log.1") + read_file(dir.path + "/logs/a.log"), "stdout");
  CHECK_THAT(last, StartsWith("old"));
  CHECK(last.ends_with("old 999\nnew\n"));
}
