#include "boxlite/box.h"

#include "runtime/box_archive.h"
#include "runtime/box_config.h"
#include "runtime/box_error.h"
#include "runtime/box_impl.h"
#include "runtime/copy.h"
#include "runtime/fork.h"
#include "runtime/host_usage.h"
#include "runtime/lease.h"
#include "runtime/observe.h"
#include "runtime/output_log.h"
#include "runtime/ping.h"
#include "runtime/removal.h"
#include "runtime/session_client.h"
#include "runtime/silence.h"
#include "runtime/snapshot.h"
#include "runtime/start.h"
#include "runtime/stop.h"

namespace boxlite {
namespace {

constexpr auto kUsagePatience = std::chrono::seconds(2);

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

// A removal may come in between anywhere, where only the id is known.
template <typename T>
Result<T> explain_removal(const Context& context, const std::string& id, const std::string& name, Result<T> result) {
  if (result || result.error().code() != ErrorCode::kNotFound) return result;
  const auto now = context.database.box(id);
  if (!now || (*now && !(*now)->remove_intent)) return result;
  return std::unexpected(removed_error(name));
}

BoxAddress address(const Context& context, const BoxRow& row) { return {context.paths.box(row.id), row.name}; }

}  // namespace

Box::Box(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

const std::string& Box::id() const { return impl_->id; }
const std::string& Box::name() const { return impl_->name; }

Result<BoxRow> Box::Impl::row() const {
  TRY_ASSIGN(std::optional<BoxRow> found, context->database.box(id));
  if (!found) return std::unexpected(removed_error(name));
  return std::move(*found);
}

Result<BoxInfo> Box::info() const {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return inspect_box(impl_->context->paths, impl_->context->database, row);
}

Result<std::optional<Execution>> Box::start(const StartOptions& options) {
  return explain_removal(*impl_->context, impl_->id, impl_->name, start_box(*impl_->context, impl_->id, options));
}

Result<void> Box::stop(std::optional<std::chrono::seconds> grace) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return explain_removal(*impl_->context, impl_->id, impl_->name,
                         stop_box(*impl_->context, row, grace, AutoRemoval::kAsConfigured));
}

Result<void> Box::restart(std::optional<std::chrono::seconds> grace) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY(explain_removal(*impl_->context, impl_->id, impl_->name, stop_box(*impl_->context, row, grace, AutoRemoval::kNotThisTime)));
  TRY(start({}));
  return {};
}

Result<void> Box::rename(const std::string& name) {
  TRY(validate_name(name));
  Context& context = *impl_->context;
  // The operation lock, so that no removal, start or other renaming is half-way.
  TRY_ASSIGN(const OpLock::Locked locked,
             explain_removal(context, impl_->id, impl_->name, OpLock::acquire(context.paths, context.database, impl_->id)));
  if (locked.row.remove_intent)
    return fail(ErrorCode::kNotFound, "box {} is being removed; `boxlite ls -a` lists those that stay", locked.row.name);
  if (locked.row.name == name) return fail(ErrorCode::kInvalidArgument, "box {} has that name already; choose another", name);
  return context.database.rename_box(impl_->id, name);
}

Result<void> Box::kill(int signal) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return signal_box(*impl_->context, row, signal);
}

Result<void> Box::pause() {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return pause_box(*impl_->context, row);
}

Result<void> Box::unpause() {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return unpause_box(*impl_->context, row);
}

Result<void> Box::pause_to_disk() {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return suspend_box(*impl_->context, row);
}

Result<void> Box::create_snapshot(const std::string& name, bool memory) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return boxlite::create_snapshot(*impl_->context, row, name, memory);
}

Result<std::vector<SnapshotInfo>> Box::snapshots() const {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return list_snapshots(*impl_->context, row);
}

Result<void> Box::remove_snapshot(const std::string& name) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return boxlite::remove_snapshot(*impl_->context, row, name);
}

Result<void> Box::restore_snapshot(const std::string& name) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return boxlite::restore_snapshot(*impl_->context, row, name);
}

