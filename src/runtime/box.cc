#include "boxlite/box.h"

#include "runtime/box_config.h"
#include "runtime/box_error.h"
#include "runtime/box_impl.h"
#include "runtime/copy.h"
#include "runtime/host_usage.h"
#include "runtime/lease.h"
#include "runtime/observe.h"
#include "runtime/output_log.h"
#include "runtime/ping.h"
#include "runtime/removal.h"
#include "runtime/session_client.h"
#include "runtime/start.h"
#include "runtime/stop.h"

namespace boxlite {
namespace {

constexpr auto kShimPatience = std::chrono::seconds(10);

template <typename T>
Result<T> explain(const Context& context, const BoxRow& row, Result<T> result) {
  if (result) return result;
  return std::unexpected(explain_failure(context, row, result.error()));
}

// The other errors of a copy name a file, which may be one of the host.
Result<void> explain_copy(const Context& context, const BoxRow& row, Result<void> result) {
  if (result || !depends_on_state(result.error())) return result;
  return explain(context, row, std::move(result));
}

// A stopped shim takes no call: said soon, where waiting for the agent's reply would take its long deadline.
Result<void> refuse_silent(const Context& context, const BoxRow& row) {
  const auto answer = ping_shims({context.paths.box(row.id)}, std::chrono::steady_clock::now() + kShimPatience).front();
  if (answer.result != PingResult::kSilent) return {};
  return fail(ErrorCode::kUnavailable, "box {} does not answer: its shim is alive and silent; end it: boxlite rm -f {}", row.name,
              row.name);
}

}  // namespace

Box::Box(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

const std::string& Box::id() const { return impl_->id; }
const std::string& Box::name() const { return impl_->name; }

Result<BoxRow> Box::Impl::row() const {
  TRY_ASSIGN(std::optional<BoxRow> found, context->database.box(id));
  if (!found) return fail(ErrorCode::kNotFound, "box {} was removed; `boxlite ls -a` lists those that are here", name);
  return std::move(*found);
}

Result<BoxInfo> Box::info() const {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return inspect_box(impl_->context->paths, impl_->context->database, row);
}

Result<std::optional<Execution>> Box::start(const StartOptions& options) {
  return start_box(*impl_->context, impl_->id, options);
}

Result<void> Box::stop(std::optional<std::chrono::seconds> grace) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return stop_box(*impl_->context, row, grace, AutoRemoval::kAsConfigured);
}

Result<void> Box::restart(std::optional<std::chrono::seconds> grace) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY(stop_box(*impl_->context, row, grace, AutoRemoval::kNotThisTime));
  TRY(start_box(*impl_->context, impl_->id, {}));
  return {};
}

Result<void> Box::rename(const std::string& name) {
  TRY(validate_name(name));
  Context& context = *impl_->context;
  // The operation lock, so that no removal, start or other renaming is half-way.
  TRY_ASSIGN(const OpLock::Locked locked, OpLock::acquire(context.paths, context.database, impl_->id));
  if (locked.row.remove_intent)
    return fail(ErrorCode::kNotFound, "box {} is being removed; `boxlite ls -a` lists those that stay", locked.row.name);
  if (locked.row.name == name) return fail(ErrorCode::kInvalidArgument, "box {} has that name already; choose another", name);
  return context.database.rename_box(impl_->id, name);
}

Result<void> Box::kill(int signal) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return signal_box(*impl_->context, row, signal);
}

Result<int> Box::wait() {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return wait_box(*impl_->context, row);
}

Result<void> Box::remove(bool force, bool volumes) {
  Context& context = *impl_->context;
  TRY(remove_box(context.paths, context.database, impl_->id, force, volumes));
  (void)sweep_home(context.paths, context.database);  // what others left behind is not this box's matter
  return {};
}

Result<Execution> Box::exec(const ExecOptions& options) {
  const Context& context = *impl_->context;
  if (options.command.empty()) return fail(ErrorCode::kInvalidArgument, "no command to run in box {}", impl_->name);
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY_ASSIGN(const BoxConfig config, box_config_from_json(row.config));
  TRY_ASSIGN(const BoxSecrets secrets, read_secrets(context.paths.secrets(row.id)));
  TRY(refuse_silent(context, row));
  ExecOptions complete = options;
  complete.env = merge_env(merge_env(secrets.image_env, secrets.env), options.env);
  if (complete.working_dir.empty()) complete.working_dir = config.working_dir;
  if (complete.user.empty()) complete.user = config.user;
  return explain(context, row, start_exec(context.paths.box(row.id), complete));
}

Result<void> Box::copy_out(const std::string& box_path, const std::string& host_path, const CopyOptions& options) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return explain_copy(*impl_->context, row, copy_out_of_box(impl_->context->paths.box(row.id), box_path, host_path, options));
}

Result<void> Box::copy_in(const std::string& host_path, const std::string& box_path, const CopyOptions& options) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return explain_copy(*impl_->context, row, copy_into_box(impl_->context->paths.box(row.id), host_path, box_path, options));
}

Result<void> Box::copy_out_tar(const std::string& box_path, int fd, bool follow_link) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return explain_copy(*impl_->context, row, tar_out_of_box(impl_->context->paths.box(row.id), box_path, fd, follow_link));
}

Result<void> Box::copy_in_tar(int fd, const std::string& box_path, bool archive) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return explain_copy(*impl_->context, row, tar_into_box(impl_->context->paths.box(row.id), fd, box_path, archive));
}

Result<Execution> Box::attach(const AttachOptions& options) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return explain(*impl_->context, row, attach_session(impl_->context->paths.box(row.id), options));
}

Result<void> Box::logs(const LogOptions& options, const std::function<bool(const LogRecord&)>& sink) const {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  const HomePaths& paths = impl_->context->paths;
  std::optional<UniqueFd> shim;
  if (options.follow) {
    TRY_ASSIGN(shim, open_lease_holder(paths, row.id));
  }
  return read_log(paths.output_log(row.id), shim ? std::optional(shim->get()) : std::nullopt, options, sink);
}

Result<std::vector<BoxProcess>> Box::processes() const {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return explain(*impl_->context, row, list_processes(impl_->context->paths.box(row.id)));
}

Result<BoxUsage> Box::usage() const {
  const Context& context = *impl_->context;
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY_ASSIGN(BoxUsage usage, explain(context, row, guest_usage(context.paths.box(row.id))));
  TRY_ASSIGN(const LeaseState lease, probe_lease(context.paths, row.id));
  if (!lease.held || !lease.record)
    return fail(ErrorCode::kInvalidState, "box {} is not running; start it: boxlite start {}", row.name, row.name);
  const HostUsage host = host_usage(lease.record->pid);
  usage.host_time_ns = host.time_ns;
  usage.host_cpu_ns = host.cpu_ns;
  usage.host_memory_bytes = host.memory_bytes;
  return usage;
}

}  // namespace boxlite
