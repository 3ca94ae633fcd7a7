#include "runtime/mounts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace boxlite {
namespace {

BoxOptions with_mount(std::string text) {
  BoxOptions options;
  options.mounts = {std::move(text)};
  return options;
}

BoxOptions with_volume(std::string text) {
  BoxOptions options;
  options.volumes = {std::move(text)};
  return options;
}

Mount mount_of(const BoxOptions& options) {
  const auto mounts = asked_mounts(options);
  EXPECT_TRUE(mounts) << (mounts ? "" : mounts.error().message());
  return mounts && mounts->size() == 1 ? mounts->front() : Mount{};
}

std::string refusal_of(const BoxOptions& options) {
  const auto mounts = asked_mounts(options);
  if (mounts) return "accepted";
  EXPECT_EQ(mounts.error().code(), ErrorCode::kInvalidArgument);
  return mounts.error().message();
}

TEST(MountFlagTest, ABindHasSourceTargetAndIsWritable) {
  const Mount mount = mount_of(with_mount("type=bind,source=/a b/c,target=/d"));
  EXPECT_FALSE(mount.volume);
  EXPECT_EQ(mount.source, "/a b/c");
  EXPECT_EQ(mount.target, "/d");
  EXPECT_FALSE(mount.read_only);
  EXPECT_FALSE(mount.make_source);  // unlike --volume
}

TEST(MountFlagTest, TheOtherNamesOfItsFieldsMeanTheSame) {
  for (const char* text : {"type=bind,src=/a,dst=/b,ro", "destination=/b,readonly=true,source=/a,type=bind",
                           "ro=1,type=bind,src=/a,target=/b", "type=bind,source=/x,source=/a,target=/b,readonly=0,readonly"}) {
    const Mount mount = mount_of(with_mount(text));
    EXPECT_EQ(mount.source, "/a") << text;
    EXPECT_EQ(mount.target, "/b") << text;
    EXPECT_TRUE(mount.read_only) << text;
  }
}

TEST(MountFlagTest, WithoutATypeItIsAVolumeAndWithoutASourceAnAnonymousOne) {
  const Mount named = mount_of(with_mount("source=data,target=/d"));
  EXPECT_TRUE(named.volume);
  EXPECT_EQ(named.name, "data");
  EXPECT_TRUE(named.copy);
  const Mount anonymous = mount_of(with_mount("target=/d,volume-nocopy"));
  EXPECT_TRUE(anonymous.volume && anonymous.anonymous);
  EXPECT_FALSE(anonymous.copy);
  EXPECT_TRUE(mount_of(with_mount("target=/d,volume-nocopy=false")).copy);
}

TEST(VolumeFlagTest, WhatWouldBeIgnoredOrMeansAnotherThingIsRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"/a:/b:z", "option \"z\" is docker's for SELinux"},
      {"/a:/b:ro,Z", "option \"Z\" is docker's for SELinux"},
      {"/a:/b:cached", "option \"cached\" is not here"},
      {"/a:/b:rshared", "option \"rshared\" is not here"},
      {"/a:/b:rprivate", "option \"rprivate\" is not here"},
      {"/a:/b:ro,rw", "ro and rw exclude each other"},
      {"/a:/b:nocopy", "nocopy is for volumes only"},
      {"/a:/b:frob", "option \"frob\" is not known"},
      {"~/x:/b", "write $HOME"},
      {"~:/b", "write $HOME"},
  };
  for (const auto& [text, reason] : cases) {
    EXPECT_NE(refusal_of(with_volume(text)).find(reason), std::string::npos) << text << ": " << refusal_of(with_volume(text));
  }
  EXPECT_TRUE(mount_of(with_volume("data:/b:ro,nocopy")).read_only);
  EXPECT_FALSE(mount_of(with_volume("/a:/b:rw")).read_only);
}

TEST(MountFlagTest, AFieldInQuotesMayHaveCommasAndQuotes) {
  const Mount mount = mount_of(with_mount("type=bind,\"source=/a,b\"\"c\",target=/d"));
  EXPECT_EQ(mount.source, "/a,b\"c");
  EXPECT_EQ(mount.target, "/d");
  EXPECT_EQ(mount_of(with_mount("type=bind,source=/a=b,target=/d=e")).source, "/a=b");
}

TEST(MountFlagTest, BytesThatAreNotUtf8StayAsTheyAre) {
  const Mount mount = mount_of(with_mount("type=bind,source=/\xff\n\x1b,target=/\xfe"));
  EXPECT_EQ(mount.source, "/\xff\n\x1b");
  const auto back = mount_from_json(to_json(mount));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->source, mount.source);
  EXPECT_EQ(back->target, "/\xfe");
}

