#include "image/merged_tree.h"

#include <deque>

namespace boxlite::image {
namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr std::string_view kAufsMetadata = ".wh..wh.";
constexpr std::string_view kLostAndFound = "lost+found";
constexpr std::size_t kMaxFileName = 255;
constexpr int kMaxSymlinks = 40;            // as the kernel: MAXSYMLINKS
constexpr std::size_t kMapNodeBytes = 128;  // at most, of one entry of Node::Children

std::vector<std::string> components(std::string_view path) {
  std::vector<std::string> names;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    if (!name.empty() && name != ".") names.emplace_back(name);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return names;
}

std::uint64_t metadata_size(const LayerEntry& entry) {
  std::uint64_t bytes = entry.link.size();
  for (const auto& [name, value] : entry.xattrs) bytes += name.size() + value.size() + 2 * sizeof(std::string);
  return bytes;
}

LayerEntry implied_directory(const FileAttributes& cause) {
  LayerEntry directory;
  directory.type = FileType::kDirectory;
  directory.mode = 0755;
  directory.mtime_seconds = cause.mtime_seconds;
  directory.mtime_nanoseconds = cause.mtime_nanoseconds;
  return directory;
}

}  // namespace

Node* Node::child(std::string_view name) const {
  if (children == nullptr) return nullptr;
  const auto it = children->find(name);
  return it == children->end() ? nullptr : it->second;
}

Result<MergedTree> MergedTree::create(FileArena& arena, const TreeLimits& limits) {
  MergedTree tree(arena, limits);
  TRY_ASSIGN(tree.root_, arena.make<Node>());
  TRY_ASSIGN(tree.root_->inode, tree.new_inode(implied_directory({}), 0));
  return tree;
}

void MergedTree::begin_layer(std::string what) {
  what_ = std::move(what);
  ++layer_;
}

// Lexically, as Go's path.Clean("/" + path): ".." takes back the name before it and stops at the root.
Result<MergedTree::Names> MergedTree::split(std::string_view path) const {
  Names names;
  for (std::string& name : components(path)) {
    if (name == "..") {
      if (!names.empty()) names.pop_back();
      continue;
    }
    if (name.size() > kMaxFileName)
      return fail(ErrorCode::kCorrupt, "{}: a file name is longer than {} bytes: {}…", what_, kMaxFileName, name.substr(0, 60));
    names.push_back(std::move(name));
  }
  return names;
}

Result<void> MergedTree::apply(const LayerEntry& entry, std::uint64_t ordinal) {
  TRY_ASSIGN(Names names, split(entry.path));
  if (names.empty()) {
    if (entry.type != FileType::kDirectory) return fail(ErrorCode::kCorrupt, "{}: an entry replaces the root directory", what_);
    TRY(account(metadata_size(entry)));
    return replace_facts(*root_->inode, entry);
  }
  const std::string name = std::move(names.back());
  names.pop_back();
  if (name.starts_with(kWhiteout)) return apply_whiteout(names, name, entry);
  if (entry.type == FileType::kSymlink && entry.link.empty()) {
    return fail(ErrorCode::kCorrupt, "{}: the symbolic link {} has no target", what_, entry.path);
  }
  TRY_ASSIGN(Node * directory, find_directory(names, true, entry));
  if (entry.type == FileType::kHardLink) return apply_hard_link(*directory, name, entry);
  TRY(account(metadata_size(entry)));
  // A directory over a directory keeps the children.
  if (Node* node = look_up(*directory, name); node != nullptr && node->is_directory() && entry.type == FileType::kDirectory) {
    node->layer = layer_;
    return replace_facts(*node->inode, entry);
  }
  TRY_ASSIGN(Inode * inode, new_inode(entry, ordinal));
  TRY(put(*directory, name, inode));
  return {};
}

// Texts of it go into the arena. A directory is never shared, so its inode can be changed.
Result<void> MergedTree::replace_facts(Inode& inode, const LayerEntry& entry) {
  static_cast<FileAttributes&>(inode.facts) = entry;
  TRY_ASSIGN(inode.facts.link, arena_->keep(entry.link));
  inode.facts.xattrs = {};
  if (entry.xattrs.empty()) return {};
  TRY(arena_->reserve((entry.xattrs.size() + 1) * sizeof(FileFacts::Xattr)));
  const std::span<FileFacts::Xattr> xattrs(
      std::pmr::polymorphic_allocator<FileFacts::Xattr>(arena_).allocate(entry.xattrs.size()), entry.xattrs.size());
  for (std::size_t i = 0; i < xattrs.size(); ++i) {
    TRY_ASSIGN(const std::string_view key, arena_->keep(entry.xattrs[i].first));
    TRY_ASSIGN(const std::string_view value, arena_->keep(entry.xattrs[i].second));
    std::construct_at(&xattrs[i], key, value);
  }
  inode.facts.xattrs = xattrs;
  return {};
}

Result<Inode*> MergedTree::new_inode(const LayerEntry& entry, std::uint64_t ordinal) {
  TRY_ASSIGN(Inode * inode, arena_->make<Inode>());
  TRY(replace_facts(*inode, entry));
  inode->layer = layer_;
  inode->ordinal = ordinal;
  if (last_inode_ != nullptr) last_inode_->next = inode;
  last_inode_ = inode;
  return inode;
}

Node* MergedTree::look_up(const Node& directory, std::string_view name) const {
  arena_->visit();
  return directory.child(name);
}

