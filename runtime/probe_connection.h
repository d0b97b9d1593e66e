// One http, tcp or grpc probe as the engine sees it: what NetProbe finds, told as ProbeStarted and
// ProbeEnded. Private to the engine.
#pragma once

#include <functional>
#include <memory>

#include "runtime/container.h"
#include "runtime/engine_context.h"
#include "runtime/net_probe/net_probe.h"

namespace keepwell {

class ProbeConnection {
 public:
  // REQUIRES: CONTAINER lives as long as this object.
  ProbeConnection(EngineContext& context, Container& container, ProbeOrder order);
  ~ProbeConnection();

  // Begins. ON_ENDED is called once, from the loop and never from inside; it may destroy this
  // object.
  void start(std::function<void(ProbeEnded)> on_ended);

  // Ends it: by kill_probe(), or because its container has ended.
  void end(ProbeEnded::How how);

  const ContainerRef& container() const { return order_.container; }

 private:
  void finish(ProbeEnded::How how, std::string text);

  EngineContext* context_;
  Container* container_;
  ProbeOrder order_;
  std::function<void(ProbeEnded)> on_ended_;
  std::unique_ptr<NetProbe> probe_;
  bool over_ = false;
  std::shared_ptr<bool> alive_;
};

}  // namespace keepwell
