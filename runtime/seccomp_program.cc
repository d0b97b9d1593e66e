#include "runtime/seccomp_program.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/seccomp_compact.h"

namespace keepwell {
namespace {

using nlohmann::json;

struct ContextCloser {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, ContextCloser>;

std::string text_of(const json& object, const char* key) {
  auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::uint64_t number_of(const json& object, const char* key, std::uint64_t otherwise) {
  auto at = object.find(key);
  return at != object.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : otherwise;
}

tl::unexpected<Error> malformed(const std::string& what) {
  return fail(Errc::invalid, "cannot compile the seccomp profile: " + what);
}

Result<std::uint32_t> parse_action(const std::string& name, std::uint64_t errno_value) {
  static const std::map<std::string, std::uint32_t> kActions = {
      {"SCMP_ACT_KILL", SCMP_ACT_KILL},   {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
      {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},   {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
      {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW}, {"SCMP_ACT_LOG", SCMP_ACT_LOG}};
  if (name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(errno_value & 0xffff);
  if (name == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(errno_value & 0xffff);
  if (name == "SCMP_ACT_NOTIFY") {
    return fail(
        Errc::unsupported,
        "cannot enter natively: the seccomp profile uses SCMP_ACT_NOTIFY; set exec: runtime");
  }
  auto at = kActions.find(name);
  if (at == kActions.end()) return malformed("unknown action \"" + name + "\"");
  return at->second;
}

Result<scmp_compare> parse_operator(const std::string& name) {
  static const std::map<std::string, scmp_compare> kOperators = {
      {"SCMP_CMP_NE", SCMP_CMP_NE},
      {"SCMP_CMP_LT", SCMP_CMP_LT},
      {"SCMP_CMP_LE", SCMP_CMP_LE},
      {"SCMP_CMP_EQ", SCMP_CMP_EQ},
      {"SCMP_CMP_GE", SCMP_CMP_GE},
      {"SCMP_CMP_GT", SCMP_CMP_GT},
      {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
  auto at = kOperators.find(name);
  if (at == kOperators.end()) return malformed("unknown operator \"" + name + "\"");
  return at->second;
}

// "SCMP_ARCH_X86_64" -> libseccomp's token; 0 for what it does not know.
std::uint32_t parse_arch(const std::string& name) {
  constexpr std::string_view kPrefix = "SCMP_ARCH_";
  if (name.rfind(kPrefix, 0) != 0) return 0;
  std::string plain = name.substr(kPrefix.size());
  std::transform(plain.begin(), plain.end(), plain.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return seccomp_arch_resolve_name(plain.c_str());
}

Result<std::vector<scmp_arg_cmp>> parse_arguments(const json& rule) {
  std::vector<scmp_arg_cmp> arguments;
  auto list = rule.find("args");
  if (list == rule.end() || list->is_null()) return arguments;
  if (!list->is_array()) return malformed("args is no array");
  for (const json& entry : *list) {
    if (!entry.is_object()) return malformed("an entry of args is no object");
    std::uint64_t index = number_of(entry, "index", 6);
    if (index > 5) return malformed("an argument index is not 0 to 5");
    Result<scmp_compare> compare = parse_operator(text_of(entry, "op"));
    if (!compare) return fail(compare.error());
    scmp_arg_cmp argument{};
    argument.arg = static_cast<unsigned>(index);
    argument.op = *compare;
    argument.datum_a = number_of(entry, "value", 0);
    argument.datum_b = number_of(entry, "valueTwo", 0);
    arguments.push_back(argument);
  }
  return arguments;
}

// One rule of the section for one call. Conditions on different arguments must all hold; two on the
// same argument are alternatives (libseccomp cannot say both in one rule, nor does runc).
Status add_rule(scmp_filter_ctx context, const std::string& name, std::uint32_t action,
                const std::vector<scmp_arg_cmp>& arguments) {
  int call = seccomp_syscall_resolve_name(name.c_str());
  if (call == __NR_SCMP_ERROR) return {};
  std::set<unsigned> indices;
  for (const scmp_arg_cmp& argument : arguments) indices.insert(argument.arg);
  int result = 0;
  if (indices.size() == arguments.size()) {
    result = seccomp_rule_add_array(context, action, call, static_cast<unsigned>(arguments.size()),
                                    arguments.data());
  } else {
    for (const scmp_arg_cmp& argument : arguments) {
      if (result == 0) result = seccomp_rule_add_array(context, action, call, 1, &argument);
    }
  }
  if (result == 0 || result == -EEXIST) return {};
  return fail(Error::os(-result, "cannot compile the seccomp rule for " + name));
}

Status add_rules(scmp_filter_ctx context, const json& section, std::uint32_t default_action) {
  auto rules = section.find("syscalls");
  if (rules == section.end() || rules->is_null()) return {};
  if (!rules->is_array()) return malformed("syscalls is no array");
  for (const json& rule : *rules) {
    if (!rule.is_object()) return malformed("an entry of syscalls is no object");
    Result<std::uint32_t> action =
        parse_action(text_of(rule, "action"), number_of(rule, "errnoRet", EPERM));
    if (!action) return fail(action.error());
    if (*action == default_action) continue;
    Result<std::vector<scmp_arg_cmp>> arguments = parse_arguments(rule);
    if (!arguments) return fail(arguments.error());
    auto names = rule.find("names");
    if (names == rule.end() || !names->is_array()) return malformed("a rule has no names");
    for (const json& name : *names) {
      if (!name.is_string()) return malformed("a name is no string");
      Status added = add_rule(context, name.get<std::string>(), *action, *arguments);
      if (!added) return added;
    }
  }
  return {};
}

std::uint32_t audit_arch(std::uint32_t token) {
  return token == SCMP_ARCH_X32 ? static_cast<std::uint32_t>(AUDIT_ARCH_X86_64) : token;
}

// "A call whose number is above all that the profile knows: ENOSYS", for each architecture.
BpfProgram make_enosys_stub(const json& section, const std::vector<std::uint32_t>& arches) {
  BpfProgram stub;
  auto rules = section.find("syscalls");
  if (rules == section.end() || !rules->is_array()) return stub;
  for (std::uint32_t arch : arches) {
    if (arch == SCMP_ARCH_X32) continue;  // same AUDIT_ARCH as x86_64, numbers far above
    int newest = -1;
    for (const json& rule : *rules) {
      auto names = rule.find("names");
      if (names == rule.end() || !names->is_array()) continue;
      for (const json& name : *names) {
        int call = seccomp_syscall_resolve_name_arch(
            arch, name.is_string() ? name.get_ref<const std::string&>().c_str() : "");
        newest = std::max(newest, call);  // pseudo numbers are negative
      }
    }
    if (newest < 0) continue;
    constexpr std::uint32_t kX32Bit = 0x40000000;
    stub.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4));
    stub.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, audit_arch(arch), 0, 4));
    stub.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0));
    stub.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kX32Bit, 2, 0));
    stub.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, static_cast<std::uint32_t>(newest), 0, 1));
    stub.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
  }
  return stub;
}

Result<std::string> export_program(scmp_filter_ctx context) {
  UniqueFd memfd(::memfd_create("keepwell-seccomp", MFD_CLOEXEC));
  if (!memfd) return fail_errno("cannot compile the seccomp profile");
  if (int result = seccomp_export_bpf(context, memfd.get()); result != 0) {
    return fail(Error::os(-result, "cannot compile the seccomp profile"));
  }
  off_t size = ::lseek(memfd.get(), 0, SEEK_END);
  std::string bytes(static_cast<std::size_t>(size), '\0');
  if (::pread(memfd.get(), bytes.data(), bytes.size(), 0) != size) {
    return fail_errno("cannot read the compiled seccomp profile");
  }
  return bytes;
}

Result<std::uint32_t> parse_flags(const json& section) {
  std::uint32_t flags = 0;
  auto list = section.find("flags");
  if (list == section.end() || list->is_null()) return flags;
  if (!list->is_array()) return malformed("flags is no array");
  for (const json& entry : *list) {
    std::string name = entry.is_string() ? entry.get<std::string>() : "";
    if (name == "SECCOMP_FILTER_FLAG_LOG") {
      flags |= SECCOMP_FILTER_FLAG_LOG;
    } else if (name == "SECCOMP_FILTER_FLAG_SPEC_ALLOW") {
      flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    } else if (name != "SECCOMP_FILTER_FLAG_TSYNC" &&  // no other thread; no notify
               name != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") {
      return malformed("unknown flag \"" + name + "\"");
    }
  }
  return flags;
}

Result<std::vector<std::uint32_t>> add_arches(scmp_filter_ctx context, const json& section) {
  std::vector<std::uint32_t> arches{seccomp_arch_native()};
  auto list = section.find("architectures");
  if (list == section.end() || list->is_null()) return arches;
  if (!list->is_array()) return malformed("architectures is no array");
  for (const json& entry : *list) {
    std::string name = entry.is_string() ? entry.get<std::string>() : "";
    std::uint32_t arch = parse_arch(name);
    if (arch == 0) return malformed("unknown architecture \"" + name + "\"");
    if (arch == seccomp_arch_native()) continue;
    int result = seccomp_arch_add(context, arch);
    if (result == -EEXIST) continue;
    if (result != 0) return fail(Error::os(-result, "cannot compile seccomp for " + name));
    arches.push_back(arch);
  }
  return arches;
}

bool wants_enosys(std::uint32_t default_action) {
  return default_action != SCMP_ACT_ALLOW && default_action != SCMP_ACT_LOG &&
         default_action != SCMP_ACT_ERRNO(ENOSYS);
}

}  // namespace

