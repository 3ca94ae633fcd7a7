// All layers of an image as one tree in memory: what is in it survives, where the contents are is remembered.
//
// Theory of operation (OCI image-spec v1.1, layer.md, "Applying Changesets"). Layers are applied lowest first, entries in order;
// the last writer of a path wins. Whiteouts concern lower layers only, whatever their place in their layer: each node carries the
// layer that wrote it last, and a whiteout removes the nodes of earlier ones. Nothing here touches a file system, so "escape" has
// no meaning: a path is a list of names walked from the root; ".." at the root stays there; a symbolic link among the *parents*
// is followed inside the tree, a bounded number of times, as containerd does in its root; the last name is never followed. A
// parent that is absent becomes a directory (root's, 0755); a parent that is a file is replaced by one.
//
// Inodes are shared: a hard link is a second name for one Inode, also across layers, and an Inode lives while a name does.
// Bounds: number of entries, depth, bytes of metadata; without them a small layer could take all memory.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/layer_entry.h"

namespace boxlite::image {

struct Inode {
  LayerEntry entry;         // `path` is empty; `type` is never kHardLink
  std::uint32_t layer = 0;  // where the content is: layer and entry of that layer
  std::uint64_t ordinal = 0;
  std::uint32_t links = 0;   // names; set by MergedTree::finish()
  std::uint32_t number = 0;  // in the file system to be; the writer's
};

struct Node {
  std::shared_ptr<Inode> inode;
  Node* parent = nullptr;   // nullptr: the root
  std::uint32_t layer = 0;  // that wrote this name last
  std::uint32_t depth = 0;
  std::uint32_t pruned = 0;  // the last layer of which a whiteout has removed all that is older below
  std::map<std::string, std::unique_ptr<Node>, std::less<>> children;  // of a directory

  bool is_directory() const { return inode->entry.type == FileType::kDirectory; }
};

struct TreeLimits {
  std::uint64_t entries = 2'000'000;
  std::uint64_t metadata_bytes = 256 * 1024 * 1024;  // names, link targets, extended attributes
  std::uint32_t depth = 1024;
};

class MergedTree {
 public:
  explicit MergedTree(TreeLimits limits = {});

  /// The entries that follow belong to the next layer. `what` names it in errors.
  void begin_layer(std::string what);

  /// `ordinal`: the entry's place in its layer.
  Result<void> apply(LayerEntry entry, std::uint64_t ordinal);

  /// Counts links and adds /lost+found, which e2fsck wants. Call once, after the last layer.
  Result<void> finish();

  const Node& root() const { return *root_; }

 private:
  using Names = std::vector<std::string>;
  Result<Names> split(std::string_view path) const;
  Result<Node*> find_directory(const Names& parents, bool create, const LayerEntry& cause);
  Result<void> apply_whiteout(const Names& parents, std::string_view name, const LayerEntry& entry);
  Result<void> apply_hard_link(Node& directory, const std::string& name, const LayerEntry& entry);
  Result<Node*> put(Node& directory, const std::string& name, std::shared_ptr<Inode> inode);
  Result<Node*> make_directory(Node& parent, const std::string& name, const LayerEntry& cause);
  bool prune_lower(Node& node) const;
  Result<void> account(std::uint64_t bytes);

  TreeLimits limits_;
  std::unique_ptr<Node> root_;
  std::string what_;
  std::uint32_t layer_ = 0;
  std::uint64_t entries_ = 0;
  std::uint64_t metadata_bytes_ = 0;
};

}  // namespace boxlite::image
