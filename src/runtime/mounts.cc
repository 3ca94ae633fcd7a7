#include "runtime/mounts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/sys.h"
#include "runtime/byte_text.h"

namespace boxlite {
namespace {

constexpr std::string_view kMountOfBox = "mount of a box";
constexpr std::size_t kMaxMounts = 128;
constexpr std::size_t kMaxVolumeName = 255;
constexpr std::size_t kMaxPath = 4095;

std::unexpected<Error> bad_mount(std::string_view flag, std::string_view value, std::string_view why) {
  return fail(ErrorCode::kInvalidArgument, "{} {}: {}", flag, value.empty() ? "\"\"" : value, why);
}

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// docker's path.Clean of an absolute path.
std::string clean(const std::string& path) {
  std::string text = std::filesystem::path(path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  while (text.starts_with("//")) text.erase(0, 1);
  return text;
}

Result<std::string> parse_target(std::string_view flag, std::string_view value, std::string_view target) {
  if (!target.starts_with('/')) return bad_mount(flag, value, "the path in the box must be absolute");
  if (target.size() > kMaxPath || target.find('\0') != std::string_view::npos) return bad_mount(flag, value, "not a path");
  std::string path = clean(std::string(target));
  if (path == "/") return bad_mount(flag, value, "nothing can be mounted on the root of the box");
  for (const std::string_view own : {"/proc", "/sys"}) {
    if (path == own || path.starts_with(std::string(own) + "/"))
      return bad_mount(flag, value, "nothing can be mounted on /proc or /sys");
  }
  return path;
}

Result<void> set_source(std::string_view flag, std::string_view value, std::string_view source, Mount& mount) {
  if (source.empty()) return bad_mount(flag, value, "the source is empty");
  if (source.find('\0') != std::string_view::npos) return bad_mount(flag, value, "not a path");
  if (!mount.volume) {
    mount.source = source;
    return {};
  }
  if (flag == "--mount" && source.find('/') != std::string_view::npos)
    return bad_mount(flag, value,
                     fmt::format("\"{}\" is a path; say type=bind, without which the source is a volume's name", source));
  if (auto valid = validate_volume_name(source); !valid) return bad_mount(flag, value, valid.error().message());
  mount.name = source;
  return {};
}

// What to do about an option of docker's that is not here.
std::string_view advice_on_option(std::string_view option) {
  constexpr std::string_view kPropagation[] = {"private", "rprivate", "shared", "rshared", "slave", "rslave"};
  constexpr std::string_view kConsistency[] = {"cached", "delegated", "consistent", "default"};
  if (option == "z" || option == "Z") return "is docker's for SELinux labels, and a box needs none; leave it out";
  if (std::ranges::find(kConsistency, option) != std::end(kConsistency))
    return "is not here, as both sides see changes at once; leave it out";
  if (std::ranges::find(kPropagation, option) != std::end(kPropagation))
    return "is not here, as no mount goes from one machine to another; leave it out";
  return "is not known; there are ro, rw and, for volumes, nocopy";
}

Result<void> set_volume_options(std::string_view flag, std::string_view value, std::string_view options, Mount& mount) {
  bool read_write = false;
  for (std::string_view rest = options;;) {
    const std::string_view option = rest.substr(0, rest.find(','));
    if (option == "ro") {
      mount.read_only = true;
    } else if (option == "rw") {
      read_write = true;
    } else if (option == "nocopy" && !mount.volume) {
      return bad_mount(flag, value, "nocopy is for volumes only: nothing is ever copied into a directory of the host");
    } else if (option == "nocopy") {
      mount.copy = false;
    } else {
      return bad_mount(flag, value, fmt::format("option \"{}\" {}", option, advice_on_option(option)));
    }
    if (option.size() == rest.size()) break;
    rest.remove_prefix(option.size() + 1);
  }
  if (mount.read_only && read_write) return bad_mount(flag, value, "ro and rw exclude each other");
  return {};
}

Result<Mount> parse_volume(const std::string& text) {
  constexpr std::string_view kFlag = "--volume";
  std::vector<std::string_view> parts;
  for (std::string_view rest = text;;) {
    const std::size_t colon = rest.find(':');
    parts.push_back(rest.substr(0, colon));
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  if (parts.size() > 3)
    return bad_mount(kFlag, text, "too many colons; use SOURCE:DIR[:OPTIONS], or --mount for a path with a colon");
  Mount mount;
  if (parts.size() == 1) {
    mount.volume = mount.anonymous = true;
    TRY_ASSIGN(mount.target, parse_target(kFlag, text, parts[0]));
    return mount;
  }
  if (parts[0] == "~" || parts[0].starts_with("~/"))
    return bad_mount(kFlag, text,
                     "the shell has left ~ as it is, as within quotes; write $HOME, or ./~ for a directory of that name");
  // A path is what looks like one; anything else is a volume's name.
  mount.volume = parts[0].find('/') == std::string_view::npos && parts[0] != "." && parts[0] != "..";
  mount.make_source = !mount.volume;
  TRY(set_source(kFlag, text, parts[0], mount));
  TRY_ASSIGN(mount.target, parse_target(kFlag, text, parts[1]));
  if (parts.size() == 3) TRY(set_volume_options(kFlag, text, parts[2], mount));
  return mount;
}

// A line of comma separated values (RFC 4180), as docker reads --mount.
Result<std::vector<std::string>> split_fields(const std::string& text) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      fields.back() += '"';
      ++i;
    } else if (c == '"' && (quoted || fields.back().empty())) {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  if (quoted) return bad_mount("--mount", text, "a quote is not closed");
  return fields;
}

std::optional<bool> parse_bool(std::string_view value) {
  if (value.empty() || value == "true" || value == "1") return true;
  if (value == "false" || value == "0") return false;
  return std::nullopt;
}

Result<Mount> parse_mount(const std::string& text) {
  constexpr std::string_view kFlag = "--mount";
  TRY_ASSIGN(const std::vector<std::string> fields, split_fields(text));
  Mount mount;
  mount.volume = true;  // docker's default type
  std::optional<std::string> source, target;
  for (const std::string& field : fields) {
    const std::size_t equals = std::min(field.find('='), field.size());
    const std::string key = field.substr(0, equals);
    const std::string value = field.substr(std::min(equals + 1, field.size()));
    if (key == "type") {
      if (value == "tmpfs") return bad_mount(kFlag, text, "for a tmpfs use --tmpfs DIR:OPTIONS");
      if (value != "bind" && value != "volume") return bad_mount(kFlag, text, "type must be bind or volume");
      mount.volume = value == "volume";
    } else if (key == "source" || key == "src") {
      source = value;
    } else if (key == "target" || key == "dst" || key == "destination") {
      target = value;
    } else if (key == "readonly" || key == "ro" || key == "volume-nocopy") {
      const auto on = parse_bool(value);
      if (!on) return bad_mount(kFlag, text, fmt::format("{} must be true or false", key));
      (key == "volume-nocopy" ? mount.copy : mount.read_only) = key == "volume-nocopy" ? !*on : *on;
    } else if (key == "bind-propagation" || key == "consistency") {
      return bad_mount(kFlag, text, fmt::format("{} {}", field, advice_on_option(value)));
    } else {
      return bad_mount(kFlag, text,
                       fmt::format("\"{}\" is not known; there are type, source, target, readonly and volume-nocopy", field));
    }
  }
  if (!target) return bad_mount(kFlag, text, "target is missing");
  TRY_ASSIGN(mount.target, parse_target(kFlag, text, *target));
  if (!source && !mount.volume) return bad_mount(kFlag, text, "a bind needs a source");
  mount.anonymous = !source;
  if (source) TRY(set_source(kFlag, text, *source, mount));
  return mount;
}

std::string parent_of(const std::string& path) { return path.substr(0, std::max<std::size_t>(path.rfind('/'), 1)); }

Result<std::string> real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> resolved(::realpath(path.c_str(), nullptr), std::free);
  if (!resolved) return fail_errno("{}", path);
  return std::string(resolved.get());
}

Result<void> make_directories(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return {};
  if (errno != ENOENT || path == "/") return fail_errno("make the directory {}", path);
  TRY(make_directories(parent_of(path)));
  if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST) return fail_errno("make the directory {}", path);
  return {};
}

bool is_below(const std::string& path, const std::string& directory) {
  return directory == "/" || path == directory || path.starts_with(directory + "/");
}

Result<void> find_source(const HomePaths& paths, Mount& mount) {
  std::error_code error;
  const std::string absolute = clean(std::filesystem::absolute(mount.source, error).string());
  if (error) return fail(ErrorCode::kInvalidArgument, "{}: {}", mount.source, error.message());
  if (::access(absolute.c_str(), F_OK) < 0) {
    if (errno != ENOENT) return fail_errno("the source {} of the mount on {}", absolute, mount.target);
    if (!mount.make_source) {
      return fail(ErrorCode::kNotFound, "--mount: the source {} is not there; make it first, or use --volume, which does",
                  absolute);
    }
    TRY(make_directories(absolute));
  }
  TRY_ASSIGN(mount.source, real_path(absolute));
  TRY_ASSIGN(const std::string home, real_path(paths.home()));
  if (is_below(mount.source, home)) {
    return fail(ErrorCode::kInvalidArgument,
                "{} is in the home of boxlite, whose files no box may have; volumes are mounted by name", mount.source);
  }
  struct stat st = {};
  if (::stat(mount.source.c_str(), &st) < 0) return fail_errno("{}", mount.source);
  if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) {
    return fail(ErrorCode::kInvalidArgument, "{} is neither a directory nor a file, and cannot be mounted in a box",
                mount.source);
  }
  return {};
}

