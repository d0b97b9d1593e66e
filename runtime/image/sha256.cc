#include "runtime/image/sha256.h"

#include <openssl/evp.h>

#include <array>

#include "config/check.h"

namespace keepwell {

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, 32> digest{};
  KW_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) ==
           1);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15U];
  }
  return hex;
}

}  // namespace keepwell
