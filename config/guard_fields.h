// The fields of the specs of guard_spec.h, once for both directions of spec_json.cc, which alone
// includes this. IO is a Writer or a Reader.
#pragma once

#include "config/guard_spec.h"

namespace keepwell {

template <class Io>
void fields(Io& io, JournalSpec& s) {
  io("file_bytes_max", s.file_bytes_max);
  io("files_max", s.files_max);
}

template <class Io>
void fields(Io& io, RestartBudgetSpec& s) {
  io("count", s.count);
  io("window", s.window);
}

template <class Io>
void fields(Io& io, PressureGuardSpec& s) {
  io("on", s.on);
  io("cpu", s.cpu);
  io("memory", s.memory);
  io("io", s.io);
  io("max_hold", s.max_hold);
}

template <class Io>
void fields(Io& io, FlapSpec& s) {
  io("on", s.on);
  io("window", s.window);
  io("high", s.high);
  io("low", s.low);
}

template <class Io>
void fields(Io& io, CaptureSpec& s) {
  io("on", s.on);
  io("timeout", s.timeout);
  io("log_lines", s.log_lines);
  io("command", s.command);
}

template <class Io>
void fields(Io& io, IncidentsSpec& s) {
  io("count", s.count);
  io("bytes_max", s.bytes_max);
}

}  // namespace keepwell
