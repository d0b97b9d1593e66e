#include "runtime/tar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

namespace keepwell {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kExtensionBytesMax = 64 * 1024;

struct Field {
  std::size_t at, size;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kTime{136, 12}, kSum{148, 8}, kType{156, 1}, kTarget{157, 100}, kMagic{257, 8},
    kPrefix{345, 155}, kSparseBytes{483, 12};
constexpr std::size_t kSparseMore = 482, kSparseMoreNext = 504;  // flags: a further list follows

// ---- writing

void put(std::string& block, Field field, std::string_view text) {
  std::copy_n(text.begin(), std::min(text.size(), field.size),
              block.begin() + static_cast<std::ptrdiff_t>(field.at));
}

bool fits(std::uint64_t value, Field field) { return value >> (3 * (field.size - 1)) == 0; }

void put_octal(std::string& block, Field field, std::uint64_t value) {
  std::string digits(field.size - 1, '0');
  for (std::size_t i = digits.size(); i-- > 0 && value > 0; value >>= 3)
    digits[i] = static_cast<char>('0' + (value & 7));
  put(block, field, digits);
}

std::uint64_t checksum(std::string_view block) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBlock; ++i) {
    const bool own = i >= kSum.at && i < kSum.at + kSum.size;
    sum += own ? ' ' : static_cast<unsigned char>(block[i]);
  }
  return sum;
}

std::string header(const TarEntry& entry, char type, std::uint64_t bytes) {
  std::string block(kBlock, '\0');
  const std::int64_t seconds =
      std::chrono::floor<std::chrono::seconds>(entry.changed.time_since_epoch()).count();
  put(block, kName, entry.name);
  put_octal(block, kMode, entry.permissions & 07777);
  put_octal(block, kUid, fits(entry.uid, kUid) ? entry.uid : 0);
  put_octal(block, kGid, fits(entry.gid, kGid) ? entry.gid : 0);
  put_octal(block, kSize, fits(bytes, kSize) ? bytes : 0);
  put_octal(block, kTime, static_cast<std::uint64_t>(std::max<std::int64_t>(0, seconds)));
  block[kType.at] = type;
  put(block, kTarget, entry.target);
  put(block, kMagic, std::string_view("ustar\00000", 8));
  std::string sum(7, '0');
  std::uint64_t value = checksum(block);
  for (std::size_t i = 6; i-- > 0; value >>= 3) sum[i] = static_cast<char>('0' + (value & 7));
  sum[6] = '\0';
  put(block, kSum, sum + " ");
  return block;
}

// "LENGTH key=value\n", where LENGTH counts itself.
std::string pax_record(std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length)
    length = std::to_string(length).size() + rest;
  std::string record = std::to_string(length);
  record.append(" ").append(key).append("=").append(value).append("\n");
  return record;
}

char type_of(TarEntry::Kind kind) {
  switch (kind) {
    case TarEntry::Kind::directory:
      return '5';
    case TarEntry::Kind::link:
      return '2';
    case TarEntry::Kind::hard_link:
      return '1';
    case TarEntry::Kind::file:
    case TarEntry::Kind::other:
      break;
  }
  return '0';
}

// ---- reading

std::string text_at(std::string_view block, Field field) {
  const std::string_view text = block.substr(field.at, field.size);
  return std::string(text.substr(0, text.find('\0')));
}

