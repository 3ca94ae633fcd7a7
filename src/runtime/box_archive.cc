// Theory of operation.
//
// Export: the box is frozen as for a snapshot, into a directory that is there just until its files are open. From then on nothing
// holds anybody up, however slowly the archive is taken away, and nothing is left of an export that is killed.
//
// Import: a box's id is reserved, and the job unpacks into that box's temporary directory, which goes with whoever dies
// (create.cc; the base alone is left to gc when that is between its naming and the row). What is there then has the right names
// and bounded sizes, and is as hostile as before. The record is parsed into the options of a box, and what concerns the host is
// dropped: that is the importer's to say. The disk becomes a base of a name of its own kind and frozen layers, all of which only
// a QEMU in its jail reads; memory is what an escaped guest could have written.
#include "runtime/box_archive.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/defer.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/sys.h"
#include "image/box_archive.h"
#include "runtime/box_config.h"
#include "runtime/byte_text.h"
#include "runtime/checkpoint.h"
#include "runtime/create.h"
#include "runtime/image_archive.h"
#include "runtime/image_process.h"
#include "runtime/images.h"
#include "runtime/names.h"
#include "runtime/printable.h"
#include "runtime/removal.h"
#include "runtime/snapshot.h"

namespace boxlite {
namespace {

constexpr int kArchiveVersion = 1;
constexpr std::size_t kMaxReference = 1024;
constexpr std::size_t kMaxNote = 200;
constexpr std::uint64_t kMaxOffset = std::uint64_t{1} << 60U;  // of output that has been read
constexpr std::size_t kSector = 512;
constexpr std::size_t kBaseNameBytes = 16;

// What a box asks of its host. It is not in an archive, and not taken from one.
void drop_wishes_of_the_host(BoxConfig& config) {
  BoxOptions& options = config.options;
  options.auto_remove = options.publish_all = options.host_access = false;
  options.publish.clear();
  options.volumes.clear();
  options.mounts.clear();
  options.env.clear();
  config.mounts.clear();
  config.ports.clear();
}

// Of a directory of this host its last part.
std::string public_reference(const std::string& reference) {
  for (const std::string_view kind : {kDirectoryImage, std::string_view("oci:")}) {
    if (reference.starts_with(kind)) return std::string(kind) + reference.substr(std::max(reference.rfind('/') + 1, kind.size()));
  }
  return reference;
}

std::vector<std::string> names_of(const std::vector<std::string>& env) {
  std::vector<std::string> names;
  for (const std::string& entry : env) names.push_back(entry.substr(0, entry.find('=')));
  return names;
}

Result<Json> describe_box(const HomePaths& paths, const BoxRow& row) {
  TRY_ASSIGN(BoxConfig config, box_config_from_json(row.config));
  TRY_ASSIGN(const BoxSecrets secrets, read_secrets(paths.secrets(row.id)));
  std::vector<std::string> ports;
  for (const PortRequest& port : config.ports) ports.push_back(fmt::format("{}/{}", port.box_port, port.protocol));
  std::vector<std::string> targets;
  for (const Mount& mount : config.mounts) targets.push_back(mount.target);
  const bool host_access = config.options.host_access;
  const bool auto_remove = config.options.auto_remove;
  drop_wishes_of_the_host(config);
  config.options.image = public_reference(row.image_reference);
  return Json{{"version", kArchiveVersion},
              {"name", row.name},
              {"image", bytes_to_text(config.options.image)},
              {"exported_at", sys::utc_now()},
              {"config", to_json(config)},
              {"image_env", byte_list_to_json(secrets.image_env)},
              {"left_out",
               {{"env", byte_list_to_json(names_of(secrets.env))},
                {"ports", ports},
                {"mounts", byte_list_to_json(targets)},
                {"host_access", host_access},
                {"auto_remove", auto_remove}}}};
}

struct OpenMember {
  std::string name;
  UniqueFd fd;
};

Result<OpenMember> open_member(const std::string& path, std::string_view name) {
  TRY_ASSIGN(const UniqueFd fd, sys::open(path, O_RDONLY | O_NOFOLLOW));
  TRY_ASSIGN(UniqueFd kept, inheritable(fd.get(), path));
  return OpenMember{.name = std::string(name), .fd = std::move(kept)};
}

// In the archive's order.
Result<std::vector<OpenMember>> open_members(const HomePaths& paths, const BoxRow& row, const std::string& directory) {
  std::vector<OpenMember> members;
  const auto add = [&](const std::string& path, std::string_view name) -> Result<void> {
    TRY_ASSIGN(OpenMember member, open_member(path, name));
    members.push_back(std::move(member));
    return {};
  };
  for (const std::string_view name : {image::kBoxMember, image::kCheckpointMember})
    TRY(add(fmt::format("{}/{}", directory, name), name));
  TRY(add(paths.base(row.image_id), image::kBaseMember));
  const std::vector<std::string> layers = layers_in(directory);
  if (layers.size() > image::kMaxBoxLayers) {
    return fail(
        ErrorCode::kUnsupported,
        "the disk of box {} lies on {} frozen ones, and {} are the most in an archive; an export of it while it runs makes one "
        "of them: boxlite start {}",
        row.name, layers.size(), image::kMaxBoxLayers, row.name);
  }
  for (std::size_t i = 0; i < layers.size(); ++i) TRY(add(layers[i], layer_name(i)));
  for (const std::string_view name : {image::kMemoryMember, image::kDeviceStateMember}) {
    const std::string path = fmt::format("{}/{}", directory, name);
    if (::access(path.c_str(), F_OK) == 0) TRY(add(path, name));
  }
  return members;
}

struct Described {
  std::string name;
  std::string image;
  BoxConfig config;
  std::vector<std::string> image_env;
  std::vector<std::string> left_out;
};

std::string listed(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + item;
  return printable(text, kMaxNote);
}

// A line for each kind of thing that the box had where it comes from and has not here.
Result<std::vector<std::string>> left_out(const Json& record, const std::string& what, const BoxImportOptions& options) {
  TRY_ASSIGN(const Json json, json_get<Json>(record, "left_out", what));
  TRY_ASSIGN(const std::vector<std::string> env, byte_list_from_json(json, "env", what));
  TRY_ASSIGN(const auto ports, json_get<std::vector<std::string>>(json, "ports", what));
  TRY_ASSIGN(const std::vector<std::string> mounts, byte_list_from_json(json, "mounts", what));
  const std::vector<std::string> given = names_of(options.env);
  std::vector<std::string> missing;
  std::ranges::copy_if(env, std::back_inserter(missing),
                       [&given](const std::string& name) { return std::ranges::find(given, name) == given.end(); });
  std::vector<std::string> notes;
  if (!missing.empty()) notes.push_back("environment " + listed(missing) + "; values are given with --env");
  if (!ports.empty() && options.publish.empty())
    notes.push_back("published ports " + listed(ports) + "; they are given with --publish");
  if (!mounts.empty()) notes.push_back("volumes on " + listed(mounts) + "; the box has its own directories there");
  TRY_ASSIGN(const bool host_access, json_get_or(json, "host_access", what, false));
  if (host_access && !options.host_access) notes.emplace_back("access to the host's loopback; it is given with --host-access");
  TRY_ASSIGN(const bool auto_remove, json_get_or(json, "auto_remove", what, false));
  if (auto_remove) notes.emplace_back("--rm; the box stays when its command has ended");
  return notes;
}

// As create does, and what it takes from an image, too.
Result<void> validate(const Described& box) {
  const auto plain = [](const std::string& text) { return text == printable(text, kMaxReference); };
  if (box.image.empty() || !plain(box.image)) return fail(ErrorCode::kCorrupt, "its image cannot have that name");
  const bool rooted = std::ranges::all_of(box.config.directories, [](const std::string& path) { return path.starts_with('/'); });
  if (box.config.args.empty() || !rooted) return fail(ErrorCode::kCorrupt, "it is no box's");
  TRY(validate_options(box.config.options));
  BoxOptions effective = box.config.options;
  effective.command = box.config.args;
  effective.entrypoint = box.config.directories;  // strings of no other meaning here
  effective.user = box.config.user;
  effective.stop_signal = box.config.stop_signal;
  effective.labels = box.config.labels;
  effective.env = box.image_env;
  TRY(validate_options(effective));
  effective.command = {box.config.working_dir};
  return validate_options(effective);
}

Result<Described> read_description(const std::string& directory, const std::string& archive, const BoxImportOptions& options) {
  const std::string what = fmt::format("{}: {}", archive, image::kBoxMember);
  TRY_ASSIGN(const std::string text, read_file(fmt::format("{}/{}", directory, image::kBoxMember), image::kMaxBoxRecord));
  TRY_ASSIGN(const Json json, parse_json(text, what));
  TRY_ASSIGN(const int version, json_get<int>(json, "version", what));
  if (version != kArchiveVersion)
    return fail(ErrorCode::kUnsupported, "{} has version {}; this boxlite knows version {}", what, version, kArchiveVersion);
  Described box;
  TRY_ASSIGN(box.name, json_get<std::string>(json, "name", what));
  TRY_ASSIGN(const auto image, json_get<std::string>(json, "image", what));
  TRY_ASSIGN(box.image, text_to_bytes(image, what));
  TRY_ASSIGN(const Json config, json_get<Json>(json, "config", what));
  auto parsed = box_config_from_json(config);
  if (!parsed) return std::unexpected(parsed.error().context(what));
  box.config = std::move(*parsed);
  TRY_ASSIGN(box.image_env, byte_list_from_json(json, "image_env", what));
  TRY_ASSIGN(box.left_out, left_out(json, what, options));
  drop_wishes_of_the_host(box.config);
  BoxOptions& asked = box.config.options;
  asked.image = box.image;
  asked.env = options.env;
  asked.publish = options.publish;
  asked.host_access = options.host_access;
  asked.cpus = options.cpus.value_or(asked.cpus);
  asked.memory_mib = options.memory_mib.value_or(asked.memory_mib);
  asked.network = options.network.value_or(asked.network);
  if (auto valid = validate(box); !valid) return std::unexpected(valid.error().context(what));
  TRY_ASSIGN(box.config.ports, asked_ports(asked, {}));
  asked.env.clear();
  return box;
}

// Written anew: what stays is what is understood.
Result<CheckpointRecord> take_record(const std::string& directory, const BoxConfig& config, const std::string& archive,
                                     const BoxImportOptions& options) {
  auto read = read_checkpoint(directory);
  if (!read) return std::unexpected(read.error().context(archive));
  std::optional<CheckpointRecord>& record = *read;
  if (!record) return fail(ErrorCode::kCorrupt, "{}: no checkpoint is in it", archive);
  const bool has_memory = ::access(fmt::format("{}/{}", directory, image::kMemoryMember).c_str(), F_OK) == 0;
  if (has_memory && (options.cpus || options.memory_mib || options.network)) {
    return fail(
        ErrorCode::kInvalidArgument,
        "{}: CPUs, memory and network of the running machine in it are what they are; leave out --cpus, --memory and --network",
        archive);
  }
  const std::uint64_t memory_bytes = has_memory ? config.options.memory_mib * kMiB : 0;
  if (record->memory_bytes != memory_bytes || record->stdout_offset > kMaxOffset || record->stderr_offset > kMaxOffset)
    return fail(ErrorCode::kCorrupt, "{}: its checkpoint is of another box", archive);
  if (auto fits = check_files(directory, *record); !fits) return std::unexpected(fits.error().context(archive));
  if (has_memory && record->memory_crc32) {
    TRY_ASSIGN(const std::uint32_t sum, memory_checksum(fmt::format("{}/{}", directory, image::kMemoryMember)));
    if (sum != *record->memory_crc32)
      return fail(ErrorCode::kCorrupt, "{}: the memory in it does not have its checksum", archive);
  }
  record->boot_id.clear();
  record->created_at = sys::utc_now();
  TRY(write_file_volatile(directory + "/checkpoint.json", dump_json(to_json(*record), 1) + "\n", 0600));
  return std::move(*record);
}

Result<void> place_base(const HomePaths& paths, const std::string& from, const std::string& image_id,
                        const std::string& archive) {
  TRY_ASSIGN(const struct stat st, sys::stat(from));
  if (st.st_size == 0 || st.st_size % static_cast<off_t>(kSector) != 0)
    return fail(ErrorCode::kCorrupt, "{}: {} is no disk: it has {} bytes", archive, from, st.st_size);
  TRY(link_frozen(from, paths.base(image_id)));
  return sync_directory(paths.bases());
}

// What is in the archive has its name there in a message: where it was unpacked to is gone by then.
template <typename T>
Result<T> without_directory(Result<T> result, const std::string& directory) {
  if (result) return result;
  std::string message = result.error().message();
  const std::string prefix = directory + "/";
  for (std::size_t at = message.find(prefix); at != std::string::npos; at = message.find(prefix, at))
    message.erase(at, prefix.size());
  return std::unexpected(Error(result.error().code(), std::move(message)));
}

Result<void> unpack(const Context& context, int fd, const std::string& name, const std::string& directory) {
  TRY_ASSIGN(const UniqueFd archive, inheritable(fd, name));
  image::JobRequest request;
  request.kind = image::JobKind::kUnpackBox;
  request.archive_fd = archive.get();
  request.archive_name = name;
  request.directory = directory;
  TRY(run_image_job(context.paths, std::move(request), {}));
  return {};
}

// What can be known to be wrong without the archive.
Result<void> check_wishes(const Context& context, const BoxImportOptions& options) {
  if (!options.name.empty()) {
    TRY(validate_name(options.name));
    TRY(context.database.refuse_taken_name(options.name));
  }
  BoxOptions asked;
  asked.image = "an archive's";
  asked.env = options.env;
  asked.publish = options.publish;
  asked.host_access = options.host_access;
  asked.cpus = options.cpus.value_or(asked.cpus);
  asked.memory_mib = options.memory_mib.value_or(asked.memory_mib);
  TRY(validate_options(asked));
  TRY(asked_ports(asked, {}));
  return {};
}

}  // namespace

Result<void> export_box(Context& context, const BoxRow& row, int fd, const std::string& name, bool memory) {
  TRY_ASSIGN(const UniqueFd archive, inheritable(fd, name));
  TRY_ASSIGN(const Json record, describe_box(context.paths, row));
  const std::string description = dump_json(record, 1) + "\n";
  if (description.size() > image::kMaxBoxRecord) {
    return fail(ErrorCode::kUnsupported, "box {}: what is to be written of its options takes {} bytes, and {} is the most",
                row.name, description.size(), image::kMaxBoxRecord);
  }
  std::vector<OpenMember> members;
  const auto open = [&](const std::string& directory, CheckpointRecord checkpoint) -> Result<void> {
    checkpoint.boot_id.clear();
    TRY(write_file_volatile(directory + "/checkpoint.json", dump_json(to_json(checkpoint), 1) + "\n", 0600));
    TRY(write_file_volatile(directory + "/boxlite.json", description, 0600));
    FAILPOINT("export.frozen");
    TRY_ASSIGN(members, open_members(context.paths, row, directory));
    return {};
  };
  TRY(with_frozen_box(context, row, memory, open));
  FAILPOINT("export.open");
  image::JobRequest request;
  request.kind = image::JobKind::kPackBox;
  request.archive_fd = archive.get();
  request.archive_name = name;
  for (const OpenMember& member : members) request.members.push_back({.name = member.name, .fd = member.fd.get()});
  TRY(run_image_job(context.paths, std::move(request), {}));
  return {};
}

Result<std::pair<BoxRow, std::vector<std::string>>> import_box(Context& context, int fd, const std::string& name,
                                                               const BoxImportOptions& options) {
  const HomePaths& paths = context.paths;
  TRY(check_wishes(context, options));  // before a long archive
  (void)sweep_home(paths, context.database);
  TRY_ASSIGN(auto reserved, reserve_id(paths));
  auto& [id, lock] = reserved;
  const std::string new_id = id;
  const std::string image_id = std::string(image::kImportedBase) + sys::random_hex(kBaseNameBytes);
  Defer undo([&paths, &new_id, &image_id, &op = lock] {
    (void)remove_tree(paths.new_box(new_id));
    (void)remove_tree(paths.box(new_id));
    (void)sys::unlink(paths.base(image_id));
    (void)op.unlink_lock_files();
  });
  const std::string directory = paths.new_box(new_id);
  const std::string archive = directory + "/archive";
  TRY(sys::mkdir(directory, 0700));
  TRY(sys::mkdir(archive, 0700));
  TRY(without_directory(unpack(context, fd, name, archive), archive));
  FAILPOINT("import.unpacked");
  TRY_ASSIGN(Described box, without_directory(read_description(archive, name, options), archive));
  TRY_ASSIGN(const CheckpointRecord record, without_directory(take_record(archive, box.config, name, options), archive));

  BoxOptions& box_options = box.config.options;
  TRY_ASSIGN(const OfdLock store, share_image_store(paths));  // until the row refers to the base
  TRY(without_directory(place_base(paths, fmt::format("{}/{}", archive, image::kBaseMember), image_id, name), archive));
  FAILPOINT("import.base");
  TRY(write_file_atomic(directory + "/secrets", encode_secrets({.image_env = box.image_env, .env = options.env}), 0600));
  TRY_ASSIGN(const std::uint64_t bytes, disk_size(paths, box_options, image_id));
  TRY(build_from_snapshot(archive, directory, bytes, record.memory_bytes > 0));
  TRY(remove_tree(archive));
  TRY(sync_directory(directory));
  FAILPOINT("import.built");
  TRY(sys::rename(directory, paths.box(new_id)));
  TRY(sync_directory(paths.boxes()));

  BoxRow row;
  row.id = new_id;
  const bool usable = validate_name(box.name) && context.database.refuse_taken_name(box.name);
  row.name = !options.name.empty() ? options.name : usable ? box.name : random_box_name();
  box_options.name = row.name;
  row.image_reference = box.image;
  row.image_id = image_id;
  row.config = to_json(box.config);
  row.created_at = sys::utc_now();
  TRY(insert_row(paths, context.database, row, {}, options.name.empty()));
  undo.cancel();
  FAILPOINT("import.row");
  return std::pair(std::move(row), std::move(box.left_out));
}

Result<bool> is_box_archive(int fd) {
  std::string head(image::kBoxArchiveFrame.size() + image::kBoxArchiveText.size(), '\0');
  struct stat st = {};
  if (::fstat(fd, &st) < 0) return fail_errno("look at what is to be imported");
  ssize_t count = 0;
  if (S_ISREG(st.st_mode)) {
    count = ::pread(fd, head.data(), head.size(), ::lseek(fd, 0, SEEK_CUR));
  } else if (S_ISSOCK(st.st_mode)) {
    count = ::recv(fd, head.data(), head.size(), MSG_PEEK | MSG_WAITALL);
  } else if (S_ISFIFO(st.st_mode)) {
    TRY_ASSIGN(const sys::Pipe copy, sys::pipe());
    count = ::tee(fd, copy.write_end.get(), head.size(), 0);
    if (count > 0) count = ::read(copy.read_end.get(), head.data(), head.size());
  }
  if (count < 0) return fail_errno("look at what is to be imported");
  head.resize(static_cast<std::size_t>(count));
  return head.starts_with(image::kBoxArchiveFrame.substr(0, 4)) &&
         head.substr(std::min(head.size(), image::kBoxArchiveFrame.size())) == image::kBoxArchiveText;
}

}  // namespace boxlite