Result<void> MergedTree::apply_whiteout(const Names& parents, std::string_view name, const LayerEntry& entry) {
  if (name != kOpaque && name.starts_with(kAufsMetadata)) return {};
  const std::string_view hidden = name.substr(kWhiteout.size());
  if (hidden.empty() || hidden == "." || hidden == "..")
    return fail(ErrorCode::kCorrupt, "{}: bad whiteout {}", what_, entry.path);
  TRY_ASSIGN(Node * directory, find_directory(parents, false, entry));
  if (directory == nullptr) return {};
  if (name == kOpaque) {
    (void)prune_lower(*directory);
    return {};
  }
  Node* node = look_up(*directory, hidden);
  if (node != nullptr && prune_lower(*node)) directory->children->erase(hidden);
  return {};
}

// True when nothing of the current layer is in it, so that it goes. Once per layer and node: all that comes later is of this
// layer, and a layer of nothing but whiteouts of one large directory would take for ever.
bool MergedTree::prune_lower(Node& node) const {
  arena_->visit();
  if (node.children == nullptr) return node.layer != layer_;
  if (node.pruned != layer_) std::erase_if(*node.children, [&](auto& item) { return prune_lower(*item.second); });
  node.pruned = layer_;
  return node.layer != layer_ && node.children->empty();
}

Result<void> MergedTree::apply_hard_link(Node& directory, const std::string& name, const LayerEntry& entry) {
  TRY_ASSIGN(Names target_names, split(entry.link));
  const auto missing = [&] {
    return fail(ErrorCode::kCorrupt, "{}: {} is a hard link to {}, which is not there or a directory", what_, entry.path,
                entry.link);
  };
  if (target_names.empty()) return missing();
  const std::string target_name = std::move(target_names.back());
  target_names.pop_back();
  TRY_ASSIGN(Node * target_directory, find_directory(target_names, false, entry));
  if (target_directory == nullptr) return missing();
  const Node* target = look_up(*target_directory, target_name);
  if (target == nullptr || target->is_directory()) return missing();
  TRY(put(directory, name, target->inode));
  return {};
}

// The directory a list of names leads to. nullptr: it is not there and was not to be created.
Result<Node*> MergedTree::find_directory(const Names& parents, bool create, const LayerEntry& cause) {
  std::deque<std::string> pending(parents.begin(), parents.end());
  Node* current = root_;
  int symlinks = 0;
  while (!pending.empty()) {
    const std::string name = std::move(pending.front());
    pending.pop_front();
    if (name == "..") {  // only from a symbolic link's target
      if (current->parent != nullptr) current = current->parent;
      continue;
    }
    Node* child = look_up(*current, name);
    if (child != nullptr && child->is_directory()) {
      current = child;
    } else if (child != nullptr && child->inode->facts.type == FileType::kSymlink) {
      if (++symlinks > kMaxSymlinks)
        return fail(ErrorCode::kCorrupt, "{}: too many symbolic links on the way to {}", what_, cause.path);
      const std::string_view target = child->inode->facts.link;
      const std::vector<std::string> names = components(target);
      pending.insert(pending.begin(), names.begin(), names.end());
      if (target.starts_with('/')) current = root_;
    } else if (!create) {
      return nullptr;
    } else {
      TRY_ASSIGN(current, make_directory(*current, name, cause));
    }
  }
  return current;
}

Result<Node*> MergedTree::make_directory(Node& parent, std::string_view name, const LayerEntry& cause) {
  TRY_ASSIGN(Inode * inode, new_inode(implied_directory(cause), 0));
  return put(parent, name, inode);
}

// Replaces what was there, with all below it.
Result<Node*> MergedTree::put(Node& directory, std::string_view name, Inode* inode) {
  if (name.size() > kMaxFileName || directory.depth >= limits_.depth) {
    return fail(ErrorCode::kCorrupt, "{}: directories are nested deeper than {}, or a name is too long", what_, limits_.depth);
  }
  if (++entries_ > limits_.entries) {
    return fail(ErrorCode::kResourceExhausted, "{}: the image has more than {} entries", what_, limits_.entries);
  }
  TRY(account(name.size()));
  if (directory.children == nullptr) {
    TRY_ASSIGN(directory.children, arena_->make<Node::Children>(arena_));
  }
  TRY_ASSIGN(Node * node, arena_->make<Node>());
  node->inode = inode;
  node->parent = &directory;
  node->layer = layer_;
  node->depth = directory.depth + 1;
  if (const auto it = directory.children->find(name); it != directory.children->end()) {
    it->second = node;
    return node;
  }
  TRY_ASSIGN(const std::string_view kept, arena_->keep(name));
  TRY(arena_->reserve(kMapNodeBytes));
  directory.children->emplace(kept, node);
  return node;
}

Result<void> MergedTree::account(std::uint64_t bytes) {
  metadata_bytes_ += bytes;
  if (metadata_bytes_ <= limits_.metadata_bytes) return {};
  return fail(ErrorCode::kResourceExhausted, "{}: names and attributes of the image exceed {} bytes", what_,
              limits_.metadata_bytes);
}

Result<void> MergedTree::finish() {
  const Node* lost_and_found = root_->child(kLostAndFound);
  if (lost_and_found == nullptr || !lost_and_found->is_directory()) {
    LayerEntry entry = implied_directory(root_->inode->facts);
    entry.mode = 0700;
    TRY_ASSIGN(Inode * inode, new_inode(entry, 0));
    TRY(put(*root_, kLostAndFound, inode));
  }
  count_links(*root_);
  return {};
}

void MergedTree::count_links(Node& node) const {
  arena_->visit();
  if (!node.is_directory()) {
    ++node.inode->links;
    return;
  }
  node.inode->links = 2;
  if (node.children == nullptr) return;
  for (const auto& [name, child] : *node.children) {
    if (child->is_directory()) ++node.inode->links;
    count_links(*child);
  }
}

}  // namespace boxlite::image
