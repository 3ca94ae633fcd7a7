#include "image/merged_tree.h"

#include <gtest/gtest.h>

#include <optional>

#include "base/file.h"

namespace boxlite::image {
namespace {

LayerEntry file(const std::string& path, std::uint64_t size = 1) {
  LayerEntry entry;
  entry.path = path;
  entry.size = size;
  return entry;
}

LayerEntry directory(const std::string& path, std::uint32_t mode = 0755) {
  LayerEntry entry;
  entry.path = path;
  entry.type = FileType::kDirectory;
  entry.mode = mode;
  return entry;
}

LayerEntry link(const std::string& path, const std::string& target, FileType type = FileType::kSymlink) {
  LayerEntry entry;
  entry.path = path;
  entry.type = type;
  entry.link = target;
  return entry;
}

LayerEntry hard(const std::string& path, const std::string& target) { return link(path, target, FileType::kHardLink); }

class MergedTreeTest : public ::testing::Test {
 protected:
  Result<void> layer(std::vector<LayerEntry> entries) {
    tree_->begin_layer("a layer");
    std::uint64_t ordinal = 0;
    for (LayerEntry& entry : entries) TRY(tree_->apply(std::move(entry), ordinal++));
    return {};
  }

  const Node* find(std::string_view path) const {
    const Node* node = &tree_->root();
    while (node != nullptr && !path.empty()) {
      const std::size_t slash = path.find('/');
      node = node->child(path.substr(0, slash));
      path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    }
    return node;
  }

  /// Every path but lost+found, in order.
  std::string listing() const {
    std::string text;
    list(tree_->root(), "", text);
    return text;
  }

  TempDir dir_ = *TempDir::create("/tmp", "boxlite-merged-tree-test-");
  std::unique_ptr<FileArena> arena_ = *FileArena::create(dir_.path() + "/arena", "an image");
  std::optional<MergedTree> tree_ = *MergedTree::create(*arena_);

