// keepwell doctor: one line per finding. Exit code 1 where something will not work.
#include "runtime/doctor.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "agent/cli/commands.h"
#include "runtime/user_namespace.h"

namespace keepwell {

namespace {

const char* word_for(DoctorFinding::Verdict verdict) {
  switch (verdict) {
    case DoctorFinding::Verdict::good:
      return "ok";
    case DoctorFinding::Verdict::limited:
      return "limited";
    case DoctorFinding::Verdict::bad:
      return "bad";
  }
  return "bad";
}

}  // namespace

int doctor_command(const DoctorOptions& options) {
  DoctorQuestion question;
  question.data_dir = default_dirs().data_dir;
  if (!options.data_dir.empty()) question.data_dir = options.data_dir;
  std::vector<DoctorFinding> findings = examine_host(question);
  for (const DoctorFinding& finding : findings) {
    if (options.json) {
      nlohmann::ordered_json line{{"Subject", finding.subject},
                                  {"Verdict", word_for(finding.verdict)},
                                  {"Text", finding.text}};
      std::printf("%s\n",
                  line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    } else {
      std::printf("%-8s %-20s %s\n", word_for(finding.verdict), finding.subject.c_str(),
                  finding.text.c_str());
    }
  }
  bool works = std::none_of(findings.begin(), findings.end(), [](const DoctorFinding& finding) {
    return finding.verdict == DoctorFinding::Verdict::bad;
  });
  return works ? 0 : 1;
}

}  // namespace keepwell
