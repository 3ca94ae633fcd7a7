// The flags that say what a box is: shared by run and create.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "boxlite/box_options.h"
#include "cli/flag_set.h"

namespace boxlite::cli {

class BoxFlags {
 public:
  /// Adds the flags; this object holds their values and must outlive the set's parse().
  void add_to(FlagSet& flags);

  /// The options from flags and operands (IMAGE [COMMAND [ARG...]]).
  Result<BoxOptions> options(const FlagSet& flags, const std::vector<std::string>& operands) const;

 private:
  Result<void> set_machine(BoxOptions& result) const;
  Result<void> set_container(BoxOptions& result) const;
  Result<void> set_network(BoxOptions& result) const;

  bool interactive_ = false;
  bool tty_ = false;
  bool privileged_ = false;
  bool auto_remove_ = false;
  bool init_ = false;
  bool read_only_ = false;
  bool publish_all_ = false;
  bool host_access_ = false;
  std::optional<std::string> rootfs_, name_, working_dir_, user_, entrypoint_, cpus_, memory_, disk_size_;
  std::optional<std::string> hostname_, shm_size_, stop_signal_, stop_timeout_, timeout_;
  std::optional<std::string> security_;
  std::optional<std::string> network_, net_tx_kbps_, net_rx_kbps_;
  std::vector<std::string> publish_, allow_net_;
  std::vector<std::string> env_, env_files_, add_hosts_, dns_, dns_search_, dns_options_, labels_, ulimits_, tmpfs_, volumes_,
      mounts_, cap_add_, cap_drop_;
};

/// The command behind an operand: `words` without the "--" that may stand before it.
std::vector<std::string> command_after_separator(std::vector<std::string> words);

/// docker's rule: a terminal in the box whose input is ours needs a terminal here.
Result<void> check_terminal_input(bool interactive, bool tty);

}  // namespace boxlite::cli
