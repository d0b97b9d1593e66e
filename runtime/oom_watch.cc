#include "runtime/oom_watch.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace keepwell {

namespace {

// v1 tells when memory ran out, which is a moment before somebody is killed for it.
constexpr Duration kSettle = std::chrono::milliseconds(50);

}  // namespace

Status OomWatch::start(const CgroupRoot& root, const std::string& id,
                       std::function<void()> on_oom) {
  stop();
  root_ = &root;
  id_ = id;
  on_oom_ = std::move(on_oom);
  kills_ = read_oom_kills(root, id);
  const CgroupV1Mount* v1 = root.layout.find_v1("memory");
  eventfd_ = v1 != nullptr;
  if (v1 != nullptr) {
    // The kernel tells the group that ran out and those below it, so the lowest one hears
    // everything.
    if (Status opened = open_v1(v1->mount + root.path + "/" + id + "/payload"); !opened)
      return opened;
  } else {
    std::string path = root.layout.unified_mount + root.path + "/" + id + "/memory.events";
    fd_.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd_) return fail_errno("cannot open " + path);
  }
  return watch_.start(fd_.get(), {.readable = eventfd_, .priority = !eventfd_}, [this](Ready) {
    char buffer[512];
    if (eventfd_)
      (void)!read(fd_.get(), buffer, sizeof buffer);
    else
      (void)!pread(fd_.get(), buffer, sizeof buffer, 0);  // takes the notice
    if (!settle_.armed()) settle_.start_after(kSettle, [this] { look(); });
  });
}

Status OomWatch::open_v1(const std::string& directory) {
  oom_control_.reset(::open((directory + "/memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC));
  if (!oom_control_) return fail_errno("cannot open " + directory + "/memory.oom_control");
  fd_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd_) return fail_errno("cannot make an eventfd");
  UniqueFd control(::open((directory + "/cgroup.event_control").c_str(), O_WRONLY | O_CLOEXEC));
  std::string line = std::to_string(fd_.get()) + " " + std::to_string(oom_control_.get());
  if (!control || write(control.get(), line.data(), line.size()) < 0)
    return fail_errno("cannot register with " + directory + "/cgroup.event_control");
  return {};
}

void OomWatch::look() {
  std::uint64_t now = read_oom_kills(*root_, id_);
  if (now <= kills_) return;
  kills_ = now;
  std::function<void()> on_oom = on_oom_;
  on_oom();
}

void OomWatch::stop() {
  watch_.stop();
  settle_.stop();
  fd_.reset();
  oom_control_.reset();
}

}  // namespace keepwell
