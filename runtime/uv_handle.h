// How C++ objects own libuv handles. The handle lives on the heap and belongs to the loop's close
// queue; the wrapper around it is an ordinary object that may be destroyed at any time, even inside
// its own callback. Destroying clears `data` and calls uv_close; the memory is freed when the loop
// gets there. A callback that still fires after that finds `data` null and returns.
#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <utility>

namespace keepwell {

struct CloseAndFree {
  template <class H>
  void operator()(H* handle) const noexcept {
    handle->data = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(handle),
             [](uv_handle_t* closed) { delete reinterpret_cast<H*>(closed); });
  }
};

template <class H>
using UvPtr = std::unique_ptr<H, CloseAndFree>;

// Calls CALLBACK (a member of the object that HANDLE's `data` points at) so that it may destroy
// that object or set another callback: it is moved out for the call, and back only if neither
// happened.
template <class H, class... FnArgs, class... Args>
void call_guarded(H* handle, std::function<void(FnArgs...)>& callback, Args&&... args) {
  if (!callback) return;
  std::function<void(FnArgs...)> running = std::move(callback);
  callback = nullptr;
  running(std::forward<Args>(args)...);
  if (handle->data != nullptr && !callback) callback = std::move(running);
}

}  // namespace keepwell
