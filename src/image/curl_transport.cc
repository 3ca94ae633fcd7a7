#include "image/curl_transport.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/defer.h"

namespace boxlite::image {
namespace {

constexpr std::size_t kMaxHeaderBytes = 64 * 1024;
constexpr long kConnectTimeoutSeconds = 15;
constexpr long kStallSeconds = 30;
constexpr long kMinBytesPerSecond = 100;  // a trickle is a stall

struct Transfer {
  CURL* curl = nullptr;
  JobMonitor* monitor = nullptr;
  const BodySink* sink = nullptr;
  HttpResponse response;
  std::size_t header_bytes = 0;
  std::optional<Error> error;
};

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view line(data, size * count);
  transfer.header_bytes += line.size();
  if (transfer.header_bytes > kMaxHeaderBytes) return 0;
  if (line.starts_with("HTTP/")) transfer.response.headers.clear();  // of a "100 Continue" before it
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return line.size();
  std::string name(line.substr(0, colon));
  std::ranges::transform(name, name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  constexpr std::string_view kSpace = " \t\r\n";
  std::string_view value = line.substr(colon + 1);
  value.remove_prefix(std::min(value.find_first_not_of(kSpace), value.size()));
  value = value.substr(0, value.find_last_not_of(kSpace) + 1);
  transfer.response.headers.emplace(std::move(name), value);
  return line.size();
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
  const auto bytes = std::as_bytes(std::span(data, size * count));
  if (auto taken = (*transfer.sink)(transfer.response, bytes); !taken) {
    transfer.error = std::move(taken).error();
    return 0;
  }
  return bytes.size();
}

int on_progress(void* user, curl_off_t /*dltotal*/, curl_off_t /*dlnow*/, curl_off_t /*ultotal*/, curl_off_t /*ulnow*/) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (auto going_on = transfer.monitor->check(); !going_on) {
    if (!transfer.error) transfer.error = std::move(going_on).error();
    return 1;
  }
  return 0;
}

std::unexpected<Error> describe(CURLcode code, const Url& url, const char* detail) {
  const std::string peer = fmt::format("{}:{}", url.host, url.port);
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return fail(ErrorCode::kUnavailable, "registry {}: no such host; check the name and the network", url.host);
    case CURLE_COULDNT_CONNECT:
      return fail(ErrorCode::kUnavailable, "registry {} refused the connection; is it running?", peer);
    case CURLE_OPERATION_TIMEDOUT:
      return fail(ErrorCode::kUnavailable,
                  "registry {} does not answer ({} s to connect, {} s without data); check its name and the network", peer,
                  kConnectTimeoutSeconds, kStallSeconds);
    case CURLE_SSL_CONNECT_ERROR:
      return fail(ErrorCode::kUnsupported,
                  "registry {} does not speak TLS: {}; if it is meant to be so, config.json can call it \"insecure\"", peer,
                  detail);
    case CURLE_PEER_FAILED_VERIFICATION:
      return fail(ErrorCode::kPermissionDenied,
                  "registry {}: its certificate is not trusted: {}; config.json can name its \"ca\" (docs/formats/config.md)",
                  peer, detail);
    case CURLE_SSL_CACERT_BADFILE:
      return fail(ErrorCode::kInvalidArgument, "registry {}: the \"ca\" of config.json cannot be read: {}", peer, detail);
    case CURLE_WRITE_ERROR:
      return fail(ErrorCode::kCorrupt, "registry {} sent more than {} bytes of headers", peer, kMaxHeaderBytes);
    default:
      return fail(ErrorCode::kUnavailable, "registry {}: {}", peer, detail);
  }
}

}  // namespace

Result<void> CurlTransport::initialise_library() {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return fail(ErrorCode::kInternal, "libcurl cannot be initialised");
  return {};
}

Result<std::unique_ptr<CurlTransport>> CurlTransport::create(JobMonitor& monitor, const RegistryConfig& config) {
  CURL* curl = curl_easy_init();
  if (curl == nullptr) return fail(ErrorCode::kInternal, "libcurl cannot be initialised");
  return std::unique_ptr<CurlTransport>(new CurlTransport(monitor, config, curl));
}

CurlTransport::~CurlTransport() { curl_easy_cleanup(curl_); }

Result<HttpResponse> CurlTransport::get(const Url& url, const std::vector<std::string>& headers, const BodySink& sink) {
  CURL* curl = curl_;
  curl_easy_reset(curl);
  Transfer transfer{.curl = curl, .monitor = &monitor_, .sink = &sink, .response = {}, .header_bytes = 0, .error = {}};
  std::array<char, CURL_ERROR_SIZE> detail = {};
  curl_slist* list = nullptr;
  for (const std::string& header : headers) list = curl_slist_append(list, header.c_str());
  const Defer free_list([&] { curl_slist_free_all(list); });

  curl_easy_setopt(curl, CURLOPT_URL, url.text.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, url.scheme.c_str());
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "boxlite/" BOXLITE_VERSION);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeoutSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, kMinBytesPerSecond);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail.data());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  const HostConfig& host = config_.host(url.authority());
  if (host.insecure) {
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
  } else if (!host.ca.empty()) {
    curl_easy_setopt(curl, CURLOPT_CAINFO, host.ca.c_str());
    curl_easy_setopt(curl, CURLOPT_CAPATH, nullptr);
  }
  // A proxy of the environment must not be handed what is meant for this machine.
  if (url.is_loopback()) curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");

  const CURLcode code = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
  if (transfer.error) return std::unexpected(std::move(*transfer.error));
  if (code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_HTTP2_STREAM) {
    if (transfer.response.status != 0) {
      transfer.response.complete = false;
      return std::move(transfer.response);
    }
  }
  if (code != CURLE_OK) return describe(code, url, detail[0] != '\0' ? detail.data() : curl_easy_strerror(code));
  return std::move(transfer.response);
}

}  // namespace boxlite::image
