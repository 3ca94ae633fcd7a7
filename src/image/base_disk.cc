#include "image/base_disk.h"

#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "base/sys.h"
#include "image/ext4_image.h"
#include "image/file_arena.h"
#include "image/file_content.h"
#include "image/layer_reader.h"
#include "image/merged_tree.h"

namespace boxlite::image {
namespace {

// Returns the uncompressed bytes of all layers.
Result<std::uint64_t> merge_layers(const BaseDiskSpec& spec, MergedTree& tree, JobMonitor& monitor) {
  std::uint64_t budget = spec.max_unpacked_bytes;
  std::uint64_t done = 0;
  for (const LayerFile& layer : spec.layers) {
    TRY(monitor.step("unpack", ++done, spec.layers.size() + 1));
    TRY_ASSIGN(LayerReader reader, LayerReader::open(layer.path, layer.what, budget, monitor));
    tree.begin_layer(layer.what);
    LayerEntry entry;
    for (std::uint64_t ordinal = 0;; ++ordinal) {
      TRY_ASSIGN(const bool more, reader.next(entry));
      if (!more) break;
      TRY(tree.apply(entry, ordinal));
    }
    TRY_ASSIGN(const Digest actual, reader.finish());
    if (actual != layer.diff_id) {
      return fail(ErrorCode::kCorrupt, "{} unpacks to {}, but the image says {}", layer.what, actual.text(),
                  layer.diff_id.text());
    }
  }
  TRY(tree.finish());
  return spec.max_unpacked_bytes - budget;
}

struct Plan {
  std::uint64_t directories = 0;
  std::uint64_t small = 0;    // without content: symbolic links, devices, fifos, empty files
  std::uint64_t content = 0;  // regular files with content
  std::uint64_t content_bytes = 0;

  std::uint64_t inodes() const { return directories + small + content; }
};

bool has_content(const Inode& inode) { return inode.facts.type == FileType::kRegular && inode.facts.size != 0; }

/// Calls `each` for every inode of the tree that has a name, in the order in which they were made: that of the streams.
template <typename Each>
Result<void> for_each_inode(const MergedTree& tree, FileArena& arena, const Each& each) {
  for (Inode* inode = tree.first_inode(); inode != nullptr; inode = inode->next) {
    arena.visit();
    if (inode->links != 0) TRY(each(*inode));
  }
  return {};
}

// A directory, then those below it, by name.
template <typename Each>
Result<void> for_each_directory(const Node& node, FileArena& arena, const Each& each) {
  TRY(each(node));
  if (node.children == nullptr) return {};
  for (const auto& [name, child] : *node.children) {
    arena.visit();
    if (child->is_directory()) TRY(for_each_directory(*child, arena, each));
  }
  return {};
}

// Numbers rise in the order in which the inodes are written: directories, what has no content, files.
Result<Plan> make_plan(const MergedTree& tree, FileArena& arena) {
  Plan plan;
  TRY(for_each_inode(tree, arena, [&](const Inode& inode) -> Result<void> {
    if (inode.is_directory()) return {};
    ++(has_content(inode) ? plan.content : plan.small);
    if (has_content(inode)) plan.content_bytes += inode.facts.size;
    return {};
  }));
  // The root has its fixed number; e2fsck wants lost+found, MergedTree::finish() has seen to it that it is there.
  tree.root().inode->number = kRootInode;
  tree.root().child("lost+found")->inode->number = kFirstInode;
  std::uint32_t next = kFirstInode + 1;
  TRY(for_each_directory(tree.root(), arena, [&](const Node& directory) -> Result<void> {
    ++plan.directories;
    if (directory.inode->number == 0) directory.inode->number = next++;
    return {};
  }));
  auto next_content = static_cast<std::uint32_t>(next + plan.small);
  TRY(for_each_inode(tree, arena, [&](Inode& inode) -> Result<void> {
    if (!inode.is_directory()) inode.number = has_content(inode) ? next_content++ : next++;
    return {};
  }));
  return plan;
}

// An image that does not fit on a disk of the wanted size gets a larger one, of whole GiB and with a fifth of it free. Files may
// be larger than the layers: they have holes then, which take no room.
std::uint64_t disk_size(std::uint64_t wanted, std::uint64_t layer_bytes, const Plan& plan, std::uint64_t inodes) {
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  constexpr std::uint64_t kBytesPerInode = 256;
  const std::uint64_t content = std::min(plan.content_bytes, layer_bytes);
  const std::uint64_t needed = content + (plan.content + plan.directories) * kBlockSize + inodes * kBytesPerInode;
  if (needed <= wanted - wanted / 16) return wanted;
  return (needed + needed / 4 + kGiB - 1) / kGiB * kGiB;
}

Result<void> write_directories(const MergedTree& tree, FileArena& arena, Ext4Image& image, JobMonitor& monitor) {
  return for_each_directory(tree.root(), arena, [&](const Node& directory) -> Result<void> {
    TRY(monitor.check());
    const Node::Children none;
    const Node::Children& children = directory.children == nullptr ? none : *directory.children;
    auto next = children.begin();
    const auto next_entry = [&]() -> std::optional<DirectoryEntry> {
      if (next == children.end()) return std::nullopt;
      arena.visit();
      const auto& [name, child] = *next++;
      return DirectoryEntry{.name = name, .inode = child->inode->number, .type = child->inode->facts.type};
    };
    const Node& parent = directory.parent == nullptr ? directory : *directory.parent;
    const Inode& inode = *directory.inode;
    if (inode.number != kRootInode) image.use_inode(inode.number, true);
    return image.write_directory(inode.number, parent.inode->number, inode.facts, inode.links, next_entry);
  });
}

// The second reading of the layers: the contents that survived, in the order of the streams.
class ContentWriter {
 public:
  ContentWriter(const BaseDiskSpec& spec, const Plan& plan, Ext4Image& image, JobMonitor& monitor)
      : spec_(&spec), plan_(&plan), image_(&image), monitor_(&monitor) {}

