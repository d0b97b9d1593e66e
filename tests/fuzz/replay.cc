// Runs a fuzz target once over each file of the folders and files named on the command line: the
// inputs that fuzzing found worth keeping, as a regression test for every build. Fails where it is
// given no input at all, so that a misplaced corpus is noticed.
//
// With --mutate=N, also over N inputs that are made of these by a few changes each (--seed=S makes
// others); each must be done within a second. What a build without libFuzzer can do, the same on
// every machine.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr double kInputSecondsMax = 1;  // of CPU: the machine may have other work

std::vector<std::string> inputs;

void run_text(const std::string& text) {
  // An exact copy on the heap, so that a sanitizer sees a read past the end.
  std::vector<std::uint8_t> bytes(text.begin(), text.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

void run_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  inputs.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  run_text(inputs.back());
}

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  std::string next() {
    std::string text = any_input();
    for (std::size_t change = 0; change <= below(4); ++change) mutate(text);
    return text;
  }

 private:
  std::size_t below(std::size_t end) { return end == 0 ? 0 : random_() % end; }
  const std::string& any_input() { return inputs[below(inputs.size())]; }

  // A piece of TEXT, mostly a whole line.
  std::pair<std::size_t, std::size_t> piece(const std::string& text) {
    std::size_t at = below(text.size() + 1);
    if (below(4) == 0) return {at, below(std::min<std::size_t>(40, text.size() - at + 1))};
    std::size_t begin = at == 0 ? std::string::npos : text.rfind('\n', at - 1);
    begin = begin == std::string::npos ? 0 : begin + 1;
    std::size_t end = std::min(text.find('\n', at), text.size());
    return {begin, std::min(end + 1, text.size()) - begin};
  }

  void mutate(std::string& text) {
    auto [at, length] = piece(text);
    switch (below(6)) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(below(text.size() + 1), text.substr(at, length));
        break;
      case 2: {
        const std::string& other = any_input();
        auto [from, size] = piece(other);
        text.replace(at, length, other.substr(from, size));
        break;
      }
      case 3: {
        const std::string& other = any_input();
        auto [from, size] = piece(other);
        text.insert(at, other.substr(from, size));
        break;
      }
      case 4:
        if (!text.empty()) text[below(text.size())] = static_cast<char>(random_());
        break;
      default: {
        constexpr std::string_view kOdd[] = {
            "[",     "]",    "{",    "}",    ":",  "-",  "!reset",        "!override",
            "*a",    "&a ",  "<<: ", "null", "''", "-1", "9999999999999", "$X",
            "${X:-", "\xff", "\n",   "  ",   "#",  "0",  "true"};
        text.insert(below(text.size() + 1), kOdd[below(std::size(kOdd))]);
      }
    }
  }

  std::mt19937 random_;
};

// False where one took too long.
bool run_mutations(unsigned long count, unsigned seed) {
  Mutator mutator(seed);
  bool quick = true;
  for (unsigned long i = 0; i < count; ++i) {
    std::string text = mutator.next();
    std::clock_t begun = std::clock();
    run_text(text);
    double took = static_cast<double>(std::clock() - begun) / CLOCKS_PER_SEC;
    if (took < kInputSecondsMax) continue;
    quick = false;
    std::printf("input %lu of seed %u took %.1f s:\n%s\n", i, seed, took, text.c_str());
  }
  std::printf("%lu mutations of seed %u\n", count, seed);
  return quick;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned long mutations = 0;
  unsigned seed = 1;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    std::filesystem::path path = word;
    if (word.rfind("--mutate=", 0) == 0) {
      mutations = std::strtoul(word.c_str() + 9, nullptr, 10);
    } else if (word.rfind("--seed=", 0) == 0) {
      seed = static_cast<unsigned>(std::strtoul(word.c_str() + 7, nullptr, 10));
    } else if (!std::filesystem::is_directory(path)) {
      run_file(path);
    } else {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
        if (entry.is_regular_file()) run_file(entry.path());
      }
    }
  }
  std::printf("%zu inputs\n", inputs.size());
  if (inputs.empty()) return 1;
  return run_mutations(mutations, seed) ? 0 : 1;
}
