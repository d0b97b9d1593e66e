#include "runtime/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "runtime/loop.h"

namespace keepwell {
namespace {

// A unix client that finds it full fails at once (EAGAIN), so it must hold a burst of clients.
constexpr int kBacklog = 1024;
constexpr int kAcceptsPerTurn = 16;
constexpr Duration kRetryAfter = std::chrono::milliseconds(100);

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path) || path.empty() || path[0] != '/' ||
      path.find('\0') != std::string::npos) {
    return fail(Errc::invalid, "cannot use socket path " + path +
                                   ": it must be absolute and at most 107 bytes long; choose a "
                                   "shorter run directory (--run-dir)");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// Makes sure that nobody else can put a socket of their own where ours is looked for.
Status check_parent(const std::string& path) {
  std::string parent = path.substr(0, path.rfind('/'));
  if (parent.empty()) parent = "/";
  struct stat st {};
  if (lstat(parent.c_str(), &st) != 0) return fail_errno("cannot open directory " + parent);
  if (!S_ISDIR(st.st_mode)) {
    return fail(Errc::invalid, "cannot listen at " + path + ": " + parent + " is not a directory");
  }
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (st.st_mode & S_ISVTX) == 0) {
    return fail(Errc::denied, "cannot listen at " + path + ": " + parent +
                                  " can be written by others; chmod go-w it");
  }
  return {};
}

Status remove_stale(const std::string& path) {
  struct stat st {};
  if (lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno("cannot look at " + path);
  }
  if (!S_ISSOCK(st.st_mode)) {
    return fail(Errc::conflict, "cannot listen at " + path +
                                    ": something that is not a socket is there; remove it");
  }
  if (unlink(path.c_str()) != 0) return fail_errno("cannot remove the old socket " + path);
  return {};
}

Result<gid_t> group_id(const std::string& name) {
  const char* end = name.data() + name.size();
  gid_t gid = 0;
  if (auto [at, ec] = std::from_chars(name.data(), end, gid); ec == std::errc{} && at == end) {
    return gid;
  }
  group entry{};
  group* found = nullptr;
  std::array<char, 16384> buffer;
  getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) return fail(Errc::not_found, "cannot find group " + name);
  return found->gr_gid;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

std::optional<Address> parse_address(const std::string& text) {
  std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  std::string host = text.substr(0, colon);
  const char* first = text.data() + colon + 1;
  const char* last = text.data() + text.size();
  std::uint16_t port = 0;
  auto [at, ec] = std::from_chars(first, last, port);
  if (ec != std::errc{} || at != last) return std::nullopt;
  if (host == "localhost") host = "127.0.0.1";
  Address address;
  bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  if (host.empty() || bracketed) {
    std::string literal = host.empty() ? "::" : host.substr(1, host.size() - 2);
    if (inet_pton(AF_INET6, literal.c_str(), &v6->sin6_addr) != 1) return std::nullopt;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.size = sizeof(sockaddr_in6);
  } else {
    if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) != 1) return std::nullopt;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.size = sizeof(sockaddr_in);
  }
  return address;
}

}  // namespace

Result<UniqueFd> listen_unix(const UnixSocketSpec& spec) {
  Result<sockaddr_un> address = unix_address(spec.path);
  if (!address) return fail(address.error());
  if (Status ok = check_parent(spec.path); !ok) return fail(ok.error());
  gid_t gid = static_cast<gid_t>(-1);
  if (!spec.group.empty()) {
    Result<gid_t> found = group_id(spec.group);
    if (!found) return fail(found.error().with("cannot listen at " + spec.path));
    gid = *found;
  }
  if (Status ok = remove_stale(spec.path); !ok) return fail(ok.error());

  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("cannot make a unix socket");
  // Born closed to everybody but us; opened to the group only when the owner is right.
  mode_t old_mask = umask(0177);
  int bound = bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address));
  umask(old_mask);
  if (bound != 0) return fail_errno("cannot listen at " + spec.path);
  if (gid != static_cast<gid_t>(-1) &&
      lchown(spec.path.c_str(), static_cast<uid_t>(-1), gid) != 0) {
    return fail_errno("cannot give " + spec.path + " to group " + spec.group);
  }
  if (chmod(spec.path.c_str(), spec.mode & 0777) != 0) {
    return fail_errno("cannot set the mode of " + spec.path);
  }
  if (listen(fd.get(), kBacklog) != 0) return fail_errno("cannot listen at " + spec.path);
  return fd;
}

