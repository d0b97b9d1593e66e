#include "runtime/oci/init_program.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/launch.h"
#include "runtime/state_file.h"
#include "runtime/unique_fd.h"

namespace keepwell {

Result<std::string> bring_init(const std::string& container_dir) {
  Result<std::string> program = find_own_program("keepwell-init");
  if (!program) return fail(program.error());
  Result<std::string> bytes = read_small_file(*program, 1u << 20);
  if (!bytes) return fail(bytes.error());
  std::string path = container_dir + "/init";
  unlink(path.c_str());  // one that an earlier run may still have mounted is left as it is
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0555));
  if (!file || write(file.get(), bytes->data(), bytes->size()) != std::ssize(*bytes) ||
      fchmod(file.get(), 0555) != 0) {
    return fail_errno("cannot write " + path);
  }
  return path;
}

}  // namespace keepwell