 private:
  static void list(const Node& node, const std::string& prefix, std::string& text) {
    if (node.children == nullptr) return;
    for (const auto& [name, child] : *node.children) {
      text += prefix + std::string(name) + " ";
      list(*child, prefix + std::string(name) + "/", text);
    }
  }
};

TEST_F(MergedTreeTest, TheLastWriterOfAPathWins) {
  ASSERT_TRUE(layer({directory("d"), file("d/a", 1), file("d/a", 2)}));
  ASSERT_TRUE(layer({file("d/a", 3)}));
  EXPECT_EQ(find("d/a")->inode->facts.size, 3U);
  EXPECT_EQ(find("d/a")->inode->layer, 2U);
  EXPECT_EQ(find("d/a")->inode->ordinal, 0U);
}

TEST_F(MergedTreeTest, ADirectoryOverADirectoryKeepsTheChildrenAndTakesTheMode) {
  ASSERT_TRUE(layer({directory("d", 0755), file("d/a")}));
  ASSERT_TRUE(layer({directory("d/", 0700)}));
  EXPECT_EQ(listing(), "d d/a ");
  EXPECT_EQ(find("d")->inode->facts.mode, 0700U);
}

TEST_F(MergedTreeTest, DirectoriesAreReplacedByFilesAndBack) {
  ASSERT_TRUE(layer({directory("d"), file("d/a"), file("f")}));
  ASSERT_TRUE(layer({file("d"), directory("f"), file("f/b")}));
  EXPECT_EQ(listing(), "d f f/b ");
  EXPECT_FALSE(find("d")->is_directory());
}

TEST_F(MergedTreeTest, AWhiteoutRemovesWhatLowerLayersBrought) {
  ASSERT_TRUE(layer({file("d/a"), file("d/b"), file("x/y/z")}));
  ASSERT_TRUE(layer({file("d/.wh.a"), file(".wh.x"), file(".wh.absent"), file("absent/.wh.a")}));
  EXPECT_EQ(listing(), "d d/b ");
}

TEST_F(MergedTreeTest, AWhiteoutSparesItsOwnLayerInWhateverOrder) {
  ASSERT_TRUE(layer({file("d/a", 1), file("e/a", 1)}));
  ASSERT_TRUE(layer({file("d/a", 2), file("d/.wh.a"), file("e/.wh.a"), file("e/a", 2)}));
  EXPECT_EQ(listing(), "d d/a e e/a ");
  EXPECT_EQ(find("d/a")->inode->facts.size, 2U);
}

TEST_F(MergedTreeTest, AnOpaqueDirectoryHidesLowerChildrenOnly) {
  ASSERT_TRUE(layer({file("d/old"), file("d/sub/old"), file("d/sub/deep/old")}));
  ASSERT_TRUE(layer({directory("d"), file("d/new"), file("d/sub/new"), file("d/.wh..wh..opq")}));
  EXPECT_EQ(listing(), "d d/new d/sub d/sub/new ");
}

TEST_F(MergedTreeTest, AufsMetadataIsIgnoredAndBadWhiteoutsAreRefused) {
  ASSERT_TRUE(layer({file("a"), directory(".wh..wh.plnk"), file(".wh..wh.aufs")}));
  EXPECT_EQ(listing(), "a ");
  EXPECT_FALSE(layer({file("d/.wh.")}));
  EXPECT_FALSE(layer({file("d/.wh...")}));
  EXPECT_FALSE(layer({file("d/.wh..")}));
}

TEST_F(MergedTreeTest, HardLinksShareAnInodeAcrossLayersAndSurviveTheirOrigin) {
  ASSERT_TRUE(layer({file("a", 7)}));
  ASSERT_TRUE(layer({hard("d/b", "a"), hard("c", "/d/../d/b")}));
  ASSERT_TRUE(layer({file(".wh.a")}));
  ASSERT_TRUE(tree_->finish());
  EXPECT_EQ(find("a"), nullptr);
  EXPECT_EQ(find("d/b")->inode, find("c")->inode);
  EXPECT_EQ(find("c")->inode->links, 2U);
  EXPECT_EQ(find("c")->inode->layer, 1U);
}

TEST_F(MergedTreeTest, AHardLinkToNothingOrToADirectoryIsRefused) {
  ASSERT_TRUE(layer({directory("d")}));
  EXPECT_FALSE(layer({hard("a", "absent")}));
  EXPECT_FALSE(layer({hard("a", "d")}));
  EXPECT_FALSE(layer({hard("a", "d/absent/x")}));
  EXPECT_FALSE(layer({hard("a", "/")}));
}

TEST_F(MergedTreeTest, AHardLinkOntoItsOwnTargetChangesNothing) {
  ASSERT_TRUE(layer({file("a", 7), hard("a", "a")}));
  ASSERT_TRUE(tree_->finish());
  EXPECT_EQ(find("a")->inode->facts.size, 7U);
  EXPECT_EQ(find("a")->inode->links, 1U);
}

TEST_F(MergedTreeTest, DotDotAndAbsoluteNamesStayInside) {
  ASSERT_TRUE(layer({file("../../etc/passwd"), file("/abs/file"), file("a/../b"), file("./c/./d"), file("e//f")}));
  EXPECT_EQ(listing(), "abs abs/file b c c/d e e/f etc etc/passwd ");
}

TEST_F(MergedTreeTest, SymbolicLinksAmongTheParentsAreFollowedInside) {
  ASSERT_TRUE(layer({directory("usr/bin"), link("bin", "usr/bin"), link("up", "../../../usr"), link("abs", "/usr/bin")}));
  ASSERT_TRUE(layer({file("bin/a"), file("up/b"), file("abs/c"), file("bin/../d")}));
  EXPECT_EQ(listing(), "abs bin d up usr usr/b usr/bin usr/bin/a usr/bin/c ");
}

TEST_F(MergedTreeTest, ADanglingParentLinkMakesItsTarget) {
  ASSERT_TRUE(layer({link("run", "/var/run/now"), file("run/a")}));
  EXPECT_EQ(listing(), "run var var/run var/run/now var/run/now/a ");
}

TEST_F(MergedTreeTest, TheLastNameIsNeverFollowed) {
  ASSERT_TRUE(layer({file("target", 1), link("l", "target"), link("m", "target")}));
  ASSERT_TRUE(layer({file("l", 2), directory("m")}));
  EXPECT_EQ(find("target")->inode->facts.size, 1U);
  EXPECT_EQ(find("l")->inode->facts.size, 2U);
  EXPECT_TRUE(find("m")->is_directory());
}

TEST_F(MergedTreeTest, LoopsOfSymbolicLinksAreRefused) {
  ASSERT_TRUE(layer({link("a", "b"), link("b", "a"), link("self", "self/x")}));
  EXPECT_FALSE(layer({file("a/x")}));
  EXPECT_FALSE(layer({file("self/x")}));
}

TEST_F(MergedTreeTest, AFileAmongTheParentsBecomesADirectory) {
  ASSERT_TRUE(layer({file("a")}));
  ASSERT_TRUE(layer({file("a/b")}));
  EXPECT_EQ(listing(), "a a/b ");
}

TEST_F(MergedTreeTest, TheRootTakesAttributesButIsNeverReplaced) {
  ASSERT_TRUE(layer({directory("./", 0711)}));
  EXPECT_EQ(tree_->root().inode->facts.mode, 0711U);
  EXPECT_FALSE(layer({file("/")}));
  EXPECT_FALSE(layer({link("..", "x")}));
}

TEST_F(MergedTreeTest, LinksAreCountedAsExt4CountsThem) {
  ASSERT_TRUE(layer({directory("d"), directory("d/e"), directory("d/f"), file("d/g")}));
  ASSERT_TRUE(tree_->finish());
  EXPECT_EQ(find("d")->inode->links, 4U);
  EXPECT_EQ(find("d/e")->inode->links, 2U);
  EXPECT_EQ(tree_->root().inode->links, 4U);  // lost+found was added
  EXPECT_EQ(find("lost+found")->inode->facts.mode, 0700U);
}

TEST(MergedTreeLimitsTest, NumbersAreBounded) {
  const TempDir dir = *TempDir::create("/tmp", "boxlite-merged-tree-test-");
  const auto arena = *FileArena::create(dir.path() + "/arena", "an image");
  MergedTree few = *MergedTree::create(*arena, {.entries = 3, .metadata_bytes = 1000, .depth = 4});
  few.begin_layer("l");
  ASSERT_TRUE(few.apply(file("a/b/c"), 0));
  const auto one_more = few.apply(file("d"), 1);
  ASSERT_FALSE(one_more);
  EXPECT_EQ(one_more.error().code(), ErrorCode::kResourceExhausted);

  MergedTree flat = *MergedTree::create(*arena, {.entries = 100, .metadata_bytes = 1000, .depth = 4});
  flat.begin_layer("l");
  EXPECT_TRUE(flat.apply(file("a/b/c/d"), 0));
  EXPECT_FALSE(flat.apply(file("a/b/c/e/f"), 1));
  EXPECT_FALSE(flat.apply(link("l", std::string(2000, 'x')), 2));
  EXPECT_FALSE(flat.apply(file(std::string(256, 'x')), 3));
}

}  // namespace
}  // namespace boxlite::image
