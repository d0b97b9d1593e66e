// A program that stays and is nobody's child (pasta, aardvark-dns, what forwards ports): an earlier
// agent may have started it, so it is found by its pid file.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "runtime/fd_watch.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class HelperProcess {
 public:
  explicit HelperProcess(Loop& loop) : watch_(loop) {}

  // Watches the process that PID_FILE names, if it lives and MARK is in its command line (else it
  // is another one that has got its number). ON_DEATH is called once, from the loop, when it ends;
  // it may destroy this object. False: there is none.
  bool find(const std::string& pid_file, std::string_view mark, std::function<void()> on_death);

  bool alive() const { return static_cast<bool>(pidfd_); }

  // Watches no more; it goes on.
  void forget();

  // Kills it. THEN is called once it is gone: from the loop, or at once where there is none.
  // on_death is not.
  void end(std::function<void()> then);

 private:
  FdWatch watch_;
  UniqueFd pidfd_;
};

}  // namespace keepwell
