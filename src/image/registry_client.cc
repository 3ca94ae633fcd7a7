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
constexpr long kPartial = 206;
constexpr long kUnauthorized = 401;
constexpr std::uint64_t kProgress = 256 * 1024;  // so much more of a blob is progress
constexpr std::string_view kDockerHub = "docker.io";

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

std::vector<Endpoint> endpoints_of(const std::string& registry, const RegistryConfig& config) {
  std::vector<Endpoint> endpoints;
  const HostConfig& origin = config.host(registry);
  for (const Mirror& mirror : origin.mirrors) {
    const HostConfig& host = config.host(mirror.host);
    endpoints.push_back({.name = mirror.host + (mirror.prefix.empty() ? "" : "/") + mirror.prefix,
                         .host = mirror.host,
                         .prefix = mirror.prefix,
                         .credentials = {},
                         .insecure = host.insecure,
                         .token_service = host.token_service});
  }
  endpoints.push_back({.name = registry,
                       .host = registry == kDockerHub ? "registry-1.docker.io" : registry,
                       .prefix = {},
                       .credentials = {},
                       .insecure = origin.insecure,
                       .token_service = registry == kDockerHub ? "https://auth.docker.io" : origin.token_service});
  return endpoints;
}

RegistryClient::RegistryClient(RegistryTransport& transport, RegistryReference reference, Endpoint endpoint)
    : transport_(&transport),
      reference_(std::move(reference)),
      endpoint_(std::move(endpoint)),
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

// Calls once() until it succeeds, fails for good, or the policy has had enough.
template <typename Once>
Result<RegistryClient::Reply> RegistryClient::persist(RetryPolicy& retry, const Once& once) {
  for (;;) {
    Result<Reply> reply = once();
    const bool failed = !reply && reply.error().code() == ErrorCode::kUnavailable;
    const bool turned_away = reply && RetryPolicy::is_transient(reply->response.status);
    const bool broken = reply && !reply->response.complete;
    if (!failed && !turned_away && !broken) return reply;
    const auto pause = retry.next(reply ? &reply->response : nullptr);
    if (!pause) return reply;
    TRY(transport_->pause(*pause));
  }
}

Result<Document> RegistryClient::fetch_manifest(const std::string& selector) {
  TRY(connect());
  TRY_ASSIGN(const Url url, url_of("manifests/" + selector));
  std::string bytes;
  std::string accept = "Accept: ";
  for (const std::string& type : accepted_manifest_types()) accept += (accept.ends_with(' ') ? "" : ", ") + type;
  const std::string what = fmt::format("image {}", name_);
  const BlobSink collect = collect_into(bytes, kMaxManifestBytes, what + ": the manifest");
  RetryPolicy retry(answered_);
  TRY_ASSIGN(const Reply reply, persist(retry, [&] {
               bytes.clear();
               return get(url, {accept}, [&](const HttpResponse&, std::span<const std::byte> data) { return collect(data); });
             }));
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
  TRY(connect());
  TRY_ASSIGN(const Url url, url_of("blobs/" + descriptor.digest.text()));
  const std::string where = fmt::format("image {}: {}", name_, what);
  RetryPolicy retry(answered_);
  std::uint64_t received = 0;
  std::uint64_t counted = 0;
  const auto once = [&]() -> Result<Reply> {
    // What is here already: left out by the registry, or read over if it does not know Range.
    std::uint64_t skip = received;
    std::vector<std::string> headers;
    if (received != 0) headers.push_back(fmt::format("Range: bytes={}-", received));
    const BodySink body = [&](const HttpResponse& response, std::span<const std::byte> data) -> Result<void> {
      if (response.status == kPartial && skip != 0) {
        if (!header(response, "content-range").starts_with(fmt::format("bytes {}-", received)))
          return fail(ErrorCode::kCorrupt, "{}: registry {} sends another part than the one asked for", where, endpoint_.name);
        skip = 0;
      }
      const auto known = static_cast<std::size_t>(std::min<std::uint64_t>(skip, data.size()));
      skip -= known;
      data = data.subspan(known);
      received += data.size();
      if (received - counted >= kProgress) {
        counted = received;
        retry.progress();
      }
      return data.empty() ? Result<void>() : sink(data);
    };
    return get(url, headers, body);
  };
  TRY_ASSIGN(const Reply reply, persist(retry, once));
  const bool resumed = reply.response.status == kPartial && received != 0;
  if (reply.response.status != kOk && !resumed) return refused(reply, where);
  if (!reply.response.complete)
    return fail(ErrorCode::kCorrupt, "{} is truncated: got {} of {} bytes", where, received, descriptor.size);
  return {};
}

