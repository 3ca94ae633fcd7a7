#include "agent/user.h"

#include <array>
#include <charconv>
#include <limits>
#include <optional>

#include "agent/in_root.h"

namespace boxlite::agent {
namespace {

constexpr std::size_t kMaxAccountsFile = std::size_t{4} * 1024 * 1024;
constexpr std::size_t kMaxUserName = 64;
constexpr std::uint32_t kMaxId = std::numeric_limits<std::int32_t>::max();

// nullopt: not a decimal number. A number that fits no id becomes kMaxId + 1, so that it is refused as out of range.
std::optional<std::uint32_t> parse_id(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || end != text.data() + text.size() || error == std::errc::invalid_argument) return std::nullopt;
  if (error != std::errc() || value > kMaxId) return kMaxId + 1;
  return static_cast<std::uint32_t>(value);
}

template <std::size_t N>
std::array<std::string_view, N> split_fields(std::string_view line) {
  std::array<std::string_view, N> fields;
  for (std::size_t i = 0; i < N; ++i) {
    const std::size_t colon = line.find(':');
    fields[i] = line.substr(0, colon);
    if (colon == std::string_view::npos) break;
    line.remove_prefix(colon + 1);
  }
  return fields;
}

// Calls visit(line) for each line until it returns true.
template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (!line.empty() && line.front() != '#' && visit(line)) return;
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

bool lists(std::string_view members, std::string_view name) {
  while (!members.empty()) {
    const std::size_t comma = members.find(',');
    if (members.substr(0, comma) == name) return true;
    if (comma == std::string_view::npos) break;
    members.remove_prefix(comma + 1);
  }
  return false;
}

Result<void> check_range(std::uint32_t id) {
  if (id > kMaxId)
    return fail(ErrorCode::kInvalidArgument, "uids and gids must be in range 0-{}; use one of these, or a name", kMaxId);
  return {};
}

// Fills uid, gid and home; returns the name when passwd has one.
Result<std::string_view> find_user(std::string_view passwd, std::string_view wanted, User& user) {
  const std::optional<std::uint32_t> id = wanted.empty() ? std::optional<std::uint32_t>(0) : parse_id(wanted);
  std::optional<std::string_view> name;
  for_each_line(passwd, [&](std::string_view line) {
    const auto fields = split_fields<7>(line);  // name:password:uid:gid:gecos:home:shell
    const auto uid = parse_id(fields[2]);
    const auto gid = parse_id(fields[3]);
    if (!uid || *uid > kMaxId || !gid || *gid > kMaxId) return false;
    if (wanted.empty() ? *uid != 0 : fields[0] != wanted && uid != id) return false;
    name = fields[0];
    user.uid = *uid;
    user.gid = *gid;
    if (!fields[5].empty()) user.home = fields[5];
    return true;
  });
  if (name) return *name;
  if (!id)
    return fail(ErrorCode::kInvalidArgument,
                "unable to find user {}: no matching entries in the image's /etc/passwd; use a name from it, or a number",
                wanted);
  TRY(check_range(*id));
  user.uid = *id;
  return std::string_view{};
}

Result<void> find_group(std::string_view group, std::string_view wanted, User& user) {
  const std::optional<std::uint32_t> id = parse_id(wanted);
  bool found = false;
  for_each_line(group, [&](std::string_view line) {
    const auto fields = split_fields<4>(line);  // name:password:gid:members
    const auto gid = parse_id(fields[2]);
    if (!gid || *gid > kMaxId || (fields[0] != wanted && gid != id)) return false;
    user.gid = *gid;
    return found = true;
  });
  if (found) return {};
  if (!id)
    return fail(ErrorCode::kInvalidArgument,
                "unable to find group {}: no matching entries in the image's /etc/group; use a name from it, or a number",
                wanted);
  TRY(check_range(*id));
  user.gid = *id;
  return {};
}

}  // namespace

Result<User> resolve_user(int root, std::string_view spec) {
  const std::size_t colon = spec.find(':');
  const std::string_view wanted_user = spec.substr(0, colon);
  const std::string_view wanted_group = colon == std::string_view::npos ? std::string_view{} : spec.substr(colon + 1);
  TRY_ASSIGN(const std::optional<std::string> passwd, read_in_root(root, "/etc/passwd", kMaxAccountsFile));
  User user;
  TRY_ASSIGN(const std::string_view name, find_user(passwd ? *passwd : std::string_view{}, wanted_user, user));
  std::vector<gid_t> others;
  if (!wanted_group.empty() || !name.empty()) {
    TRY_ASSIGN(const std::optional<std::string> group, read_in_root(root, "/etc/group", kMaxAccountsFile));
    const std::string_view text = group ? *group : std::string_view{};
    if (!wanted_group.empty()) {
      TRY(find_group(text, wanted_group, user));
    } else {
      for_each_line(text, [&](std::string_view line) {
        const auto fields = split_fields<4>(line);
        const auto gid = parse_id(fields[2]);
        if (gid && *gid <= kMaxId && lists(fields[3], name)) others.push_back(*gid);
        return others.size() >= 65535;  // NGROUPS_MAX, one kept for the primary group
      });
    }
  }
  user.groups.push_back(user.gid);
  for (const gid_t gid : others) {
    if (gid != user.gid) user.groups.push_back(gid);
  }
  return user;
}

UserNames::UserNames(int root) {
  const auto passwd = read_in_root(root, "/etc/passwd", kMaxAccountsFile);
  if (!passwd || !*passwd) return;
  for_each_line(**passwd, [this](std::string_view line) {
    const auto fields = split_fields<7>(line);
    const auto uid = parse_id(fields[2]);
    if (uid && *uid <= kMaxId && !fields[0].empty() && fields[0].size() <= kMaxUserName) names_.emplace(*uid, fields[0]);
    return false;
  });
}

std::string UserNames::name(uid_t uid) const {
  const auto found = names_.find(uid);
  return found == names_.end() ? std::to_string(uid) : found->second;
}

}  // namespace boxlite::agent
