#include "exporters/container_status.h"

#include "config/check.h"

namespace keepwell {

const char* api_status(ServiceState state) {
  switch (state) {
    case ServiceState::created:
      return "created";
    case ServiceState::starting:
    case ServiceState::running:
    case ServiceState::stopping:
      return "running";
    case ServiceState::paused:
      return "paused";
    case ServiceState::restarting:
    case ServiceState::backoff:
      return "restarting";
    case ServiceState::exited:
    case ServiceState::failed:
      return "exited";
  }
  KW_CHECK(false);
}

const char* to_string(ServiceState state) {
  switch (state) {
    case ServiceState::created:
      return "created";
    case ServiceState::starting:
      return "starting";
    case ServiceState::running:
      return "running";
    case ServiceState::paused:
      return "paused";
    case ServiceState::stopping:
      return "stopping";
    case ServiceState::restarting:
      return "restarting";
    case ServiceState::backoff:
      return "backoff";
    case ServiceState::exited:
      return "exited";
    case ServiceState::failed:
      return "failed";
  }
  KW_CHECK(false);
}

const char* to_string(Health health) {
  switch (health) {
    case Health::none:
      return "none";
    case Health::starting:
      return "starting";
    case Health::healthy:
      return "healthy";
    case Health::unhealthy:
      return "unhealthy";
  }
  KW_CHECK(false);
}

const char* to_string(RestartReason reason) {
  switch (reason) {
    case RestartReason::exit:
      return "exit";
    case RestartReason::unhealthy:
      return "unhealthy";
    case RestartReason::dependency:
      return "dependency";
    case RestartReason::oom:
      return "oom";
    case RestartReason::manual:
      return "manual";
    case RestartReason::config:
      return "config";
    case RestartReason::watchdog:
      return "watchdog";
  }
  KW_CHECK(false);
}

const char* to_string(SuppressReason reason) {
  switch (reason) {
    case SuppressReason::pressure:
      return "pressure";
    case SuppressReason::budget:
      return "budget";
    case SuppressReason::hold:
      return "hold";
    case SuppressReason::observe:
      return "observe";
    case SuppressReason::flap:
      return "flap";
    case SuppressReason::dependency:
      return "dependency";
  }
  KW_CHECK(false);
}

const char* to_string(FailureReason reason) {
  switch (reason) {
    case FailureReason::exit:
      return "exit";
    case FailureReason::timeout:
      return "timeout";
    case FailureReason::refused:
      return "refused";
    case FailureReason::reset:
      return "reset";
    case FailureReason::dns:
      return "dns";
    case FailureReason::tls:
      return "tls";
    case FailureReason::http_status:
      return "http_status";
    case FailureReason::body:
      return "body";
    case FailureReason::grpc_status:
      return "grpc_status";
    case FailureReason::spawn:
      return "spawn";
    case FailureReason::canceled:
      return "canceled";
  }
  KW_CHECK(false);
}

}  // namespace keepwell