Result<void> RegistryClient::connect() {
  if (base_) return {};
  TRY_ASSIGN(Url url, parse_url("https://" + endpoint_.host + "/v2/"));
  if (url.is_loopback() || endpoint_.insecure) {
    RetryPolicy retry(false);
    const auto ignore = [](const HttpResponse&, std::span<const std::byte>) { return Result<void>(); };
    const auto probe = persist(retry, [&] { return get_once(url, {}, ignore); });
    if (!probe && probe.error().code() == ErrorCode::kUnsupported) {
      TRY_ASSIGN(url, parse_url("http://" + endpoint_.host + "/v2/"));
    } else if (!probe) {
      return std::unexpected(probe.error());
    }
  }
  base_ = std::move(url);
  return {};
}

Result<Url> RegistryClient::url_of(const std::string& path) const {
  const std::string prefix = endpoint_.prefix + (endpoint_.prefix.empty() ? "" : "/");
  return parse_url(base_->text + prefix + reference_.repository + "/" + path);
}

Result<void> RegistryClient::check_login() {
  TRY(connect());
  const auto ignore = [](const HttpResponse&, std::span<const std::byte>) { return Result<void>(); };
  RetryPolicy retry(answered_);
  TRY_ASSIGN(const Reply reply, persist(retry, [&] { return get(*base_, {}, ignore); }));
  if (reply.response.status == 404)
    return fail(ErrorCode::kNotFound, "login: {} is no container registry, it has no /v2/; check its name", endpoint_.name);
  if (reply.response.status == kUnauthorized || reply.response.status == 403)
    return fail(ErrorCode::kPermissionDenied, "login: registry {} refused the user name or the password; check them",
                endpoint_.name);
  if (reply.response.status != kOk) return refused(reply, "login");
  return {};
}

Result<RegistryClient::Reply> RegistryClient::get(const Url& first, const std::vector<std::string>& headers,
                                                  const BodySink& sink) {
  Url url = first;
  bool authorized = false;
  for (int redirects = 0;;) {
    TRY_ASSIGN(Reply reply, get_once(url, headers, sink));
    answered_ = true;
    const long status = reply.response.status;
    if (status == kUnauthorized && url.origin() == base_->origin() && !authorized) {
      authorized = true;
      TRY(authorize(reply.response));
      if (!authorization_.empty()) continue;
    }
    const bool redirected = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (!redirected) return reply;
    if (++redirects > kMaxRedirects)
      return fail(ErrorCode::kPermissionDenied, "image {}: more than {} redirects", name_, kMaxRedirects);
    TRY_ASSIGN(url, redirect_target(url, reply.response));
  }
}

Result<RegistryClient::Reply> RegistryClient::get_once(const Url& url, const std::vector<std::string>& headers,
                                                       const BodySink& sink) {
  std::vector<std::string> all = headers;
  if (!authorization_.empty() && url.origin() == base_->origin()) all.push_back(authorization_);
  Reply reply;
  const BodySink body = [&](const HttpResponse& response, std::span<const std::byte> data) -> Result<void> {
    if (response.status == kOk || response.status == kPartial) return sink(response, data);
    for (const std::byte b : data.first(std::min(data.size(), kMaxErrorBody - reply.error_body.size()))) {
      reply.error_body += static_cast<char>(b);
    }
    return {};
  };
  TRY_ASSIGN(reply.response, transport_->get(url, all, body));
  return reply;
}

Result<Url> RegistryClient::redirect_target(const Url& from, const HttpResponse& response) const {
  const std::string where = fmt::format("image {}: registry {}", name_, endpoint_.name);
  auto target = resolve_url(from, header(response, "location"));
  if (!target) return std::unexpected(target.error().context(where + " redirects to a bad address"));
  const bool as_before = target->origin() == base_->origin();  // which is http only where that was allowed
  if (target->scheme != "https" && !as_before && !(base_->is_loopback() && target->is_loopback())) {
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
    if (challenge->scheme == "basic" && endpoint_.credentials) authorization_ = basic(*endpoint_.credentials);
  }
  return {};
}

