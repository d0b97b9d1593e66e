#include "runtime/fd_watch.h"

#include "config/check.h"
#include "runtime/loop.h"

namespace keepwell {
namespace {

int to_uv(Interest interest) {
  return (interest.readable ? UV_READABLE : 0) | (interest.writable ? UV_WRITABLE : 0) |
         (interest.hangup ? UV_DISCONNECT : 0) | (interest.priority ? UV_PRIORITIZED : 0);
}

}  // namespace

FdWatch::FdWatch(Loop& loop) : loop_(&loop) {}

Status FdWatch::start(int fd, Interest interest, std::function<void(Ready)> on_ready) {
  stop();
  auto handle = std::make_unique<uv_poll_t>();
  int rc = uv_poll_init(loop_->uv(), handle.get(), fd);
  if (rc != 0) return fail(Error::os(-rc, "cannot watch descriptor " + std::to_string(fd)));
  handle_.reset(handle.release());
  handle_->data = this;
  on_ready_ = std::move(on_ready);
  watched_ = 0;
  if (to_uv(interest) != 0) change(interest);
  return {};
}

void FdWatch::change(Interest interest) {
  KW_CHECK(handle_ != nullptr);
  int events = to_uv(interest);
  if (events == watched_ && uv_is_active(reinterpret_cast<uv_handle_t*>(handle_.get()))) return;
  watched_ = events;
  if (events == 0) {  // libuv would call it a stop as well, but leave the callback
    uv_poll_stop(handle_.get());
    return;
  }
  int rc =
      uv_poll_start(handle_.get(), events, [](uv_poll_t* handle, int status, int seen) noexcept {
        auto* self = static_cast<FdWatch*>(handle->data);
        if (self == nullptr) return;
        Ready ready{.readable = (seen & UV_READABLE) != 0,
                    .writable = (seen & UV_WRITABLE) != 0,
                    .hangup = (seen & UV_DISCONNECT) != 0,
                    .priority = (seen & UV_PRIORITIZED) != 0,
                    .error = status < 0};
        call_guarded(handle, self->on_ready_, ready);
      });
  KW_CHECK(rc == 0);
}

void FdWatch::stop() {
  handle_.reset();
  on_ready_ = nullptr;
}

}  // namespace keepwell
