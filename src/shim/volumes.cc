#include "shim/volumes.h"

#include <set>
#include <utility>

#include "portal/message_codec.h"
#include "runtime/mounts.h"
#include "runtime/volumes.h"
#include "shim/log.h"

namespace boxlite::shim {

Result<std::unique_ptr<Volumes>> Volumes::launch(EventLoop& loop, const ShimConfig& config, const HomePaths& paths, int lock_fd,
                                                 int cgroup) {
  std::unique_ptr<Volumes> volumes(new Volumes(loop, paths));
  TRY(volumes->begin_populations(config.box.mounts));
  for (const Mount& mount : config.box.mounts) TRY(volumes->add(mount, config.programs, lock_fd, cgroup));
  return volumes;
}

// In the order of the names: two boxes that share two volumes do not wait for each other.
Result<void> Volumes::begin_populations(const std::vector<Mount>& mounts) {
  std::set<std::string> names;
  for (const Mount& mount : mounts) {
    if (mount.volume && mount.copy && !mount.read_only) names.insert(mount.name);
  }
  for (const std::string& name : names) {
    TRY(make_volume_files(paths_, name));
    TRY_ASSIGN(std::optional<OfdLock> population, begin_population(paths_, name));
    if (population) populations_.emplace(name, std::move(*population));
  }
  return {};
}

Volumes::~Volumes() {
  // Each takes itself out of the map.
  while (!bridges_.empty()) bridges_.begin()->second->close();
}

Result<void> Volumes::add(const Mount& mount, const vmm::VmPrograms& programs, int lock_fd, int cgroup) {
  vmm::VolumeShare share = {.source = mount_source(paths_, mount), .file = false, .read_only = mount.read_only, .hidden = {}};
  std::optional<OfdLock> population;
  if (mount.volume) {
    TRY(make_volume_files(paths_, mount.name));
    if (mount.copy && !mount.read_only) {
      if (auto begun = populations_.extract(mount.name)) population = std::move(begun.mapped());
    }
  } else {
    TRY_ASSIGN(share.file, check_source(mount));
    share.hidden = home_below(paths_, share.source);
  }
  TRY_ASSIGN(vmm::VolumeServer server, vmm::VolumeServer::launch(share, programs, lock_fd, cgroup));
  Served& served = served_.emplace_back(loop_, mount, share.file, std::move(population), std::move(server));
  served.watch.on_readable([&served] {
    const auto status = served.server.wait();
    if (status && status->code == 0) return;
    log("volume {}: its server has ended{}; the box gets I/O errors there", served.mount.target,
        status ? fmt::format(" with status {}", status->code) : "");
  });
  return {};
}

void Volumes::connect(int port) {
  link_.emplace(loop_, port);
  link_->begin([this] { open_streams(); }, [this](const Error& error) { broken(error); }, [] {});
}

void Volumes::open_streams() {
  std::uint32_t index = 0;
  for (Served& served : served_) {
    proto::Call call;
    call.mutable_serve_volume()->set_index(index++);
    auto message = portal::encode_message(call);
    if (!message) return broken(message.error());
    const auto bridge = std::make_shared<Bridge>(loop_, *link_, served.server.take_connection(),
                                                 [this](Bridge* closed) { bridges_.erase(closed); });
    if (const auto begun = bridge->begin(std::move(*message)); !begun) return broken(begun.error());
    bridges_.emplace(bridge.get(), bridge);
  }
}

// The guest's own doing; it has I/O errors of it.
void Volumes::broken(const Error& error) { log("the box's volumes: {}", error.message()); }

void Volumes::describe(proto::Configure& configure) const {
  std::uint32_t index = 0;
  for (const Served& served : served_) {
    proto::VolumeMount& volume = *configure.add_volumes();
    volume.set_index(index++);
    volume.set_path(served.mount.target);
    volume.set_read_only(served.mount.read_only);
    volume.set_file(served.file);
    volume.set_populate(served.population.has_value());
  }
}

Result<void> Volumes::configured() {
  for (Served& served : served_) {
    // Else the next start would copy the image's files over those that the box has changed.
    if (auto population = std::exchange(served.population, std::nullopt)) {
      TRY(finish_population(paths_, served.mount.name, std::move(*population)));
    }
  }
  return {};
}

}  // namespace boxlite::shim
