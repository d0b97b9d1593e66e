#include "agent/http/server.h"

#include "agent/http/connection.h"
#include "runtime/loop.h"

namespace keepwell {

Result<std::unique_ptr<HttpServer>> HttpServer::open(Loop& loop, UniqueFd fd, Options options) {
  std::unique_ptr<HttpServer> server(new HttpServer(loop, std::move(options)));
  HttpServer* self = server.get();
  Result<std::unique_ptr<Listener>> listener = Listener::open(
      loop, std::move(fd), [self](UniqueFd accepted) { self->accept(std::move(accepted)); });
  if (!listener) return fail(listener.error());
  server->listener_ = std::move(*listener);
  return server;
}

HttpServer::HttpServer(Loop& loop, Options options)
    : loop_(&loop), options_(std::move(options)), reaper_(loop) {}

HttpServer::~HttpServer() {
  connections_.clear();
  dead_.clear();
  // What handlers own may want to say something to an exchange that is closed by now.
  while (!retired_.empty()) {
    const std::vector<Exchange::Handlers> retired = std::move(retired_);
    retired_.clear();
  }
}

void HttpServer::accept(UniqueFd fd) {
  std::optional<PeerCredentials> peer;
  if (options_.unix_socket) {
    const Result<PeerCredentials> credentials = peer_credentials(fd.get());
    if (!credentials) return;
    peer = *credentials;
  }
  if (connections_.size() - hijacked_ >= options_.limits.connections_max ||
      hijacked_ >= options_.limits.hijacked_max)
    return;
  if (peer && peer->uid != 0 && per_user_[peer->uid] >= options_.limits.connections_per_user_max)
    return;
  auto connection = std::make_unique<Connection>(*this, peer);
  if (!connection->start(std::move(fd))) return;
  if (peer) ++per_user_[peer->uid];
  connections_.emplace(connection.get(), std::move(connection));
}

void HttpServer::forget(Connection& connection) {
  const auto found = connections_.find(&connection);
  if (found == connections_.end()) return;
  if (connection.was_hijacked()) --hijacked_;
  if (connection.peer()) {
    const auto user = per_user_.find(connection.peer()->uid);
    if (user != per_user_.end() && --user->second == 0) per_user_.erase(user);
  }
  dead_.push_back(std::move(found->second));
  connections_.erase(found);
  reap_later();
}

void HttpServer::retire(Exchange::Handlers handlers) {
  retired_.push_back(std::move(handlers));
  reap_later();
}

void HttpServer::reap_later() {
  reaper_.start_after(Duration(0), [this] {
    const std::vector<std::unique_ptr<Connection>> dead = std::move(dead_);
    const std::vector<Exchange::Handlers> retired = std::move(retired_);
    dead_.clear();
    retired_.clear();
  });
}

}  // namespace keepwell
