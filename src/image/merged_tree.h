// All layers of an image as one tree in memory: what is in it survives, where the contents are is remembered.
//
// Theory of operation (OCI image-spec v1.1, layer.md, "Applying Changesets"). Layers are applied lowest first, entries in order;
// the last writer of a path wins. Whiteouts concern lower layers only, whatever their place in their layer: each node carries the
// layer that wrote it last, and a whiteout removes the nodes of earlier ones. Nothing here touches a file system, so "escape" has
// no meaning: a path is a list of names walked from the root; ".." at the root stays there; a symbolic link among the *parents*
// is followed inside the tree, a bounded number of times, as containerd does in its root; the last name is never followed. A
// parent that is absent becomes a directory (root's, 0755); a parent that is a file is replaced by one.
//
// Inodes are shared: a hard link is a second name for one Inode, also across layers. Everything lives in a FileArena and nothing
// is given back: what layers replaced stays until the end, so that the bounds on entries, depth and bytes of metadata, without
// which a small layer could take all memory, count what was ever put.
#pragma once

#include <cstdint>
#include <map>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/file_arena.h"
#include "image/layer_entry.h"

namespace boxlite::image {

struct Inode {
  FileFacts facts;          // `type` is never kHardLink
  std::uint32_t layer = 0;  // where the content is: layer and entry of that layer
  std::uint64_t ordinal = 0;
  std::uint32_t links = 0;   // names; set by MergedTree::finish(), 0: replaced or removed
  std::uint32_t number = 0;  // in the file system to be; the writer's
  Inode* next = nullptr;     // the one made after it: of files, by layer and ordinal

  bool is_directory() const { return facts.type == FileType::kDirectory; }
};

struct Node {
  using Children = std::pmr::map<std::string_view, Node*>;

  Inode* inode = nullptr;
  Node* parent = nullptr;        // nullptr: the root
  Children* children = nullptr;  // nullptr: none yet
  std::uint32_t layer = 0;       // that wrote this name last
  std::uint32_t depth = 0;
  std::uint32_t pruned = 0;  // the last layer of which a whiteout has removed all that is older below

  bool is_directory() const { return inode->is_directory(); }
  Node* child(std::string_view name) const;
};

struct TreeLimits {
  std::uint64_t entries = 2'000'000;
  std::uint64_t metadata_bytes = 256 * 1024 * 1024;  // names, link targets, extended attributes
  std::uint32_t depth = 1024;
};

class MergedTree {
 public:
  /// `arena` must outlive the tree.
  static Result<MergedTree> create(FileArena& arena, const TreeLimits& limits = {});

  /// The entries that follow belong to the next layer. `what` names it in errors.
  void begin_layer(std::string what);

  /// `ordinal`: the entry's place in its layer.
  Result<void> apply(const LayerEntry& entry, std::uint64_t ordinal);

  /// Counts links and adds /lost+found, which e2fsck wants. Call once, after the last layer.
  Result<void> finish();

  Node& root() const { return *root_; }
  /// All there ever were, in the order in which they were made.
  Inode* first_inode() const { return root_->inode; }

 private:
  using Names = std::vector<std::string>;
  MergedTree(FileArena& arena, const TreeLimits& limits) : arena_(&arena), limits_(limits) {}
  Result<Names> split(std::string_view path) const;
  Node* look_up(const Node& directory, std::string_view name) const;
  Result<Node*> find_directory(const Names& parents, bool create, const LayerEntry& cause);
  Result<void> apply_whiteout(const Names& parents, std::string_view name, const LayerEntry& entry);
  Result<void> apply_hard_link(Node& directory, const std::string& name, const LayerEntry& entry);
  Result<Node*> put(Node& directory, std::string_view name, Inode* inode);
  Result<Node*> make_directory(Node& parent, std::string_view name, const LayerEntry& cause);
  Result<Inode*> new_inode(const LayerEntry& entry, std::uint64_t ordinal);
  Result<void> replace_facts(Inode& inode, const LayerEntry& entry);
  bool prune_lower(Node& node) const;
  void count_links(Node& node) const;
  Result<void> account(std::uint64_t bytes);

  FileArena* arena_;
  TreeLimits limits_;
  Node* root_ = nullptr;
  Inode* last_inode_ = nullptr;
  std::string what_;
  std::uint32_t layer_ = 0;
  std::uint64_t entries_ = 0;
  std::uint64_t metadata_bytes_ = 0;
};

}  // namespace boxlite::image
