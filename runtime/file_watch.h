// Tells when a file was written to, renamed or removed (inotify). What happened is not said:
// whoever follows a file looks for himself. Several changes may come as one call.
#pragma once

#include <functional>
#include <string>

#include "config/result.h"
#include "runtime/fd_watch.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class Loop;

class FileWatch {
 public:
  // Watches nothing yet. REQUIRES: LOOP outlives the watch.
  explicit FileWatch(Loop& loop);
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;
  ~FileWatch() = default;  // stops

  // Watches the file that PATH names now, instead of what was watched before; it stays watched when
  // it is renamed. ON_CHANGE is called from the loop. Fails, and then watches nothing, where the
  // file is missing or the user is out of watches: look now and then instead.
  Status start(const std::string& path, std::function<void()> on_change);

  void stop();

 private:
  void take_events();

  FdWatch watch_;
  UniqueFd inotify_;
  std::function<void()> on_change_;
};

}  // namespace keepwell
