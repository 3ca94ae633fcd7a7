#include "shim/device_state.h"

#include <memory>
#include <utility>

#include <fmt/core.h>

namespace boxlite::shim {
namespace {

constexpr const char* kName = "state";  // of the descriptor within QEMU

Json capabilities(bool events) {
  Json list = {{{"capability", "x-ignore-shared"}, {"state", true}}};
  if (events) list.push_back({{"capability", "events"}, {"state", true}});
  return {{"capabilities", list}};
}

}  // namespace

void save_device_state(QmpChannel& qmp, int fd, std::function<void(Result<void>)> on_saved) {
  const auto end = [on_saved = std::make_shared<std::function<void(Result<void>)>>(std::move(on_saved))](Result<void> result) {
    if (const auto callback = std::exchange(*on_saved, nullptr)) callback(std::move(result));
  };
  const auto check = [end](const Result<Json>& reply) {
    if (!reply) end(std::unexpected(reply.error()));
  };
  qmp.on_migration([end](const std::string& status) {
    if (status == "completed") end({});
    if (status == "failed" || status == "cancelled")
      end(fail(ErrorCode::kInternal, "QEMU could not save the state of the devices"));
  });
  // QEMU answers them in order; the first that fails is the one that is told.
  qmp.execute("stop", Json::object(), check);
  qmp.execute("migrate-set-capabilities", capabilities(true), check);
  qmp.execute("getfd", {{"fdname", kName}}, check, fd);
  qmp.execute("migrate", {{"uri", fmt::format("fd:{}", kName)}}, check);
}

void load_device_state(QmpChannel& qmp, int number, std::function<void(const Error&)> on_failed) {
  const auto check = [on_failed = std::move(on_failed)](const Result<Json>& reply) {
    if (!reply) on_failed(reply.error());
  };
  qmp.execute("migrate-set-capabilities", capabilities(false), check);
  qmp.execute("migrate-incoming", {{"uri", fmt::format("fd:{}", number)}}, check);
}

}  // namespace boxlite::shim
