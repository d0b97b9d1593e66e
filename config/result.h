// How keepwell's operations fail. Three kinds of failure, three mechanisms, never mixed:
//   data          a probe timed out, a container exited 7: a value, never an Error
//   operation     cannot bind the socket, bad YAML:        Result<T>
//   bug           a broken invariant:                      KW_CHECK (check.h), which aborts
//
// An Error's text begins with "cannot", names the object and ends without a full stop. Each layer
// that passes it on adds its context once:  cannot start probe for web: cannot enter container
// 3f2a: No such process
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace keepwell {

// A code exists only where some caller branches on it; agent/api maps each to an HTTP status.
enum class Errc { invalid, not_found, conflict, unavailable, timed_out, denied, unsupported, os };

struct Error {
  Errc code = Errc::os;
  std::string text;

  // "CONTEXT: cause", where CONTEXT is a whole phrase such as "cannot open /x".
  static Error os(int error_number, std::string_view context) {
    return {error_number == EACCES || error_number == EPERM ? Errc::denied
            : error_number == ENOENT                        ? Errc::not_found
                                                            : Errc::os,
            std::string(context) + ": " + std::strerror(error_number)};
  }

  // This error with CONTEXT in front of it; the code stays.
  [[nodiscard]] Error with(std::string_view context) const {
    return {code, std::string(context) + ": " + text};
  }
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> fail(Errc code, std::string text) {
  return tl::unexpected<Error>(Error{code, std::move(text)});
}
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }
// REQUIRES: errno still is what the failed call left.
inline tl::unexpected<Error> fail_errno(std::string_view context) {
  return tl::unexpected<Error>(Error::os(errno, context));
}

}  // namespace keepwell
