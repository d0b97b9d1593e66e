// Any text as the JSON body of a request: read or refused with Docker's words, never deeper than
// allowed, and every field either of its type or an error.
// Links: agent
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/api/exec_request.h"
#include "agent/api/json_body.h"
#include "config/check.h"

using namespace keepwell;

namespace {

// The two bodies that the API reads, in an old, a middle and the newest version.
void read_requests(std::string_view text) {
  for (const int minor : {12, 41, 50}) {
    if (const Result<ExecSpec> spec = read_exec_create(text, minor)) {
      KW_CHECK(!spec->argv.empty() && !spec->detach_sequence.empty());
      KW_CHECK(minor >= 42 || !spec->console.set());
    } else {
      KW_CHECK(spec.error().code == Errc::invalid && !spec.error().text.empty());
    }
    if (const Result<ExecStart> start = read_exec_start(text, minor)) {
      KW_CHECK(start->tty || !start->console.set());
    } else {
      KW_CHECK(start.error().code == Errc::invalid && !start.error().text.empty());
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_requests(text);
  const Result<nlohmann::json> body = parse_json_object(text);
  if (!body) {
    KW_CHECK(body.error().code == Errc::invalid && !body.error().text.empty());
    return 0;
  }
  KW_CHECK(body->is_object());
  std::string string = "kept";
  bool flag = true;
  std::vector<std::string> strings{"kept"};
  std::vector<int> numbers;
  for (const char* key : {"Cmd", "Env", "User", "Tty", "ConsoleSize", "DetachKeys"}) {
    const Status as_string = read_json(*body, key, string);
    const Status as_flag = read_json(*body, key, flag);
    const Status as_strings = read_json(*body, key, strings);
    const Status as_numbers = read_json(*body, key, numbers);
    KW_CHECK(!(as_string && as_flag) || !body->contains(key) || (*body)[key].is_null());
    KW_CHECK(string.find('\0') == std::string::npos);
    for (const std::string& one : strings) KW_CHECK(one.find('\0') == std::string::npos);
    for (const int number : numbers) KW_CHECK(number >= 0 && number <= 0xffff);
    if (!as_strings) KW_CHECK(as_strings.error().text.starts_with("invalid JSON"));
  }
  return 0;
}