Result<void> Box::export_archive(int fd, const std::string& name, bool memory) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return export_box(*impl_->context, row, fd, name, memory);
}

Result<std::vector<Box>> Box::fork(const ForkOptions& options) {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY_ASSIGN(const std::vector<BoxRow> rows, fork_box(*impl_->context, row, options));
  std::vector<Box> boxes;
  for (const BoxRow& child : rows) boxes.emplace_back(std::make_shared<Impl>(Impl{impl_->context, child.id, child.name}));
  return boxes;
}

Result<int> Box::wait() {
  TRY_ASSIGN(const BoxRow row, impl_->row());
  return wait_box(*impl_->context, row);
}

Result<void> Box::remove(bool force, bool volumes) {
  Context& context = *impl_->context;
  TRY(explain_removal(context, impl_->id, impl_->name, remove_box(context.paths, context.database, impl_->id, force, volumes)));
  (void)sweep_home(context.paths, context.database);  // what others left behind is not this box's matter
  return {};
}

Result<Execution> Box::exec(const ExecOptions& options) {
  const Context& context = *impl_->context;
  if (options.command.empty()) return fail(ErrorCode::kInvalidArgument, "no command to run in box {}", impl_->name);
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY_ASSIGN(const BoxConfig config, box_config_from_json(row.config));
  TRY_ASSIGN(const BoxSecrets secrets, explain_removal(context, row.id, row.name, read_secrets(context.paths.secrets(row.id))));
  TRY(refuse_silent(context, row));
  ExecOptions complete = options;
  complete.env = merge_env(merge_env(secrets.image_env, secrets.env), options.env);
  if (complete.working_dir.empty()) complete.working_dir = config.working_dir;
  if (complete.user.empty()) complete.user = config.user;
  return explain(context, row, start_exec(address(context, row), complete));
}

Result<void> Box::copy_out(const std::string& box_path, const std::string& host_path, const CopyOptions& options) {
  const Context& context = *impl_->context;
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY(refuse_silent(context, row, options.interrupt_fd));
  return explain_copy(context, row, copy_out_of_box(address(context, row), box_path, host_path, options));
}

Result<void> Box::copy_in(const std::string& host_path, const std::string& box_path, const CopyOptions& options) {
  const Context& context = *impl_->context;
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY(refuse_silent(context, row, options.interrupt_fd));
  return explain_copy(context, row, copy_into_box(address(context, row), host_path, box_path, options));
}

Result<void> Box::copy_out_tar(const std::string& box_path, int fd, bool follow_link) {
  const Context& context = *impl_->context;
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY(refuse_silent(context, row));
  return explain_copy(context, row, tar_out_of_box(address(context, row), box_path, fd, follow_link));
}

Result<void> Box::copy_in_tar(int fd, const std::string& box_path, bool archive) {
  const Context& context = *impl_->context;
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY(refuse_silent(context, row));
  return explain_copy(context, row, tar_into_box(address(context, row), fd, box_path, archive));
}

Result<Execution> Box::attach(const AttachOptions& options) {
  const Context& context = *impl_->context;
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY(refuse_silent(context, row));
  return explain(context, row, attach_session(address(context, row), options));
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

Result<Execution> Box::tunnel(std::uint16_t port) {
  const Context& context = *impl_->context;
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY(refuse_silent(context, row));
  auto session = open_tunnel(address(context, row), port);
  // Not explained as a box that does not answer: it is the program in it that does not.
  if (!session && session.error().message().starts_with("nobody listens"))
    return std::unexpected(std::move(session).error().context("box " + row.name));
  return explain(context, row, std::move(session));
}

Result<std::vector<BoxProcess>> Box::processes() const {
  const Context& context = *impl_->context;
  TRY_ASSIGN(const BoxRow row, impl_->row());
  TRY(refuse_silent(context, row));
  return explain(context, row, list_processes(context.paths.box(row.id)));
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
  const auto deadline = std::chrono::steady_clock::now() + kUsagePatience;
  usage.network = ping_shims({context.paths.box(row.id)}, deadline).front().network_usage;
  return usage;
}

}  // namespace boxlite
