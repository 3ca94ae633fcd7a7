#include "image/registry_client.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "base/json.h"
#include "image/auth_challenge.h"
#include "image/base64.h"
#include "image/sha256.h"

namespace boxlite::image {
namespace {

const std::string kType = "application/vnd.oci.image.manifest.v1+json";

struct Answer {
  long status = 200;
  std::multimap<std::string, std::string> headers = {};
  std::string body = {};
  bool complete = true;
};

/// A web of URLs; what is not in it refuses the connection.
class FakeTransport : public RegistryTransport {
 public:
  Result<HttpResponse> get(const Url& url, const std::vector<std::string>& headers, const BodySink& sink) override {
    std::string authorization;
    for (const std::string& header : headers) {
      if (header.starts_with("Authorization: ")) authorization = header.substr(15);
    }
    requests.push_back(url.text + (authorization.empty() ? "" : " [" + authorization + "]"));
    if (url.scheme == "https" && (url.is_loopback() || url.host == no_tls)) return fail(ErrorCode::kUnsupported, "no TLS");
    const auto it = web.find(url.text);
    if (it == web.end()) return fail(ErrorCode::kUnavailable, "refused: {}", url.text);
    range = "";
    for (const std::string& header : headers) {
      if (header.starts_with("Range: ")) range = header.substr(7);
    }
    const Answer answer = it->second(authorization);
    HttpResponse response{.status = answer.status, .headers = answer.headers, .complete = answer.complete};
    TRY(sink(response, std::as_bytes(std::span(answer.body))));
    return response;
  }

  Result<void> pause(std::chrono::milliseconds time) override {
    pauses.push_back(time);
    return {};
  }

  std::map<std::string, std::function<Answer(const std::string& authorization)>> web;
  std::vector<std::string> requests;
  std::string no_tls;
  std::string range;  // of the last request
  std::vector<std::chrono::milliseconds> pauses;
};

class RegistryClientTest : public ::testing::Test {
 protected:
  RegistryClient client(const std::string& reference, std::optional<Credentials> credentials = {}) {
    auto parsed = std::get<RegistryReference>(*parse_reference(reference));
    Endpoint endpoint = endpoints_of(parsed.registry, config_).at(endpoint_);
    endpoint.credentials = std::move(credentials);
    return RegistryClient(transport_, std::move(parsed), std::move(endpoint));
  }
  void serve(const std::string& url, const Answer& answer) {
    transport_.web[url] = [answer](const std::string&) { return answer; };
  }
  static Answer redirect(const std::string& to) { return {.status = 307, .headers = {{"location", to}}}; }
  static Answer document(const std::string& body) { return {.headers = {{"content-type", kType}}, .body = body}; }

  static Result<void> ignore(std::span<const std::byte>) { return {}; }

  static std::string text_of(std::span<const std::byte> data) {
    std::string text;
    for (const std::byte b : data) text += static_cast<char>(b);
    return text;
  }

