#include "image/registry_client.h"

#include <algorithm>

#include "base/json.h"
#include "image/auth_challenge.h"
#include "image/base64.h"
#include "image/sha256.h"

namespace boxlite::image {
namespace {

constexpr int kMaxRedirects = 5;
constexpr std::size_t kMaxErrorBody = 16 * 1024;
constexpr std::size_t kMaxTokenBody = 256 * 1024;
constexpr long kOk = 200;
constexpr long kUnauthorized = 401;

std::string header(const HttpResponse& response, const std::string& name) {
  const auto it = response.headers.find(name);
  return it == response.headers.end() ? std::string() : it->second;
}

// What a registry says goes to a terminal: printable, and one line.
std::string printable(std::string_view text, std::size_t limit) {
  std::string result(text.substr(0, limit));
  std::ranges::replace_if(result, [](char c) { return c < ' ' || c > '~'; }, '?');
  return result;
}

std::string query_escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (plain) {
      result += c;
    } else {
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

BlobSink collect_into(std::string& text, std::size_t limit, const std::string& what) {
  return [&text, limit, what](std::span<const std::byte> data) -> Result<void> {
    if (text.size() + data.size() > limit) return fail(ErrorCode::kCorrupt, "{} is larger than {} bytes", what, limit);
    for (const std::byte b : data) text += static_cast<char>(b);
    return {};
  };
}

std::string basic(const Credentials& credentials) {
  return "Authorization: Basic " + base64_encode(credentials.username + ":" + credentials.password);
}

}  // namespace

RegistryClient::RegistryClient(RegistryTransport& transport, RegistryReference reference, std::optional<Credentials> credentials)
    : transport_(transport),
      reference_(std::move(reference)),
      credentials_(std::move(credentials)),
      name_(to_string(Reference(reference_))) {}

Result<Document> RegistryClient::top() {
  TRY_ASSIGN(Document document, fetch_manifest(reference_.selector()));
  if (reference_.digest && document.digest != *reference_.digest) {
    return fail(ErrorCode::kCorrupt, "image {}: the manifest has the wrong digest: its contents are {}", name_,
                document.digest.text());
  }
  return document;
}

Result<Document> RegistryClient::manifest(const Descriptor& descriptor) {
  TRY_ASSIGN(Document document, fetch_manifest(descriptor.digest.text()));
  if (document.bytes.size() != descriptor.size || document.digest != descriptor.digest) {
    return fail(ErrorCode::kCorrupt, "image {}: the manifest {} has the wrong digest: its contents are {}", name_,
                descriptor.digest.text(), document.digest.text());
  }
  return document;
}

Result<Document> RegistryClient::fetch_manifest(const std::string& selector) {
  std::string bytes;
  std::string accept = "Accept: ";
  for (const std::string& type : accepted_manifest_types()) accept += (accept.ends_with(' ') ? "" : ", ") + type;
  const std::string what = fmt::format("image {}", name_);
  TRY_ASSIGN(const Reply reply,
             get("manifests/" + selector, {accept}, collect_into(bytes, kMaxManifestBytes, what + ": the manifest")));
  if (reply.response.status != kOk) return refused(reply, what);
  if (!reply.response.complete)
    return fail(ErrorCode::kCorrupt, "{}: the manifest is truncated: got {} bytes", what, bytes.size());
  Digest digest = sha256(bytes);
  const std::string announced = header(reply.response, "docker-content-digest");
  if (announced.starts_with("sha256:") && announced != digest.text()) {
    return fail(ErrorCode::kCorrupt, "{}: the manifest has the wrong digest: announced {}, its contents are {}", what,
                printable(announced, 100), digest.text());
  }
  return Document{.bytes = std::move(bytes),
                  .media_type = printable(header(reply.response, "content-type"), 200),
                  .digest = std::move(digest)};
}

Result<void> RegistryClient::blob(const Descriptor& descriptor, const std::string& what, const BlobSink& sink) {
  std::uint64_t received = 0;
  const BlobSink counting = [&](std::span<const std::byte> data) -> Result<void> {
    received += data.size();
    return sink(data);
  };
  TRY_ASSIGN(const Reply reply, get("blobs/" + descriptor.digest.text(), {}, counting));
  if (reply.response.status != kOk) return refused(reply, fmt::format("image {}: {}", name_, what));
  if (!reply.response.complete) {
    return fail(ErrorCode::kCorrupt, "image {}: {} is truncated: got {} of {} bytes", name_, what, received, descriptor.size);
  }
  return {};
}

Result<void> RegistryClient::connect() {
  if (base_) return {};
  const std::string host = reference_.registry == "docker.io" ? "registry-1.docker.io" : reference_.registry;
  TRY_ASSIGN(Url url, parse_url("https://" + host + "/v2/"));
  if (url.is_loopback()) {
    const auto probe = transport_.get(url, {}, [](const HttpResponse&, std::span<const std::byte>) { return Result<void>(); });
    if (!probe && probe.error().code() == ErrorCode::kUnsupported) {
      TRY_ASSIGN(url, parse_url("http://" + host + "/v2/"));
    } else if (!probe) {
      return std::unexpected(probe.error());
    }
  }
  base_ = std::move(url);
  return {};
}

Result<RegistryClient::Reply> RegistryClient::get(const std::string& path, const std::vector<std::string>& headers,
                                                  const BlobSink& sink) {
  TRY(connect());
  TRY_ASSIGN(Url url, parse_url(base_->text + reference_.repository + "/" + path));
  bool authorized = false;
  for (int redirects = 0;;) {
    TRY_ASSIGN(Reply reply, get_once(url, headers, sink));
    const long status = reply.response.status;
    if (status == kUnauthorized && url.origin() == base_->origin() && !authorized) {
      authorized = true;
      TRY(authorize(reply.response));
      if (!authorization_.empty()) continue;
    }
    const bool redirected = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (!redirected) return reply;
    if (++redirects > kMaxRedirects)
      return fail(ErrorCode::kUnavailable, "image {}: more than {} redirects", name_, kMaxRedirects);
    TRY_ASSIGN(url, redirect_target(url, reply.response));
  }
}

Result<RegistryClient::Reply> RegistryClient::get_once(const Url& url, const std::vector<std::string>& headers,
                                                       const BlobSink& sink) {
  std::vector<std::string> all = headers;
  if (!authorization_.empty() && url.origin() == base_->origin()) all.push_back(authorization_);
  Reply reply;
  const BodySink body = [&](const HttpResponse& response, std::span<const std::byte> data) -> Result<void> {
    if (response.status == kOk) return sink(data);
    for (const std::byte b : data.first(std::min(data.size(), kMaxErrorBody - reply.error_body.size()))) {
      reply.error_body += static_cast<char>(b);
    }
    return {};
  };
  TRY_ASSIGN(reply.response, transport_.get(url, all, body));
  return reply;
}

Result<Url> RegistryClient::redirect_target(const Url& from, const HttpResponse& response) const {
  const std::string where = fmt::format("image {}: registry {}", name_, reference_.registry);
  auto target = resolve_url(from, header(response, "location"));
  if (!target) return std::unexpected(target.error().context(where + " redirects to a bad address"));
  if (target->scheme != "https" && !(base_->is_loopback() && target->is_loopback())) {
    return fail(ErrorCode::kPermissionDenied, "{} redirects to {}, which is not https: refused", where, target->origin());
  }
  if (target->is_loopback() && !base_->is_loopback()) {
    return fail(ErrorCode::kPermissionDenied, "{} redirects to this machine ({}): refused", where, target->origin());
  }
  return std::move(*target);
}

// Leaves authorization_ empty when there is nothing more to try.
Result<void> RegistryClient::authorize(const HttpResponse& response) {
  authorization_.clear();
  const auto [first, last] = response.headers.equal_range("www-authenticate");
  for (auto it = first; it != last; ++it) {
    std::optional<AuthChallenge> challenge = parse_challenge(it->second);
    if (!challenge) continue;
    if (challenge->scheme == "bearer") {
      return fetch_token(challenge->parameters["realm"], challenge->parameters["service"], challenge->parameters["scope"]);
    }
    if (challenge->scheme == "basic" && credentials_) authorization_ = basic(*credentials_);
  }
  return {};
}

Result<void> RegistryClient::fetch_token(const std::string& realm, const std::string& service, const std::string& scope) {
  const std::string where = fmt::format("registry {}: its token service", reference_.registry);
  auto parsed = parse_url(realm);
  if (!parsed) return std::unexpected(parsed.error().context(where));
  if (parsed->is_loopback() != base_->is_loopback() && parsed->is_loopback()) {
    return fail(ErrorCode::kPermissionDenied, "{} is said to be on this machine ({}): refused", where, parsed->origin());
  }
  if (parsed->scheme != "https" && !parsed->is_loopback()) {
    return fail(ErrorCode::kPermissionDenied, "{} ({}) is not https: refused", where, parsed->origin());
  }
  const std::string wanted = scope.empty() ? fmt::format("repository:{}:pull", reference_.repository) : scope;
  std::string query = realm + (realm.find('?') == std::string::npos ? "?" : "&") + "scope=" + query_escape(wanted);
  if (!service.empty()) query += "&service=" + query_escape(service);
  TRY_ASSIGN(const Url url, parse_url(query));
  std::string body;
  const BlobSink collect = collect_into(body, kMaxTokenBody, where + ": the answer");
  std::vector<std::string> headers;
  if (credentials_) headers.push_back(basic(*credentials_));
  const BodySink sink = [&](const HttpResponse&, std::span<const std::byte> data) { return collect(data); };
  TRY_ASSIGN(const HttpResponse response, transport_.get(url, headers, sink));
  if (response.status == kUnauthorized || response.status == 403) {
    return fail(ErrorCode::kPermissionDenied, "registry {} refused the credentials for {}", reference_.registry,
                reference_.repository);
  }
  if (response.status != kOk)
    return fail(ErrorCode::kUnavailable, "{} ({}) answers with status {}", where, url.origin(), response.status);
  TRY_ASSIGN(const Json json, parse_json(body, where));
  TRY_ASSIGN(std::string token, json_get_or(json, "token", where, std::string()));
  if (token.empty()) {
    TRY_ASSIGN(token, json_get_or(json, "access_token", where, std::string()));
  }
  // It becomes a header line: nothing in it may end the line.
  if (token.empty() || !std::ranges::all_of(token, [](char c) { return c > ' ' && c <= '~'; })) {
    return fail(ErrorCode::kCorrupt, "{} sent no usable token", where);
  }
  authorization_ = "Authorization: Bearer " + token;
  return {};
}

std::unexpected<Error> RegistryClient::refused(const Reply& reply, const std::string& what) const {
  const long status = reply.response.status;
  const std::string& registry = reference_.registry;
  if (status == 404) return fail(ErrorCode::kNotFound, "{} not found in registry {}", what, registry);
  if (status == kUnauthorized || status == 403) {
    if (credentials_) return fail(ErrorCode::kPermissionDenied, "{}: registry {} refused the credentials", what, registry);
    return fail(ErrorCode::kPermissionDenied,
                "{}: registry {} wants credentials, or has no such image; log in with `docker login {}`", what, registry,
                registry);
  }
  if (status == 429)
    return fail(ErrorCode::kUnavailable, "{}: registry {} has had too many requests from here; try later", what, registry);
  return fail(ErrorCode::kUnavailable, "{}: registry {} answers with status {}{}{}", what, registry, status,
              reply.error_body.empty() ? "" : ": ", printable(reply.error_body, 200));
}

}  // namespace boxlite::image
