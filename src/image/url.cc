#include "image/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <algorithm>
#include <memory>

namespace boxlite::image {
namespace {

using Handle = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

Result<std::string> part(const Handle& handle, CURLUPart which, unsigned flags, const std::string& text) {
  char* value = nullptr;
  if (curl_url_get(handle.get(), which, &value, flags) != CURLUE_OK)
    return fail(ErrorCode::kInvalidArgument, "\"{}\" is not a URL", text);
  std::string copy = value;
  curl_free(value);
  return copy;
}

Result<Url> from_handle(const Handle& handle, const std::string& text) {
  char* user = nullptr;
  if (curl_url_get(handle.get(), CURLUPART_USER, &user, 0) == CURLUE_OK) {
    curl_free(user);
    return fail(ErrorCode::kInvalidArgument, "a URL with a user name in it is refused");
  }
  Url url;
  TRY_ASSIGN(url.text, part(handle, CURLUPART_URL, 0, text));
  TRY_ASSIGN(url.scheme, part(handle, CURLUPART_SCHEME, 0, text));
  TRY_ASSIGN(url.host, part(handle, CURLUPART_HOST, 0, text));
  TRY_ASSIGN(url.port, part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT, text));
  std::ranges::transform(url.host, url.host.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (url.scheme != "https" && url.scheme != "http")
    return fail(ErrorCode::kInvalidArgument, "\"{}\" is not a http or https URL", text);
  return url;
}

}  // namespace

bool is_loopback_host(std::string_view host) {
  if (host == "localhost" || host == "[::1]") return true;
  in_addr address = {};
  return ::inet_pton(AF_INET, std::string(host).c_str(), &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

std::string Url::authority() const {
  const bool usual = port == (scheme == "https" ? "443" : "80");
  return usual ? host : host + ":" + port;
}

bool Url::is_loopback() const { return is_loopback_host(host); }

Result<Url> parse_url(const std::string& text) {
  const Handle handle(curl_url(), curl_url_cleanup);
  if (curl_url_set(handle.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    return fail(ErrorCode::kInvalidArgument, "\"{}\" is not a URL", text);
  }
  return from_handle(handle, text);
}

Result<Url> resolve_url(const Url& base, const std::string& location) {
  const Handle handle(curl_url(), curl_url_cleanup);
  if (curl_url_set(handle.get(), CURLUPART_URL, base.text.c_str(), 0) != CURLUE_OK ||
      curl_url_set(handle.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) {
    return fail(ErrorCode::kInvalidArgument, "\"{}\" is not a URL", location);
  }
  return from_handle(handle, location);
}

}  // namespace boxlite::image