  RegistryConfig config_;
  std::size_t endpoint_ = 0;
  FakeTransport transport_;
  Descriptor blob_{.media_type = {}, .digest = sha256("data"), .size = 4, .platform = {}, .name = {}, .image_name = {}};
  std::string blob_path_ = "/v2/a/b/blobs/" + sha256("data").text();
  Credentials secret_{.username = "user", .password = "pass"};
};

TEST_F(RegistryClientTest, AManifestByTagComesWithItsDigest) {
  serve("https://r.io/v2/a/b/manifests/t", document("{}"));
  const auto top = client("r.io/a/b:t").top();
  ASSERT_TRUE(top) << top.error().message();
  EXPECT_EQ(top->digest, sha256("{}"));
  EXPECT_EQ(top->media_type, kType);
}

TEST_F(RegistryClientTest, DockerIoIsAskedAtItsRegistryHost) {
  serve("https://registry-1.docker.io/v2/library/alpine/manifests/latest", document("{}"));
  EXPECT_TRUE(client("alpine").top());
}

TEST_F(RegistryClientTest, AManifestThatIsNotTheDigestAskedForIsRefused) {
  const std::string digest = sha256("right").text();
  serve("https://r.io/v2/a/b/manifests/" + digest, document("wrong"));
  const auto top = client("r.io/a/b@" + digest).top();
  ASSERT_FALSE(top);
  EXPECT_EQ(top.error().code(), ErrorCode::kCorrupt);
  EXPECT_NE(top.error().message().find("wrong digest"), std::string::npos);
  Answer announced = document("{}");
  announced.headers.emplace("docker-content-digest", digest);
  serve("https://r.io/v2/a/b/manifests/t", announced);
  EXPECT_FALSE(client("r.io/a/b:t").top());
}

TEST_F(RegistryClientTest, PlainHttpIsForLoopbackOnly) {
  serve("http://127.0.0.1:5000/v2/a/b/manifests/t", document("{}"));
  serve("http://r.io/v2/a/b/manifests/t", document("{}"));
  EXPECT_TRUE(client("127.0.0.1:5000/a/b:t").top());
  EXPECT_EQ(transport_.requests.front(), "https://127.0.0.1:5000/v2/");
  EXPECT_FALSE(client("r.io/a/b:t").top());
}

TEST_F(RegistryClientTest, AnAnonymousTokenIsFetchedAndUsed) {
  transport_.web["https://r.io/v2/a/b/manifests/t"] = [](const std::string& authorization) -> Answer {
    if (authorization == "Bearer tok") return document("{}");
    return {.status = 401, .headers = {{"www-authenticate", R"(Bearer realm="https://auth.io/token",service="r.io")"}}};
  };
  serve("https://auth.io/token?scope=repository%3Aa%2Fb%3Apull&service=r.io", {.body = R"({"token":"tok"})"});
  EXPECT_TRUE(client("r.io/a/b:t").top());
  EXPECT_EQ(transport_.requests.at(1), "https://auth.io/token?scope=repository%3Aa%2Fb%3Apull&service=r.io");
}

TEST_F(RegistryClientTest, CredentialsGoToTheTokenServiceAndForBasicToTheRegistry) {
  transport_.web["https://r.io/v2/a/b/manifests/t"] = [](const std::string& authorization) -> Answer {
    if (authorization == "Basic dXNlcjpwYXNz") return document("{}");
    return {.status = 401, .headers = {{"www-authenticate", R"(Basic realm="x")"}}};
  };
  EXPECT_TRUE(client("r.io/a/b:t", secret_).top());
  EXPECT_EQ(transport_.requests.front(), "https://r.io/v2/a/b/manifests/t");
  const auto without = client("r.io/a/b:t").top();
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code(), ErrorCode::kPermissionDenied);
  EXPECT_NE(without.error().message().find("log in"), std::string::npos);
}

TEST_F(RegistryClientTest, CredentialsNeverFollowARedirectToAnotherOrigin) {
  transport_.web["https://r.io" + blob_path_] = [](const std::string& authorization) -> Answer {
    if (authorization.empty()) return {.status = 401, .headers = {{"www-authenticate", R"(Basic realm="x")"}}};
    return redirect("https://cdn.io/x");
  };
  serve("https://cdn.io/x", redirect("https://r.io:8443/y"));
  serve("https://r.io:8443/y", {.body = "data"});
  RegistryClient with_secret = client("r.io/a/b:t", secret_);
  ASSERT_TRUE(with_secret.blob(blob_, "layer", ignore));
  EXPECT_EQ(transport_.requests.at(2), "https://cdn.io/x");
  EXPECT_EQ(transport_.requests.at(3), "https://r.io:8443/y");
}

TEST_F(RegistryClientTest, ARedirectTargetMayNotAskForTheCredentials) {
  serve("https://r.io" + blob_path_, redirect("https://evil.io/x"));
  serve("https://evil.io/x", {.status = 401, .headers = {{"www-authenticate", R"(Basic realm="x")"}}});
  RegistryClient with_secret = client("r.io/a/b:t", secret_);
  EXPECT_FALSE(with_secret.blob(blob_, "layer", ignore));
  for (const std::string& request : transport_.requests) EXPECT_EQ(request.find("Basic"), std::string::npos) << request;
}

TEST_F(RegistryClientTest, RedirectsToHttpOrToThisMachineAreRefused) {
  for (const char* target :
       {"http://cdn.io/x", "http://127.0.0.1/x", "https://localhost/x", "file:///etc/passwd", "https://u:p@cdn.io/"}) {
    serve("https://r.io" + blob_path_, redirect(target));
    transport_.requests.clear();
    EXPECT_FALSE(client("r.io/a/b:t").blob(blob_, "layer", ignore)) << target;
    EXPECT_EQ(transport_.requests.size(), 1U) << target;
  }
}

TEST_F(RegistryClientTest, RedirectsAreCounted) {
  serve("https://r.io" + blob_path_, redirect(blob_path_));
  const auto result = client("r.io/a/b:t").blob(blob_, "layer", ignore);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message().find("redirects"), std::string::npos);
}

TEST_F(RegistryClientTest, ATokenServiceMustBeHttpsAndElsewhere) {
  for (const char* realm : {"http://auth.io/token", "http://127.0.0.1/token", "https://localhost/token", "ftp://auth.io/", ""}) {
    serve("https://r.io/v2/a/b/manifests/t",
          {.status = 401, .headers = {{"www-authenticate", fmt::format(R"(Bearer realm="{}")", realm)}}});
    transport_.requests.clear();
    EXPECT_FALSE(client("r.io/a/b:t", secret_).top()) << realm;
    EXPECT_EQ(transport_.requests.size(), 1U) << realm;
  }
}

TEST_F(RegistryClientTest, ATokenThatWouldEndItsHeaderLineIsRefused) {
  serve("https://r.io/v2/a/b/manifests/t",
        {.status = 401, .headers = {{"www-authenticate", R"(Bearer realm="https://auth.io/t")"}}});
  serve("https://auth.io/t?scope=repository%3Aa%2Fb%3Apull", {.body = R"({"token":"a\r\nHost: evil"})"});
  const auto top = client("r.io/a/b:t").top();
  ASSERT_FALSE(top);
  EXPECT_NE(top.error().message().find("no usable token"), std::string::npos);
}

TEST_F(RegistryClientTest, FailuresSayWhatHappened) {
  serve("https://r.io/v2/a/b/manifests/t", {.status = 404});
  EXPECT_EQ(client("r.io/a/b:t").top().error().message(), "image r.io/a/b:t not found in registry r.io; check its name and tag");
  serve("https://r.io/v2/a/b/manifests/t", {.status = 500, .body = "line\nbreak\x1b"});
  EXPECT_NE(client("r.io/a/b:t").top().error().message().find("status 500: line?break?"), std::string::npos);
  serve("https://r.io" + blob_path_, {.body = "da", .complete = false});
  EXPECT_NE(client("r.io/a/b:t").blob(blob_, "layer x", ignore).error().message().find("layer x is truncated: got 2 of 4 bytes"),
            std::string::npos);
}

TEST_F(RegistryClientTest, ABrokenBlobGoesOnWhereItBroke) {
  int calls = 0;
  transport_.web["https://r.io" + blob_path_] = [&](const std::string&) -> Answer {
    if (++calls == 1) return {.body = "da", .complete = false};
    EXPECT_EQ(transport_.range, "bytes=2-");
    return {.status = 206, .headers = {{"content-range", "bytes 2-3/4"}}, .body = "ta"};
  };
  std::string got;
  const auto collect = [&](std::span<const std::byte> data) -> Result<void> {
    got += text_of(data);
    return {};
  };
  ASSERT_TRUE(client("r.io/a/b:t").blob(blob_, "layer", collect));
  EXPECT_EQ(got, "data");
  EXPECT_EQ(transport_.pauses.size(), 1U);
}

TEST_F(RegistryClientTest, ARegistryThatDoesNotKnowRangeIsReadOverAgain) {
  int calls = 0;
  transport_.web["https://r.io" + blob_path_] = [&](const std::string&) -> Answer {
    return ++calls == 1 ? Answer{.body = "dat", .complete = false} : Answer{.body = "data"};
  };
  std::string got;
  const auto collect = [&](std::span<const std::byte> data) -> Result<void> {
    got += text_of(data);
    return {};
  };
  ASSERT_TRUE(client("r.io/a/b:t").blob(blob_, "layer", collect));
  EXPECT_EQ(got, "data");
}

TEST_F(RegistryClientTest, AnotherPartThanTheOneAskedForIsRefused) {
  int calls = 0;
  transport_.web["https://r.io" + blob_path_] = [&](const std::string&) -> Answer {
    if (++calls == 1) return {.body = "da", .complete = false};
    return {.status = 206, .headers = {{"content-range", "bytes 0-1/4"}}, .body = "ta"};
  };
  const auto result = client("r.io/a/b:t").blob(blob_, "layer", ignore);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt);
  serve("https://r.io" + blob_path_, {.status = 206, .headers = {{"content-range", "bytes 0-1/4"}}});
  EXPECT_FALSE(client("r.io/a/b:t").blob(blob_, "layer", ignore)) << "206 without a Range";
}

TEST_F(RegistryClientTest, WhatFailsForAWhileIsTriedAgainWithGrowingPauses) {
  int calls = 0;
  transport_.web["https://r.io/v2/a/b/manifests/t"] = [&](const std::string&) -> Answer {
    return ++calls < 6 ? Answer{.status = 503} : document("{}");
  };
  RegistryClient known = client("r.io/a/b:t");
  EXPECT_FALSE(known.top()) << "a host that was never seen to answer is given up sooner";
  EXPECT_EQ(transport_.pauses.size(), 2U);
  EXPECT_TRUE(known.top());
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_GE(transport_.pauses.at(i), std::chrono::milliseconds(100) * (1 << i));
    EXPECT_LE(transport_.pauses.at(i), std::chrono::milliseconds(200) * (1 << i));
  }
}

TEST_F(RegistryClientTest, RetryAfterIsObeyedUpToAMinute) {
  int calls = 0;
  transport_.web["https://r.io/v2/a/b/manifests/t"] = [&](const std::string&) -> Answer {
    return ++calls == 1 ? Answer{.status = 429, .headers = {{"retry-after", "7"}}} : document("{}");
  };
  ASSERT_TRUE(client("r.io/a/b:t").top());
  EXPECT_EQ(transport_.pauses, std::vector{std::chrono::milliseconds(7000)});
  serve("https://r.io/v2/a/b/manifests/t", {.status = 429, .headers = {{"retry-after", "3600"}}});
  const auto refused = client("r.io/a/b:t").top();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("try in 3600 s"), std::string::npos) << refused.error().message();
  EXPECT_EQ(transport_.pauses.size(), 1U);
}

TEST_F(RegistryClientTest, WhatIsWrongForGoodIsNotTriedAgain) {
  for (const long status : {400L, 403L, 404L, 416L}) {
    serve("https://r.io/v2/a/b/manifests/t", {.status = status});
    EXPECT_FALSE(client("r.io/a/b:t").top());
  }
  EXPECT_TRUE(transport_.pauses.empty());
}

TEST_F(RegistryClientTest, AMirrorIsAskedBelowItsPrefix) {
  config_.hosts["r.io"].mirrors = {{.host = "m.io:5000", .prefix = "hub/r"}};
  serve("https://m.io:5000/v2/hub/r/a/b/manifests/t", document("{}"));
  EXPECT_TRUE(client("r.io/a/b:t").top());
  endpoint_ = 1;
  serve("https://r.io/v2/a/b/manifests/t", document("{}"));
  EXPECT_TRUE(client("r.io/a/b:t").top());
}

TEST_F(RegistryClientTest, PlainHttpIsAlsoForHostsThatAreConfiguredSo) {
  config_.hosts["r.io"].insecure = true;
  transport_.no_tls = "r.io";
  serve("http://r.io/v2/a/b/manifests/t", document("{}"));
  EXPECT_TRUE(client("r.io/a/b:t").top());
}

TEST_F(RegistryClientTest, CredentialsGoToATokenServiceOnlyWhereItBelongsToTheRegistry) {
  const auto try_realm = [&](const std::string& registry, const std::string& origin) {
    transport_.web["https://" + registry + "/v2/a/b/manifests/t"] = [=](const std::string& authorization) -> Answer {
      if (authorization == "Bearer tok") return document("{}");
      return {.status = 401, .headers = {{"www-authenticate", "Bearer realm=\"" + origin + "/token\""}}};
    };
    serve(origin + "/token?scope=repository%3Aa%2Fb%3Apull", {.body = R"({"token":"tok"})"});
    transport_.requests.clear();
    return client(registry + "/a/b:t", secret_).top();
  };
  EXPECT_TRUE(try_realm("r.io", "https://r.io"));
  EXPECT_TRUE(try_realm("r.io", "https://r.io:8443"));
  EXPECT_TRUE(try_realm("registry.git.example", "https://git.example"));
  for (const char* origin : {"https://evil.io", "https://x.r.io", "https://io", "https://evilr.io"}) {
    const auto refused = try_realm("r.io", origin);
    ASSERT_FALSE(refused) << origin;
    EXPECT_EQ(refused.error().code(), ErrorCode::kPermissionDenied);
    EXPECT_NE(refused.error().message().find("token_service"), std::string::npos);
    EXPECT_EQ(transport_.requests.size(), 1U) << origin;
  }
  config_.hosts["r.io"].token_service = "https://auth.io/";
  EXPECT_TRUE(try_realm("r.io", "https://auth.io"));
  EXPECT_FALSE(try_realm("r.io", "https://auth.io:8443"));
}

TEST_F(RegistryClientTest, LoginIsWhatTheRegistrySaysOfTheCredentials) {
  transport_.web["https://r.io/v2/"] = [](const std::string& authorization) -> Answer {
    if (authorization == "Basic dXNlcjpwYXNz") return {};
    return {.status = 401, .headers = {{"www-authenticate", R"(Basic realm="x")"}}};
  };
  const auto login = [&](const Credentials& credentials) {
    Endpoint endpoint = endpoints_of("r.io", config_).back();
    endpoint.credentials = credentials;
    return RegistryClient(transport_, {.registry = "r.io", .repository = {}, .tag = {}, .digest = {}}, endpoint).check_login();
  };
  EXPECT_TRUE(login(secret_));
  const auto wrong = login({.username = "user", .password = "other"});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code(), ErrorCode::kPermissionDenied);
}

TEST_F(RegistryClientTest, AManifestLargerThanTheLimitIsNotCollected) {
  serve("https://r.io/v2/a/b/manifests/t", document(std::string(kMaxManifestBytes + 1, ' ')));
  EXPECT_EQ(client("r.io/a/b:t").top().error().code(), ErrorCode::kCorrupt);
}

TEST(AuthChallengeTest, QuotedAndBareValuesAreRead) {
  const auto challenge = parse_challenge(R"(Bearer  Realm="https://a/b?c=d,e" , service=x,scope="a \"b\"")");
  ASSERT_TRUE(challenge);
  EXPECT_EQ(challenge->scheme, "bearer");
  EXPECT_EQ(challenge->parameters.at("realm"), "https://a/b?c=d,e");
  EXPECT_EQ(challenge->parameters.at("service"), "x");
  EXPECT_EQ(challenge->parameters.at("scope"), "a \"b\"");
  EXPECT_TRUE(parse_challenge("Basic"));
  EXPECT_FALSE(parse_challenge(""));
  EXPECT_FALSE(parse_challenge("Bearer realm=\"unterminated"));
  EXPECT_FALSE(parse_challenge("Bearer =x"));
}

TEST(UrlTest, LoopbackIsRecognisedInAllItsForms) {
  for (const char* text :
       {"http://localhost:1/", "http://LOCALHOST/", "http://127.0.0.1/", "http://127.1.2.3/", "http://[::1]:5/"}) {
    EXPECT_TRUE(parse_url(text)->is_loopback()) << text;
  }
  for (const char* text : {"http://localhost.evil.io/", "http://127.0.0.1.evil.io/", "http://128.0.0.1/", "http://[::2]/"}) {
    EXPECT_FALSE(parse_url(text)->is_loopback()) << text;
  }
}

TEST(UrlTest, OriginsKeepTheirPortsApart) {
  EXPECT_EQ(parse_url("https://A.io/x")->origin(), "https://a.io:443");
  EXPECT_EQ(resolve_url(*parse_url("https://a.io/x/y"), "../z")->text, "https://a.io/z");
  EXPECT_FALSE(parse_url("gopher://a.io/"));
  EXPECT_FALSE(parse_url("https://user:pass@a.io/"));
}

TEST(DockerConfigTest, TheEntryOfARegistryIsFoundInAllSpellings) {
  const auto find = [](const std::string& key, const std::string& registry) {
    const Json config = {{"auths", {{key, {{"auth", base64_encode("u:p:q")}}}}}};
    return find_credentials(dump_json(config), "config.json",
                            {.registry = registry, .repository = "team/app", .environment = {}});
  };
  EXPECT_EQ((*find("r.io:5000", "r.io:5000"))->password, "p:q");
  EXPECT_EQ((*find("https://r.io/v1/", "r.io"))->username, "u");
  EXPECT_TRUE((*find("https://index.docker.io/v1/", "docker.io")).has_value());
  EXPECT_FALSE((*find("r.io", "r.io:5000")).has_value());
  EXPECT_FALSE((*find("r.io", "other.io")).has_value());
  EXPECT_TRUE((*find("r.io/team", "r.io")).has_value());
  EXPECT_TRUE((*find("r.io/team/app", "r.io")).has_value());
  EXPECT_FALSE((*find("r.io/tea", "r.io")).has_value());
  EXPECT_FALSE((*find("r.io/other", "r.io")).has_value());
}

TEST(DockerConfigTest, TheLongestKeyWins) {
  const auto entry = [](const std::string& user) { return Json{{"auth", base64_encode(user + ":p")}}; };
  const Json config = {{"auths", {{"q.io", entry("all")}, {"q.io/team", entry("team")}, {"q.io/team/app/x", entry("other")}}}};
  const auto found =
      find_credentials(dump_json(config), "auth.json", {.registry = "q.io", .repository = "team/app", .environment = {}});
  EXPECT_EQ((*found)->username, "team");
}

TEST(DockerConfigTest, ABrokenFileIsAnErrorThatDoesNotQuoteIt) {
  const CredentialQuery query{.registry = "r.io", .repository = {}, .environment = {}};
  const auto broken = find_credentials(R"({"auths":{"r.io":{"auth":"c2VjcmV0"}}})", "config.json", query);
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().message().find("c2VjcmV0"), std::string::npos);
  EXPECT_EQ(broken.error().message().find("secret"), std::string::npos);
  EXPECT_FALSE(find_credentials(R"({"auths":[]})", "config.json", query));
  EXPECT_FALSE(*read_credentials({"/absent/config.json"}, query));
  EXPECT_FALSE(find_credentials(R"({"auths":{"r.io":{"identitytoken":"c2VjcmV0"}}})", "config.json", query));
}

}  // namespace
}  // namespace boxlite::image