TEST(MountFlagTest, WhatMakesNoSenseIsRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "\"\" is not known"},
      {",", "\"\" is not known"},
      {"type=bind,,source=/a,target=/b", "\"\" is not known"},
      {"type", "type must be"},
      {"type=", "type must be"},
      {"TYPE=bind", "\"TYPE=bind\" is not known"},
      {"type=bind,source=/a", "target is missing"},
      {"type=bind,target=/b", "needs a source"},
      {"type=bind,source=,target=/b", "source is empty"},
      {"source=,target=/b", "source is empty"},
      {"type=bind,source=/a,target=", "must be absolute"},
      {"type=bind,source=/a,target=b", "must be absolute"},
      {"type=bind,source=/a,target=/", "root of the box"},
      {"type=bind,source=/a,target=/b/../..", "root of the box"},
      {"type=bind,source=/a,target=//", "root of the box"},
      {"type=bind,source=/a,target=/proc", "/proc or /sys"},
      {"type=bind,source=/a,target=/x/../sys/fs", "/proc or /sys"},
      {"type=bind,source=/a,target=/b,readonly=yes", "readonly must be"},
      {"type=bind,source=/a,target=/b,bind-propagation=shared", "bind-propagation=shared"},
      {"type=bind,source=/a,target=/b,volume-driver=nfs", "volume-driver=nfs"},
      {"type=tmpfs,target=/b", "--tmpfs"},
      {"source=/a,target=/b", "type=bind"},
      {"source=../a,target=/b", "type=bind"},
      {std::string("source=a\0b,target=/b", 20), "not a path"},
      {std::string("source=ab,target=/b\0c", 21), "not a path"},
      {"source=ab,target=/" + std::string(5000, 'x'), "not a path"},
      {"source=" + std::string(256, 'x') + ",target=/b", "cannot be a volume's name"},
      {"\"source=ab,target=/b", "a quote is not closed"},
  };
  for (const auto& [text, reason] : cases) {
    EXPECT_NE(refusal_of(with_mount(text)).find(reason), std::string::npos) << text << ": " << refusal_of(with_mount(text));
  }
}

TEST(VolumeFlagTest, APathIsWhatHasASlashAndAnythingElseIsAName) {
  EXPECT_FALSE(mount_of(with_volume("./a:/b")).volume);
  EXPECT_FALSE(mount_of(with_volume("..:/b")).volume);
  EXPECT_TRUE(mount_of(with_volume("./a:/b")).make_source);
  EXPECT_EQ(mount_of(with_volume("ab:/b:ro,nocopy")).name, "ab");
  EXPECT_FALSE(mount_of(with_volume("ab:/b:ro,nocopy")).copy);
  EXPECT_TRUE(mount_of(with_volume("/b/")).anonymous);
}

TEST(VolumeFlagTest, WhatMakesNoSenseIsRefusedByName) {
  for (const auto& [text, reason] : std::vector<std::pair<std::string, std::string>>{{":", "empty"},
                                                                                     {"::", "empty"},
                                                                                     {"a/b:/c:", "option \"\""},
                                                                                     {"/a:/b:ro,", "option \"\""},
                                                                                     {"/a:/b:nocopy", "nocopy"},
                                                                                     {"/a:/b:RO", "RO"},
                                                                                     {"/a:b", "absolute"},
                                                                                     {"/a:/b:/c:/d", "colons"},
                                                                                     {"a:/b", "cannot be a volume's name"},
                                                                                     {"\n\n:/b", "cannot be a volume's name"}}) {
    EXPECT_NE(refusal_of(with_volume(text)).find(reason), std::string::npos) << text << ": " << refusal_of(with_volume(text));
  }
}

TEST(VolumeFlagTest, NoTwoAreOnOneDirectoryAndThereAreNotTooMany) {
  BoxOptions options = with_volume("ab:/b");
  options.mounts = {"source=cd,target=/x/../b/"};
  EXPECT_NE(refusal_of(options).find("two mounts"), std::string::npos);
  options.mounts.clear();
  options.volumes.clear();
  for (int number = 0; number < 129; ++number) options.volumes.push_back("ab:/b" + std::to_string(number));
  EXPECT_NE(refusal_of(options).find("128 are the most"), std::string::npos);
}

}  // namespace
}  // namespace boxlite
