// docker cp, in both directions: GET and PUT /containers/{id}/archive, and HEAD, which only looks.
// runtime/container_files.h says how a container's files are reached safely.
#include <array>
#include <nlohmann/json.hpp>

#include "agent/api/base64.h"
#include "agent/api/router.h"
#include "exporters/health_json.h"
#include "exporters/time_text.h"
#include "runtime/container_files.h"
#include "runtime/loop.h"
#include "runtime/tar.h"
#include "runtime/timer.h"

namespace keepwell {
namespace {

constexpr std::size_t kQueuedBytesMax = 256 * 1024;
constexpr int kStepsPerTurn = 16;

// The files of CALL's container; none if the call was answered.
std::optional<ContainerFiles> files_of(const ApiCall& call) {
  const ContainerStatus* container = container_of(call);
  if (!container) return std::nullopt;
  if (container->spec->runtime == RuntimeKind::process) {
    call.exchange->fail(501, container->name +
                                 " is a process of this host (runtime: process): copy its files "
                                 "with cp");
    return std::nullopt;
  }
  if (container->spec->exec == ExecMode::runtime) {
    call.exchange->fail(501, "the files of " + container->name +
                                 " cannot be reached from this host (x-keepwell.exec: runtime)");
    return std::nullopt;
  }
  if (container->pid == 0 && container->state == ServiceState::starting) {
    call.exchange->fail(409, "container " + container->id + " is being started: try again");
    return std::nullopt;
  }
  Result<ContainerFiles> files = call.api->files(*container);
  if (!files) {
    fail_call(call, files.error());
    return std::nullopt;
  }
  return std::move(*files);
}

// The path parameter; empty if the call was answered.
std::string path_of(const ApiCall& call) {
  const std::string path = call.query.text("path");
  if (path.empty()) call.exchange->fail(400, "bad parameter: path cannot be empty");
  return path;
}

void fail_with_path(const ApiCall& call, const Error& error, const std::string& path) {
  if (error.code == Errc::not_found) {
    call.exchange->fail(404,
                        "Could not find the file " + path + " in container " + call.params.front());
  } else {
    fail_call(call, error);
  }
}

// The last name of PATH; "." where it asks for a directory's content ("/a/.").
std::string base_name(std::string path) {
  while (path.size() > 1 && path.ends_with("/")) path.pop_back();
  const std::string base = path.substr(path.rfind('/') + 1);
  return base.empty() ? "." : base;
}

// ---- looking

// Go's os.FileMode.
std::uint32_t go_mode(const FileFacts& facts) {
  std::uint32_t mode = facts.mode & 0777;
  if (facts.kind == FileKind::directory) mode |= 1u << 31;
  if (facts.kind == FileKind::link) mode |= 1u << 27;
  if (facts.kind == FileKind::other) mode |= 1u << 19;  // irregular
  if (facts.mode & 04000) mode |= 1u << 23;
  if (facts.mode & 02000) mode |= 1u << 22;
  if (facts.mode & 01000) mode |= 1u << 20;
  return mode;
}

std::string path_stat(const std::string& path, const FileFacts& facts) {
  nlohmann::ordered_json stat;
  stat["name"] = base_name(path);
  stat["size"] = facts.bytes;
  stat["mode"] = go_mode(facts);
  stat["mtime"] = rfc3339_nano(facts.changed);
  stat["linkTarget"] = facts.target;
  return base64(json_text(stat));
}

// The head's fact line; false if the call was answered.
bool add_path_stat(const ApiCall& call, const ContainerFiles& files, const std::string& path) {
  const Result<FileFacts> facts = files.look(path);
  if (!facts) {
    fail_with_path(call, facts.error(), path);
    return false;
  }
  call.exchange->add_field("X-Docker-Container-Path-Stat", path_stat(path, *facts));
  return true;
}

void head_archive(const ApiCall& call) {
  const std::string path = path_of(call);
  if (path.empty()) return;
  const std::optional<ContainerFiles> files = files_of(call);
  if (files && add_path_stat(call, *files, path)) call.exchange->respond({200, "", "", {}});
}

// ---- out of the container

TarEntry entry_of(const std::string& name, const FileFacts& facts) {
  TarEntry entry;
  entry.kind = facts.kind == FileKind::directory ? TarEntry::Kind::directory
               : facts.kind == FileKind::link    ? TarEntry::Kind::link
                                                 : TarEntry::Kind::file;
  entry.name = entry.kind == TarEntry::Kind::directory ? name + "/" : name;
  entry.target = facts.target;
  entry.permissions = facts.mode & 07777;
  entry.uid = facts.uid;
  entry.gid = facts.gid;
  entry.bytes = facts.bytes;
  entry.changed = facts.changed;
  return entry;
}

class Download {
 public:
  Download(const ApiCall& call, ContainerFiles::Walk walk, std::string base)
      : call_(call), walk_(std::move(walk)), base_(std::move(base)), timer_(*call.api->loop) {}

  void start(const std::shared_ptr<Download>& self) {
    Exchange::Handlers handlers;
    handlers.on_closed = [self] { self->timer_.stop(); };
    handlers.on_drained = [self] { self->go_on(); };
    call_.exchange->set_handlers(std::move(handlers));
    go_on();
  }

 private:
  void go_on() {
    timer_.start_after(Duration(0), [this] { pump(); });
  }