Result<SeccompProgram> compile_seccomp(const json& section) {
  if (!section.is_object()) return malformed("it is no object");
  Result<std::uint32_t> default_action =
      parse_action(text_of(section, "defaultAction"), number_of(section, "defaultErrnoRet", EPERM));
  if (!default_action) return fail(default_action.error());
  Result<std::uint32_t> flags = parse_flags(section);
  if (!flags) return fail(flags.error());

  Context context(seccomp_init(*default_action));
  if (context == nullptr) return malformed("libseccomp refuses its default action");
  seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // older libseccomp: linear
  Result<std::vector<std::uint32_t>> arches = add_arches(context.get(), section);
  if (!arches) return fail(arches.error());
  if (Status added = add_rules(context.get(), section, *default_action); !added) {
    return fail(added.error());
  }
  Result<std::string> body = export_program(context.get());
  if (!body) return fail(body.error());

  BpfProgram whole;
  if (wants_enosys(*default_action)) whole = make_enosys_stub(section, *arches);
  std::size_t stub = whole.size();
  whole.resize(stub + body->size() / sizeof(sock_filter));
  std::memcpy(whole.data() + stub, body->data(), body->size());
  std::vector<std::uint32_t> audited;
  for (std::uint32_t arch : *arches) {
    if (arch != SCMP_ARCH_X32) audited.push_back(audit_arch(arch));
  }
  whole = compact_filter(std::move(whole), audited);

  SeccompProgram program;
  program.flags = *flags;
  program.bytes.assign(reinterpret_cast<const char*>(whole.data()),
                       whole.size() * sizeof(sock_filter));
  if (program.instructions() > BPF_MAXINSNS) return malformed("it is too large for the kernel");
  return program;
}

}  // namespace keepwell
