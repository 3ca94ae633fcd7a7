// eth0 and its routes.
#pragma once

#include "agent/options.h"
#include "base/result.h"

namespace boxlite::agent {

/// Gives eth0 its addresses and makes it the way out. No DHCP and no router advertisements: nothing on the link configures us.
Result<void> raise_network(const NetworkOptions& options);

}  // namespace boxlite::agent
