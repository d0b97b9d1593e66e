// What an HTTP request and an answer are, once they are read or before they are written. Plain
// values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace keepwell {

using HttpFields = std::vector<std::pair<std::string, std::string>>;

// The first value of NAME in FIELDS, whatever its case; nullptr if there is none.
const std::string* find_field(const HttpFields& fields, std::string_view name);

struct HttpRequest {
  std::string method;
  std::string path;        // as sent, still percent-encoded, without the query
  std::string query_text;  // behind the '?'
  int version = 11;        // 10 or 11
  HttpFields fields;
  bool keep_alive = true;  // the client will send further requests on this connection
  bool upgrade = false;    // Connection: Upgrade
  bool chunked = false;
  std::optional<std::uint64_t> content_length;

  bool has_body() const { return chunked || content_length.value_or(0) > 0; }
  // Media type in lower case without parameters; "" if none was sent.
  std::string content_type() const;
};

// An answer whose body is complete.
struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";  // empty: no such field
  std::string body;
  HttpFields fields;
};

// The first part of an answer whose body follows bit by bit.
struct HttpHead {
  int status = 200;
  std::string content_type = "application/json";
  HttpFields fields;
};

// "Not Found" for 404, "" for a status that we never send.
const char* reason_phrase(int status);

// {"message": TEXT}, as every error of the API is told.
HttpResponse error_response(int status, std::string_view text);

// The bytes of a head with its empty line. SIZE: the Content-Length, if there is to be one.
std::string head_bytes(const HttpHead& head, std::optional<std::uint64_t> size);

// BYTES as one chunk of a chunked body; "" for no bytes, which would end the body.
std::string chunk_bytes(std::string_view bytes);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

// Whether a Host header names this machine without asking a resolver: an address, localhost, or
// nothing. Others are refused, since a name may be rebound to us by a web page's author.
bool is_local_host(std::string_view host);

}  // namespace keepwell