  Result<void> write(const Inode& inode) {
    TRY(seek(inode));
    FileContent content(*image_, inode.facts.size);
    const auto sink = [&](std::uint64_t offset, std::span<const std::byte> data) -> Result<void> {
      TRY(content.write(offset, data));
      return monitor_->step("disk", done_ + offset, plan_->content_bytes);
    };
    TRY(reader_->content(sink));
    TRY_ASSIGN(const std::vector<Extent> extents, content.finish());
    image_->use_inode(inode.number, false);
    TRY(image_->write_inode(inode.number, inode.facts, inode.links, extents));
    done_ += inode.facts.size;
    return {};
  }

 private:
  Result<void> seek(const Inode& inode) {
    const LayerFile& layer = spec_->layers.at(inode.layer - 1);  // they are counted from 1 in the tree
    if (inode.layer != layer_) {
      TRY_ASSIGN(LayerReader reader, LayerReader::open(layer.path, layer.what, budget_, *monitor_));
      reader_.emplace(std::move(reader));
      layer_ = inode.layer;
      ordinal_ = 0;
    }
    for (LayerEntry entry; ordinal_ <= inode.ordinal; ++ordinal_) {
      TRY_ASSIGN(const bool more, reader_->next(entry));
      if (!more) return fail(ErrorCode::kCorrupt, "{} changed while it was read", layer.what);
    }
    return {};
  }

  const BaseDiskSpec* spec_;
  const Plan* plan_;
  Ext4Image* image_;
  JobMonitor* monitor_;
  std::uint64_t budget_ = ~std::uint64_t{0};  // the first pass has counted
  std::uint32_t layer_ = 0;
  std::uint64_t ordinal_ = 0;  // of the entry that `reader_` gives next
  std::optional<LayerReader> reader_;
  std::uint64_t done_ = 0;
};

std::array<std::uint8_t, 32> seed_of(const Digest& digest) {
  std::array<std::uint8_t, 32> seed = {};
  for (std::size_t i = 0; i < seed.size(); ++i) {
    const auto digit = [&](std::size_t at) {
      const char c = digest.hex()[at];
      return static_cast<std::uint8_t>(c >= 'a' ? c - 'a' + 10 : c - '0');
    };
    seed.at(i) = static_cast<std::uint8_t>(digit(2 * i) << 4 | digit(2 * i + 1));
  }
  return seed;
}

}  // namespace

Result<void> build_base_disk(const BaseDiskSpec& spec, const std::string& path, JobMonitor& monitor) {
  if (spec.disk_bytes < kMinDiskBytes) {
    return fail(ErrorCode::kInvalidArgument, "a disk of {} bytes is too small; at least {} MiB", spec.disk_bytes,
                kMinDiskBytes / 1024 / 1024);
  }
  TRY_ASSIGN(const std::unique_ptr<FileArena> arena, FileArena::create(path + ".tree", spec.image));
  TRY_ASSIGN(MergedTree tree, MergedTree::create(*arena));
  TRY_ASSIGN(const std::uint64_t layer_bytes, merge_layers(spec, tree, monitor));
  TRY_ASSIGN(const Plan plan, make_plan(tree, *arena));
  Ext4Image::Options options;
  // Half as many again are free for what the box itself makes.
  options.inodes_wanted = static_cast<std::uint32_t>(kFirstInode + plan.inodes() + plan.inodes() / 2);
  options.disk_bytes = disk_size(spec.disk_bytes, layer_bytes, plan, options.inodes_wanted);
  options.seed = seed_of(spec.image_id);
  TRY_ASSIGN(Ext4Image image, Ext4Image::create(path, spec.image, options));
  TRY(write_directories(tree, *arena, image, monitor));
  TRY(for_each_inode(tree, *arena, [&](const Inode& inode) -> Result<void> {
    if (inode.is_directory() || has_content(inode)) return {};
    image.use_inode(inode.number, false);
    return image.write_inode(inode.number, inode.facts, inode.links, {});
  }));
  ContentWriter contents(spec, plan, image, monitor);
  TRY(for_each_inode(tree, *arena, [&](const Inode& inode) -> Result<void> {
    if (!has_content(inode)) return {};
    return contents.write(inode);
  }));
  TRY(monitor.step("disk", plan.content_bytes, plan.content_bytes));
  return image.finish();
}

}  // namespace boxlite::image
