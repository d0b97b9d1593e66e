// The command line: every command of keepwell with its options and --help. Those that need no agent
// are in commands.h; the others are clients of the API's unix socket.
#pragma once

namespace keepwell {

// Parses and runs one command. Returns the program's exit code: 0 done, 1 failed, 2 usage or bad
// config; `exec` returns the command's own.
int cli_main(int argc, char** argv);

}  // namespace keepwell
