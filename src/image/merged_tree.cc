#include "image/merged_tree.h"

#include <deque>

namespace boxlite::image {
namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr std::string_view kAufsMetadata = ".wh..wh.";
constexpr std::string_view kLostAndFound = "lost+found";
constexpr std::size_t kMaxName = 255;
constexpr int kMaxSymlinks = 40;  // as the kernel: MAXSYMLINKS

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

LayerEntry implied_directory(const LayerEntry& cause) {
  LayerEntry directory;
  directory.type = FileType::kDirectory;
  directory.mode = 0755;
  directory.mtime_seconds = cause.mtime_seconds;
  directory.mtime_nanoseconds = cause.mtime_nanoseconds;
  return directory;
}

std::shared_ptr<Inode> new_inode(LayerEntry entry, std::uint32_t layer, std::uint64_t ordinal) {
  entry.path = std::string();  // clear() would keep its memory
  auto inode = std::make_shared<Inode>();
  inode->entry = std::move(entry);
  inode->layer = layer;
  inode->ordinal = ordinal;
  return inode;
}

void count_links(Node& node) {
  if (!node.is_directory()) {
    ++node.inode->links;
    return;
  }
  node.inode->links = 2;
  for (auto& [name, child] : node.children) {
    if (child->is_directory()) ++node.inode->links;
    count_links(*child);
  }
}

}  // namespace

MergedTree::MergedTree(TreeLimits limits) : limits_(limits), root_(std::make_unique<Node>()) {
  root_->inode = new_inode(implied_directory({}), 0, 0);
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
    if (name.size() > kMaxName)
      return fail(ErrorCode::kCorrupt, "{}: a file name is longer than {} bytes: {}…", what_, kMaxName, name.substr(0, 60));
    names.push_back(std::move(name));
  }
  return names;
}

Result<void> MergedTree::apply(LayerEntry entry, std::uint64_t ordinal) {
  TRY_ASSIGN(Names names, split(entry.path));
  if (names.empty()) {
    if (entry.type != FileType::kDirectory) return fail(ErrorCode::kCorrupt, "{}: an entry replaces the root directory", what_);
    root_->inode = new_inode(std::move(entry), layer_, ordinal);
    return {};
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
  TRY(put(*directory, name, new_inode(std::move(entry), layer_, ordinal)));
  return {};
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
  const auto it = directory->children.find(hidden);
  if (it != directory->children.end() && prune_lower(*it->second)) directory->children.erase(it);
  return {};
}

// True when nothing of the current layer is in it, so that it goes. Once per layer and node: all that comes later is of this
// layer, and a layer of nothing but whiteouts of one large directory would take for ever.
bool MergedTree::prune_lower(Node& node) const {
  if (node.pruned != layer_) std::erase_if(node.children, [&](auto& item) { return prune_lower(*item.second); });
  node.pruned = layer_;
  return node.layer != layer_ && node.children.empty();
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
  const auto it = target_directory->children.find(target_name);
  if (it == target_directory->children.end() || it->second->is_directory()) return missing();
  TRY(put(directory, name, it->second->inode));
  return {};
}

// The directory a list of names leads to. nullptr: it is not there and was not to be created.
Result<Node*> MergedTree::find_directory(const Names& parents, bool create, const LayerEntry& cause) {
  std::deque<std::string> pending(parents.begin(), parents.end());
  Node* current = root_.get();
  int symlinks = 0;
  while (!pending.empty()) {
    const std::string name = std::move(pending.front());
    pending.pop_front();
    if (name == "..") {  // only from a symbolic link's target
      if (current->parent != nullptr) current = current->parent;
      continue;
    }
    const auto it = current->children.find(name);
    Node* child = it == current->children.end() ? nullptr : it->second.get();
    if (child != nullptr && child->is_directory()) {
      current = child;
    } else if (child != nullptr && child->inode->entry.type == FileType::kSymlink) {
      if (++symlinks > kMaxSymlinks)
        return fail(ErrorCode::kCorrupt, "{}: too many symbolic links on the way to {}", what_, cause.path);
      const std::string& target = child->inode->entry.link;
      const std::vector<std::string> names = components(target);
      pending.insert(pending.begin(), names.begin(), names.end());
      if (target.starts_with('/')) current = root_.get();
    } else if (!create) {
      return nullptr;
    } else {
      TRY_ASSIGN(current, make_directory(*current, name, cause));
    }
  }
  return current;
}

Result<Node*> MergedTree::make_directory(Node& parent, const std::string& name, const LayerEntry& cause) {
  return put(parent, name, new_inode(implied_directory(cause), layer_, 0));
}

// A directory over a directory keeps the children; anything else replaces what was there, with all below it.
Result<Node*> MergedTree::put(Node& directory, const std::string& name, std::shared_ptr<Inode> inode) {
  const auto it = directory.children.find(name);
  if (it != directory.children.end() && it->second->is_directory() && inode->entry.type == FileType::kDirectory) {
    it->second->inode = std::move(inode);
    it->second->layer = layer_;
    return it->second.get();
  }
  if (name.size() > kMaxName || directory.depth >= limits_.depth) {
    return fail(ErrorCode::kCorrupt, "{}: directories are nested deeper than {}, or a name is too long", what_, limits_.depth);
  }
  if (++entries_ > limits_.entries) {
    return fail(ErrorCode::kResourceExhausted, "{}: the image has more than {} entries", what_, limits_.entries);
  }
  TRY(account(name.size()));
  auto node = std::make_unique<Node>();
  node->inode = std::move(inode);
  node->parent = &directory;
  node->layer = layer_;
  node->depth = directory.depth + 1;
  return directory.children.insert_or_assign(name, std::move(node)).first->second.get();
}

Result<void> MergedTree::account(std::uint64_t bytes) {
  metadata_bytes_ += bytes;
  if (metadata_bytes_ <= limits_.metadata_bytes) return {};
  return fail(ErrorCode::kResourceExhausted, "{}: names and attributes of the image exceed {} bytes", what_,
              limits_.metadata_bytes);
}

Result<void> MergedTree::finish() {
  const auto it = root_->children.find(kLostAndFound);
  if (it == root_->children.end() || !it->second->is_directory()) {
    LayerEntry entry = implied_directory(root_->inode->entry);
    entry.mode = 0700;
    TRY(put(*root_, std::string(kLostAndFound), new_inode(std::move(entry), layer_, 0)));
  }
  count_links(*root_);
  return {};
}

}  // namespace boxlite::image
