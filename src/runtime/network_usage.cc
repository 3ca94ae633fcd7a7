#include "runtime/network_usage.h"

namespace boxlite {
namespace {

template <typename Usage, typename Visit>
void visit_usage(Usage& usage, Visit&& visit) {
  visit("tx_bytes", usage.tx_bytes);
  visit("tx_packets", usage.tx_packets);
  visit("rx_bytes", usage.rx_bytes);
  visit("rx_packets", usage.rx_packets);
  visit("connections", usage.connections);
  visit("denials", usage.denials);
  visit("dropped", usage.dropped);
}

}  // namespace

Json to_json(const NetworkUsage& usage) {
  Json json = Json::object();
  visit_usage(usage, [&json](const char* key, std::uint64_t value) { json[key] = value; });
  return json;
}

NetworkUsage network_usage_from_json(const Json& json) {
  NetworkUsage usage;
  visit_usage(usage, [&json](const char* key, std::uint64_t& value) {
    value = json_get_or<std::uint64_t>(json, key, "counters of a network", 0).value_or(0);
  });
  return usage;
}

}  // namespace boxlite
