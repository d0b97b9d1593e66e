#include "runtime/oci/runtime_driver.h"

#include "runtime/proc_info.h"
#include "tests/catch.h"

using namespace keepwell;

TEST_CASE("a runtime's complaint is the last error of its log") {
  const char* log =
      "{\"level\":\"warning\",\"msg\":\"signal: killed\",\"time\":\"x\"}\n"
      "{\"level\":\"error\",\"msg\":\"unable to start container process: exec: \\\"x\\\": "
      "executable file not found in "
      "$PATH\",\"time\":\"x\"}\n";
  CHECK(runtime_complaint(log, "other") ==
        "unable to start container process: exec: \"x\": executable file not found in $PATH");
  CHECK(runtime_complaint("", "first\nlast\n") == "last");
  CHECK(runtime_complaint("no json\n", "only") == "only");
  CHECK(runtime_complaint("", "") == "");
  // crun writes no level
  CHECK(runtime_complaint("{\"msg\":\"cannot do\"}", "") == "cannot do");
}

TEST_CASE("failed starts have docker's exit codes") {
  CHECK(start_failure_code("exec: \"x\": executable file not found in $PATH: unknown") == 127);
  CHECK(start_failure_code("exec: \"/x\": stat /x: no such file or directory") == 127);
  CHECK(start_failure_code("exec: \"/etc/motd\": permission denied") == 126);
  CHECK(start_failure_code("exec: \"/etc\": is a directory") == 126);
  CHECK(start_failure_code("cannot allocate memory") == 128);
}

TEST_CASE("command lines of a runtime") {
  OciRuntime runc{"runc", "/usr/sbin/runc", "runc version 1.1.5", "/run/k/state"};
  CHECK(runtime_create_argv(runc, {"id", "/b", "/b/pid", "/b/log", ""}) ==
        std::vector<std::string>{"/usr/sbin/runc", "--root", "/run/k/state", "--log", "/b/log",
                                 "--log-format", "json", "create", "--bundle", "/b", "--pid-file",
                                 "/b/pid", "id"});
  CHECK(runtime_delete_argv(runc, "id") == std::vector<std::string>{"/usr/sbin/runc", "--root",
                                                                    "/run/k/state", "delete",
                                                                    "--force", "id"});
  CHECK(runtime_keyring(runc, "id") == "_ses.id");
  CHECK(runtime_keyring({"crun", "/c", "", "/s"}, "id") == "id");
}

TEST_CASE("/proc/PID/stat is read whatever the process is called") {
  std::string tail = " S 12 13 14 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 200";
  for (const char* name : {"(sh)", "(a b)", "(a) R 9 (b))", "()"}) {
    auto stat = parse_proc_stat(std::string("77 ") + name + tail);
    REQUIRE(stat.has_value());
    CHECK(stat->state == 'S');
    CHECK(stat->parent == 12);
    CHECK(stat->start_ticks == 987654);
  }
  CHECK_FALSE(parse_proc_stat("").has_value());
  CHECK_FALSE(parse_proc_stat("77 (sh) S 12 13").has_value());
  CHECK(read_proc_stat(1).has_value());
  CHECK_FALSE(read_proc_stat(999999999).has_value());
}
