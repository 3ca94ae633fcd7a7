#include "image/manifest.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "image/image_config.h"

namespace boxlite::image {
namespace {

const std::string kManifestType = "application/vnd.oci.image.manifest.v1+json";
const std::string kIndexType = "application/vnd.oci.image.index.v1+json";
const std::string kDockerType = "application/vnd.docker.distribution.manifest.v2+json";

Json descriptor(const std::string& type, char digit = 'a') {
  return {{"mediaType", type}, {"digest", "sha256:" + std::string(64, digit)}, {"size", 10U}};
}

Json manifest() {
  return {{"schemaVersion", 2U},
          {"mediaType", kManifestType},
          {"config", descriptor("application/vnd.oci.image.config.v1+json", 'c')},
          {"layers", Json::array({descriptor("application/vnd.oci.image.layer.v1.tar+gzip")})}};
}

Json index() {
  Json amd64 = descriptor(kManifestType, '1');
  amd64["platform"] = {{"os", "linux"}, {"architecture", "amd64"}};
  Json arm = descriptor(kManifestType, '2');
  arm["platform"] = {{"os", "linux"}, {"architecture", "arm"}, {"variant", "v7"}};
  Json attestation = descriptor(kManifestType, '3');
  attestation["platform"] = {{"os", "unknown"}, {"architecture", "unknown"}};
  return {{"schemaVersion", 2U}, {"manifests", Json::array({attestation, arm, amd64})}};
}

Result<std::variant<Manifest, Index>> parse(const Json& json, const std::string& type = kManifestType) {
  return parse_manifest(dump_json(json), type, "image i");
}

TEST(ManifestTest, BothFamiliesOfManifestsAreRead) {
  const auto oci = parse(manifest(), kManifestType + "; charset=utf-8");
  ASSERT_TRUE(oci);
  EXPECT_EQ(std::get<Manifest>(*oci).layers.size(), 1U);
  EXPECT_EQ(std::get<Manifest>(*oci).config.digest.hex(), std::string(64, 'c'));
  Json docker = manifest();
  docker["mediaType"] = kDockerType;
  docker["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json";
  docker["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip";
  EXPECT_TRUE(parse(docker, kDockerType));
}

TEST(ManifestTest, AnAmbiguousDocumentIsRefused) {
  Json both = manifest();
  both["manifests"] = index()["manifests"];
  for (const std::string& type : {kManifestType, kIndexType}) {
    const auto result = parse(both, type);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message().find("ambiguous"), std::string::npos);
  }
  both.erase("layers");
  EXPECT_FALSE(parse(both, kIndexType));
}

TEST(ManifestTest, TheTypeInsideMustAgreeWithTheAnnouncedOne) {
  EXPECT_FALSE(parse(manifest(), kIndexType));
  Json lying = index();
  lying["mediaType"] = kManifestType;
  EXPECT_FALSE(parse(lying, kIndexType));
  EXPECT_TRUE(parse(index(), kIndexType));
  EXPECT_FALSE(parse(index(), "text/html"));
  EXPECT_TRUE(parse(manifest(), ""));
  EXPECT_FALSE(parse(index(), ""));
}

TEST(ManifestTest, MalformedManifestsAreRefused) {
  const auto with = [](const std::string& pointer, Json value) {
    Json json = manifest();
    json[Json::json_pointer(pointer)] = std::move(value);
    return json;
  };
  EXPECT_FALSE(parse_manifest("{", kManifestType, "i"));
  EXPECT_FALSE(parse_manifest("[]", kManifestType, "i"));
  EXPECT_FALSE(parse_manifest(std::string(kMaxManifestBytes + 1, ' '), kManifestType, "i"));
  EXPECT_FALSE(parse(with("/schemaVersion", 1U)));
  EXPECT_FALSE(parse(with("/schemaVersion", "2")));
  EXPECT_FALSE(parse(with("/config", Json::array())));
  EXPECT_FALSE(parse(with("/config/digest", "sha256:short")));
  EXPECT_FALSE(parse(with("/config/digest", "sha256:../../../../etc/passwd")));
  EXPECT_FALSE(parse(with("/config/mediaType", "application/vnd.cncf.helm.config.v1+json")));
  EXPECT_FALSE(parse(with("/config/size", -1)));
  EXPECT_FALSE(parse(with("/config/size", std::uint64_t{1} << 60)));
  EXPECT_FALSE(parse(with("/layers", Json::object())));
  EXPECT_FALSE(parse(with("/layers/0/size", "10")));
  EXPECT_FALSE(parse(with("/layers/0/digest", 5)));
  EXPECT_FALSE(parse(with("/layers/0/mediaType", "application/vnd.oci.image.layer.v1.tar+encrypted")));
  EXPECT_FALSE(parse(with("/layers", Json(kMaxLayers + 1, manifest()["layers"][0]))));
}

TEST(ManifestTest, APlatformIsChosenAndTheErrorListsWhatThereIs) {
  const Index parsed = std::get<Index>(*parse(index(), kIndexType));
  EXPECT_EQ(select_platform(parsed, *parse_platform("linux/amd64"), "i")->digest.hex(), std::string(64, '1'));
  EXPECT_EQ(select_platform(parsed, *parse_platform("linux/arm"), "i")->digest.hex(), std::string(64, '2'));
  EXPECT_EQ(select_platform(parsed, *parse_platform("linux/arm/v7"), "i")->digest.hex(), std::string(64, '2'));
  EXPECT_FALSE(select_platform(parsed, *parse_platform("linux/arm/v6"), "i"));
  const auto absent = select_platform(parsed, *parse_platform("linux/s390x"), "image i");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().message(),
            "image i has no variant for linux/s390x; choose one with --platform, it has: linux/arm/v7, linux/amd64");
}

TEST(ManifestTest, PlatformsAreCheckedAndTheKernelsNamesTranslated) {
  EXPECT_EQ(to_string(*parse_platform("linux/x86_64")), "linux/amd64");
  EXPECT_EQ(to_string(*parse_platform("linux/aarch64/v8")), "linux/arm64/v8");
  for (const char* bad : {"", "linux", "linux/", "/amd64", "linux/amd64/", "linux/a/b/c", "Linux/amd64"}) {
    EXPECT_FALSE(parse_platform(bad)) << bad;
  }
}

Json config_document() {
  return {{"os", "linux"},
          {"architecture", "amd64"},
          {"created", "2024-01-01T00:00:00Z"},
          {"rootfs", {{"type", "layers"}, {"diff_ids", {"sha256:" + std::string(64, 'd')}}}},
          {"config",
           {{"Env", {"A=b"}},
            {"Entrypoint", nullptr},
            {"Cmd", {"sh"}},
            {"ExposedPorts", {{"80/tcp", Json::object()}}},
            {"Labels", {{"k", "v"}}},
            {"User", "app"}}}};
}

TEST(ImageConfigTest, TheConfigurationIsNormalised) {
  const auto config = parse_image_config(dump_json(config_document()), "image i");
  ASSERT_TRUE(config) << config.error().message();
  EXPECT_EQ(config->diff_ids.front().hex(), std::string(64, 'd'));
  EXPECT_EQ(config->config.env, std::vector<std::string>{"A=b"});
  EXPECT_TRUE(config->config.entrypoint.empty());
  EXPECT_EQ(config->config.exposed_ports, std::vector<std::string>{"80/tcp"});
  EXPECT_EQ(config->config.labels.at("k"), "v");
  EXPECT_EQ(config->config.user, "app");
  EXPECT_EQ(config->config.working_dir, "");
}

TEST(ImageConfigTest, NoConfigAtAllIsAnEmptyOne) {
  Json json = config_document();
  json["config"] = nullptr;
  EXPECT_TRUE(parse_image_config(dump_json(json), "i")->config.cmd.empty());
  json.erase("config");
  EXPECT_TRUE(parse_image_config(dump_json(json), "i"));
}

TEST(ImageConfigTest, WrongTypesAreRefused) {
  const auto with = [](const std::string& pointer, Json value) {
    Json json = config_document();
    json[Json::json_pointer(pointer)] = std::move(value);
    return parse_image_config(dump_json(json), "i").has_value();
  };
  EXPECT_TRUE(with("/os", "linux"));
  EXPECT_FALSE(with("/os", 1));
  EXPECT_FALSE(with("/config/Env", "A=b"));
  EXPECT_FALSE(with("/config/Env", {1, 2}));
  EXPECT_FALSE(with("/config/Cmd", {std::string("a\0b", 3)}));
  EXPECT_FALSE(with("/config/Labels", {"a"}));
  EXPECT_FALSE(with("/config/ExposedPorts", {"80"}));
  EXPECT_FALSE(with("/rootfs/diff_ids", {"sha256:x"}));
  EXPECT_FALSE(parse_image_config("null", "i"));
}

}  // namespace
}  // namespace boxlite::image
