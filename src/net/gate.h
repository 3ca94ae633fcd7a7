// The one point that every frame passes, in both directions.
//
// From the box: only frames of the box's own MAC and IP addresses, well-formed and whole, go on. Then, in this order: replies of
// published UDP ports leave by their sockets; questions to the gateway go to the name service; the policy judges the rest.
// libslirp gets what passed, and nothing else: no fragments, no options, no protocols that it would only drop. TCP to the
// gateway's port 53 is libslirp's to connect (name_connection.h). To the box: what libslirp made.
//
// Parsing only: no sockets here, so that a fuzzer can be the guest.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "net/counters.h"
#include "net/defragmenter.h"
#include "net/denial_log.h"
#include "net/packet.h"
#include "net/policy.h"

namespace boxlite::net {

/// Where frames go from the gate.
class GateExits {
 public:
  virtual ~GateExits() = default;
  virtual void to_stack(std::span<const std::uint8_t> frame) = 0;
  virtual void to_box(std::span<const std::uint8_t> frame) = 0;
  virtual void to_name_service(std::uint16_t box_port, std::span<const std::uint8_t> question) = 0;
  /// True if the packet belongs to a flow of a published UDP port, and was taken.
  virtual bool to_published(const Packet& packet) = 0;
  /// Whether one more connection of the box's may begin.
  virtual bool room_for_connection() = 0;
  virtual void log(std::string_view lines) = 0;
};

class Gate {
 public:
  Gate(Policy policy, NetCounters& counters, GateExits& exits) : policy_(std::move(policy)), counters_(counters), exits_(exits) {}

  /// A frame that the box sent; changed on its way.
  void from_box(std::span<std::uint8_t> frame);
  /// A frame that libslirp made for the box.
  void from_stack(std::span<const std::uint8_t> frame);

 private:
  void from_box_arp(std::span<const std::uint8_t> frame);
  void from_box_ip(std::span<std::uint8_t> frame);
  void from_box_whole(const Packet& packet);
  void deny(const Packet& packet);
  void drop() { count(counters_.dropped); }

  Policy policy_;
  NetCounters& counters_;
  GateExits& exits_;
  Defragmenter defragmenter_;
  DenialLog denial_log_;
};

}  // namespace boxlite::net