// Who is a parent domain of the registry decides in DNS what the registry is, so it may know its credentials.
bool is_same_or_parent_domain(const std::string& host, const std::string& of) {
  return of == host || (host.find('.') != std::string::npos && of.ends_with("." + host));
}

Result<Url> RegistryClient::judge_realm(const std::string& realm) const {
  const std::string where = fmt::format("registry {}: its token service", endpoint_.name);
  auto parsed = parse_url(realm);
  if (!parsed) return std::unexpected(parsed.error().context(where));
  const Url& url = *parsed;
  if (url.is_loopback() && !base_->is_loopback())
    return fail(ErrorCode::kPermissionDenied, "{} is said to be on this machine ({}): refused", where, url.origin());
  const bool insecure = endpoint_.insecure && url.host == base_->host;
  if (url.scheme != "https" && !url.is_loopback() && !insecure)
    return fail(ErrorCode::kPermissionDenied, "{} ({}) is not https: refused", where, url.origin());
  if (!endpoint_.credentials || is_same_or_parent_domain(url.host, base_->host)) return parsed;
  if (!endpoint_.token_service.empty()) {
    const auto known = parse_url(endpoint_.token_service);
    if (known && known->origin() == url.origin()) return parsed;
  }
  return fail(
      ErrorCode::kPermissionDenied,
      "{} is said to be {}, on another host: the credentials are not sent there; if that is right, name it in config.json "
      "as the registry's \"token_service\"",
      where, url.origin());
}

Result<void> RegistryClient::fetch_token(const std::string& realm, const std::string& service, const std::string& scope) {
  const std::string where = fmt::format("registry {}: its token service", endpoint_.name);
  TRY(judge_realm(realm));
  const std::string prefix = endpoint_.prefix + (endpoint_.prefix.empty() ? "" : "/");
  std::string wanted = scope;
  if (wanted.empty() && !reference_.repository.empty())
    wanted = fmt::format("repository:{}{}:pull", prefix, reference_.repository);
  std::string query = realm + (realm.find('?') == std::string::npos ? "?" : "&") + "scope=" + query_escape(wanted);
  if (!service.empty()) query += "&service=" + query_escape(service);
  TRY_ASSIGN(const Url url, parse_url(query));
  std::string body;
  const BlobSink collect = collect_into(body, kMaxTokenBody, where + ": the answer");
  std::vector<std::string> headers;
  if (endpoint_.credentials) headers.push_back(basic(*endpoint_.credentials));
  const BodySink sink = [&](const HttpResponse&, std::span<const std::byte> data) { return collect(data); };
  TRY_ASSIGN(const HttpResponse response, transport_->get(url, headers, sink));
  if (response.status == kUnauthorized || response.status == 403) {
    if (!endpoint_.credentials) return {};  // the registry's own answer says it better
    return fail(ErrorCode::kPermissionDenied,
                "registry {} refused the credentials; check them, and log in anew: boxlite login {}", endpoint_.name,
                endpoint_.name);
  }
  if (response.status != kOk || !response.complete)
    return fail(ErrorCode::kUnavailable, "{} ({}) answers with status {}; try again later", where, url.origin(), response.status);
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
  const std::string& registry = endpoint_.name;
  if (status == 404) return fail(ErrorCode::kNotFound, "{} not found in registry {}; check its name and tag", what, registry);
  if (status == kUnauthorized || status == 403) {
    if (endpoint_.credentials)
      return fail(
          ErrorCode::kPermissionDenied,
          "{}: registry {} refused the credentials, or has no such image; check the name, or log in anew: boxlite login {}", what,
          registry, registry);
    return fail(ErrorCode::kPermissionDenied,
                "{}: registry {} wants credentials, or has no such image; check the name, or log in: boxlite login {}", what,
                registry, registry);
  }
  if (status == 429) {
    const auto wait = retry_after(reply.response);
    return fail(ErrorCode::kUnavailable, "{}: registry {} has had too many requests from here; try {}", what, registry,
                wait ? fmt::format("in {} s", wait->count()) : "later");
  }
  return fail(ErrorCode::kUnavailable, "{}: registry {} answers with status {}{}{}; try again later", what, registry, status,
              reply.error_body.empty() ? "" : ": ", printable(reply.error_body, 200));
}

}  // namespace boxlite::image
