#include "shim/device_state.h"

#include <memory>
#include <optional>
#include <utility>

#include <fmt/core.h>

namespace boxlite::shim {

void save_device_state(QmpChannel& qmp, int fd, std::function<void(Result<void>)> on_saved) {
  // QEMU answers in order; when the first fails the others do too, and say less. After the last nothing of these is under way.
  const auto failure = std::make_shared<std::optional<Error>>();
  const auto note = [failure](const Result<Json>& reply) {
    if (!reply && !*failure) *failure = reply.error();
  };
  qmp.execute("add-fd", {{"fdset-id", kDeviceStateFdSet}}, note, fd);
  qmp.execute("xen-save-devices-state", {{"filename", fmt::format("/dev/fdset/{}", kDeviceStateFdSet)}, {"live", false}}, note);
  qmp.execute("remove-fd", {{"fdset-id", kDeviceStateFdSet}},
              [note, failure, on_saved = std::move(on_saved)](const Result<Json>& reply) {
                note(reply);
                on_saved(*failure ? Result<void>(std::unexpected(**failure)) : Result<void>());
              });
}

void load_device_state(QmpChannel& qmp, int number, LoadEvents events) {
  const auto check = [on_failed = events.on_failed](const Result<Json>& reply) {
    if (!reply) on_failed(reply.error());
  };
  if (events.on_loaded) {
    qmp.on_migration([events](const std::string& status) {
      if (status == "completed") events.on_loaded();
      if (status == "failed") events.on_failed(Error(ErrorCode::kInternal, "QEMU cannot load the state of the devices"));
    });
    const Json capability = {{"capability", "events"}, {"state", true}};
    qmp.execute("migrate-set-capabilities", {{"capabilities", Json::array({capability})}}, check);
  }
  qmp.execute("migrate-incoming", {{"uri", fmt::format("fd:{}", number)}}, check);
}

}  // namespace boxlite::shim