Result<UniqueFd> listen_tcp(const std::string& address) {
  std::optional<Address> parsed = parse_address(address);
  if (!parsed) {
    return fail(Errc::invalid, "cannot listen at " + address +
                                   ": not an address; write 127.0.0.1:9790, [::1]:9790 or :9790");
  }
  int family = parsed->storage.ss_family;
  UniqueFd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd && errno == EAFNOSUPPORT && address.front() == ':') {  // no IPv6 here: all of IPv4
    return listen_tcp("0.0.0.0" + address);
  }
  if (!fd) return fail_errno("cannot listen at " + address);
  int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&parsed->storage), parsed->size) != 0 ||
      listen(fd.get(), kBacklog) != 0) {
    return fail_errno("cannot listen at " + address);
  }
  return fd;
}

std::string local_address(int fd) {
  Address address;
  address.size = sizeof(address.storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) return "";
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.storage.ss_family == AF_INET6) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
    return "[" + std::string(text.data()) + "]:" + std::to_string(ntohs(v6->sin6_port));
  }
  if (address.storage.ss_family != AF_INET) return "";
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
  return std::string(text.data()) + ":" + std::to_string(ntohs(v4->sin_port));
}

bool somebody_listens(const std::string& path) {
  Result<sockaddr_un> address = unix_address(path);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!address || !fd) return static_cast<bool>(address);  // without descriptors: not to be told
  return connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) == 0 ||
         errno == EAGAIN;  // so many wait that there is no room for one more
}

Result<UniqueFd> connect_unix(const std::string& path) {
  Result<sockaddr_un> address = unix_address(path);
  if (!address) return fail(address.error());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("cannot make a unix socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) != 0) {
    return fail_errno("cannot connect to " + path);
  }
  return fd;
}

Result<PeerCredentials> peer_credentials(int fd) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return fail_errno("cannot read who is connected");
  }
  PeerCredentials peer{credentials.uid, credentials.gid, {}, credentials.pid};
  std::vector<gid_t> groups(64);
  for (int attempt = 0; attempt < 2; ++attempt) {
    size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    const bool read = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0;
    if (!read && errno != ERANGE) break;  // an old kernel: the primary group alone
    groups.resize(size / sizeof(gid_t));  // as many as there are, also of ERANGE
    if (!read) continue;
    peer.groups.assign(groups.begin(), groups.end());
    break;
  }
  return peer;
}

Result<std::unique_ptr<Listener>> Listener::open(Loop& loop, UniqueFd fd,
                                                 std::function<void(UniqueFd)> on_accept) {
  std::unique_ptr<Listener> listener(new Listener(loop, std::move(fd), std::move(on_accept)));
  if (Status ok = listener->start(); !ok) return fail(ok.error());
  return listener;
}

Listener::Listener(Loop& loop, UniqueFd fd, std::function<void(UniqueFd)> on_accept)
    : fd_(std::move(fd)),
      reserve_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      on_accept_(std::move(on_accept)),
      watch_(loop),
      retry_(loop),
      alive_(std::make_shared<bool>(true)) {}

Status Listener::start() {
  return watch_.start(fd_.get(), {.readable = true}, [this](Ready) { accept_some(); });
}

void Listener::pause() {
  paused_ = true;
  watch_.change({});
}

void Listener::resume() {
  paused_ = false;
  if (!retry_.armed()) watch_.change({.readable = true});
}

void Listener::accept_some() {
  std::weak_ptr<bool> alive = alive_;
  for (int i = 0; i < kAcceptsPerTurn && !paused_; ++i) {
    UniqueFd client(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        out_of_descriptors();
        return;
      }
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return;  // EAGAIN: nobody waits
    }
    on_accept_(std::move(client));
    if (alive.expired()) return;
  }
}

void Listener::out_of_descriptors() {
  // Without this the waiting connection would wake the loop for ever.
  reserve_.reset();
  UniqueFd refused(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  refused.reset();
  reserve_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  watch_.change({});
  retry_.start_after(kRetryAfter, [this] {
    if (!paused_) watch_.change({.readable = true});
  });
}

}  // namespace keepwell
