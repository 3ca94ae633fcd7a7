#include "shim/audit.h"

#include <unistd.h>

#include "runtime/audit_log.h"
#include "runtime/printable.h"

namespace boxlite::shim {
namespace {

constexpr std::size_t kMaxText = 200;
constexpr std::size_t kMaxPath = 4096;

}  // namespace

void Audit::started(const ShimConfig& config) {
  append("start", {{"command", audit_words(config.box.args)},
                   {"user", config.box.user},
                   {"accelerator", vmm::to_string(config.vm.accelerator)},
                   {"privileged", config.box.options.privileged},
                   {"shim_pid", ::getpid()},
                   {"uid", ::getuid()}});
}

void Audit::called(const proto::Call& call, const PeerCredentials& client) {
  Json details = {{"pid", client.pid}, {"uid", client.uid}};
  switch (call.call_case()) {
    case proto::Call::kExec: {
      const proto::Process& process = call.exec().process();
      details["command"] = audit_words({process.args().begin(), process.args().end()});
      details["user"] = process.user().substr(0, kMaxText);
      return append("exec", std::move(details));
    }
    case proto::Call::kCopyIn:
      details["path"] = call.copy_in().path().substr(0, kMaxPath);
      return append("copy_in", std::move(details));
    case proto::Call::kCopyOut:
      details["path"] = call.copy_out().path().substr(0, kMaxPath);
      return append("copy_out", std::move(details));
    case proto::Call::kTunnel:
      details["port"] = call.tunnel().port();
      return append("tunnel", std::move(details));
    default:
      return;
  }
}

void Audit::captured(const PeerCredentials& client) { append("checkpoint", {{"pid", client.pid}, {"uid", client.uid}}); }

void Audit::denied(std::string_view what) {
  if (denials_ == kMaxDenials) return;
  ++denials_;
  Json details = {{"connection", printable(what, kMaxText)}};
  if (denials_ == kMaxDenials) details["last"] = true;
  append("denied", std::move(details));
}

void Audit::append(std::string_view event, Json details) {
  details["generation"] = generation_;
  append_audit(paths_, id_, event, std::move(details));
}

}  // namespace boxlite::shim
