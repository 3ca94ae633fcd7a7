#include "runtime/image_checks.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "base/capture.h"
#include "base/process.h"
#include "base/sys.h"
#include "image/box_archive.h"
#include "runtime/checkpoint.h"
#include "runtime/disk_usage.h"
#include "runtime/garbage.h"
#include "runtime/image_removal.h"
#include "runtime/listing.h"
#include "runtime/templates.h"

namespace boxlite {
namespace {

std::string advice_for(const ImageInfo& image) {
  if (image.reference == image.id) return "it has no name: boxlite rmi -f " + image.id;
  return fmt::format("boxlite pull {}, or load or import it again", image.reference);
}

std::vector<std::string> digests_of(const ImageInfo& image) {
  std::vector<std::string> digests = {image.id, image.manifest_digest};
  digests.insert(digests.end(), image.layers.begin(), image.layers.end());
  return digests;
}

bool is_regular(const std::string& path) {
  struct stat st = {};
  return ::lstat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
}

// "": whole.
Result<std::string> blob_damage(const std::string& sha256sum, const std::string& path, const std::string& name) {
  if (exists(path) && !is_regular(path)) return fmt::format("blob {} is not a regular file", path);
  TRY_ASSIGN(const Captured sum, capture({sha256sum, path}));
  if (sum.status.code == 0 && sum.output.starts_with(name)) return std::string();
  if (!exists(path)) return std::string();  // removed meanwhile
  return fmt::format("blob {} is damaged: {}", path, sum.output.substr(0, std::min<std::size_t>(sum.output.find(' '), 200)));
}

Result<std::string> base_damage(const std::string& e2fsck, const std::string& path) {
  if (exists(path) && !is_regular(path)) return fmt::format("base disk {} is not a regular file", path);
  TRY_ASSIGN(const Captured checked, capture({e2fsck, "-fn", path}));
  if (checked.status.code == 0 || !exists(path)) return std::string();
  return fmt::format("base disk {} is damaged (e2fsck: status {})", path, checked.status.code);
}

Result<std::string> find_checker(const std::string& program) {
  auto found = find_program(program);
  // An ordinary user's PATH often is without it.
  if (!found && ::access(("/usr/sbin/" + program).c_str(), X_OK) == 0) return "/usr/sbin/" + program;
  return found;
}

// Reads the memory that is kept in a directory. nullopt: there is none, or it has gone meanwhile.
std::optional<Result<std::string>> memory_damage(const std::string& directory) {
  const auto record = read_checkpoint(directory);
  if (!record || !*record || !(*record)->memory_crc32) return std::nullopt;
  const std::string memory = directory + "/memory";
  const auto sum = memory_checksum(memory);
  const auto again = read_checkpoint(directory);
  if (!again || !*again || (*again)->created_at != (*record)->created_at || (*again)->memory_crc32 != (*record)->memory_crc32)
    return std::nullopt;
  if (!sum) return std::unexpected(sum.error());
  return *sum == *(*record)->memory_crc32 ? std::string() : memory + " does not have its checksum";
}

}  // namespace

void check_images(const Context& context, Findings& findings) {
  const HomePaths& paths = context.paths;
  const auto images = context.database.images();
  if (!images) return findings.problem("images", images.error());
  const std::string blobs = paths.images() + "/blobs/sha256/";
  bool fine = true;
  const auto problem = [&](std::string text, std::string remedy) {
    fine = false;
    findings.problem("images", std::move(text), std::move(remedy));
  };
  for (const ImageInfo& image : *images) {
    for (const std::string& digest : digests_of(image)) {
      if (!exists(blobs + digest.substr(digest.find(':') + 1)))
        problem(fmt::format("{} of image {} is missing", digest, image.reference), advice_for(image));
    }
    if (!exists(paths.base(image.id)))
      problem(fmt::format("the base disk of image {} is missing: {}", image.reference, paths.base(image.id)), advice_for(image));
  }
  for (const std::string& name : names_in(paths.bases())) {
    const auto st = sys::stat(paths.bases() + "/" + name);
    if (st && (st->st_mode & 07777U) != kBaseDiskMode) {
      problem(fmt::format("{}/{} can be written to (mode {:04o}), and boxes share it", paths.bases(), name, st->st_mode & 07777U),
              kRepair);
    }
  }
  if (fine) findings.ok("images", fmt::format("{}, each with all its blobs and its base disk", images->size()));
}

void check_garbage(const Context& context, Findings& findings) {
  std::vector<std::string> garbage = abandoned_files(context.paths);
  auto of_images = unreferenced_files(context.paths, context.database);
  if (!of_images) return findings.problem("images", of_images.error());
  if (*of_images) garbage.insert(garbage.end(), (*of_images)->begin(), (*of_images)->end());
  if (const auto boot = boot_id()) {
    for (std::string& path : superfluous_templates(context.paths, *boot)) garbage.push_back(std::move(path));
  }
  if (garbage.empty()) return findings.ok("garbage", "none: every blob, base and temporary file is somebody's");
  std::uint64_t bytes = 0;
  for (const std::string& path : garbage) bytes += disk_usage(path);
  findings.note("garbage", fmt::format("{} files that nothing refers to take {} KiB", garbage.size(), bytes / 1024),
                "boxlite gc");
}

void check_contents(const Context& context, Findings& findings) {
  const HomePaths& paths = context.paths;
  std::size_t checked = 0;
  bool fine = true;
  const auto take = [&](const Result<std::string>& damage, const std::string& remedy) {
    ++checked;
    if (damage && damage->empty()) return;
    fine = false;
    findings.problem("contents", damage ? *damage : damage.error().message(), remedy);
  };
  const auto boxes = context.database.boxes();
  if (!boxes) return;  // is told of already
  for (const BoxRow& box : *boxes) {
    const std::string directory = paths.box(box.id);
    if (const auto damage = memory_damage(directory)) take(*damage, "boxlite start --discard-memory " + box.name);
    for (const std::string& name : names_in(directory + "/snapshots")) {
      if (const auto damage = memory_damage(directory + "/snapshots/" + name))
        take(*damage,
             fmt::format("restored, it is started with --discard-memory; boxlite snapshot rm {} {} removes it", box.name, name));
    }
  }
  const auto sha256sum = find_checker("sha256sum");
  const auto e2fsck = find_checker("e2fsck");
  if (!sha256sum || !e2fsck) {
    return findings.note("contents", (sha256sum ? e2fsck : sha256sum).error().message(),
                         "apt-get install coreutils e2fsprogs, to have blobs and base disks read");
  }
  const auto images = context.database.images();
  if (!images) return;  // is told of already
  std::set<std::string> names;
  for (const ImageInfo& image : *images) {
    for (const std::string& digest : digests_of(image)) names.insert(digest.substr(digest.find(':') + 1));
  }
  const std::string blobs = paths.images() + "/blobs/sha256";
  for (const std::string& name : names) {
    if (!exists(fmt::format("{}/{}", blobs, name))) continue;  // is told of already
    take(blob_damage(*sha256sum, fmt::format("{}/{}", blobs, name), name),
         "it is not removed: move it away, and boxlite pull, load or import gets it again");
  }
  for (const std::string& name : names_in(paths.bases())) {
    if (name.starts_with(image::kImportedBase)) continue;  // somebody sent it: its file system is for a guest's kernel
    take(base_damage(*e2fsck, fmt::format("{}/{}", paths.bases(), name)),
         "boxes' disks lie on it: save what is in them (boxlite cp), remove them and their image, and get it again");
  }
  if (fine) findings.ok("contents", fmt::format("{} blobs, base disks and memories were read: all are whole", checked));
}

}  // namespace boxlite
