#include "volume/ownership.h"

#include <charconv>
#include <system_error>

namespace boxlite::volume {
namespace {

constexpr mode_t kPermissions = 07777;
constexpr mode_t kMarked = 07700;
constexpr std::uint32_t kNobody = 65534;

template <typename Number>
bool take_number(std::string_view& text, char end, int base, Number& value) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (parsed.ec != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
  if (end == '\0') return text.empty();
  if (!text.starts_with(end)) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::optional<Attributes> parse_mark(std::string_view text) {
  Attributes mark;
  if (!take_number(text, ':', 10, mark.uid) || !take_number(text, ':', 10, mark.gid) || !take_number(text, '\0', 8, mark.mode)) {
    return std::nullopt;
  }
  mark.mode &= kPermissions;
  return mark;
}

std::string format_mark(const Attributes& attributes) {
  char mode[8] = {};
  const auto end = std::to_chars(mode, mode + sizeof mode, attributes.mode & kPermissions, 8).ptr;
  return std::to_string(attributes.uid) + ":" + std::to_string(attributes.gid) + ":" + std::string(mode, end);
}

Attributes Ownership::present(const struct stat& st, const std::optional<Attributes>& mark) const {
  Attributes seen = {st.st_uid, st.st_gid, st.st_mode & kPermissions};
  if (!mapped_) return seen;
  if (mark) return {mark->uid, mark->gid, (seen.mode & ~kMarked) | (mark->mode & kMarked)};
  seen.uid = st.st_uid == owner_.uid ? shown_.uid : kNobody;
  seen.gid = st.st_gid == owner_.gid ? shown_.gid : kNobody;
  return seen;
}

mode_t Ownership::own_mode(mode_t mode, bool directory) const {
  if (!mapped_) return mode & kPermissions;
  return (mode & 0777U) | S_IRUSR | S_IWUSR | (directory ? S_IXUSR : 0U);
}

bool Ownership::needs_mark(const Attributes& wanted, bool directory) const {
  return wanted.uid != shown_.uid || wanted.gid != shown_.gid ||
         (wanted.mode & kMarked) != (own_mode(wanted.mode, directory) & kMarked);
}

}  // namespace boxlite::volume
