// What a box may reach. A pure function of a packet and the box's rules: no state, so nothing a guest sends changes what it may
// do next.
//
// TCP is judged by the first segment of a connection, SYN without ACK: libslirp answers every other one that belongs to no
// connection with a reset. All else is judged packet by packet. Replies of published UDP ports never come here (gate.h).
#pragma once

#include <vector>

#include "net/allow_rule.h"
#include "net/packet.h"

namespace boxlite::net {

enum class Verdict {
  kPass,
  kDns,     // a question to the gateway's name service, by UDP or TCP
  kDeny,    // refused, and the box is told
  kIgnore,  // of no use to anybody, and nobody waits for an answer: multicast, router solicitations, …
};

class Policy {
 public:
  /// With rules only what one of them allows is reached; the gateway's name service always is.
  Policy(bool host_access, std::vector<AllowRule> rules) : host_access_(host_access), rules_(std::move(rules)) {}

  /// `packet` is no fragment, and its source is the box.
  Verdict judge(const Packet& packet) const;

  bool host_access() const { return host_access_; }

 private:
  Verdict judge_icmp6(const Packet& packet) const;
  Verdict judge_destination(const Packet& packet) const;
  bool allowed(const Packet& packet) const;

  bool host_access_;
  std::vector<AllowRule> rules_;
};

}  // namespace boxlite::net
