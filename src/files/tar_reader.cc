#include "files/tar_reader.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "base/sys.h"

namespace boxlite::files {
namespace {

constexpr std::size_t kReadBuffer = 64 * 1024;
constexpr std::uint64_t kMoveAtOnce = 1024 * 1024;
constexpr std::uint64_t kMaxExtension = 1024 * 1024;  // a pax header or a long name
constexpr int kMaxExtensions = 16;                    // before one entry
constexpr std::size_t kMaxXattrs = 128;
constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 62U;
constexpr std::uint64_t kMaxId = 0xfffffffe;
constexpr std::size_t kMaxAfterEnd = 1024 * 1024;  // tar fills its last record with zeros
constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";

template <typename... Args>
std::unexpected<Error> damaged(fmt::format_string<Args...> format, Args&&... args) {
  return fail(ErrorCode::kCorrupt, "the tar archive is damaged: {}", fmt::format(format, std::forward<Args>(args)...));
}

std::string_view text_of(std::string_view block, ustar::Field field) {
  const std::string_view text = block.substr(field.offset, field.length);
  return text.substr(0, text.find('\0'));
}

// Octal digits, or with the highest bit set a big-endian number (GNU).
Result<std::int64_t> number_of(std::string_view block, ustar::Field field) {
  std::string_view text = block.substr(field.offset, field.length);
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if ((byte(0) & 0x80U) != 0) {
    const bool negative = byte(0) == 0xff;
    std::uint64_t value = negative ? ~std::uint64_t{0} : byte(0) & 0x7fU;
    for (std::size_t i = 1; i < text.size(); ++i) {
      if (!negative && value >> 55U != 0) return damaged("a number that is too large");
      value = value << 8U | byte(i);
    }
    return static_cast<std::int64_t>(value);
  }
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  text = text.substr(0, text.find_first_of(std::string_view(" \0", 2)));
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (!text.empty() && (error != std::errc() || end != text.data() + text.size())) return damaged("a header with a bad number");
  return value;
}

Result<std::int64_t> decimal(std::string_view text) {
  text = text.substr(0, text.find('.'));  // times may have fractions
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return damaged("an extended header with a bad number");
  return value;
}

bool checksum_fits(std::string_view block, std::int64_t expected) {
  std::int64_t sum = 0;
  std::int64_t signed_sum = 0;  // of writers whose char is signed
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool own = i >= ustar::kChecksum.offset && i < ustar::kChecksum.offset + ustar::kChecksum.length;
    const char c = own ? ' ' : block[i];
    sum += static_cast<unsigned char>(c);
    signed_sum += static_cast<signed char>(c);
  }
  return expected == sum || expected == signed_sum;
}

Result<std::uint32_t> checked_id(std::int64_t value) {
  if (value < 0 || static_cast<std::uint64_t>(value) > kMaxId) return damaged("an owner that is out of range");
  return static_cast<std::uint32_t>(value);
}

Result<std::uint64_t> checked_size(std::int64_t value) {
  if (value < 0 || static_cast<std::uint64_t>(value) > kMaxSize) return damaged("a size that is out of range");
  return static_cast<std::uint64_t>(value);
}

}  // namespace

// What the headers before the entry's own say.
struct TarReader::Overrides {
  std::optional<std::string> path = {};
  std::optional<std::string> link = {};
  std::optional<std::int64_t> size = {};
  std::optional<std::int64_t> uid = {};
  std::optional<std::int64_t> gid = {};
  std::optional<std::int64_t> mtime = {};
  std::vector<std::pair<std::string, std::string>> xattrs = {};

  Result<void> set(std::string_view key, std::string_view value) {
    if (key == "path") path = value;
    if (key == "linkpath") link = value;
    if (key == "size") {
      TRY_ASSIGN(size, decimal(value));
    }
    if (key == "uid") {
      TRY_ASSIGN(uid, decimal(value));
    }
    if (key == "gid") {
      TRY_ASSIGN(gid, decimal(value));
    }
    if (key == "mtime") {
      TRY_ASSIGN(mtime, decimal(value));
    }
    if (key.starts_with("GNU.sparse.")) {
      return fail(ErrorCode::kUnsupported, "the tar archive has a sparse file; make it without --sparse");
    }
    if (key.starts_with(kXattrPrefix)) {
      if (xattrs.size() == kMaxXattrs) return damaged("too many extended attributes");
      xattrs.emplace_back(key.substr(kXattrPrefix.size()), value);
    }
    return {};
  }

