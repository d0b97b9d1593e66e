// keepwell-logger: started by the keeper, which is at descriptor 3.
#include <csignal>
#include <cstdio>

#include "runtime/logger/logger.h"

int main() {
  // Its end is the keeper's to say; SIGPIPE and SIGXFSZ are errors of a write.
  for (int number : {SIGPIPE, SIGXFSZ, SIGTERM, SIGINT, SIGHUP}) std::signal(number, SIG_IGN);
  return keepwell::Logger(keepwell::UniqueFd(keepwell::wire::kControlFd)).run();
}
