#include "runtime/loop.h"

#include <uv.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "config/check.h"

namespace keepwell {
namespace {

Duration read_clock(clockid_t clock) {
  timespec ts{};
  clock_gettime(clock, &ts);
  return std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec);
}

void print_handle(uv_handle_t* handle, void*) {
  std::fprintf(stderr, "keepwell: loop still has a %s (active %d, closing %d, owner %p)\n",
               uv_handle_type_name(handle->type), uv_is_active(handle), uv_is_closing(handle),
               handle->data);
}

}  // namespace

Result<std::unique_ptr<Loop>> Loop::open() {
  std::signal(SIGPIPE, SIG_IGN);
  auto loop = std::make_unique<uv_loop_t>();
  int rc = uv_loop_init(loop.get());
  if (rc != 0) return fail(Error::os(-rc, "cannot make an event loop"));
  return std::unique_ptr<Loop>(new Loop(std::move(loop)));
}

Loop::Loop(std::unique_ptr<uv_loop_s> loop) : loop_(std::move(loop)) {}

Loop::~Loop() { close(); }

void Loop::run() { uv_run(loop_.get(), UV_RUN_DEFAULT); }

bool Loop::run_once() { return uv_run(loop_.get(), UV_RUN_ONCE) != 0; }

bool Loop::poll() { return uv_run(loop_.get(), UV_RUN_NOWAIT) != 0; }

void Loop::stop() { uv_stop(loop_.get()); }

void Loop::close() {
  if (!loop_) return;
  // Close callbacks need turns of the loop, and one of them may close something else.
  for (int turns = 0; turns < 16 && uv_run(loop_.get(), UV_RUN_NOWAIT) != 0; ++turns) {
  }
  bool everything_closed = uv_loop_close(loop_.get()) == 0;
  if (!everything_closed) uv_walk(loop_.get(), print_handle, nullptr);
  KW_CHECK(everything_closed);
  loop_.reset();
}

Now Loop::now() {
  return {Instant(read_clock(CLOCK_MONOTONIC)), WallTime(read_clock(CLOCK_REALTIME))};
}

Duration Loop::suspended() { return read_clock(CLOCK_BOOTTIME) - read_clock(CLOCK_MONOTONIC); }

}  // namespace keepwell
