// The runtime: boxes and images of one home directory. No daemon: any number of processes may use one home at once, each through
// a Runtime of its own. Thread safe. After fork() without exec the child must not use it (its locks and database are closed
// there).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "boxlite/box.h"
#include "boxlite/box_info.h"
#include "boxlite/box_options.h"
#include "boxlite/error.h"
#include "boxlite/image.h"
#include "boxlite/volume.h"

namespace boxlite {

struct RuntimeOptions {
  /// "": $BOXLITE_HOME, else ~/.boxlite. Created 0700. Must be on a local file system and owned by the caller.
  std::string home;
  /// false: a home that is not there holds no boxes and no images, and is not created. For looking only.
  bool create_home = true;
  /// "": proven once per host boot; "kvm", "tcg": forced for boxes started by this runtime.
  std::string accelerator;
  /// Boxes boot, instead of going on from a template. Also when $BOXLITE_COLD is set to anything but "" and "0".
  bool cold_start = false;
};

/// When create() asks the registry for the image.
enum class PullPolicy {
  kMissing,  // when it is not here; of an OCI layout directory, when it holds another one by now
  kAlways,   // for the newest one of its name
  kNever,    // kNotFound when it is not here
};

struct PullOptions {
  PullPolicy policy = PullPolicy::kMissing;  // of create()
  std::string platform = "linux/amd64";
  std::optional<RegistryCredentials> credentials;
  std::function<void(const PullProgress&)> on_progress;
};

struct BoxImportOptions {
  std::string name;  // "": the one in the archive, or where that is taken one that is made up
  /// As in BoxOptions. What a box has of its host is nothing that an archive can ask for.
  std::vector<std::string> env;
  std::vector<std::string> publish;
  bool host_access = false;
  /// In place of what the archive says. Not of a box with memory: that has them already.
  std::optional<unsigned> cpus;
  std::optional<std::uint64_t> memory_mib;
  std::optional<std::string> network;
};

struct BoxImport {
  Box box;
  std::vector<std::string> left_out;  // of what the box was; a line each, with how to give it
};

/// Whether what can be read from the descriptor (a file, a pipe, a socket) begins as Box::export_archive() writes it. Nothing is
/// taken from it.
Result<bool> is_box_archive(int fd);

struct HostInfo {
  std::string version;
  std::string home;
  std::string accelerator;         // "tcg" or "kvm"
  std::string accelerator_reason;  // one line
  std::string isolation;           // one line: what the jail around QEMU consists of here
  std::vector<IsolationLayer> isolation_layers;
  std::string qemu_version;
  std::size_t templates = 0;          // booted VMs that boxes are restored from
  std::uint64_t template_bytes = 0;   // that they take in the home
  std::uint64_t starts_restored = 0;  // starts since the home was made
  std::uint64_t starts_booted = 0;
  std::vector<std::string> template_failures;  // why some could not be made, a line each
  std::size_t boxes_total = 0;
  std::size_t boxes_running = 0;
  std::size_t images = 0;
};

class Runtime {
 public:
  static Result<Runtime> open(const RuntimeOptions& options);
  Runtime(Runtime&&) noexcept;
  Runtime& operator=(Runtime&&) noexcept;
  ~Runtime();

  /// Makes a box from an image, which is pulled first when it is not here. Nothing runs yet.
  Result<Box> create(const BoxOptions& options, const PullOptions& pull = {});

  /// By id, name, or an unambiguous beginning of an id.
  Result<Box> get(std::string_view reference) const;

  /// All boxes, newest first, without their env (Box::info() has it). Changes nothing. Running boxes' shims are asked whether
  /// they answer, all at once, so this takes at most about two seconds.
  Result<std::vector<BoxInfo>> list() const;

  Result<ImageInfo> pull(const std::string& reference, const PullOptions& options = {});
  /// One for each name; those without a name once.
  Result<std::vector<ImageInfo>> images() const;
  /// By name, by id, or by an unambiguous beginning of an id.
  Result<ImageInfo> image(const std::string& reference) const;

  /// Archives (`docker save`, OCI image layout) and file system tars are read from a descriptor, which may be a pipe, plain or
  /// compressed by gzip, bzip2, xz or zstd. `name` is what messages call it. All of an archive's images become the home's, or
  /// none.
  Result<std::vector<ImageInfo>> load(int fd, const std::string& name);
  Result<ImageInfo> import_root(int fd, const std::string& name, const ImportOptions& options);
  /// Writes one tar that is both, what `docker save` writes and an OCI image layout.
  Result<void> save(const std::vector<std::string>& references, int fd, const std::string& name);

  /// A box from what Box::export_archive() has written. It does not run; with memory it is suspended. Nothing in the archive is
  /// trusted: it can be no more than any guest.
  Result<BoxImport> import_box(int fd, const std::string& name, const BoxImportOptions& options = {});

  /// Gives an image one more name; an image that had it loses it.
  Result<void> tag(const std::string& source, const std::string& target);
  /// Removes a name, and with the last one the image. By id: the image with all its names, which must be forced when there are
  /// several. An image that a box was made from must be forced; one that a running box uses is refused.
  Result<ImageRemoval> remove_image(const std::string& reference, bool force);
  /// Removes the images without a name, or `all` that no box was made from, and every file that nothing refers to any more.
  Result<ImageRemoval> prune_images(bool all);

  /// Keeps credentials for a registry (HOST or HOST:PORT) in the home, once it has accepted them; kPermissionDenied: it has not.
  Result<void> login(const std::string& registry, const RegistryCredentials& credentials);
  /// Forgets them. kNotFound: there are none.
  Result<void> logout(const std::string& registry);

  /// "": an anonymous one, with a name made up. One that is there already is returned as it is.
  Result<VolumeInfo> create_volume(const std::string& name, const std::map<std::string, std::string>& labels = {});
  /// By name.
  Result<std::vector<VolumeInfo>> volumes() const;
  Result<VolumeInfo> volume(const std::string& name) const;
  /// kInvalidState, naming the box, when one has it.
  Result<void> remove_volume(const std::string& name);
  /// Removes what no box has: anonymous volumes or, with `all`, named ones too.
  Result<VolumeRemoval> prune_volumes(bool all);

  /// Removes what nothing refers to: what killed commands have left undone, blobs and base disks of no image, temporary files of
  /// dead processes. It may run beside anything, and takes nothing from it. Returns the space that it took, in bytes.
  Result<std::uint64_t> collect_garbage();

  Result<HostInfo> info() const;

  class Impl;

 private:
  explicit Runtime(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace boxlite
