#include "image/registry_config.h"

#include <gtest/gtest.h>

#include "image/reference.h"

namespace boxlite::image {
namespace {

std::string refusal(const std::string& text) {
  const auto config = parse_registry_config(text, "/h/config.json");
  return config ? "" : config.error().message();
}

TEST(RegistryConfigTest, AllOfItIsRead) {
  const auto config = parse_registry_config(
      R"({"registries":{"docker.io":{"mirrors":["m.io:5000/hub/proxy","n.io"]},"r.io:5000":{"ca":"/ca.pem","insecure":true,)"
      R"("token_service":"https://auth.io"}},"search":["r.io:5000","docker.io"]})",
      "f");
  ASSERT_TRUE(config) << config.error().message();
  const HostConfig& hub = config->host("docker.io");
  ASSERT_EQ(hub.mirrors.size(), 2U);
  EXPECT_EQ(hub.mirrors[0].host, "m.io:5000");
  EXPECT_EQ(hub.mirrors[0].prefix, "hub/proxy");
  EXPECT_EQ(hub.mirrors[1].prefix, "");
  const HostConfig& other = config->host("r.io:5000");
  EXPECT_EQ(other.ca, "/ca.pem");
  EXPECT_TRUE(other.insecure);
  EXPECT_EQ(other.token_service, "https://auth.io");
  EXPECT_FALSE(config->host("r.io").insecure) << "another port is another host";
  EXPECT_EQ(config->search, (std::vector<std::string>{"r.io:5000", "docker.io"}));
  EXPECT_EQ(parse_registry_config("{}", "f")->search, std::vector<std::string>{"docker.io"});
}

TEST(RegistryConfigTest, UnknownKeysAreRefusedByName) {
  EXPECT_EQ(refusal(R"({"registry":{}})"), "/h/config.json: \"registry\" is not known; there are registries, search");
  EXPECT_NE(refusal(R"({"registries":{"r.io":{"Insecure":true}}})").find("registries.\"r.io\": \"Insecure\" is not known"),
            std::string::npos);
}

TEST(RegistryConfigTest, ValuesOfTheWrongKindAreRefused) {
  for (const char* text :
       {"[]", "x", R"({"registries":[]})", R"({"registries":{"https://r.io":{}}})", R"({"registries":{"r.io":1}})",
        R"({"registries":{"r.io":{"ca":"ca.pem"}}})", R"({"registries":{"r.io":{"insecure":"yes"}}})",
        R"({"registries":{"r.io":{"mirrors":"m.io"}}})", R"({"registries":{"r.io":{"mirrors":["m.io/../x"]}}})",
        R"({"registries":{"r.io":{"mirrors":["m.io/"]}}})", R"({"registries":{"r.io":{"token_service":"http://a"}}})",
        R"({"search":[]})", R"({"search":["a/b"]})", R"({"search":[1]})"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
}

TEST(RegistryConfigTest, ANameWithoutARegistryMeansOneOfEachOfTheSearchList) {
  const std::vector<std::string> search = {"r.io", "docker.io"};
  const auto names = [&](const std::string& text) {
    std::vector<std::string> result;
    const auto meanings = candidates(text, search);
    for (const Reference& reference : meanings.value()) result.push_back(to_string(reference));
    return result;
  };
  EXPECT_EQ(names("app:1"), (std::vector<std::string>{"r.io/app:1", "docker.io/library/app:1"}));
  EXPECT_EQ(names("team/app"), (std::vector<std::string>{"r.io/team/app:latest", "docker.io/team/app:latest"}));
  EXPECT_EQ(names("q.io/app"), std::vector<std::string>{"q.io/app:latest"});
  EXPECT_EQ(names("localhost/app"), std::vector<std::string>{"localhost/app:latest"});
  EXPECT_EQ(names("oci:/d"), std::vector<std::string>{"oci:/d"});
  EXPECT_FALSE(candidates("UPPER", search));
}

}  // namespace
}  // namespace boxlite::image