Result<void> refuse_doubles(const BoxOptions& options, const std::vector<Mount>& mounts) {
  if (mounts.size() > kMaxMounts) return fail(ErrorCode::kInvalidArgument, "--volume: {} are the most", kMaxMounts);
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    const std::string& target = mounts[i].target;
    const bool twice = std::any_of(mounts.begin(), mounts.begin() + static_cast<std::ptrdiff_t>(i),
                                   [&](const Mount& other) { return other.target == target; });
    const bool tmpfs = std::ranges::any_of(options.tmpfs, [&](const auto& entry) { return clean(entry.first) == target; });
    if (twice || tmpfs) return fail(ErrorCode::kInvalidArgument, "{}: two mounts on one directory of the box", target);
  }
  return {};
}

// Where the image wants volumes and nothing else is mounted.
std::vector<std::string> image_volumes(const BoxOptions& options, const ImageConfig& image, const std::vector<Mount>& mounts) {
  std::vector<std::string> targets;
  for (const std::string& volume : image.volumes) {
    auto target = parse_target("VOLUME", volume, volume);
    if (!target) continue;  // an image that asks for the impossible gets what it can have
    const bool taken = std::ranges::any_of(mounts, [&](const Mount& mount) { return mount.target == *target; }) ||
                       std::ranges::any_of(options.tmpfs, [&](const auto& entry) { return clean(entry.first) == *target; });
    if (!taken && mounts.size() + targets.size() < kMaxMounts) targets.push_back(std::move(*target));
  }
  return targets;
}

}  // namespace

