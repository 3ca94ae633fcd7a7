// The whole of a box's network: its parts and the one loop of boxlite-net: control socket, launcher, network card, libslirp's
// sockets, name service.
//
// A turn: wait; sockets of the host, whose data become frames for the box; then the frames of the box, as many as a turn may
// take. While frames wait for the box (a slow guest, its rx limit), no socket of the host is read, so TCP's own windows hold the
// senders back.
#pragma once

#include "net/control.h"
#include "net/denial_log.h"
#include "net/gate.h"
#include "net/name_service.h"
#include "net/nic.h"
#include "net/slirp_stack.h"
#include "net/udp_publisher.h"

namespace boxlite::net {

/// The parts of the process, and how they are joined: the exits of the gate lead to them, and what they have for the box comes by
/// it.
class Network : private GateExits {
 public:
  /// Opens all that has to be opened before the sandbox. Takes the descriptors that `config` names.
  static Result<std::unique_ptr<Network>> create(const NetConfig& config, Control& control, NetCounters& counters);

  /// Returns when the shim or the network card is gone.
  void run();

 private:
  Network(const NetConfig& config, Control& control, NetCounters& counters);
  Result<void> open(const NetConfig& config);
  bool turn();
  void take_frames();
  void tell_refused();

  void to_stack(std::span<const std::uint8_t> frame) override { stack_->input(frame); }
  void to_box(std::span<const std::uint8_t> frame) override { nic_.send(frame); }
  void to_name_service(std::uint16_t box_port, std::span<const std::uint8_t> question) override {
    names_->ask(box_port, question);
  }
  bool to_published(const Packet& packet) override { return udp_.reply(packet); }
  bool room_for_connection() override { return stack_->sockets() < SlirpStack::kMaxSockets; }
  void log(std::string_view lines) override;

  Control& control_;
  NetCounters& counters_;
  UniqueFd launcher_;
  std::uint32_t mtu_;
  Nic nic_;
  UdpPublisher udp_;
  std::unique_ptr<NameService> names_;
  std::unique_ptr<Gate> gate_;
  std::unique_ptr<SlirpStack> stack_;
  PollSet polls_;
  DenialLog refusals_;
};

}  // namespace boxlite::net
