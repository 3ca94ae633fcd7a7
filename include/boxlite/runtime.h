// The runtime: boxes and images of one home directory. No daemon: any number of processes may use one home at once, each through
// a Runtime of its own. Thread safe. After fork() without exec the child must not use it (its locks and database are closed
// there).
#pragma once

#include <functional>
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

namespace boxlite {

struct RuntimeOptions {
  /// "": $BOXLITE_HOME, else ~/.boxlite. Created 0700. Must be on a local file system and owned by the caller.
  std::string home;
  /// "": proven once per host boot; "kvm", "tcg": forced for boxes started by this runtime.
  std::string accelerator;
};

/// When create() asks the registry for the image.
enum class PullPolicy {
  kMissing,  // when it is not here
  kAlways,   // for the newest one of its name
  kNever,    // kNotFound when it is not here
};

struct PullOptions {
  PullPolicy policy = PullPolicy::kMissing;  // of create()
  std::string platform = "linux/amd64";
  std::optional<RegistryCredentials> credentials;
  std::function<void(const PullProgress&)> on_progress;
};

struct HostInfo {
  std::string version;
  std::string home;
  std::string accelerator;         // "tcg" or "kvm"
  std::string accelerator_reason;  // one line
  std::string isolation;           // one line: what the jail around QEMU consists of here
  std::string qemu_version;
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
  Result<std::vector<ImageInfo>> images() const;

  /// Keeps credentials for a registry (HOST or HOST:PORT) in the home, once it has accepted them; kPermissionDenied: it has not.
  Result<void> login(const std::string& registry, const RegistryCredentials& credentials);
  /// Forgets them. kNotFound: there are none.
  Result<void> logout(const std::string& registry);

  Result<HostInfo> info() const;

  class Impl;

 private:
  explicit Runtime(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace boxlite
