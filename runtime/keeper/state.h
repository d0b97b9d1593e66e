// What a keeper hands to the one that replaces it by exec: a memfd of lines, each a record's name
// and its words, percent-escaped, ending with "end". Descriptors are written as their numbers,
// which the exec keeps. A reader skips records that it does not know and reads missing words as 0
// or "", so a neighbouring version can read it.
#pragma once

#include "runtime/unique_fd.h"

namespace keepwell {

class Children;
class Keeper;

class KeeperState {
 public:
  // The state of KEEPER in a new memfd; empty on failure (errno).
  static UniqueFd save(const Keeper& keeper);

  // Fills KEEPER, which has only open()ed so far, from STATE. False if it is not a whole state;
  // then KEEPER must not be run.
  static bool load(Keeper& keeper, int state);

  // Whether STATE is whole: what a new program is asked before the old one gives way.
  static bool check(int state);

  // Lets every descriptor of KEEPER that STATE names survive an exec, or not.
  static void set_inheritable(const Keeper& keeper, bool inheritable);

  class Words;

 private:
  static bool load_of_options(Keeper& keeper, Words& words);
  static bool load_of_children(Children& children, Words& words);
  static void load_of_keeper(Keeper& keeper, Words& words);
};

}  // namespace keepwell
