#include "image/reference.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace boxlite::image {
namespace {

const std::string kHex(64, 'a');

std::string qualified(std::string_view text) {
  const auto reference = parse_reference(text);
  return reference ? to_string(*reference) : "refused: " + reference.error().message();
}

TEST(ReferenceTest, ShortNamesAreCompletedAsDockerDoes) {
  EXPECT_EQ(qualified("alpine"), "docker.io/library/alpine:latest");
  EXPECT_EQ(qualified("alpine:3.20"), "docker.io/library/alpine:3.20");
  EXPECT_EQ(qualified("user/app"), "docker.io/user/app:latest");
  EXPECT_EQ(qualified("docker.io/alpine"), "docker.io/library/alpine:latest");
  EXPECT_EQ(qualified("index.docker.io/alpine"), "docker.io/library/alpine:latest");
}

TEST(ReferenceTest, ADotAColonOrLocalhostMakesTheFirstPartARegistry) {
  EXPECT_EQ(qualified("localhost/app"), "localhost/app:latest");
  EXPECT_EQ(qualified("localhost:5000/app"), "localhost:5000/app:latest");
  EXPECT_EQ(qualified("127.0.0.1:5000/a/b:t"), "127.0.0.1:5000/a/b:t");
  EXPECT_EQ(qualified("[::1]:5000/app"), "[::1]:5000/app:latest");
  EXPECT_EQ(qualified("quay.io/a/b/c"), "quay.io/a/b/c:latest");
  EXPECT_EQ(qualified("Registry/app"), "Registry/app:latest");
}

TEST(ReferenceTest, ADigestStandsBesideATagAndWins) {
  EXPECT_EQ(qualified("alpine@sha256:" + kHex), "docker.io/library/alpine@sha256:" + kHex);
  EXPECT_EQ(qualified("alpine:3@sha256:" + kHex), "docker.io/library/alpine:3@sha256:" + kHex);
  const auto both = std::get<RegistryReference>(*parse_reference("alpine:3@sha256:" + kHex));
  EXPECT_EQ(both.selector(), "sha256:" + kHex);
}

TEST(ReferenceTest, ALayoutHasADirectoryAndPerhapsATag) {
  const auto with_tag = std::get<LayoutReference>(*parse_reference("oci:/a:b/c:v1"));
  EXPECT_EQ(with_tag.directory, "/a:b/c");
  EXPECT_EQ(with_tag.tag, "v1");
  const auto without = std::get<LayoutReference>(*parse_reference("oci:/a:b/c"));
  EXPECT_EQ(without.directory, "/a:b/c");
  EXPECT_EQ(without.tag, "");
  const std::string here = "oci:" + std::filesystem::current_path().string();
  EXPECT_EQ(qualified("oci:dir:v1"), here + "/dir:v1");
  EXPECT_EQ(qualified("oci:./dir/"), here + "/dir");
  EXPECT_EQ(qualified("oci:."), here);
  // Written and read again, it is the same directory.
  EXPECT_EQ(qualified("oci:/dir:v1/"), "oci:/dir:v1/");
  EXPECT_EQ(std::get<LayoutReference>(*parse_reference("oci:/dir:v1/")).directory, "/dir:v1");
}

TEST(ReferenceTest, SeparatorsInsideNamesFollowTheGrammar) {
  EXPECT_EQ(qualified("a__b/c-d--e/f.g"), "docker.io/a__b/c-d--e/f.g:latest");
  for (const char* bad : {"a___b", "a..b", "a._b", "-a", "a-", "a//b", "/a", "a/", "a b", "a/B", "_a"}) {
    EXPECT_TRUE(qualified(bad).starts_with("refused: ")) << bad;
  }
}

TEST(ReferenceTest, BadReferencesAreRefusedWithTheReason) {
  EXPECT_NE(qualified("Alpine").find("lower case"), std::string::npos);
  EXPECT_NE(qualified("").find("no name"), std::string::npos);
  EXPECT_NE(qualified(":tag").find("no name"), std::string::npos);
  EXPECT_NE(qualified("a:").find("tag"), std::string::npos);
  EXPECT_NE(qualified("a:-x").find("tag"), std::string::npos);
  EXPECT_NE(qualified("a:" + std::string(129, 'x')).find("tag"), std::string::npos);
  EXPECT_NE(qualified("a@sha256:abc").find("digest"), std::string::npos);
  EXPECT_NE(qualified("a@sha512:" + kHex + kHex).find("digest"), std::string::npos);
  EXPECT_NE(qualified("a@sha256:" + std::string(64, 'A')).find("digest"), std::string::npos);
  EXPECT_NE(qualified(kHex).find("id"), std::string::npos);
  EXPECT_NE(qualified("host.:5000/a").find("registry"), std::string::npos);
  EXPECT_NE(qualified("host:99999999/a").find("registry"), std::string::npos);
  EXPECT_NE(qualified("[::1/a").find("registry"), std::string::npos);
  EXPECT_NE(qualified("oci:").find("directory"), std::string::npos);
  EXPECT_NE(qualified("host.io/" + std::string(256, 'a')).find("255"), std::string::npos);
}

}  // namespace
}  // namespace boxlite::image
