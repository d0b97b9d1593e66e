#include "runtime/network/helper_process.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "runtime/state_file.h"

namespace keepwell {

bool HelperProcess::find(const std::string& pid_file, std::string_view mark,
                         std::function<void()> on_death) {
  forget();
  Result<std::string> text = read_small_file(pid_file, 32);
  const pid_t pid = text ? std::atoi(text->c_str()) : 0;
  if (pid <= 0) return false;
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  Result<std::string> words = read_small_file("/proc/" + std::to_string(pid) + "/cmdline", 65536);
  if (!pidfd || !words || words->find(mark) == std::string::npos) return false;
  pidfd_ = std::move(pidfd);
  Status watched =
      watch_.start(pidfd_.get(), {.readable = true}, [this, on_death = std::move(on_death)](Ready) {
        forget();
        on_death();
      });
  if (!watched) forget();
  return alive();
}

void HelperProcess::forget() {
  watch_.stop();
  pidfd_.reset();
}

void HelperProcess::end(std::function<void()> then) {
  if (!pidfd_) return then();
  syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
  watch_.stop();
  Status watched = watch_.start(pidfd_.get(), {.readable = true}, [this, then](Ready) {
    forget();
    then();
  });
  if (watched) return;
  forget();
  then();
}

}  // namespace keepwell
