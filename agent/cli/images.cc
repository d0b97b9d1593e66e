#include "agent/cli/images.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "agent/cli/client.h"
#include "agent/cli/files.h"
#include "agent/cli/load_reporter.h"
#include "agent/state_store.h"
#include "config/bytes.h"
#include "config/load.h"
#include "exporters/health_json.h"
#include "exporters/time_text.h"
#include "runtime/image/image_archive.h"
#include "runtime/image/image_loader.h"
#include "runtime/launch.h"
#include "runtime/loop.h"
#include "runtime/state_file.h"
#include "runtime/terminal.h"

namespace keepwell {

namespace {

struct Dirs {
  std::string data, run;
};

Dirs dirs_of(const StorePlace& place) {
  ProjectSpec project;
  if (place.data_dir.empty() || place.run_dir.empty()) {
    const Result<LoadOptions> options = load_options(place.file, place.run_dir, place.data_dir);
    if (options) {
      Loaded loaded = load_project(*options);
      if (loaded.project) project = std::move(*loaded.project);
    }
  }
  return {place.data_dir.empty() ? project.data_dir : absolute_path(place.data_dir),
          place.run_dir.empty() ? project.run_dir : absolute_path(place.run_dir)};
}

Result<ImageStore::Lock> lock_store(const ImageStore& store, const std::string& data_dir) {
  if (Status made = make_private_dir(data_dir, 0711); !made) return fail(made.error());
  return store.lock([](const std::string&) {
    std::fputs("waiting for another keepwell that loads images\n", stderr);
  });
}

// Ids of images that a container has, or that the running file names.
std::set<std::string> ids_in_use(const ImageStore& store, const Dirs& dirs) {
  std::set<std::string> ids;
  for (std::string& id : images_mounted(store)) ids.insert(std::move(id));
  std::vector<std::string> ignored;
  Result<ProjectSpec> project = StateStore::read_project(dirs.run, ignored);
  if (!project || project->data_dir != dirs.data) return ids;
  for (const ServiceSpec& service : project->services) {
    if (!service.image_id.empty()) ids.insert(service.image_id);
  }
  return ids;
}

// ---- images

struct Row {
  std::string repository = "<none>", tag = "<none>", digest = "<none>", id, size, created_since,
              created_at;
};

std::vector<Row> rows_of(const StoredImage& image, const ImagesCommand& command, WallTime now) {
  Row plain;
  plain.id = command.no_trunc ? image.id : image.id.substr(7, 12);
  plain.size = human_size(image.bytes);
  WallTime created = image.loaded;
  if (Result<WallTime> said = parse_rfc3339(image.config.created)) created = *said;
  const LocalZone zone = local_zone(created);
  plain.created_since = human_duration(now - created) + " ago";
  plain.created_at = ps_time(created, zone.utc_offset_seconds, zone.name);
  std::vector<Row> rows;
  for (const ImageName& name : image.names) {
    Row row = plain;
    Result<ImageReference> reference = parse_image_reference(name.name);
    if (!reference) continue;
    row.repository = reference->familiar_repository();
    if (!reference->tag.empty()) row.tag = reference->tag;
    if (!name.digest.empty()) row.digest = name.digest;
    rows.push_back(std::move(row));
  }
  if (rows.empty()) rows.push_back(std::move(plain));
  return rows;
}

// As docker images --format json.
void print_json(const Row& row) {
  std::puts(json_text(nlohmann::ordered_json{{"Containers", "N/A"},
                                             {"CreatedAt", row.created_at},
                                             {"CreatedSince", row.created_since},
                                             {"Digest", row.digest},
                                             {"ID", row.id},
                                             {"Repository", row.repository},
                                             {"SharedSize", "N/A"},
                                             {"Size", row.size},
                                             {"Tag", row.tag},
                                             {"UniqueSize", "N/A"},
                                             {"VirtualSize", row.size}})
                .c_str());
}

void print_table(const std::vector<Row>& rows, bool digests) {
  std::vector<std::vector<std::string>> table{{"REPOSITORY", "TAG"}};
  if (digests) table[0].emplace_back("DIGEST");
  for (const char* title : {"IMAGE ID", "CREATED", "SIZE"}) table[0].emplace_back(title);
  for (const Row& row : rows) {
    std::vector<std::string> line{printable(row.repository), printable(row.tag)};
    if (digests) line.push_back(row.digest);
    line.insert(line.end(), {row.id, row.created_since, row.size});
    table.push_back(std::move(line));
  }
  print_columns(table);
}

// ---- load

// What the word on the command line means.
Result<std::vector<ArchivedImage>> sources_of(const ImageLoadCommand& command,
                                              const ImageStore& store) {
  const std::string& word = command.source;
  for (const char* transport : {"docker-archive:", "oci-archive:", "oci:", "dir:", "docker://",
                                "docker-daemon:", "containers-storage:"}) {
    if (!word.starts_with(transport)) continue;
    ArchivedImage image{word, {}};
    if (std::string(transport) == "docker://") {
      Result<ImageReference> reference = parse_image_reference(word.substr(9));
      if (!reference) return fail(reference.error());
      image = {"docker://" + reference->full(), reference->full()};
    }
    return std::vector<ArchivedImage>{image};
  }
  const bool looks_like_path = word.find_first_of("./") == 0;
  if (looks_like_path || access(word.c_str(), F_OK) == 0) {
    return images_in(absolute_path(word), store);
  }
  Result<ImageReference> reference = parse_image_reference(word);
  if (!reference) return fail(reference.error());
  return std::vector<ArchivedImage>{{"docker://" + reference->full(), reference->full()}};
}

Status load_all(const ImageLoadCommand& command) {
  const Dirs dirs = dirs_of(command.place);
  ImageOrder order;
  order.platform = command.platform;
  if (!command.max_size.empty()) {
    Result<std::int64_t> bytes = parse_bytes(command.max_size);
    if (!bytes || *bytes == 0) {
      return fail(Errc::invalid,
                  "cannot use --max-size " + command.max_size + ": write a size such as 20g");
    }
    order.bytes_max = *bytes;
  }
  ImageStore store(dirs.data);
  Result<ImageStore::Lock> lock = lock_store(store, dirs.data);
  if (!lock) return fail(lock.error());
  Result<std::vector<ArchivedImage>> sources = sources_of(command, store);
  if (!sources) return fail(sources.error());
  if (!command.name.empty()) {
    Result<ImageReference> reference = parse_image_reference(command.name);
    if (!reference) return fail(reference.error());
    if (sources->size() > 1) {
      return fail(Errc::invalid, "cannot give one name to the " + std::to_string(sources->size()) +
                                     " images of " + command.source + "; leave out --name");
    }
    sources->front().name = reference->full();
  }
  for (const ArchivedImage& source : *sources) {
    order.name = source.name;
    order.source = source.source;
    const std::string what = source.name.empty() ? source.source : source.name;
    Result<StoredImage> image = load_image(store, *lock, order, report_load(what));
    if (!image) return fail(image.error());
    std::printf(source.name.empty() ? "Loaded image ID: %s\n" : "Loaded image: %s\n",
                printable(source.name.empty() ? image->id : source.name).c_str());
  }
  return {};
}

// ---- rm, prune

Status remove_image(const ImageStore& store, const ImageStore::Lock& lock,
                    const StoredImage& image) {
  for (const ImageName& name : image.names) std::printf("Untagged: %s\n", name.name.c_str());
  Status removed = store.remove(lock, image.id);
  if (removed) std::printf("Deleted: %s\n", image.id.c_str());
  return removed;
}

// By name: the name goes, and the image with its last one. By id: the image with all its names.
Status remove_one(const ImageStore& store, const ImageStore::Lock& lock,
                  const std::set<std::string>& used, const std::string& word) {
  Result<StoredImage> image = store.find(word);
  if (!image) return fail(image.error());
  Result<ImageReference> reference = parse_image_reference(word);
  const bool by_name = reference && std::any_of(image->names.begin(), image->names.end(),
                                                [&](const ImageName& name) {
                                                  return name.name == reference->full();
                                                });
  if (by_name && image->names.size() > 1) {
    Status removed = store.remove_name(lock, reference->full());
    if (removed) std::printf("Untagged: %s\n", reference->full().c_str());
    return removed;
  }
  if (used.contains(image->id)) {
    return fail(Errc::conflict, "cannot remove image " + word +
                                    ": a service uses it; take that out of the file and reload, or "
                                    "stop keepwell, first");
  }
  return remove_image(store, lock, *image);
}

}  // namespace

int images_command(const ImagesCommand& command) {
  const ImageStore store(dirs_of(command.place).data);
  std::vector<std::string> problems;
  const std::vector<StoredImage> images = store.list(&problems);
  for (const std::string& problem : problems)
    std::fprintf(stderr, "keepwell: %s\n", problem.c_str());
  std::vector<Row> rows;
  const WallTime now = Loop::now().wall;
  for (const StoredImage& image : images) {
    for (Row& row : rows_of(image, command, now)) rows.push_back(std::move(row));
  }
  if (command.quiet) {
    std::set<std::string> seen;
    for (const Row& row : rows)
      if (seen.insert(row.id).second) std::puts(row.id.c_str());
  } else if (command.json) {
    for (const Row& row : rows) print_json(row);
  } else {
    print_table(rows, command.digests);
  }
  return 0;
}

int image_load_command(const ImageLoadCommand& command) {
  Status loaded = load_all(command);
  return loaded ? 0 : failed(loaded.error());
}

int image_remove_command(const ImageRemoveCommand& command) {
  const Dirs dirs = dirs_of(command.place);
  const ImageStore store(dirs.data);
  if (store.list().empty()) {
    return failed({Errc::not_found, "No such image: " + command.names.front()});
  }
  Result<ImageStore::Lock> lock = lock_store(store, dirs.data);
  if (!lock) return failed(lock.error());
  const std::set<std::string> used = ids_in_use(store, dirs);
  int code = 0;
  for (const std::string& name : command.names) {
    if (Status removed = remove_one(store, *lock, used, name); !removed) {
      code = failed(removed.error());
    }
  }
  return code;
}

int image_prune_command(const ImagePruneCommand& command) {
  const Dirs dirs = dirs_of(command.place);
  const ImageStore store(dirs.data);
  std::uint64_t bytes = 0;
  if (!store.list().empty()) {
    Result<ImageStore::Lock> lock = lock_store(store, dirs.data);
    if (!lock) return failed(lock.error());
    const std::set<std::string> used = ids_in_use(store, dirs);
    for (const StoredImage& image : store.list()) {
      if (used.contains(image.id) || (!command.all && !image.names.empty())) continue;
      if (Status removed = remove_image(store, *lock, image); !removed) {
        return failed(removed.error());
      }
      bytes += image.bytes;
    }
  }
  std::printf("Total reclaimed space: %s\n", human_size(bytes).c_str());
  return 0;
}

}  // namespace keepwell
