#include "runtime/file_watch.h"

#include <sys/inotify.h>

#include <array>

#include "runtime/loop.h"

namespace keepwell {

FileWatch::FileWatch(Loop& loop) : watch_(loop) {}

Status FileWatch::start(const std::string& path, std::function<void()> on_change) {
  stop();
  UniqueFd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd) return fail_errno("cannot watch " + path);
  if (::inotify_add_watch(fd.get(), path.c_str(), IN_MODIFY | IN_MOVE_SELF | IN_ATTRIB) < 0)
    return fail_errno("cannot watch " + path);
  on_change_ = std::move(on_change);
  inotify_ = std::move(fd);
  Status started =
      watch_.start(inotify_.get(), {.readable = true}, [this](const Ready&) { take_events(); });
  if (!started) stop();
  return started;
}

void FileWatch::take_events() {
  alignas(inotify_event) std::array<char, 4096> events;
  while (::read(inotify_.get(), events.data(), events.size()) > 0) {
  }
  const std::function<void()> on_change = on_change_;  // it may start or stop this watch
  if (on_change) on_change();
}

void FileWatch::stop() {
  watch_.stop();
  inotify_.reset();
  on_change_ = nullptr;
}

}  // namespace keepwell
