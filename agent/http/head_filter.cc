#include "agent/http/head_filter.h"

#include <algorithm>

namespace keepwell {
namespace {

struct Fields {
  int count = 0;
  int hosts = 0;
  int lengths = 0;
  int encodings = 0;
};

HeadVerdict refuse(int status, std::string text) {
  return {HeadVerdict::Kind::refused, 0, status, std::move(text)};
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }

// Where the head ends (behind the empty line), or what is wrong with the line ends before that.
HeadVerdict find_end(std::string_view bytes) {
  const std::string_view window = bytes.substr(0, kHttpHeadBytesMax);
  std::size_t line_start = 0;
  for (std::size_t i = 0; i < window.size(); ++i) {
    const char c = window[i];
    if (c == '\0') return refuse(400, "NUL in request head");
    if (c == '\n') return refuse(400, "bare LF in request head");
    if (c != '\r') continue;
    if (i + 1 == window.size()) break;
    if (window[i + 1] != '\n') return refuse(400, "bare CR in request head");
    if (i == line_start) {
      if (i == 0) return refuse(400, "empty line before the request");
      return {HeadVerdict::Kind::complete, i + 2, 0, {}};
    }
    ++i;
    line_start = i + 1;
  }
  if (bytes.size() >= kHttpHeadBytesMax) return refuse(431, "request head too large");
  return {};
}

bool valid_target(std::string_view target) {
  return target.front() == '/' && std::all_of(target.begin(), target.end(), [](char c) {
           return c > 0x20 && c < 0x7f && c != '#';
         });
}

HeadVerdict check_request_line(std::string_view line, bool& version_1_0) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last || first == 0 || first > 32)
    return refuse(400, "malformed request line");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!std::all_of(method.begin(), method.end(), is_token_char))
    return refuse(400, "malformed request method");
  if (target.size() > kHttpTargetBytesMax) return refuse(414, "request target too long");
  if (target.empty() || !valid_target(target)) return refuse(400, "malformed request target");
  version_1_0 = version == "HTTP/1.0";
  if (!version_1_0 && version != "HTTP/1.1") return refuse(505, "HTTP version not supported");
  return {};
}

bool valid_host(std::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) {
    return is_letter(c) || is_digit(c) ||
           std::string_view("-._~%:[]").find(c) != std::string_view::npos;
  });
}

HeadVerdict check_field_meaning(std::string_view name, std::string_view value, Fields& fields) {
  if (equal_ignoring_case(name, "host")) {
    if (++fields.hosts > 1) return refuse(400, "more than one Host");
    if (!valid_host(value)) return refuse(400, "malformed Host");
  } else if (equal_ignoring_case(name, "content-length")) {
    if (++fields.lengths > 1) return refuse(400, "more than one Content-Length");
    if (value.empty() || value.size() > 18 || !std::all_of(value.begin(), value.end(), is_digit))
      return refuse(400, "malformed Content-Length");
  } else if (equal_ignoring_case(name, "transfer-encoding")) {
    if (++fields.encodings > 1) return refuse(400, "more than one Transfer-Encoding");
    if (!equal_ignoring_case(value, "chunked"))
      return refuse(501, "Transfer-Encoding other than chunked");
  } else if (equal_ignoring_case(name, "origin")) {
    // A browser's page asks: nothing of ours is meant for one.
    return refuse(403, "requests from web pages are refused");
  } else if (equal_ignoring_case(name, "sec-fetch-site") &&
             equal_ignoring_case(value, "cross-site")) {
    return refuse(403, "requests from web pages are refused");
  }
  return {};
}

HeadVerdict check_field(std::string_view line, Fields& fields) {
  if (++fields.count > kHttpFieldsMax) return refuse(431, "too many header fields");
  if (line.front() == ' ' || line.front() == '\t') return refuse(400, "folded header field");
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return refuse(400, "malformed header field");
  const std::string_view name = line.substr(0, colon);
  if (!std::all_of(name.begin(), name.end(), is_token_char))
    return refuse(400, "malformed header name");
  const std::string_view value = trim_blanks(line.substr(colon + 1));
  const bool clean = std::all_of(value.begin(), value.end(), [](char c) {
    return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  });
  if (!clean) return refuse(400, "control character in header field");
  return check_field_meaning(name, value, fields);
}

}  // namespace

bool is_token_char(char c) {
  return is_digit(c) || is_letter(c) ||
         (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

HeadVerdict filter_head(std::string_view bytes) {
  HeadVerdict end = find_end(bytes);
  if (end.kind != HeadVerdict::Kind::complete) return end;

  std::string_view rest = bytes.substr(0, end.bytes - 2);
  const auto next_line = [&rest] {
    const std::size_t length = rest.find("\r\n");
    const std::string_view line = rest.substr(0, length);
    rest.remove_prefix(length + 2);
    return line;
  };
  bool version_1_0 = false;
  HeadVerdict bad = check_request_line(next_line(), version_1_0);
  if (bad.kind == HeadVerdict::Kind::refused) return bad;
  Fields fields;
  while (!rest.empty()) {
    bad = check_field(next_line(), fields);
    if (bad.kind == HeadVerdict::Kind::refused) return bad;
  }
  if (fields.hosts == 0 && !version_1_0) return refuse(400, "no Host");
  if (fields.encodings > 0 && fields.lengths > 0)
    return refuse(400, "both Transfer-Encoding and Content-Length");
  if (fields.encodings > 0 && version_1_0) return refuse(400, "Transfer-Encoding in HTTP/1.0");
  return end;
}

}  // namespace keepwell
