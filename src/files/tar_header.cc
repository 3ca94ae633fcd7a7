#include "files/tar_header.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace boxlite::files {
namespace {

constexpr std::string_view kPosixMagic{"ustar\00000", 8};

char type_flag(EntryType type) {
  switch (type) {
    case EntryType::kFile:
      return '0';
    case EntryType::kHardLink:
      return '1';
    case EntryType::kSymlink:
      return '2';
    case EntryType::kCharDevice:
      return '3';
    case EntryType::kBlockDevice:
      return '4';
    case EntryType::kDirectory:
      return '5';
    case EntryType::kFifo:
      return '6';
  }
  return '0';
}

using Block = std::array<char, kTarBlock>;

void put(Block& block, ustar::Field field, std::string_view text) {
  std::copy_n(text.data(), std::min(text.size(), field.length), block.data() + field.offset);
}

std::uint64_t largest(ustar::Field field) { return (std::uint64_t{1} << (3 * (field.length - 1))) - 1; }

void put_number(Block& block, ustar::Field field, std::uint64_t value) {
  put(block, field, fmt::format("{:0{}o}", std::min(value, largest(field)), field.length - 1));
}

void finish(Block& block) {
  put(block, ustar::kMagic, kPosixMagic);
  put(block, ustar::kChecksum, "        ");
  std::uint32_t sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  put(block, ustar::kChecksum, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
}

// "LENGTH KEY=VALUE\n", where the length counts its own digits.
void add_record(std::string& records, std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;  // blank, "=", newline
  std::size_t length = rest + 1;
  while (length != rest + fmt::formatted_size("{}", length)) length = rest + fmt::formatted_size("{}", length);
  records += fmt::format("{} {}=", length, key);
  records += value;
  records += '\n';
}

std::string pax_records(const TarEntry& entry, std::string_view path) {
  std::string records;
  const auto number = [&](std::string_view key, ustar::Field field, std::uint64_t value) {
    if (value > largest(field)) add_record(records, key, fmt::format("{}", value));
  };
  if (path.size() > ustar::kName.length) add_record(records, "path", path);
  if (entry.link.size() > ustar::kLink.length) add_record(records, "linkpath", entry.link);
  number("size", ustar::kSize, entry.size);
  number("uid", ustar::kUid, entry.uid);
  number("gid", ustar::kGid, entry.gid);
  if (entry.mtime < 0 || static_cast<std::uint64_t>(entry.mtime) > largest(ustar::kMtime)) {
    add_record(records, "mtime", fmt::format("{}", entry.mtime));
  }
  for (const auto& [name, value] : entry.xattrs) add_record(records, "SCHILY.xattr." + name, value);
  return records;
}

}  // namespace

std::string encode_tar_header(const TarEntry& entry) {
  const std::string path = entry.type == EntryType::kDirectory ? entry.path + "/" : entry.path;
  std::string encoded;
  if (const std::string records = pax_records(entry, path); !records.empty()) {
    Block extended = {};
    put(extended, ustar::kName, "PaxHeaders/entry");
    put_number(extended, ustar::kMode, 0644);
    put_number(extended, ustar::kUid, 0);
    put_number(extended, ustar::kGid, 0);
    put_number(extended, ustar::kSize, records.size());
    put_number(extended, ustar::kMtime, 0);
    put(extended, ustar::kType, "x");
    finish(extended);
    encoded.append(extended.data(), extended.size());
    encoded += records;
    encoded.append(tar_padding(records.size()), '\0');
  }
  Block block = {};
  put(block, ustar::kName, path);
  put_number(block, ustar::kMode, entry.mode & 07777U);
  put_number(block, ustar::kUid, entry.uid);
  put_number(block, ustar::kGid, entry.gid);
  put_number(block, ustar::kSize, entry.size);
  put_number(block, ustar::kMtime, entry.mtime < 0 ? 0 : static_cast<std::uint64_t>(entry.mtime));
  block[ustar::kType.offset] = type_flag(entry.type);
  put(block, ustar::kLink, entry.link);
  put_number(block, ustar::kMajor, entry.device_major);
  put_number(block, ustar::kMinor, entry.device_minor);
  finish(block);
  encoded.append(block.data(), block.size());
  return encoded;
}

}  // namespace boxlite::files
