#include "agent/http/message.h"

#include <array>
#include <nlohmann/json.hpp>

#include "agent/http/head_filter.h"

namespace keepwell {

const std::string* find_field(const HttpFields& fields, std::string_view name) {
  for (const auto& [key, value] : fields)
    if (equal_ignoring_case(key, name)) return &value;
  return nullptr;
}

std::string HttpRequest::content_type() const {
  const std::string* value = find_field(fields, "content-type");
  if (!value) return {};
  std::string type(trim_blanks(std::string_view(*value).substr(0, value->find(';'))));
  for (char& c : type)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return type;
}

const char* reason_phrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "UPGRADED";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";
  }
}

HttpResponse error_response(int status, std::string_view text) {
  nlohmann::json body = {{"message", std::string(text)}};
  return {status,
          "application/json",
          body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
          {}};
}

std::string head_bytes(const HttpHead& head, std::optional<std::uint64_t> size) {
  std::string bytes = "HTTP/1.1 " + std::to_string(head.status) + " ";
  bytes += reason_phrase(head.status);
  bytes += "\r\n";
  const auto add = [&bytes](std::string_view name, std::string_view value) {
    bytes.append(name).append(": ").append(value).append("\r\n");
  };
  if (!head.content_type.empty()) add("Content-Type", head.content_type);
  for (const auto& [name, value] : head.fields) add(name, value);
  add("X-Content-Type-Options", "nosniff");
  if (size) add("Content-Length", std::to_string(*size));
  bytes += "\r\n";
  return bytes;
}

std::string chunk_bytes(std::string_view bytes) {
  if (bytes.empty()) return {};
  static constexpr char kHex[] = "0123456789abcdef";
  std::string size;
  for (std::size_t rest = bytes.size(); rest > 0; rest >>= 4)
    size.insert(size.begin(), kHex[rest & 15]);
  std::string chunk = size + "\r\n";
  chunk.append(bytes).append("\r\n");
  return chunk;
}

bool is_local_host(std::string_view host) {
  if (host.empty()) return true;
  if (host.front() == '[') return true;
  host = host.substr(0, host.find(':'));
  return equal_ignoring_case(host, "localhost") ||
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace keepwell