Result<void> validate_volume_name(std::string_view name) {
  const bool fits = name.size() >= 2 && name.size() <= kMaxVolumeName && is_alnum(name.front()) &&
                    std::ranges::all_of(name, [](char c) { return is_alnum(c) || c == '_' || c == '.' || c == '-'; });
  if (fits) return {};
  return fail(
      ErrorCode::kInvalidArgument,
      "\"{}\" cannot be a volume's name: two or more letters, digits, \"_\", \".\" and \"-\", the first a letter or digit; a "
      "path begins with / or ./",
      name);
}

Result<std::vector<Mount>> asked_mounts(const BoxOptions& options) {
  std::vector<Mount> mounts;
  for (const std::string& text : options.volumes) {
    TRY_ASSIGN(Mount mount, parse_volume(text));
    mounts.push_back(std::move(mount));
  }
  for (const std::string& text : options.mounts) {
    TRY_ASSIGN(Mount mount, parse_mount(text));
    mounts.push_back(std::move(mount));
  }
  TRY(refuse_doubles(options, mounts));
  return mounts;
}

Result<ResolvedMounts> resolve_mounts(const HomePaths& paths, const BoxOptions& options, const ImageConfig& image) {
  ResolvedMounts resolved;
  auto& [mounts, directories] = resolved;
  TRY_ASSIGN(mounts, asked_mounts(options));
  std::vector<std::string> volumes = image_volumes(options, image, mounts);
  if (options.privileged) {
    directories = std::move(volumes);  // docs/decisions/010: docker's overlays must not lie on the 9P of a volume
  } else {
    for (std::string& target : volumes) {
      Mount mount;
      mount.volume = mount.anonymous = true;
      mount.target = std::move(target);
      mounts.push_back(std::move(mount));
    }
  }
  for (Mount& mount : mounts) {
    if (!mount.volume) TRY(find_source(paths, mount));
    if (mount.anonymous) mount.name = sys::random_hex(32);
  }
  std::ranges::sort(mounts, {}, &Mount::target);
  return resolved;
}