std::optional<std::uint64_t> number_at(std::string_view block, Field field) {
  const std::string_view text = block.substr(field.at, field.size);
  const auto first = static_cast<unsigned char>(text.front());
  std::uint64_t value = 0;
  if (first == 0x80) {  // GNU: base 256
    for (const char c : text.substr(text.size() > 8 ? text.size() - 8 : 1))
      value = value << 8 | static_cast<unsigned char>(c);
    return value >> 62 == 0 ? std::optional(value) : std::nullopt;
  }
  if (first > 0x80) return std::nullopt;
  for (const char c : text) {
    if (c == '\0' || (c == ' ' && value > 0)) break;
    if (c == ' ') continue;
    if (c < '0' || c > '7') return std::nullopt;
    value = value << 3 | static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

Status broken(const std::string& why) {
  return fail(Errc::invalid, "cannot read the archive: " + why);
}

}  // namespace

std::string tar_head(const TarEntry& entry) {
  const char type = type_of(entry.kind);
  const std::uint64_t bytes = entry.kind == TarEntry::Kind::file ? entry.bytes : 0;
  std::string records;
  if (entry.name.size() > kName.size) records += pax_record("path", entry.name);
  if (entry.target.size() > kTarget.size) records += pax_record("linkpath", entry.target);
  if (!fits(bytes, kSize)) records += pax_record("size", std::to_string(bytes));
  std::string head;
  if (!records.empty()) {
    TarEntry extension;
    extension.name = "PaxHeaders.0/entry";
    extension.changed = entry.changed;
    head = header(extension, 'x', records.size()) + records + tar_padding(records.size());
  }
  return head + header(entry, type, bytes);
}

std::string tar_padding(std::uint64_t bytes) {
  return std::string((kBlock - bytes % kBlock) % kBlock, '\0');
}

std::string tar_end() { return std::string(2 * kBlock, '\0'); }

Status TarReader::feed(std::string_view bytes) {
  while (!bytes.empty() && !ended_) {
    if (left_ > 0) {
      const std::string_view piece =
          bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size())));
      bytes.remove_prefix(piece.size());
      left_ -= piece.size();
      if (in_file_) {
        if (Status taken = handlers_.on_bytes(piece); !taken) return taken;
      } else if (extension_ != 's') {
        text_.append(piece);
      }
    }
    if (left_ == 0 && in_file_) {
      in_file_ = false;
      if (Status ended = handlers_.on_file_end(); !ended) return ended;
    }
    if (left_ == 0 && extension_ != 0) {
      if (Status taken = take_extension(); !taken) return taken;
    }
    if (left_ > 0) continue;
    const std::size_t skip =
        static_cast<std::size_t>(std::min<std::uint64_t>(padding_, bytes.size()));
    bytes.remove_prefix(skip);
    padding_ -= skip;
    if (padding_ > 0 || bytes.empty()) continue;
    const std::size_t take = std::min(kBlock - block_.size(), bytes.size());
    block_.append(bytes.substr(0, take));
    bytes.remove_prefix(take);
    if (block_.size() < kBlock) continue;
    const std::string block = std::exchange(block_, {});
    if (Status taken = take_block(block); !taken) return taken;
  }
  return {};
}

Status TarReader::end() const {
  if (!block_.empty() || left_ > 0 || padding_ > 0) return broken("it is cut off");
  return {};
}

Status TarReader::take_block(std::string_view block) {
  if (more_sparse_) {
    more_sparse_ = block[kSparseMoreNext] != 0;
    if (!more_sparse_) skip(sparse_left_);
    return {};
  }
  if (block.find_first_not_of('\0') == std::string_view::npos) {
    ended_ = true;
    return {};
  }
  return take_header(block);
}

Status TarReader::take_header(std::string_view block) {
  const std::optional<std::uint64_t> sum = number_at(block, kSum);
  if (!sum || *sum != checksum(block))
    return broken(block.substr(0, 2) == "\x1f\x8b" ? "it is compressed; send it plain"
                                                   : "not a tar header");
  const std::optional<std::uint64_t> mode = number_at(block, kMode), uid = number_at(block, kUid),
                                     gid = number_at(block, kGid), size = number_at(block, kSize),
                                     time = number_at(block, kTime);
  if (!mode || !uid || !gid || !size || !time || *time > (1ull << 33))
    return broken("a number in a header is malformed");
  TarEntry entry;
  entry.name = text_at(block, kName);
  const bool ustar = block.substr(kMagic.at, 6) == std::string_view("ustar\0", 6);
  const std::string prefix = ustar ? text_at(block, kPrefix) : std::string();
  if (!prefix.empty()) entry.name = prefix + "/" + entry.name;
  entry.target = text_at(block, kTarget);
  entry.permissions = static_cast<std::uint32_t>(*mode & 07777);
  entry.uid = static_cast<std::uint32_t>(*uid);
  entry.gid = static_cast<std::uint32_t>(*gid);
  entry.bytes = *size;
  entry.changed = WallTime(std::chrono::seconds(static_cast<std::int64_t>(*time)));
  const char type = block[kType.at];
  if (type == 'S') {
    const std::optional<std::uint64_t> unpacked = number_at(block, kSparseBytes);
    if (!unpacked) return broken("a number in a header is malformed");
    entry.unpacked_bytes = *unpacked;
    more_sparse_ = block[kSparseMore] != 0;
  }
  return begin(std::move(entry), type);
}