  void pump() {
    for (int step = 0; step < kStepsPerTurn; ++step) {
      if (call_.exchange->queued() > kQueuedBytesMax) return;  // on_drained goes on
      const Result<ContainerFiles::Step> next = walk_.next();
      if (!next) {
        call_.exchange->abort();
        return;
      }
      if (next->facts || next->done) {
        call_.exchange->write(tar_padding(in_file_));
        in_file_ = 0;
      }
      if (next->done) {
        call_.exchange->write(tar_end());
        call_.exchange->end();
        return;
      }
      if (next->facts) {
        const std::string name = next->name.empty() ? base_ : base_ + "/" + next->name;
        call_.exchange->write(tar_head(entry_of(name, *next->facts)));
      } else {
        in_file_ += next->bytes.size();
        call_.exchange->write(next->bytes);
      }
    }
    go_on();
  }

  ApiCall call_;
  ContainerFiles::Walk walk_;
  std::string base_;
  std::uint64_t in_file_ = 0;
  Timer timer_;
};

void get_archive(const ApiCall& call) {
  const std::string path = path_of(call);
  if (path.empty()) return;
  const std::optional<ContainerFiles> files = files_of(call);
  if (!files || !add_path_stat(call, *files, path)) return;
  Result<ContainerFiles::Walk> walk = files->walk(path);
  if (!walk) {
    fail_with_path(call, walk.error(), path);
    return;
  }
  call.exchange->begin({200, "application/x-tar", {}});
  auto download = std::make_shared<Download>(call, std::move(*walk), base_name(path));
  download->start(download);
}

// ---- into the container

class Upload {
 public:
  Upload(const ApiCall& call, ContainerFiles::Writer writer)
      : call_(call),
        writer_(std::move(writer)),
        keep_owners_(call.query.flag("copyUIDGID")),
        reader_(handlers()) {
    writer_.keep_kinds(call.query.flag("noOverwriteDirNonDir"));
  }

  void start(const std::shared_ptr<Upload>& self) {
    Exchange::Handlers handlers;
    handlers.on_data = [self](std::string_view bytes) { self->settle(self->reader_.feed(bytes)); };
    handlers.on_end = [self] {
      if (!self->answered_) self->settle(self->reader_.end());
      if (!std::exchange(self->answered_, true)) self->call_.exchange->respond({200, "", "", {}});
    };
    call_.exchange->set_handlers(std::move(handlers));
  }

 private:
  TarReader::Handlers handlers() {
    TarReader::Handlers handlers;
    handlers.on_entry = [this](const TarEntry& entry) { return make(entry); };
    handlers.on_bytes = [this](std::string_view bytes) { return writer_.write(bytes); };
    handlers.on_file_end = [this] { return writer_.end_file(); };
    return handlers;
  }

  Status make(const TarEntry& entry) {
    ContainerFiles::NewFile file;
    file.path = entry.name;
    while (file.path.ends_with("/")) file.path.pop_back();
    while (file.path.starts_with("/")) file.path.erase(0, 1);
    while (file.path.starts_with("./")) file.path.erase(0, 2);
    file.permissions = entry.permissions;
    if (keep_owners_) {
      file.uid = entry.uid;
      file.gid = entry.gid;
    }
    file.changed = entry.changed;
    switch (entry.kind) {
      case TarEntry::Kind::file:
        return writer_.begin_file(file);
      case TarEntry::Kind::directory:
        // The extraction point itself stays as it is.
        return file.path.empty() || file.path == "." ? Status() : writer_.make_directory(file);
      case TarEntry::Kind::link:
        return writer_.make_link(file, entry.target);
      case TarEntry::Kind::hard_link:
        return writer_.make_hard_link(file, entry.target);
      case TarEntry::Kind::other:
        return fail(Errc::invalid,
                    "cannot make " + entry.name + ": devices, FIFOs and sockets are not copied");
    }
    return {};
  }

  void settle(const Status& status) {
    if (status || std::exchange(answered_, true)) return;
    fail_call(call_, status.error());
  }

  ApiCall call_;
  ContainerFiles::Writer writer_;
  bool keep_owners_;
  bool answered_ = false;
  TarReader reader_;
};

void put_archive(const ApiCall& call) {
  const std::string path = path_of(call);
  if (path.empty()) return;
  const std::optional<ContainerFiles> files = files_of(call);
  if (!files) return;
  const ContainerStatus* container = container_of(call);
  if (container->spec->read_only) {
    call.exchange->fail(403, "container rootfs is marked read-only");
    return;
  }
  Result<ContainerFiles::Writer> writer = files->writer(path);
  if (!writer) {
    fail_with_path(call, writer.error(), path);
    return;
  }
  if (!call.exchange->request().has_body()) {
    call.exchange->respond({200, "", "", {}});
    return;
  }
  auto upload = std::make_shared<Upload>(call, std::move(*writer));
  upload->start(upload);
}

constexpr std::array kRoutes{
    Route{"HEAD", "/containers/{id}/archive", head_archive},
    Route{"GET", "/containers/{id}/archive", get_archive},
    Route{"PUT", "/containers/{id}/archive", put_archive, false, true},
};

}  // namespace

std::span<const Route> archive_routes() { return kRoutes; }

}  // namespace keepwell
