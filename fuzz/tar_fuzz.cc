// The reader of `cp`'s tar streams, whose bytes come from a box or from a user's file.
//
// With the first byte odd, every block gets a right checksum, behind which else hardly any input would come. The stream is read
// twice, at once and in small portions: both must see the same entries and contents, within the bounds that tar_reader.h
// promises; and what was read as an entry must be read again from what tar_header.h writes for it.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "files/tar_header.h"
#include "files/tar_reader.h"

namespace boxlite::files {
namespace {

constexpr std::size_t kMostEntries = 1000;

void check(bool condition) {
  if (!condition) std::abort();
}

Source source_of(std::string_view stream, std::size_t portion) {
  return [stream, portion, at = std::size_t{0}](std::span<std::byte> buffer) mutable -> Result<std::size_t> {
    const std::size_t count = std::min({buffer.size(), stream.size() - at, portion});
    if (count != 0) std::memcpy(buffer.data(), stream.data() + at, count);
    at += count;
    return count;
  };
}

struct Seen {
  std::vector<std::pair<TarEntry, std::string>> entries;
  bool whole = false;
};

Seen read_all(std::string_view stream, std::size_t portion) {
  TarReader reader(source_of(stream, portion));
  Seen seen;
  for (TarEntry entry; seen.entries.size() < kMostEntries;) {
    const auto more = reader.next(entry);
    if (!more || !*more) {
      seen.whole = more.has_value();
      break;
    }
    check(!entry.path.empty() && entry.path.find('\0') == std::string::npos && entry.link.find('\0') == std::string::npos);
    seen.entries.emplace_back(entry, "");
    std::string& content = seen.entries.back().second;
    for (auto piece = reader.data(); piece && !piece->empty(); piece = reader.data()) {
      content.append(reinterpret_cast<const char*>(piece->data()), piece->size());
      check(content.size() <= entry.size && content.size() <= stream.size());
    }
  }
  return seen;
}

bool same(const TarEntry& a, const TarEntry& b) {
  return a.path == b.path && a.type == b.type && a.link == b.link && a.mode == b.mode && a.uid == b.uid && a.gid == b.gid &&
         a.mtime == b.mtime && a.size == b.size && a.device_major == b.device_major && a.device_minor == b.device_minor &&
         a.xattrs == b.xattrs;
}

// POSIX ustar: the sum of the block's bytes with the field itself as blanks.
void repair_checksums(std::string& stream) {
  constexpr std::size_t kField = 148;
  for (std::size_t at = 0; at + kTarBlock <= stream.size(); at += kTarBlock) {
    if (std::all_of(&stream[at], &stream[at] + kTarBlock, [](char c) { return c == '\0'; })) continue;
    std::memset(&stream[at + kField], ' ', 8);
    unsigned sum = 0;
    for (std::size_t i = 0; i < kTarBlock; ++i) sum += static_cast<unsigned char>(stream[at + i]);
    std::snprintf(&stream[at + kField], 8, "%06o", sum);
    stream[at + kField + 7] = ' ';
  }
}

void written_again_is_the_same(const TarEntry& entry) {
  const std::string stream = encode_tar_header(entry);
  TarReader reader(source_of(stream, stream.size()));
  TarEntry again;
  const auto more = reader.next(again);
  check(more && *more && same(entry, again));
}

}  // namespace
}  // namespace boxlite::files

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace boxlite::files;
  if (size < 2) return 0;
  std::string stream(reinterpret_cast<const char*>(data) + 2, size - 2);
  if ((data[0] & 1U) != 0) repair_checksums(stream);
  const Seen at_once = read_all(stream, stream.size());
  const Seen in_portions = read_all(stream, 1 + data[1]);
  check(at_once.whole == in_portions.whole && at_once.entries.size() == in_portions.entries.size());
  for (std::size_t i = 0; i < at_once.entries.size(); ++i) {
    check(same(at_once.entries[i].first, in_portions.entries[i].first));
    check(at_once.entries[i].second == in_portions.entries[i].second);
    written_again_is_the_same(at_once.entries[i].first);
  }
  return 0;
}
