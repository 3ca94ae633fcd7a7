#include "image/base_disk.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/sys.h"
#include "image/ext4_image.h"
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
      TRY(tree.apply(std::move(entry), ordinal));
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

// Everything that will be an inode, and every directory with its place.
struct Plan {
  std::vector<const Node*> directories;
  std::vector<Inode*> small;    // without content: symbolic links, devices, fifos, empty files
  std::vector<Inode*> content;  // regular files, in the order of the streams
  std::uint64_t content_bytes = 0;
};

void collect(const Node& node, Plan& plan) {
  if (node.is_directory()) {
    plan.directories.push_back(&node);
    for (const auto& [name, child] : node.children) collect(*child, plan);
    return;
  }
  Inode& inode = *node.inode;
  if (inode.number != 0) return;  // another name of it was met before
  inode.number = ~0U;
  const bool has_content = inode.entry.type == FileType::kRegular && inode.entry.size != 0;
  (has_content ? plan.content : plan.small).push_back(&inode);
  if (has_content) plan.content_bytes += inode.entry.size;
}

// Numbers rise in the order in which the inodes are written.
Plan make_plan(const MergedTree& tree) {
  Plan plan;
  collect(tree.root(), plan);
  std::ranges::sort(plan.content, {}, [](const Inode* inode) { return std::pair(inode->layer, inode->ordinal); });
  // The root has its fixed number; e2fsck wants lost+found, MergedTree::finish() has seen to it that it is there.
  const Node& lost_and_found = *tree.root().children.find("lost+found")->second;
  tree.root().inode->number = kRootInode;
  lost_and_found.inode->number = kFirstInode;
  std::uint32_t next = kFirstInode + 1;
  for (const Node* directory : plan.directories) {
    if (directory->inode->number == 0) directory->inode->number = next++;
  }
  for (Inode* inode : plan.small) inode->number = next++;
  for (Inode* inode : plan.content) inode->number = next++;
  return plan;
}

// An image that does not fit on a disk of the wanted size gets a larger one, of whole GiB and with a fifth of it free. Files may
// be larger than the layers: they have holes then, which take no room.
std::uint64_t disk_size(std::uint64_t wanted, std::uint64_t layer_bytes, const Plan& plan, std::uint64_t inodes) {
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  constexpr std::uint64_t kBytesPerInode = 256;
  const std::uint64_t content = std::min(plan.content_bytes, layer_bytes);
  const std::uint64_t needed = content + (plan.content.size() + plan.directories.size()) * kBlockSize + inodes * kBytesPerInode;
  if (needed <= wanted - wanted / 16) return wanted;
  return (needed + needed / 4 + kGiB - 1) / kGiB * kGiB;
}

Result<void> write_directories(const Plan& plan, Ext4Image& image, JobMonitor& monitor) {
  for (const Node* directory : plan.directories) {
    TRY(monitor.check());
    std::vector<DirectoryEntry> entries;
    entries.reserve(directory->children.size());
    for (const auto& [name, child] : directory->children) {
      entries.push_back({.name = name, .inode = child->inode->number, .type = child->inode->entry.type});
    }
    const Node& parent = directory->parent == nullptr ? *directory : *directory->parent;
    const Inode& inode = *directory->inode;
    if (inode.number != kRootInode) image.use_inode(inode.number, true);
    TRY(image.write_directory(inode.number, parent.inode->number, inode.entry, inode.links, entries));
  }
  return {};
}

// One layer's share of the contents: [first, last) of plan.content, in the stream's order.
Result<void> write_layer_content(const LayerFile& layer, std::span<Inode* const> files, Ext4Image& image, std::uint64_t& done,
                                 std::uint64_t total, JobMonitor& monitor) {
  std::uint64_t budget = ~std::uint64_t{0};  // the first pass has counted
  TRY_ASSIGN(LayerReader reader, LayerReader::open(layer.path, layer.what, budget, monitor));
  LayerEntry entry;
  for (std::uint64_t ordinal = 0; !files.empty(); ++ordinal) {
    TRY_ASSIGN(const bool more, reader.next(entry));
    if (!more) return fail(ErrorCode::kCorrupt, "{} changed while it was read", layer.what);
    const Inode& inode = *files.front();
    if (inode.ordinal != ordinal) continue;
    FileContent content(image, inode.entry.size);
    const auto sink = [&](std::uint64_t offset, std::span<const std::byte> data) -> Result<void> {
      TRY(content.write(offset, data));
      return monitor.step("disk", done + offset, total);
    };
    TRY(reader.content(sink));
    TRY_ASSIGN(const std::vector<Extent> extents, content.finish());
    image.use_inode(inode.number, false);
    TRY(image.write_inode(inode.number, inode.entry, inode.links, extents));
    done += inode.entry.size;
    files = files.subspan(1);
  }
  return {};
}

Result<void> write_content(const BaseDiskSpec& spec, const Plan& plan, Ext4Image& image, JobMonitor& monitor) {
  std::uint64_t done = 0;
  std::span<Inode* const> rest = plan.content;
  while (!rest.empty()) {
    const std::uint32_t layer = rest.front()->layer;
    const auto end = std::ranges::find_if(rest, [&](const Inode* inode) { return inode->layer != layer; });
    const auto count = static_cast<std::size_t>(end - rest.begin());
    // Layers are counted from 1 in the tree.
    TRY(write_layer_content(spec.layers.at(layer - 1), rest.first(count), image, done, plan.content_bytes, monitor));
    rest = rest.subspan(count);
  }
  return monitor.step("disk", plan.content_bytes, plan.content_bytes);
}

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
  MergedTree tree;
  TRY_ASSIGN(const std::uint64_t layer_bytes, merge_layers(spec, tree, monitor));
  const Plan plan = make_plan(tree);
  const std::size_t inodes = plan.directories.size() + plan.small.size() + plan.content.size();
  Ext4Image::Options options;
  // Half as many again are free for what the box itself makes.
  options.inodes_wanted = static_cast<std::uint32_t>(kFirstInode + inodes + inodes / 2);
  options.disk_bytes = disk_size(spec.disk_bytes, layer_bytes, plan, options.inodes_wanted);
  options.seed = seed_of(spec.image_id);
  TRY_ASSIGN(Ext4Image image, Ext4Image::create(path, spec.image, options));
  TRY(write_directories(plan, image, monitor));
  for (const Inode* inode : plan.small) {
    image.use_inode(inode->number, false);
    TRY(image.write_inode(inode->number, inode->entry, inode->links, {}));
  }
  TRY(write_content(spec, plan, image, monitor));
  return image.finish();
}

}  // namespace boxlite::image
