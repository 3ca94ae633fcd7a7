// The options of a box, listed once: what a row stores, what a shim is told and what `inspect` shows are made from this list.
//
// Not in it: the image and the name, which are columns of the row, and env, which may hold secrets.
#pragma once

#include "boxlite/box_options.h"

namespace boxlite {

/// Calls visit("cpus", options.cpus) and so on. `Options` is BoxOptions or const BoxOptions.
template <typename Options, typename Visit>
void visit_options(Options& options, Visit&& visit) {
  visit("command", options.command);
  visit("entrypoint", options.entrypoint);
  visit("working_dir", options.working_dir);
  visit("user", options.user);
  visit("cpus", options.cpus);
  visit("memory_mib", options.memory_mib);
  visit("disk_bytes", options.disk_bytes);
  visit("tty", options.tty);
  visit("open_stdin", options.open_stdin);
  visit("privileged", options.privileged);
  visit("auto_remove", options.auto_remove);
  visit("init", options.init);
  visit("hostname", options.hostname);
  visit("add_hosts", options.add_hosts);
  visit("dns", options.dns);
  visit("dns_search", options.dns_search);
  visit("dns_options", options.dns_options);
  visit("labels", options.labels);
  visit("security", options.security);
  visit("network", options.network);
  visit("publish", options.publish);
  visit("publish_all", options.publish_all);
  visit("host_access", options.host_access);
  visit("allow_net", options.allow_net);
  visit("net_tx_kbps", options.net_tx_kbps);
  visit("net_rx_kbps", options.net_rx_kbps);
  visit("ulimits", options.ulimits);
  visit("cap_add", options.cap_add);
  visit("cap_drop", options.cap_drop);
  visit("read_only", options.read_only);
  visit("tmpfs", options.tmpfs);
  visit("shm_bytes", options.shm_bytes);
  visit("volumes", options.volumes);
  visit("mounts", options.mounts);
  visit("stop_signal", options.stop_signal);
  visit("stop_seconds", options.stop_seconds);
  visit("timeout_seconds", options.timeout_seconds);
}

}  // namespace boxlite
