#include "net/net_config.h"

#include "net/addresses.h"

namespace boxlite::net {
namespace {

constexpr std::string_view kWhat = "configuration of the network";

Result<int> descriptor(const Json& json, std::string_view key) {
  TRY_ASSIGN(const auto fd, json_get<std::uint16_t>(json, key, kWhat));
  return fd;
}

Result<NetListener> listener_from_json(const Json& json) {
  NetListener listener;
  TRY_ASSIGN(listener.fd, descriptor(json, "fd"));
  TRY_ASSIGN(const auto protocol, json_get<std::string>(json, "protocol", kWhat));
  const auto known = protocol_from_name(protocol);
  if (!known) return fail(ErrorCode::kCorrupt, "{}: no protocol '{}'", kWhat, protocol);
  listener.protocol = *known;
  TRY_ASSIGN(listener.box_port, json_get<std::uint16_t>(json, "box_port", kWhat));
  if (listener.box_port == 0) return fail(ErrorCode::kCorrupt, "{}: port 0", kWhat);
  TRY_ASSIGN(listener.ipv6, json_get<bool>(json, "ipv6", kWhat));
  return listener;
}

}  // namespace

std::string_view name(Protocol protocol) { return protocol == Protocol::kTcp ? "tcp" : "udp"; }

std::optional<Protocol> protocol_from_name(std::string_view name) {
  if (name == "tcp") return Protocol::kTcp;
  if (name == "udp") return Protocol::kUdp;
  return std::nullopt;
}

Json to_json(const NetConfig& config) {
  Json listeners = Json::array();
  for (const NetListener& listener : config.listeners) {
    listeners.push_back(
        {{"fd", listener.fd}, {"protocol", name(listener.protocol)}, {"box_port", listener.box_port}, {"ipv6", listener.ipv6}});
  }
  return {{"nic", config.nic},
          {"launcher", config.launcher},
          {"counters", config.counters},
          {"lock", config.lock},
          {"mtu", config.mtu},
          {"host_access", config.host_access},
          {"allow", config.allow},
          {"tx_kbps", config.tx_kbps},
          {"rx_kbps", config.rx_kbps},
          {"uid", config.uid ? Json(*config.uid) : Json(nullptr)},
          {"listeners", std::move(listeners)},
          {"resolvers", config.resolvers}};
}

Result<NetConfig> net_config_from_json(const Json& json) {
  NetConfig config;
  TRY_ASSIGN(config.nic, descriptor(json, "nic"));
  TRY_ASSIGN(config.launcher, descriptor(json, "launcher"));
  TRY_ASSIGN(config.counters, descriptor(json, "counters"));
  TRY_ASSIGN(config.lock, json_get_or<int>(json, "lock", kWhat, -1));
  TRY_ASSIGN(config.mtu, json_get<std::uint32_t>(json, "mtu", kWhat));
  if (config.mtu < kMinMtu || config.mtu > kMaxMtu)
    return fail(ErrorCode::kCorrupt, "{}: MTU {} is not from {} to {}", kWhat, config.mtu, kMinMtu, kMaxMtu);
  TRY_ASSIGN(config.host_access, json_get<bool>(json, "host_access", kWhat));
  TRY_ASSIGN(config.allow, json_get<std::vector<std::string>>(json, "allow", kWhat));
  TRY_ASSIGN(config.tx_kbps, json_get<std::uint64_t>(json, "tx_kbps", kWhat));
  TRY_ASSIGN(config.rx_kbps, json_get<std::uint64_t>(json, "rx_kbps", kWhat));
  if (json.contains("uid") && !json.at("uid").is_null()) {
    TRY_ASSIGN(config.uid, json_get<std::uint32_t>(json, "uid", kWhat));
  }
  TRY_ASSIGN(const auto listeners, json_get<Json>(json, "listeners", kWhat));
  if (!listeners.is_array()) return fail(ErrorCode::kCorrupt, "{}: \"listeners\" is no list", kWhat);
  for (const Json& entry : listeners) {
    TRY_ASSIGN(NetListener listener, listener_from_json(entry));
    config.listeners.push_back(listener);
  }
  TRY_ASSIGN(config.resolvers, json_get<std::vector<std::string>>(json, "resolvers", kWhat));
  return config;
}

}  // namespace boxlite::net
