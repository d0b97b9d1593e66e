// Where an HTTP redirect leads, and whether a check may follow it. Pure text; nothing is resolved.
#pragma once

#include <string>
#include <string_view>

#include "config/result.h"
#include "config/spec.h"

namespace keepwell {

// The check that a redirect of FROM to LOCATION makes, with one redirect less to go. Allowed are
// FROM's own host, however it is called there (its address, a loopback name for a loopback address,
// its Host header, its TLS server name), and redirect_hosts; Errc::denied for any other, and for a
// LOCATION that is not http or https. To another host no Authorization, Cookie or Host goes along.
Result<HttpCheck> redirected(const HttpCheck& from, std::string_view location);

}  // namespace keepwell
