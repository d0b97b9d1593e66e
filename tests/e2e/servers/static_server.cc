// The one program of an otherwise empty container: a static server on the container's loopback.
//   127.0.0.1:8080  HTTP: /ok 200 "ready", /endless a body without end, /drip a byte at a
//                   time, /away a redirect to another host, /loop one to itself, /to-ok one to /ok;
//                   POST /break makes /ok fail from then on, POST /mend mends it
//   127.0.0.1:9000  TCP: answers PING with +PONG
// One thread, poll(); a connection that is not read from is dropped by its reset.
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

namespace {

enum class Kind { http_listener, tcp_listener, http, tcp, endless, drip };

bool broken = false;

int listen_on(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) _exit(1);
  if (listen(fd, 128) != 0) _exit(1);
  return fd;
}

std::string response(const std::string& status, const std::string& more, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\n" + more + "Content-Length: " + std::to_string(body.size()) +
         "\r\nConnection: close\r\n\r\n" + body;
}

// What the request asks for; the connection goes on as KIND.
std::string answer(const std::string& request, Kind& kind) {
  const std::string line = request.substr(0, request.find(" HTTP/"));
  const auto redirect = [](const std::string& to) {
    return response("302 Found", "Location: " + to + "\r\n", "");
  };
  if (line == "POST /break") broken = true;
  if (line == "POST /mend") broken = false;
  if (line.starts_with("POST ")) return response("200 OK", "", "done");
  if (line == "GET /ok") {
    return broken ? response("503 Service Unavailable", "", "broken")
                  : response("200 OK", "", "ready");
  }
  if (line == "GET /away") return redirect("http://192.0.2.1/");
  if (line == "GET /loop") return redirect("/loop");
  if (line == "GET /to-ok") return redirect("http://localhost:8080/ok");
  if (line == "GET /endless") {
    kind = Kind::endless;
    return "HTTP/1.1 200 OK\r\n\r\n";
  }
  if (line == "GET /drip") {
    kind = Kind::drip;
    return "HTTP/1.1 200 OK\r\n";
  }
  return response("404 Not Found", "", "");
}

bool say(int fd, const std::string& text) {
  return send(fd, text.data(), text.size(), MSG_NOSIGNAL) >= 0;
}

// False: the connection is to be closed.
bool serve(int fd, Kind& kind, short events) {
  if (kind == Kind::endless) return say(fd, std::string(4096, 'x'));
  if (kind == Kind::drip) return say(fd, "X");
  if ((events & (POLLIN | POLLHUP | POLLERR)) == 0) return true;
  char buffer[4096];
  const ssize_t count = recv(fd, buffer, sizeof buffer, 0);
  if (count <= 0) return false;
  const std::string text(buffer, static_cast<std::size_t>(count));
  if (kind == Kind::tcp) return text.starts_with("PING") && say(fd, "+PONG\r\n");
  if (!say(fd, answer(text, kind))) return false;
  if (kind == Kind::http) shutdown(fd, SHUT_WR);
  return true;
}

}  // namespace

int main() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, [](int) { _exit(0); });
  std::map<int, Kind> open{{listen_on(8080), Kind::http_listener},
                           {listen_on(9000), Kind::tcp_listener}};
  for (;;) {
    std::vector<pollfd> fds;
    bool dripping = false;
    for (const auto& [fd, kind] : open) {
      dripping = dripping || kind == Kind::drip;
      fds.push_back({fd, static_cast<short>(kind == Kind::endless ? POLLOUT : POLLIN), 0});
    }
    poll(fds.data(), fds.size(), dripping ? 100 : -1);
    for (const pollfd& each : fds) {
      Kind& kind = open[each.fd];
      if (each.revents == 0 && kind != Kind::drip) continue;
      if (kind == Kind::http_listener || kind == Kind::tcp_listener) {
        const int fd = accept4(each.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) open[fd] = kind == Kind::http_listener ? Kind::http : Kind::tcp;
        continue;
      }
      if (serve(each.fd, kind, each.revents)) continue;
      close(each.fd);
      open.erase(each.fd);
    }
  }
}