void TarReader::skip(std::uint64_t bytes) {
  left_ = bytes;
  padding_ = (kBlock - left_ % kBlock) % kBlock;
  extension_ = bytes > 0 ? 's' : '\0';
}

Status TarReader::begin(TarEntry entry, char type) {
  if (type == 'x' || type == 'L' || type == 'K' || type == 'g') {
    if (entry.bytes > kExtensionBytesMax) return broken("an extended header is too large");
    left_ = entry.bytes;
    padding_ = (kBlock - left_ % kBlock) % kBlock;
    extension_ = type == 'g' ? 's' : type;
    text_.clear();
    return left_ == 0 ? take_extension() : Status();
  }
  if (!long_name_.empty()) entry.name = std::exchange(long_name_, {});
  if (!long_target_.empty()) entry.target = std::exchange(long_target_, {});
  if (std::exchange(has_pax_bytes_, false)) entry.bytes = pax_bytes_;
  entry.type = type;
  entry.unpacked_bytes =
      std::max({entry.bytes, entry.unpacked_bytes, std::exchange(sparse_bytes_, 0)});
  if (entry.unpacked_bytes >> 62 != 0) return broken("an entry is too large");
  entry.kind = type == '0' || type == '\0' || type == '7' ? TarEntry::Kind::file
               : type == '5'                              ? TarEntry::Kind::directory
               : type == '2'                              ? TarEntry::Kind::link
               : type == '1'                              ? TarEntry::Kind::hard_link
                                                          : TarEntry::Kind::other;
  // Old archives mark a directory by its name alone.
  if (entry.kind == TarEntry::Kind::file && entry.name.ends_with("/"))
    entry.kind = TarEntry::Kind::directory;
  const bool file = entry.kind == TarEntry::Kind::file;
  const std::uint64_t bytes = type == '1' || type == '2' ? 0 : entry.bytes;
  if (!file) entry.bytes = 0;
  if (!file && type != 'S') entry.unpacked_bytes = 0;
  if (Status told = handlers_.on_entry(entry); !told) return told;
  if (more_sparse_) {
    sparse_left_ = bytes;
    return {};
  }
  skip(bytes);
  in_file_ = file;
  if (file) extension_ = '\0';
  if (file && left_ == 0) {
    in_file_ = false;
    return handlers_.on_file_end();
  }
  return {};
}

Status TarReader::take_extension() {
  const char kind = std::exchange(extension_, '\0');
  const std::string text = std::exchange(text_, {});
  if (kind == 'L') long_name_ = text.substr(0, text.find('\0'));
  if (kind == 'K') long_target_ = text.substr(0, text.find('\0'));
  return kind == 'x' ? read_pax(text) : Status();
}

Status TarReader::read_pax(std::string_view records) {
  while (!records.empty()) {
    std::size_t length = 0;
    const auto [stop, error] =
        std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<std::size_t>(stop - records.data());
    if (error != std::errc() || length > records.size() || length < digits + 3 ||
        records[digits] != ' ' || records[length - 1] != '\n')
      return broken("an extended header is malformed");
    const std::string_view record = records.substr(digits + 1, length - digits - 2);
    records.remove_prefix(length);
    const std::size_t equals = record.find('=');
    if (equals == std::string_view::npos) return broken("an extended header is malformed");
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path" || key == "GNU.sparse.name") long_name_ = value;
    if (key == "linkpath") long_target_ = value;
    const bool sparse = key == "GNU.sparse.size" || key == "GNU.sparse.realsize";
    if (key != "size" && !sparse) continue;
    std::uint64_t& bytes = sparse ? sparse_bytes_ : pax_bytes_;
    const auto [end, bad] = std::from_chars(value.data(), value.data() + value.size(), bytes);
    if (bad != std::errc() || end != value.data() + value.size())
      return broken("an extended header is malformed");
    if (!sparse) has_pax_bytes_ = true;
  }
  return {};
}

}  // namespace keepwell
