// Moves container output from FIFOs into log files. Its keeper gives it the FIFOs, and gives them
// all again to the next logger if this one dies. One thread; every turn, each stream that has
// something gets one batch, so that one that floods costs the others little.
//
// A FIFO is held open for writing by the keeper too, so there is no end of file: a stream ends when
// the keeper says `drain`. When the keeper is gone without a word, so that nobody else may hold the
// FIFOs, the logger holds them, unread, until the logger of the next keeper has taken over: what is
// in a FIFO is lost when the last who has it open closes it. Lines that the disk does not take stay
// in the FIFO, and the disk is asked again every second; a full FIFO then makes the writer wait, as
// it would with a terminal.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/logger/container_log.h"
#include "runtime/unique_fd.h"
#include "runtime/wire_socket.h"

namespace keepwell {

class Logger {
 public:
  explicit Logger(UniqueFd control);
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  // Runs until the keeper says `finish` and all is written (0), or is gone and the FIFOs need not
  // be held any more (1).
  int run();

 private:
  struct Stream {
    std::uint64_t id = 0;
    UniqueFd fifo;
    std::string name;  // "stdout", "stderr"
    int index = 0;
    std::shared_ptr<ContainerLog> log;
    bool settled = false;
    bool queued = false;              // in ready_
    std::uint64_t stalled_since = 0;  // ms; 0: it flows
    bool draining = false;            // `drained` is due when drain_bytes have gone, or all
    std::uint64_t drain_bytes = 0;
  };

  bool open();
  void hold();
  void turn();
  void read_control();
  void on_message(wire::Datagram& message);
  void add_stream(wire::Datagram& message);
  void begin_drain(Stream& stream);
  void end_stream(std::uint64_t id);
  void make_ready(Stream& stream);
  bool must_wait(const Stream& stream) const;
  bool pump(Stream& stream);
  void stall(Stream& stream, const char* what);
  std::string_view peek(int fifo);

  UniqueFd control_;
  wire::Outbox outbox_;
  UniqueFd epoll_;
  UniqueFd peek_read_, peek_write_;  // the private pipe that tee copies into
  std::vector<char> buffer_;
  std::map<std::uint64_t, Stream> streams_;
  std::map<std::string, std::weak_ptr<ContainerLog>> logs_;  // by record path
  std::deque<std::uint64_t> ready_;
  std::uint64_t retry_ms_ = 0;  // when stalled streams are tried again; 0: none is
  int draining_ = 0;            // streams that are
  bool finishing_ = false;
  bool keeper_gone_ = false;
};

}  // namespace keepwell
