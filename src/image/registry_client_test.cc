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
    if (url.scheme == "https" && url.is_loopback()) return fail(ErrorCode::kUnsupported, "no TLS");
    const auto it = web.find(url.text);
    if (it == web.end()) return fail(ErrorCode::kUnavailable, "refused: {}", url.text);
    const Answer answer = it->second(authorization);
    HttpResponse response{.status = answer.status, .headers = answer.headers, .complete = answer.complete};
    TRY(sink(response, std::as_bytes(std::span(answer.body))));
    return response;
  }

  std::map<std::string, std::function<Answer(const std::string& authorization)>> web;
  std::vector<std::string> requests;
};

class RegistryClientTest : public ::testing::Test {
 protected:
  RegistryClient client(const std::string& reference, std::optional<Credentials> credentials = {}) {
    return RegistryClient(transport_, std::get<RegistryReference>(*parse_reference(reference)), std::move(credentials));
  }
  void serve(const std::string& url, const Answer& answer) {
    transport_.web[url] = [answer](const std::string&) { return answer; };
  }
  static Answer redirect(const std::string& to) { return {.status = 307, .headers = {{"location", to}}}; }
  static Answer document(const std::string& body) { return {.headers = {{"content-type", kType}}, .body = body}; }

  static Result<void> ignore(std::span<const std::byte>) { return {}; }

  FakeTransport transport_;
  Descriptor blob_{.media_type = {}, .digest = sha256("data"), .size = 4, .platform = {}, .name = {}};
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
  EXPECT_EQ(client("r.io/a/b:t").top().error().message(), "image r.io/a/b:t not found in registry r.io");
  serve("https://r.io/v2/a/b/manifests/t", {.status = 500, .body = "line\nbreak\x1b"});
  EXPECT_NE(client("r.io/a/b:t").top().error().message().find("status 500: line?break?"), std::string::npos);
  serve("https://r.io" + blob_path_, {.body = "da", .complete = false});
  EXPECT_NE(client("r.io/a/b:t").blob(blob_, "layer x", ignore).error().message().find("layer x is truncated: got 2 of 4 bytes"),
            std::string::npos);
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
    return find_credentials(dump_json(config), "config.json", registry);
  };
  EXPECT_EQ((*find("r.io:5000", "r.io:5000"))->password, "p:q");
  EXPECT_EQ((*find("https://r.io/v1/", "r.io"))->username, "u");
  EXPECT_TRUE((*find("https://index.docker.io/v1/", "docker.io")).has_value());
  EXPECT_FALSE((*find("r.io", "r.io:5000")).has_value());
  EXPECT_FALSE((*find("r.io", "other.io")).has_value());
}

TEST(DockerConfigTest, ABrokenFileIsAnErrorThatDoesNotQuoteIt) {
  const auto broken = find_credentials(R"({"auths":{"r.io":{"auth":"c2VjcmV0"}}})", "config.json", "r.io");
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().message().find("c2VjcmV0"), std::string::npos);
  EXPECT_EQ(broken.error().message().find("secret"), std::string::npos);
  EXPECT_FALSE(find_credentials(R"({"auths":[]})", "config.json", "r.io"));
  EXPECT_FALSE(*read_credentials("/absent/config.json", "r.io"));
  EXPECT_FALSE(*find_credentials(R"({"auths":{"r.io":{}},"credsStore":"x"})", "config.json", "r.io"));
}

}  // namespace
}  // namespace boxlite::image
