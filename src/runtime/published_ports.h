// Ports of the host that lead into a box: docker's notation, and binding them.
//
// They are bound by the process that starts the box, before anything of the start is written down: when one is taken, the box
// stays as it was. The descriptors then go to the shim and on to boxlite-net, and with that process the ports are free again.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "boxlite/box_info.h"
#include "boxlite/box_options.h"

namespace boxlite {

struct PortRequest {
  std::string host_ip;      // an address, IPv4 or IPv6
  std::uint16_t first = 0;  // any free port from first to last; 0 and 0: any the kernel chooses
  std::uint16_t last = 0;
  std::uint16_t box_port = 0;
  std::string protocol;  // "tcp", "udp"
};

/// What --publish and --publish-all ask for. `exposed`: the image's, "80/tcp". kInvalidArgument names flag and value.
Result<std::vector<PortRequest>> asked_ports(const BoxOptions& options, const std::vector<std::string>& exposed);

Json to_json(const PortRequest& request);
Result<PortRequest> port_request_from_json(const Json& json);
Json to_json(const PublishedPort& port);
Result<PublishedPort> published_port_from_json(const Json& json);

struct BoundPort {
  PublishedPort port;
  UniqueFd fd;  // bound, and with TCP listening; close-on-exec
};

/// Who has a port of this host, for a message: "box web"; "" when it is not known.
using PortOwner = std::function<std::string(const PublishedPort& taken)>;

/// All of them or none. kAlreadyExists: a port is taken; the message names it and who has it, as `owner` or else /proc tells;
/// what to do is the caller's to say.
Result<std::vector<BoundPort>> bind_ports(const std::vector<PortRequest>& requests, const PortOwner& owner = {});

/// "127.0.0.1:8080", "[::1]:8080"
std::string address_text(std::string_view ip, std::uint16_t port);

}  // namespace boxlite
