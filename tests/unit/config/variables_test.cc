// ${...} in values, and the .env grammar.
#include <map>

#include "config/env_file.h"
#include "config/interpolate.h"
#include "tests/catch.h"

using namespace keepwell;

namespace {

const std::map<std::string, std::string, std::less<>> kVariables{
    {"A", "alpha"}, {"EMPTY", ""}, {"N_1", "n"}, {"D", "$A"}};

std::optional<std::string> look_up(std::string_view name) {
  auto found = kVariables.find(name);
  if (found == kVariables.end()) return std::nullopt;
  return found->second;
}

using Values = std::vector<std::pair<std::string, std::string>>;

}  // namespace

TEST_CASE("variables are replaced with every operator") {
  struct Case {
    const char* in;
    const char* out;
  };
  const Case cases[] = {
      {"plain", "plain"},       {"$A", "alpha"},
      {"x${A}y", "xalphay"},    {"$N_1-$A", "n-alpha"},
      {"$$A $$", "$A $"},       {"${A:-d}", "alpha"},
      {"${EMPTY:-d}", "d"},     {"${EMPTY-d}", ""},
      {"${NO-d}", "d"},         {"${NO:-}", ""},
      {"${NO:-${A}}", "alpha"}, {"${NO:-${NO2:-${A}-x}}!", "alpha-x!"},
      {"${A:+set}", "set"},     {"${EMPTY:+set}", ""},
      {"${EMPTY+set}", "set"},  {"${NO+set}", ""},
      {"${A:?never}", "alpha"}, {"${EMPTY?never}", ""},
      {"${NO:-$$x}", "$x"},     {"${NO:-{\"a\":1}}", "{\"a\":1}"},
      {"${NO:-a:-b}", "a:-b"},  {"$D", "$A"},  // what comes out is not looked at again
      {"${A:+$NO}", ""},
  };
  for (const Case& c : cases) {
    INFO(c.in);
    Result<Interpolated> result = interpolate(c.in, look_up);
    REQUIRE(result);
    CHECK(result->text == c.out);
  }
}

TEST_CASE("a variable that is not set is named once") {
  Result<Interpolated> result = interpolate("$NO ${NO} $OTHER ${NO:-x}", look_up);
  REQUIRE(result);
  CHECK(result->text == "   x");
  CHECK(result->unset == std::vector<std::string>{"NO", "OTHER"});
}

TEST_CASE("what is no variable is a mistake that says how to write a dollar") {
  for (const char* in : {"$", "a$", "$1", "${", "${A", "$}", "${}", "${ A}", "${A }", "${A!}",
                         "${A:x}", "${1A}", "${NO:-${A}", "$-", "${-x}"}) {
    INFO(in);
    Result<Interpolated> result = interpolate(in, look_up);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == Errc::invalid);
  }
  CHECK_THAT(interpolate("echo $1", look_up).error().text, ContainsSubstring("$$"));
  CHECK_THAT(interpolate("${NO:?ask $A}", look_up).error().text, ContainsSubstring("ask alpha"));
  CHECK_THAT(interpolate("${EMPTY:?no}", look_up).error().text, ContainsSubstring("EMPTY"));
  CHECK_FALSE(interpolate("${NO?}", look_up));
}

TEST_CASE("nesting and growth of variables are bounded") {
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "${NO:-";
  CHECK_FALSE(interpolate(deep + std::string(100, '}'), look_up));
  std::string large(1000, 'x');
  auto look_up_large = [&](std::string_view) { return std::optional<std::string>(large); };
  std::string many;
  for (int i = 0; i < 2000; ++i) many += "$L ";
  CHECK_FALSE(interpolate(many, look_up_large));
}

TEST_CASE(".env: the grammar") {
  EnvFile file = parse_env_file(
      "\xEF\xBB\xBF# comment\n"
      "\n"
      "PLAIN=one two  # note\n"
      "HASH=a#b\n"
      "  export EXPORTED = yes\r\n"
      "YAML: style\n"
      "SINGLE='$A \\n \\'q\\''\n"
      "DOUBLE=\"$A \\n \\\"q\\\" \\$A\" # note\n"
      "LINES=\"first\n"
      "second\"\n"
      "EARLIER=${PLAIN}!\n"
      "EMPTYVALUE=\n"
      "ONLYNOTE= # note\n"
      "A\n"
      "NOTSET\n"
      "DEFAULT=${NO:-d}\n"
      "export=odd\n"
      "LAST=end",
      look_up);
  CHECK(file.mistakes.empty());
  CHECK(file.values == Values{{"PLAIN", "one two"},
                              {"HASH", "a#b"},
                              {"EXPORTED", "yes"},
                              {"YAML", "style"},
                              {"SINGLE", "$A \\n 'q'"},
                              {"DOUBLE", "alpha \n \"q\" $A"},
                              {"LINES", "first\nsecond"},
                              {"EARLIER", "one two!"},
                              {"EMPTYVALUE", ""},
                              {"ONLYNOTE", ""},
                              {"A", "alpha"},
                              {"DEFAULT", "d"},
                              {"export", "odd"},
                              {"LAST", "end"}});
}

TEST_CASE(".env: the environment of the process goes before the file") {
  EnvFile file = parse_env_file("A=own\nB=$A\n", look_up);
  CHECK(file.values == Values{{"A", "own"}, {"B", "alpha"}});
}

TEST_CASE(".env: every mistake has its line, and reading goes on") {
  EnvFile file = parse_env_file("GOOD=1\na b=2\n=3\nX=\"a\" b\nY=${\nZ=2\nQ='open\n", look_up);
  std::vector<int> lines;
  for (const EnvFileMistake& mistake : file.mistakes) lines.push_back(mistake.line);
  CHECK(lines == std::vector<int>{2, 3, 4, 5, 7});
  CHECK(file.values == Values{{"GOOD", "1"}, {"X", "a"}, {"Z", "2"}});
}

TEST_CASE("format: raw takes values as they stand") {
  EnvFile file = parse_raw_env_file("# c\nX='a' $B # d \nA\nNO\nY=\n b ad=1\n", look_up);
  CHECK(file.values == Values{{"X", "'a' $B # d "}, {"A", "alpha"}, {"Y", ""}});
  REQUIRE(file.mistakes.size() == 1);
  CHECK(file.mistakes[0].line == 6);
}

TEST_CASE("an env file with zero bytes is refused as a whole") {
  for (auto parse : {parse_env_file, parse_raw_env_file}) {
    EnvFile file = parse(std::string_view("A=1\nB=\0x\n", 9), look_up);
    CHECK(file.values.empty());
    CHECK(file.mistakes.size() == 1);
  }
}
