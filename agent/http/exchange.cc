#include "agent/http/exchange.h"

#include "agent/http/connection.h"
#include "config/check.h"

namespace keepwell {

Exchange::Exchange(Connection& connection, HttpRequest request)
    : connection_(&connection), request_(std::move(request)) {}

Exchange::~Exchange() {
  if (!connection_) return;
  if (answered()) {
    connection_->abort();
  } else {
    fail(500, "internal error: the request was dropped without an answer");
  }
}

void Exchange::add_field(std::string name, std::string value) {
  KW_CHECK(!answered());
  extra_fields_.emplace_back(std::move(name), std::move(value));
}

void Exchange::set_handlers(Handlers handlers) {
  if (connection_) handlers_ = std::move(handlers);
}

void Exchange::respond(const HttpResponse& response) {
  KW_CHECK(!answered() || closed());
  if (connection_) connection_->respond(response);
}

void Exchange::begin(const HttpHead& head) {
  KW_CHECK(!answered() || closed());
  if (connection_) connection_->begin(head);
}

void Exchange::hijack(const HttpHead& head) {
  KW_CHECK(!answered() || closed());
  if (connection_) connection_->hijack(head);
}

bool Exchange::write(std::string_view bytes) { return !connection_ || connection_->write(bytes); }

std::size_t Exchange::queued() const { return connection_ ? connection_->queued() : 0; }

int Exchange::socket_for_splice() const {
  return connection_ ? connection_->socket_for_splice() : -1;
}

bool Exchange::client_is_there() const { return connection_ && connection_->client_is_there(); }

void Exchange::end() {
  if (connection_) connection_->end();
}

void Exchange::abort() {
  if (connection_) connection_->abort();
}

void Exchange::pause_reading() {
  if (connection_) connection_->pause_reading();
}

void Exchange::resume_reading() {
  if (connection_) connection_->resume_reading();
}

}  // namespace keepwell