std::string mount_source(const HomePaths& paths, const Mount& mount) {
  return mount.volume ? paths.volume_data(mount.name) : mount.source;
}

std::vector<MountInfo> describe_mounts(const HomePaths& paths, const std::vector<Mount>& mounts) {
  std::vector<MountInfo> infos;
  for (const Mount& mount : mounts) {
    infos.push_back({.type = mount.volume ? "volume" : "bind",
                     .name = mount.name,
                     .source = mount_source(paths, mount),
                     .destination = mount.target,
                     .read_only = mount.read_only});
  }
  return infos;
}

std::vector<std::string> volumes_of(const std::vector<Mount>& mounts) {
  std::vector<std::string> names;
  for (const Mount& mount : mounts) {
    if (mount.volume && std::ranges::find(names, mount.name) == names.end()) names.push_back(mount.name);
  }
  return names;
}

Result<bool> check_source(const Mount& mount) {
  const auto now = real_path(mount.source);
  if (!now) {
    return fail(ErrorCode::kNotFound, "the source {} of its mount on {} cannot be found: {}", mount.source, mount.target,
                now.error().message());
  }
  if (*now != mount.source) {
    return fail(ErrorCode::kInvalidState, "the source {} of its mount on {} is a link to {} now; put the directory back",
                mount.source, mount.target, *now);
  }
  TRY_ASSIGN(const struct stat st, sys::stat(mount.source));
  return !S_ISDIR(st.st_mode);
}

std::string home_below(const HomePaths& paths, const std::string& source) {
  const auto home = real_path(paths.home());
  if (!home || !is_below(*home, source) || *home == source) return {};
  return home->substr(source == "/" ? 1 : source.size() + 1);
}

Json to_json(const Mount& mount) {
  return {{"type", mount.volume ? "volume" : "bind"},
          {"name", mount.name},
          {"anonymous", mount.anonymous},
          {"source", bytes_to_text(mount.source)},
          {"target", bytes_to_text(mount.target)},
          {"read_only", mount.read_only},
          {"copy", mount.copy}};
}

Result<Mount> mount_from_json(const Json& json) {
  Mount mount;
  TRY_ASSIGN(const auto type, json_get<std::string>(json, "type", kMountOfBox));
  mount.volume = type == "volume";
  TRY_ASSIGN(mount.name, json_get<std::string>(json, "name", kMountOfBox));
  TRY_ASSIGN(mount.anonymous, json_get<bool>(json, "anonymous", kMountOfBox));
  TRY_ASSIGN(const auto source, json_get<std::string>(json, "source", kMountOfBox));
  TRY_ASSIGN(mount.source, text_to_bytes(source, kMountOfBox));
  TRY_ASSIGN(const auto target, json_get<std::string>(json, "target", kMountOfBox));
  TRY_ASSIGN(mount.target, text_to_bytes(target, kMountOfBox));
  TRY_ASSIGN(mount.read_only, json_get<bool>(json, "read_only", kMountOfBox));
  TRY_ASSIGN(mount.copy, json_get<bool>(json, "copy", kMountOfBox));
  if (mount.volume) TRY(validate_volume_name(mount.name));
  return mount;
}

}  // namespace boxlite
