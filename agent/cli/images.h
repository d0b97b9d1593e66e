// keepwell images and keepwell image load, rm, prune: the image store of a data directory, looked
// at and changed. They need no running agent.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/cli/commands.h"

namespace keepwell {

// Which store: --data-dir, else the file's data_dir, else the default. The run directory is where
// an agent may hold on to images; likewise.
struct StorePlace {
  std::string data_dir;
  std::string run_dir;
  FileOptions file;
};

struct ImagesCommand {
  StorePlace place;
  bool json = false, quiet = false, no_trunc = false, digests = false;
};
int images_command(const ImagesCommand& command);

struct ImageLoadCommand {
  StorePlace place;
  std::string source;  // a file, a directory, TRANSPORT:REFERENCE, or a name for the registry
  std::string name;    // over the archive's own
  std::string platform;
  std::string max_size;
};
int image_load_command(const ImageLoadCommand& command);

struct ImageRemoveCommand {
  StorePlace place;
  std::vector<std::string> names;
};
int image_remove_command(const ImageRemoveCommand& command);

struct ImagePruneCommand {
  StorePlace place;
  bool all = false;  // also images that have a name, if no service uses them
};
int image_prune_command(const ImagePruneCommand& command);

}  // namespace keepwell
