#include "boxlite/runtime.h"

#include "runtime/box_archive.h"
#include "runtime/box_impl.h"
#include "runtime/create.h"
#include "runtime/garbage.h"
#include "runtime/host.h"
#include "runtime/image_archive.h"
#include "runtime/image_removal.h"
#include "runtime/images.h"
#include "runtime/observe.h"
#include "runtime/volumes.h"

namespace boxlite {

class Runtime::Impl {
 public:
  explicit Impl(ContextPtr shared) : context(std::move(shared)) {}
  ContextPtr context;
};

namespace {

Box make_box(const ContextPtr& context, const BoxRow& row) {
  return Box(std::make_shared<Box::Impl>(Box::Impl{context, row.id, row.name}));
}

Result<BoxRow> find_box(const Context& context, std::string_view reference) {
  const Database& database = context.database;
  TRY_ASSIGN(std::optional<BoxRow> row, database.box(reference));
  if (row) return std::move(*row);
  TRY_ASSIGN(row, database.box_by_name(reference));
  if (row) return std::move(*row);
  if (!reference.empty()) {
    TRY_ASSIGN(std::vector<BoxRow> rows, database.boxes_by_id_prefix(reference));
    if (rows.size() == 1) return std::move(rows.front());
    if (rows.size() > 1)
      return fail(ErrorCode::kInvalidArgument, "more than one box id begins with {}; give more of it", reference);
  }
  if (!context.home_exists) {
    return fail(ErrorCode::kNotFound, "no box named {}: there is no home {}; check --home and BOXLITE_HOME", reference,
                context.paths.home());
  }
  return fail(ErrorCode::kNotFound, "no box named {}; `boxlite ls -a` lists them", reference);
}

}  // namespace

Runtime::Runtime(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Runtime::Runtime(Runtime&&) noexcept = default;
Runtime& Runtime::operator=(Runtime&&) noexcept = default;
Runtime::~Runtime() = default;

Result<Runtime> Runtime::open(const RuntimeOptions& options) {
  if (!options.accelerator.empty() && options.accelerator != "kvm" && options.accelerator != "tcg") {
    return fail(ErrorCode::kInvalidArgument, "\"{}\" is no accelerator; there are kvm and tcg", options.accelerator);
  }
  TRY_ASSIGN(const std::string home, choose_home(options.home));
  TRY_ASSIGN(Context context, open_context(home, options));
  return Runtime(std::make_shared<Impl>(std::make_shared<Context>(std::move(context))));
}

Result<Box> Runtime::create(const BoxOptions& options, const PullOptions& pull) {
  TRY_ASSIGN(const BoxRow row, create_box(*impl_->context, options, pull));
  return make_box(impl_->context, row);
}

Result<Box> Runtime::get(std::string_view reference) const {
  TRY_ASSIGN(const BoxRow row, find_box(*impl_->context, reference));
  return make_box(impl_->context, row);
}

Result<std::vector<BoxInfo>> Runtime::list() const { return list_boxes(impl_->context->paths, impl_->context->database); }

Result<ImageInfo> Runtime::pull(const std::string& reference, const PullOptions& options) {
  TRY_ASSIGN(HeldImage held, pull_image(*impl_->context, reference, options));
  return std::move(held.image);
}

Result<std::vector<ImageInfo>> Runtime::images() const { return impl_->context->database.images(); }

Result<void> Runtime::login(const std::string& registry, const RegistryCredentials& credentials) {
  return login_registry(*impl_->context, registry, credentials);
}

Result<void> Runtime::logout(const std::string& registry) { return logout_registry(*impl_->context, registry); }

Result<ImageInfo> Runtime::image(const std::string& reference) const {
  TRY_ASSIGN(FoundImage found, require_image(impl_->context->database, reference));
  return std::move(found.image);
}

Result<std::vector<ImageInfo>> Runtime::load(int fd, const std::string& name) { return load_images(*impl_->context, fd, name); }

Result<ImageInfo> Runtime::import_root(int fd, const std::string& name, const ImportOptions& options) {
  return import_image(*impl_->context, fd, name, options);
}

Result<void> Runtime::save(const std::vector<std::string>& references, int fd, const std::string& name) {
  return save_images(*impl_->context, references, fd, name);
}

Result<BoxImport> Runtime::import_box(int fd, const std::string& name, const BoxImportOptions& options) {
  TRY_ASSIGN(auto imported, boxlite::import_box(*impl_->context, fd, name, options));
  return BoxImport{.box = make_box(impl_->context, imported.first), .left_out = std::move(imported.second)};
}

Result<void> Runtime::tag(const std::string& source, const std::string& target) {
  return tag_image(*impl_->context, source, target);
}

Result<ImageRemoval> Runtime::remove_image(const std::string& reference, bool force) {
  return boxlite::remove_image(*impl_->context, reference, force);
}

Result<ImageRemoval> Runtime::prune_images(bool all) { return boxlite::prune_images(*impl_->context, all); }

Result<VolumeInfo> Runtime::create_volume(const std::string& name, const std::map<std::string, std::string>& labels) {
  return boxlite::create_volume(impl_->context->paths, impl_->context->database, name, labels);
}

Result<std::vector<VolumeInfo>> Runtime::volumes() const { return list_volumes(impl_->context->paths, impl_->context->database); }

Result<VolumeInfo> Runtime::volume(const std::string& name) const {
  return find_volume(impl_->context->paths, impl_->context->database, name);
}

Result<void> Runtime::remove_volume(const std::string& name) {
  return boxlite::remove_volume(impl_->context->paths, impl_->context->database, name);
}

Result<VolumeRemoval> Runtime::prune_volumes(bool all) {
  return boxlite::prune_volumes(impl_->context->paths, impl_->context->database, all);
}

Result<std::uint64_t> Runtime::collect_garbage() { return collect_all_garbage(*impl_->context); }

Result<HostInfo> Runtime::info() const { return host_info(*impl_->context); }

}  // namespace boxlite
