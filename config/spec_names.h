// The words by which the enums of spec.h go in files, JSON, labels and messages: one table each,
// in the order of the enum.
#pragma once

#include <span>
#include <string_view>

#include "config/spec.h"

namespace keepwell {

inline constexpr std::string_view kOnUnhealthyNames[] = {"policy", "restart", "stop", "kill",
                                                         "none"};
inline constexpr std::string_view kRestartPolicyNames[] = {"no", "always", "on-failure",
                                                           "unless-stopped"};
inline constexpr std::string_view kRuntimeKindNames[] = {"oci", "process"};
inline constexpr std::string_view kExecModeNames[] = {"native", "runtime"};
inline constexpr std::string_view kProbeKindNames[] = {"exec", "http", "tcp", "grpc"};
inline constexpr std::string_view kCheckRoleNames[] = {"startup", "live", "ready", "info"};
inline constexpr std::string_view kActionKindNames[] = {"hook", "webhook", "capture"};
inline constexpr std::string_view kDependencyConditionNames[] = {
    "service_started", "service_healthy", "service_completed_successfully"};
inline constexpr std::string_view kHistogramsNames[] = {"per_check", "per_service", "off"};
inline constexpr std::string_view kMountKindNames[] = {"bind", "volume", "tmpfs"};
inline constexpr std::string_view kPullPolicyNames[] = {"automatic", "always", "never", "missing",
                                                        "refresh"};
inline constexpr std::string_view kOnExitNames[] = {"stop", "leave"};

using Names = std::span<const std::string_view>;

constexpr Names names_of(OnUnhealthy) { return kOnUnhealthyNames; }
constexpr Names names_of(RestartPolicy) { return kRestartPolicyNames; }
constexpr Names names_of(RuntimeKind) { return kRuntimeKindNames; }
constexpr Names names_of(ExecMode) { return kExecModeNames; }
constexpr Names names_of(ProbeKind) { return kProbeKindNames; }
constexpr Names names_of(CheckRole) { return kCheckRoleNames; }
constexpr Names names_of(ActionKind) { return kActionKindNames; }
constexpr Names names_of(DependencyCondition) { return kDependencyConditionNames; }
constexpr Names names_of(MetricsSpec::Histograms) { return kHistogramsNames; }
constexpr Names names_of(MountKind) { return kMountKindNames; }
constexpr Names names_of(PullPolicy) { return kPullPolicyNames; }
constexpr Names names_of(OnExit) { return kOnExitNames; }

template <class Enum>
constexpr std::string_view name_of(Enum value) {
  return names_of(value)[static_cast<std::size_t>(value)];
}

static_assert(name_of(OnUnhealthy::none) == "none");
static_assert(name_of(RestartPolicy::unless_stopped) == "unless-stopped");
static_assert(name_of(RuntimeKind::process) == "process");
static_assert(name_of(ExecMode::runtime) == "runtime");
static_assert(name_of(ProbeKind::grpc) == "grpc");
static_assert(name_of(CheckRole::info) == "info");
static_assert(name_of(ActionKind::capture) == "capture");
static_assert(name_of(DependencyCondition::completed_successfully) ==
              "service_completed_successfully");
static_assert(name_of(MetricsSpec::Histograms::off) == "off");
static_assert(name_of(MountKind::tmpfs) == "tmpfs");
static_assert(name_of(PullPolicy::refresh) == "refresh");
static_assert(name_of(OnExit::leave) == "leave");

}  // namespace keepwell