  Result<void> parse(std::string_view records) {
    while (!records.empty()) {
      std::size_t length = 0;
      const auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
      const auto digits = static_cast<std::size_t>(end - records.data());
      if (error != std::errc() || length > records.size() || length < digits + 3 || *end != ' ' || records[length - 1] != '\n') {
        return damaged("an extended header that breaks the rules");
      }
      const std::string_view record = records.substr(digits + 1, length - digits - 2);
      const std::size_t equals = record.find('=');
      if (equals == std::string_view::npos) return damaged("an extended header without \"=\"");
      TRY(set(record.substr(0, equals), record.substr(equals + 1)));
      records.remove_prefix(length);
    }
    return {};
  }

  Result<void> apply(TarEntry& entry) {
    if (path) entry.path = *path;
    if (link) entry.link = *link;
    if (size) {
      TRY_ASSIGN(entry.size, checked_size(*size));
    }
    if (uid) {
      TRY_ASSIGN(entry.uid, checked_id(*uid));
    }
    if (gid) {
      TRY_ASSIGN(entry.gid, checked_id(*gid));
    }
    if (mtime) entry.mtime = *mtime;
    entry.xattrs = std::move(xattrs);
    return {};
  }
};

namespace {

Result<EntryType> type_of(char flag, std::string_view path) {
  switch (flag) {
    case '\0':
    case '0':
    case '7':
      return path.ends_with('/') ? EntryType::kDirectory : EntryType::kFile;  // before POSIX directories had no flag
    case '1':
      return EntryType::kHardLink;
    case '2':
      return EntryType::kSymlink;
    case '3':
      return EntryType::kCharDevice;
    case '4':
      return EntryType::kBlockDevice;
    case '5':
      return EntryType::kDirectory;
    case '6':
      return EntryType::kFifo;
    case 'S':
      return fail(ErrorCode::kUnsupported, "the tar archive has a sparse file; make it without --sparse");
    default:
      return fail(ErrorCode::kUnsupported, "the tar archive has an entry of type {:#x}, which is not known",
                  static_cast<unsigned char>(flag));
  }
}

Result<TarEntry> parse_header(std::string_view block) {
  TarEntry entry;
  entry.path = text_of(block, ustar::kName);
  const std::string_view prefix = text_of(block, ustar::kPrefix);
  const bool posix = block.substr(ustar::kMagic.offset, 6) == std::string_view("ustar\0", 6);
  if (posix && !prefix.empty()) entry.path = fmt::format("{}/{}", prefix, entry.path);
  entry.link = text_of(block, ustar::kLink);
  TRY_ASSIGN(const std::int64_t mode, number_of(block, ustar::kMode));
  entry.mode = static_cast<std::uint32_t>(mode) & 07777U;
  TRY_ASSIGN(const std::int64_t uid, number_of(block, ustar::kUid));
  TRY_ASSIGN(entry.uid, checked_id(uid));
  TRY_ASSIGN(const std::int64_t gid, number_of(block, ustar::kGid));
  TRY_ASSIGN(entry.gid, checked_id(gid));
  TRY_ASSIGN(const std::int64_t size, number_of(block, ustar::kSize));
  TRY_ASSIGN(entry.size, checked_size(size));
  TRY_ASSIGN(entry.mtime, number_of(block, ustar::kMtime));
  const bool has_device = block.substr(ustar::kMagic.offset, 5) == "ustar";
  if (has_device) {
    TRY_ASSIGN(const std::int64_t major, number_of(block, ustar::kMajor));
    TRY_ASSIGN(const std::int64_t minor, number_of(block, ustar::kMinor));
    if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff) return damaged("a device number that is out of range");
    entry.device_major = static_cast<std::uint32_t>(major);
    entry.device_minor = static_cast<std::uint32_t>(minor);
  }
  return entry;
}

std::string without_nul(std::string text) {
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

}  // namespace

TarReader::TarReader(Source source, int pipe) : source_(std::move(source)), pipe_(pipe), buffer_(kReadBuffer) {}

Result<void> TarReader::fill() {
  begin_ = end_ = 0;
  TRY_ASSIGN(end_, source_(buffer_));
  return {};
}

Result<bool> TarReader::read_exactly(std::span<char> target) {
  std::size_t filled = 0;
  while (filled < target.size()) {
    if (begin_ == end_) TRY(fill());
    if (begin_ == end_) {
      if (filled == 0) return false;
      return damaged("it ends too early");
    }
    const std::size_t count = std::min(end_ - begin_, target.size() - filled);
    std::memcpy(target.data() + filled, buffer_.data() + begin_, count);
    begin_ += count;
    filled += count;
  }
  return true;
}

