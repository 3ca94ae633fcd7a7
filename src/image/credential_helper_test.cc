#include "image/credential_helper.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "base/file.h"
#include "image/docker_config.h"

namespace boxlite::image {
namespace {

class CredentialHelperTest : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& script) {
    ASSERT_TRUE(write_file_atomic(directory_.path() + "/docker-credential-" + name, "#!/bin/sh\n" + script + "\n", 0700));
  }
  Result<std::optional<Credentials>> ask(const std::string& name, std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
    return ask_credential_helper(name, "r.io", environment_, timeout);
  }

  TempDir directory_ = *TempDir::create("/tmp", "boxlite-helper-");
  std::vector<std::string> environment_ = {"PATH=" + directory_.path() + ":/usr/bin:/bin", "FLAVOUR=sweet"};
};

TEST_F(CredentialHelperTest, ItIsAskedForTheServerInTheCallersEnvironment) {
  write("good", R"(read server; printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' "$server" "$server-$1" "$FLAVOUR")");
  const auto found = ask("good");
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ((*found)->username, "r.io-get");
  EXPECT_EQ((*found)->password, "sweet");
}

TEST_F(CredentialHelperTest, NotFoundIsNoError) {
  write("none", "echo 'credentials not found in native keychain'; exit 1");
  EXPECT_FALSE((*ask("none")).has_value());
}

TEST_F(CredentialHelperTest, WhatItSaysWrongIsNotQuoted) {
  write("broken", "echo s3cret; exit 2");
  write("garbled", "echo s3cret");
  write("token", R"(echo '{"Username":"<token>","Secret":"s3cret"}')");
  for (const char* name : {"broken", "garbled", "token"}) {
    const auto answer = ask(name);
    ASSERT_FALSE(answer) << name;
    EXPECT_NE(answer.error().message().find(std::string("docker-credential-") + name), std::string::npos);
    EXPECT_EQ(answer.error().message().find("s3cret"), std::string::npos);
  }
}

TEST_F(CredentialHelperTest, ItsNameIsNoPath) {
  for (const char* name : {"", "../x", "/bin/sh", "a b", ".x"})
    EXPECT_EQ(ask(name).error().code(), ErrorCode::kInvalidArgument) << name;
  EXPECT_EQ(ask("absent").error().code(), ErrorCode::kNotFound);
}

TEST_F(CredentialHelperTest, ItIsBoundedInTimeAndSize) {
  write("slow", "exec sleep 1000");
  write("lingering", R"(echo '{"Username":"u","Secret":"s"}'; exec >&-; exec sleep 1000)");
  write("holding", "sleep 1000 & exit 0");
  write("endless", "exec yes");
  for (const char* name : {"slow", "lingering", "holding"}) {
    EXPECT_EQ(ask(name, std::chrono::milliseconds(300)).error().code(), ErrorCode::kUnavailable) << name;
  }
  EXPECT_EQ(ask("endless").error().code(), ErrorCode::kCorrupt);
}

TEST_F(CredentialHelperTest, TheFileSaysWhichHelperIsForWhichRegistry) {
  write("one", R"(echo '{"Username":"one","Secret":"s"}')");
  write("all", R"(read server; printf '{"Username":"all","Secret":"%s"}' "$server")");
  const std::string config =
      R"({"auths":{"a.io":{"auth":"YXV0aHM6cA=="},"b.io":{}},"credHelpers":{"c.io":"one"},"credsStore":"all"})";
  const auto of = [&](const std::string& registry) {
    const auto found = find_credentials(config, "f", {.registry = registry, .repository = {}, .environment = environment_});
    return found && *found ? (*found)->username + ":" + (*found)->password : "none";
  };
  EXPECT_EQ(of("a.io"), "auths:p");
  EXPECT_EQ(of("b.io"), "all:b.io");
  EXPECT_EQ(of("c.io"), "one:s");
  EXPECT_EQ(of("docker.io"), "all:https://index.docker.io/v1/");
}

TEST_F(CredentialHelperTest, StoredCredentialsAreTheOwnersAlone) {
  const std::string path = directory_.path() + "/auth.json";
  const CredentialQuery query{.registry = "r.io", .repository = {}, .environment = {}};
  ASSERT_TRUE(store_credentials(path, "r.io", Credentials{.username = "u", .password = "p:q"}));
  ASSERT_TRUE(store_credentials(path, "s.io", Credentials{.username = "v", .password = "w"}));
  EXPECT_EQ((*read_credentials({path}, query))->password, "p:q");
  struct stat st = {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0600U);
  EXPECT_TRUE(*store_credentials(path, "r.io", std::nullopt));
  EXPECT_FALSE(*store_credentials(path, "r.io", std::nullopt));
  EXPECT_FALSE((*read_credentials({path}, query)).has_value());
}

}  // namespace
}  // namespace boxlite::image
