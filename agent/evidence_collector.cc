#include "agent/evidence_collector.h"

#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "agent/log_reader.h"
#include "config/duration.h"
#include "exporters/health_json.h"
#include "exporters/time_text.h"
#include "runtime/evidence.h"
#include "runtime/exec_session.h"
#include "runtime/fd_watch.h"
#include "runtime/linux_engine.h"
#include "runtime/loop.h"
#include "runtime/output_capture.h"
#include "runtime/timer.h"

namespace keepwell {
namespace {

constexpr std::size_t kProcessesMax = 64;
constexpr std::size_t kLogBytesMax = 512 * 1024;
constexpr std::size_t kCommandBytesMax = 256 * 1024;
// How long output may still come after the command's end.
constexpr Duration kDrain = std::chrono::milliseconds(200);

}  // namespace

class EvidenceCollector::Run {
 public:
  Run(EvidenceCollector& owner, std::uint64_t number, const Capture& order,
      const ContainerStatus& status)
      : owner_(&owner),
        number_(number),
        order_(order),
        spec_(status.spec->capture),
        deadline_(*owner.loop_),
        next_(*owner.loop_),
        output_(*owner.loop_),
        errors_(*owner.loop_) {
    began_ = Loop::now();
    summary_ = {{"id", order.incident},
                {"container", status.name},
                {"service", status.spec->name},
                {"container_id", status.id},
                {"run", status.run},
                {"cause", order.cause},
                {"at", rfc3339_nano(began_.wall)},
                {"running", order.alive}};
    plan(status);
  }

  void start() {
    if (Status made = owner_->store_->begin(order_.incident, began_.wall); !made) {
      problems_.push_back(made.error().text);
      steps_.clear();
    }
    deadline_.start_after(spec_.timeout, [this] {
      problems_.push_back("the time of capture.timeout (" + format_duration(spec_.timeout) +
                          ") was over");
      if (session_) session_->kill();
      end();
    });
    go_on();
  }

 private:
  void plan(const ContainerStatus& status) {
    nlohmann::ordered_json checks = nlohmann::ordered_json::array();
    for (const CheckStatus& check : status.checks) {
      checks.push_back(check_object(check, began_));
    }
    steps_.push_back([this, text = checks.dump(1, ' ', false,
                                               nlohmann::ordered_json::error_handler_t::replace)] {
      write("probes.json", text + "\n");
    });
    if (spec_.log_lines > 0) steps_.push_back([this] { read_log(); });
    if (order_.alive) {
      std::vector<int> pids = owner_->engine_->pids(status.id);
      if (pids.size() > kProcessesMax) {
        problems_.push_back("only " + std::to_string(kProcessesMax) + " of " +
                            std::to_string(pids.size()) + " processes were looked at");
        pids.resize(kProcessesMax);
      }
      for (const int pid : pids) {
        steps_.push_back([this, pid] { processes_ += describe_process(pid); });
        steps_.push_back([this, pid] { descriptors_ += describe_descriptors(pid); });
      }
      steps_.push_back([this] { write("processes.txt", processes_); });
      steps_.push_back([this] { write("descriptors.txt", descriptors_); });
      if (!pids.empty()) {
        steps_.push_back([this, pid = pids[0]] { write("sockets.txt", describe_sockets(pid)); });
      }
    }
    const std::string cgroup = owner_->engine_->cgroup_dir(status.id);
    if (!cgroup.empty()) {
      steps_.push_back([this, cgroup] {
        const Result<CgroupStats> usage = owner_->engine_->stats(order_.container.id);
        write("cgroup.txt", (usage ? describe_usage(*usage) : usage.error().text + "\n") +
                                describe_cgroup(cgroup));
      });
    }
    if (order_.alive && !spec_.command.empty()) steps_.push_back([this] { run_command(); });
  }

  void go_on() {
    next_.start_after(Duration(0), [this] {
      if (steps_.empty()) return end();
      waiting_ = false;
      const std::function<void()> step = std::move(steps_.front());
      steps_.pop_front();
      step();
      if (!waiting_) go_on();
    });
  }

  void write(const char* name, std::string_view text) {
    const Status written = owner_->store_->write(order_.incident, name, text);
    if (!written) {
      problems_.push_back(written.error().text);
      return;
    }
    ++files_;
    bytes_ += text.size();
  }

