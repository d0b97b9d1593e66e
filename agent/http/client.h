// The command line's HTTP: blocking, over the agent's unix socket, one request at a time. The head
// of an answer is read by Boost.Beast's parser, like requests on the other side.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "agent/http/message.h"
#include "config/result.h"
#include "runtime/unique_fd.h"

namespace keepwell {

struct ClientRequest {
  std::string method = "GET";
  std::string target = "/";  // "/containers/json?all=1", encoded
  std::string body = "";
  std::string content_type = "application/json";  // sent with a body
  bool upgrade = false;                           // asks for a raw connection
};

struct ClientResponse {
  int status = 0;
  HttpFields fields;
  std::string body;  // empty where it was streamed

  bool ok() const { return status >= 200 && status < 300; }
  // What an error's JSON says, or the body itself.
  std::string message() const;
};

class HttpClient {
 public:
  // Errc::unavailable, naming PATH and the way out, where nobody listens there.
  static Result<HttpClient> connect(const std::string& path);
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;
  ~HttpClient();

  // Sends REQUEST and reads the whole answer. The connection can be used again.
  Result<ClientResponse> send(const ClientRequest& request);

  // As send(), but ON_BODY takes a good answer's body as it comes; false ends the reading early,
  // and the client is then of no further use. Bodies of errors are in the response as ever.
  Result<ClientResponse> stream(const ClientRequest& request,
                                const std::function<bool(std::string_view)>& on_body);

  // Asks for a raw connection. Status 101: fd() is it, and rest() came already. Else: an error.
  Result<ClientResponse> hijack(ClientRequest request);
  int fd() const { return fd_.get(); }
  std::string take_rest();

 private:
  class Reader;

  explicit HttpClient(UniqueFd fd);
  Status send_head(const ClientRequest& request);
  Status read_head(Reader& reader);
  Status advance(Reader& reader);
  Status read_more();

  UniqueFd fd_;
  std::string received_;  // not read by a Reader yet
  std::string buffer_;
};

}  // namespace keepwell
