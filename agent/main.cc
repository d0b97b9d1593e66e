// The program: one command line (agent/cli). An exception that got this far is a bug of ours; it is
// named, and the exit code is that of a failure.
#include <cstdio>
#include <exception>

#include "agent/cli/cli.h"

int main(int argc, char** argv) {
  try {
    return keepwell::cli_main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "keepwell: cannot go on: %s\n", error.what());
    return 1;
  }
}