  void read_log() {
    waiting_ = true;
    LogReader::Options options;
    options.path = owner_->engine_->log_path(order_.container.id);
    options.tail = static_cast<std::uint64_t>(spec_.log_lines);
    options.query.timestamps = true;
    options.query.framed = false;
    LogReader::Handlers handlers;
    handlers.on_bytes = [this](std::string_view bytes) {
      log_.append(bytes.substr(0, kLogBytesMax - std::min(log_.size(), kLogBytesMax)));
      return true;
    };
    handlers.on_end = [this] {
      write("log.txt", log_);
      go_on();
    };
    log_reader_.emplace(*owner_->loop_, std::move(options), std::move(handlers));
    log_reader_->start();
  }

  void run_command() {
    waiting_ = true;
    ExecSessionHandlers handlers;
    handlers.on_failed = [this](int code, const std::string& text) {
      write("command.txt", "could not be started (" + std::to_string(code) + "): " + text + "\n");
      go_on();
    };
    handlers.on_exited = [this](int code) {
      output_.finish(kDrain, [this, code] {
        errors_.finish(kDrain, [this, code] {
          write("command.txt",
                "exit code " + std::to_string(code) + "\n" + output_.take() + errors_.take());
          go_on();
        });
      });
    };
    ExecSessionOrder order;
    order.container = order_.container;
    order.argv = spec_.command;
    order.attach_stdout = true;
    order.attach_stderr = true;
    Result<std::unique_ptr<ExecSession>> session = owner_->engine_->exec(order, handlers);
    if (!session) {
      write("command.txt", session.error().text + "\n");
      return go_on();
    }
    session_ = std::move(*session);
    for (Status reading : {output_.read_from(session_->take_stdout(), kCommandBytesMax),
                           errors_.read_from(session_->take_stderr(), kCommandBytesMax)}) {
      if (!reading) problems_.push_back(reading.error().text);
    }
  }

  void end() {
    deadline_.stop();
    next_.stop();
    const Duration took = Loop::now().mono - began_.mono;
    summary_["took"] = format_duration(std::chrono::duration_cast<std::chrono::milliseconds>(took));
    summary_["problems"] = problems_;
    write("incident.json",
          summary_.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
    owner_->store_->end(order_.incident);
    std::string detail = std::to_string(files_) + " files, " + human_size(bytes_) + " in " +
                         summary_["took"].get<std::string>();
    for (const std::string& problem : problems_) detail += "; " + problem;
    owner_->finish(
        number_, {.container = order_.container.id, .incident = order_.incident, .detail = detail},
        problems_.empty());
  }

  EvidenceCollector* owner_;
  std::uint64_t number_;
  Capture order_;
  CaptureSpec spec_;
  Now began_{};
  std::deque<std::function<void()>> steps_;
  bool waiting_ = false;  // the present step goes on by itself
  Timer deadline_;
  Timer next_;
  std::string processes_, descriptors_, log_;
  std::optional<LogReader> log_reader_;
  std::unique_ptr<ExecSession> session_;
  OutputCapture output_, errors_;
  nlohmann::ordered_json summary_;
  std::vector<std::string> problems_;
  std::size_t files_ = 0;
  std::size_t bytes_ = 0;
};

EvidenceCollector::EvidenceCollector(Loop& loop, LinuxEngine& engine, IncidentStore& store,
                                     std::function<void(Captured)> on_captured)
    : loop_(&loop), engine_(&engine), store_(&store), on_captured_(std::move(on_captured)) {}

EvidenceCollector::~EvidenceCollector() = default;

void EvidenceCollector::capture(const Capture& order, const ContainerStatus& status) {
  ++captures_total_;
  const std::uint64_t number = ++last_number_;
  Run& run =
      *runs_.emplace(number, std::make_unique<Run>(*this, number, order, status)).first->second;
  run.start();
}

// Called from inside the run, as the last thing that it does.
void EvidenceCollector::finish(std::uint64_t number, Captured captured, bool whole) {
  if (!whole) ++failures_total_;
  const std::unique_ptr<Run> over = std::move(runs_.at(number));
  runs_.erase(number);
  on_captured_(std::move(captured));
}

}  // namespace keepwell