Result<void> TarReader::skip(std::uint64_t count) {
  while (count > 0) {
    if (begin_ == end_) TRY(fill());
    if (begin_ == end_) return damaged("it ends too early");
    const std::uint64_t step = std::min<std::uint64_t>(end_ - begin_, count);
    begin_ += static_cast<std::size_t>(step);
    count -= step;
  }
  return {};
}

Result<std::string> TarReader::read_extension(std::uint64_t size) {
  if (size > kMaxExtension) return damaged("an extended header of {} bytes", size);
  std::string text(static_cast<std::size_t>(size), '\0');
  TRY_ASSIGN(const bool there, read_exactly(text));
  if (!there && size != 0) return damaged("it ends too early");
  TRY(skip(tar_padding(size)));
  return text;
}

Result<std::span<const std::byte>> TarReader::data() {
  if (content_left_ == 0) return std::span<const std::byte>();
  if (begin_ == end_) TRY(fill());
  if (begin_ == end_) return damaged("it ends too early");
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(end_ - begin_, content_left_));
  const std::span<const std::byte> piece(buffer_.data() + begin_, count);
  begin_ += count;
  content_left_ -= count;
  return piece;
}

Result<void> TarReader::write_data(int file) {
  while (content_left_ > 0) {
    if (pipe_ < 0 || begin_ != end_) {
      TRY_ASSIGN(const std::span<const std::byte> piece, data());
      if (const auto written = sys::write_all(file, piece); !written) {
        return std::unexpected(Error::from_errno(written.error().error_number(), "write"));
      }
      continue;
    }
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(content_left_, kMoveAtOnce));
    const ssize_t count = ::splice(pipe_, nullptr, file, nullptr, wanted, 0);
    if (count > 0) {
      content_left_ -= static_cast<std::uint64_t>(count);
    } else if (count == 0) {
      return damaged("it ends too early");
    } else if (errno == EINVAL) {  // not all file systems can
      pipe_ = -1;
    } else if (errno != EINTR) {
      return fail_errno("write");
    }
  }
  return {};
}

Result<void> TarReader::end() {
  ended_ = true;
  std::size_t rest = 0;
  do {
    rest += end_ - begin_;
    if (rest > kMaxAfterEnd) return damaged("it goes on behind its end");
    TRY(fill());
  } while (begin_ != end_);
  return {};
}

Result<bool> TarReader::next(TarEntry& entry) {
  if (ended_) return false;
  TRY(skip(content_left_));
  content_left_ = 0;
  TRY(skip(std::exchange(padding_, 0)));
  Overrides overrides;
  for (int extensions = 0; extensions <= kMaxExtensions; ++extensions) {
    Block bytes;
    TRY_ASSIGN(const bool there, read_exactly(bytes));
    if (!there) return damaged("it ends too early");
    const std::string_view block(bytes.data(), bytes.size());
    if (std::ranges::all_of(block, [](char c) { return c == '\0'; })) {
      TRY(end());
      return false;
    }
    const auto checksum = number_of(block, ustar::kChecksum);
    if (!checksum || !checksum_fits(block, *checksum)) {
      return fail(ErrorCode::kCorrupt, "this is not an uncompressed tar archive, or it is damaged");
    }
    TRY_ASSIGN(entry, parse_header(block));
    const char flag = block[ustar::kType.offset];
    if (flag == 'x' || flag == 'L' || flag == 'K') {
      TRY_ASSIGN(std::string text, read_extension(entry.size));
      if (flag == 'x') TRY(overrides.parse(text));
      if (flag == 'L') overrides.path = without_nul(std::move(text));
      if (flag == 'K') overrides.link = without_nul(std::move(text));
      continue;
    }
    if (flag == 'g' || flag == 'V') {  // what is said of all files (a commit's name, a comment), the volume's name
      TRY(read_extension(flag == 'g' ? entry.size : 0));
      continue;
    }
    TRY(overrides.apply(entry));
    TRY_ASSIGN(entry.type, type_of(flag, entry.path));
    if (entry.type != EntryType::kFile) entry.size = 0;
    while (entry.path.size() > 1 && entry.path.ends_with('/')) entry.path.pop_back();
    if (entry.path.empty()) return damaged("an entry without a name");
    if (entry.path.find('\0') != std::string::npos || entry.link.find('\0') != std::string::npos) {
      return damaged("a name with a NUL byte");
    }
    content_left_ = entry.size;
    padding_ = tar_padding(entry.size);
    return true;
  }
  return damaged("too many extended headers");
}

}  // namespace boxlite::files
