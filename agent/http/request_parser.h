// Turns the bytes of a connection into requests: head_filter judges the head, Boost.Beast's parser
// (which is all that we use of it) reads head, lengths and chunks. Sans-io: it is fed bytes, and
// says how far it got. Bytes behind one request stay inside, for the next request or for the
// session that the request opened.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "agent/http/message.h"

namespace keepwell {

class RequestParser {
 public:
  enum class State {
    head,    // more bytes of the head are needed
    body,    // request() is known; the body is not complete
    done,    // the body is complete
    failed,  // answer with failure_status() and close
  };

  RequestParser();
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Takes BYTES as they came and goes as far as the end of the present request. At the end of the
  // head it stops once, before anything of the body is read, so that its reader can be chosen:
  // call feed({}) to go on.
  State feed(std::string_view bytes);

  State state() const { return state_; }

  // REQUIRES: the head is complete.
  const HttpRequest& request() const { return request_; }

  // The body's bytes since the last call, with the chunks' framing removed; empty: none came.
  std::string take_body();

  // What came behind the request. REQUIRES: state done.
  std::string take_rest();

  // Makes ready for the next request, which may lie in the buffer: call feed({}).
  // REQUIRES: state done.
  void next();

  // Bytes that came behind the present request.
  std::size_t buffered() const { return buffer_.size(); }

  // Whether anything of a request has come.
  bool started() const { return state_ != State::head || !buffer_.empty(); }

  int failure_status() const { return failure_status_; }  // HTTP's. REQUIRES: state failed
  const std::string& failure_text() const { return failure_text_; }  // of the answer; likewise

 private:
  class Reader;

  State fail(int status, std::string text);
  State read_head();
  State read_body();

  State state_ = State::head;
  std::string buffer_;  // bytes that nobody has read yet
  std::string body_;
  HttpRequest request_;
  std::unique_ptr<Reader> reader_;
  int failure_status_ = 0;
  std::string failure_text_;
};

}  // namespace keepwell
