// What the API needs of the rest of the agent. The driver fills one of these in at start and gives
// it to ApiServer; the API reaches nothing else. Every function is called from the loop only, and
// must answer without waiting.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/supervisor_io.h"
#include "config/result.h"
#include "config/spec.h"
#include "config/time.h"
#include "exporters/container_status.h"
#include "exporters/runtime_facts.h"
#include "exporters/stats_json.h"
#include "exporters/version_json.h"
#include "runtime/exec_session.h"
#include "runtime/unique_fd.h"

namespace keepwell {

class ContainerFiles;
class EventBus;
class ExecSessions;
class Loop;
struct AgentStats;

struct ApiContext {
  Loop* loop = nullptr;
  EventBus* events = nullptr;
  AgentStats* stats = nullptr;  // the API counts its requests, followers and sessions in it

  // ---- what is known. Pointers are valid until the next input of the Supervisor: not kept.

  // Every container, in the file's order.
  std::function<std::vector<const ContainerStatus*>()> containers;
  std::function<std::shared_ptr<const ProjectSpec>()> project;
  // exec_ids are filled in by the API.
  std::function<RuntimeFacts(const ContainerStatus&)> facts;
  // Without the counts of containers, which the API fills in.
  std::function<HostFacts()> host;

  std::string journal_path;  // what `events --since` and `why` read; empty: there is none

  // ---- what can be asked

  // Hands COMMAND to the Supervisor (its `request` is chosen by the driver) and calls ON_DONE
  // exactly once, later: see Action::Reply. Until then nothing of the API waits.
  std::function<void(Command command, std::function<void(Status)> on_done)> submit;

  // The classic or OpenMetrics text: the Accept header says which. CONTENT_TYPE is filled in.
  std::function<std::string(const std::string& accept, std::string& content_type)> metrics;
  // Empty: ready; else why not ("services are still being adopted").
  std::function<std::string()> not_ready;
  // Why the agent is not alive ("" is alive).
  std::function<std::string()> not_alive;

  // POST /keepwell/reload: a new accepted configuration, as the JSON that `keepwell reload` made of
  // the file. May be empty: answered 501.
  std::function<void(const std::string& body, std::function<void(Status)> on_done)> reload;

  // Saved evidence as JSON: the list of incidents, newest first, and all of one by (the beginning
  // of) its id. Empty: answered 501.
  std::function<std::string()> incidents;
  std::function<Result<std::string>(const std::string& id)> incident;

  // POST /keepwell/upgrade: the programs that keeper and agent are to become, as the JSON that
  // `keepwell upgrade` made. ON_DONE is called before this agent ends. May be empty: answered 501.
  std::function<void(const std::string& body, std::function<void(Status)> on_done)> upgrade;

  // ---- the container's world. Empty functions: the routes answer 501.

  // Where the logger writes: the current file; older ones are beside it as the logger names them.
  std::function<std::string(const ContainerStatus&)> log_path;
  std::function<Result<ContainerStats>(const ContainerStatus&)> sample;
  // The files of a container, running or not. Errc::conflict where they cannot be reached now.
  std::function<Result<ContainerFiles>(const ContainerStatus&)> files;
  // Host pids of the container's processes.
  std::function<Result<std::vector<int>>(const ContainerStatus&)> pids;
  // The container's standard input, open for writing; one more each call. Errc::unsupported without
  // stdin_open.
  std::function<Result<UniqueFd>(const ContainerStatus&)> open_stdin;
  // The container's terminal. Errc::unsupported without tty.
  std::function<Status(const ContainerStatus&, int rows, int columns)> resize;

  // LinuxEngine::exec. Empty: exec is answered 501.
  std::function<Result<std::unique_ptr<ExecSession>>(const ExecSessionOrder&, ExecSessionHandlers)>
      exec;

  // Made by ApiServer; leave it null.
  ExecSessions* execs = nullptr;
};

}  // namespace keepwell
