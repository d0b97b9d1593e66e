// The filter that probes attach must answer exactly as the one that libseccomp made.
#include "runtime/seccomp_compact.h"

#include <linux/audit.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "runtime/oci/seccomp_profile.h"
#include "runtime/seccomp_program.h"
#include "tests/catch.h"

using namespace keepwell;

namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kNative = AUDIT_ARCH_X86_64;
#else
constexpr std::uint32_t kNative = AUDIT_ARCH_AARCH64;
#endif

BpfProgram exported(scmp_filter_ctx context) {
  int memfd = ::memfd_create("filter", 0);
  REQUIRE(seccomp_export_bpf(context, memfd) == 0);
  off_t size = ::lseek(memfd, 0, SEEK_END);
  BpfProgram program(static_cast<std::size_t>(size) / sizeof(sock_filter));
  REQUIRE(::pread(memfd, program.data(), static_cast<std::size_t>(size), 0) == size);
  ::close(memfd);
  return program;
}

seccomp_data call(std::uint32_t number, std::uint32_t arch = kNative) {
  seccomp_data data{};
  data.nr = static_cast<int>(number);
  data.arch = arch;
  return data;
}

BpfProgram default_filter(const std::set<std::string>& capabilities) {
  Result<SeccompProgram> program =
      compile_seccomp(nlohmann::json::parse(default_seccomp_profile(capabilities).dump()));
  if (!program) FAIL(program.error().text);
  BpfProgram filter(program->instructions());
  std::memcpy(filter.data(), program->bytes.data(), program->bytes.size());
  return filter;
}

}  // namespace

TEST_CASE("seccomp: a compact filter answers as libseccomp's for every call") {
  std::mt19937 random(7);  // NOLINT: the same cases in every run
  auto up_to = [&random](unsigned most) { return static_cast<unsigned>(random() % (most + 1)); };
  int shorter = 0;
  for (int round = 0; round < 60; ++round) {
    std::uint32_t otherwise = round % 3 == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM);
    scmp_filter_ctx context = seccomp_init(otherwise);
    if (round % 2 == 0) seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    std::vector<std::uint32_t> arches{kNative};
    if (round % 4 < 2 && seccomp_arch_add(context, SCMP_ARCH_X86) == 0)
      arches.push_back(AUDIT_ARCH_I386);
    std::vector<std::uint64_t> values{0, 1, 0xffffffff, 0x100000000, ~std::uint64_t{0}};
    for (unsigned rules = 20 + up_to(300); rules > 0; --rules) {
      std::uint32_t action = up_to(19) == 0 ? SCMP_ACT_ERRNO(up_to(3)) : SCMP_ACT_ALLOW;
      if (action == otherwise) action = SCMP_ACT_LOG;
      std::vector<scmp_arg_cmp> conditions;
      if (up_to(39) == 0) {
        for (unsigned index = up_to(5); conditions.size() < 1 + up_to(1) && index < 6; ++index) {
          std::uint64_t value = up_to(1) == 0 ? random() : std::uint64_t{random()} << up_to(40);
          values.push_back(value);
          conditions.push_back({index, static_cast<scmp_compare>(1 + up_to(6)), value, random()});
        }
      }
      // What libseccomp refuses (a rule that contradicts an earlier one) is none of our business.
      (void)seccomp_rule_add_array(context, action, static_cast<int>(up_to(450)),
                                   static_cast<unsigned>(conditions.size()), conditions.data());
    }
    BpfProgram full = exported(context);
    seccomp_release(context);
    BpfProgram compact = compact_filter(full, arches);
    shorter += compact.size() < full.size() ? 1 : 0;
    arches.push_back(AUDIT_ARCH_S390X);
    for (std::uint32_t arch : arches) {
      for (std::uint32_t number = 0; number < 520; ++number) {
        for (std::uint32_t bits : {0U, 0x40000000U, 0x80000000U}) {
          seccomp_data data = call(number | bits, arch);
          for (int again = 0; again < 4; ++again) {
            INFO("round " << round << " arch " << arch << " call " << data.nr);
            REQUIRE(run_filter(compact, data) == run_filter(full, data));
            for (auto& argument : data.args)
              argument = values[random() % values.size()] + up_to(2) - 1;
          }
        }
      }
    }
  }
  CHECK(shorter > 30);  // else this test shows nothing
}

TEST_CASE("seccomp: the default profile is small, and says what Docker's says") {
  BpfProgram filter = default_filter({});
  INFO(filter.size() << " instructions");
  CHECK(filter.size() < 250);
  auto answer = [&filter](long number) {
    return run_filter(filter, call(static_cast<std::uint32_t>(number)));
  };
  CHECK(answer(SYS_read) == SECCOMP_RET_ALLOW);
  CHECK(answer(SYS_execve) == SECCOMP_RET_ALLOW);
  CHECK(answer(SYS_mount) == (SECCOMP_RET_ERRNO | EPERM));
  CHECK(answer(SYS_clone3) == (SECCOMP_RET_ERRNO | ENOSYS));
  CHECK(answer(5000) == (SECCOMP_RET_ERRNO | ENOSYS));
  CHECK(run_filter(filter, call(SYS_read, AUDIT_ARCH_S390X)) != SECCOMP_RET_ALLOW);
  seccomp_data clone = call(SYS_clone);
  CHECK(run_filter(filter, clone) == SECCOMP_RET_ALLOW);
  clone.args[0] = 0x10000000;  // CLONE_NEWUSER
  CHECK(run_filter(filter, clone) == (SECCOMP_RET_ERRNO | EPERM));
  BpfProgram admin = default_filter({"CAP_SYS_ADMIN"});
  CHECK(run_filter(admin, call(SYS_mount)) == SECCOMP_RET_ALLOW);
  CHECK(run_filter(admin, clone) == SECCOMP_RET_ALLOW);
}

TEST_CASE("seccomp: a program that is not understood stays as it is") {
  BpfProgram odd{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_STMT(BPF_ST, 3),
                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  CHECK(compact_filter(odd, std::vector<std::uint32_t>{kNative}).size() == odd.size());
  CHECK(compact_filter({}, std::vector<std::uint32_t>{kNative}).empty());
}
