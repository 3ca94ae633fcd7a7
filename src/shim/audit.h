// What a shim writes into its box's audit log (docs/formats/audit.md). The end of the box is there with its exit record.
#pragma once

#include <string>
#include <string_view>

#include "agent.pb.h"
#include "base/unix_socket.h"
#include "runtime/paths.h"
#include "runtime/records.h"

namespace boxlite::shim {

class Audit {
 public:
  /// Of the guest's doing at most so many lines for each start: they must not push out the others.
  static constexpr int kMaxDenials = 1000;

  Audit(HomePaths paths, std::string box_id, std::uint64_t generation)
      : paths_(std::move(paths)), id_(std::move(box_id)), generation_(generation) {}

  void started(const ShimConfig& config);
  /// A client's call: those that lead into the box.
  void called(const proto::Call& call, const PeerCredentials& client);
  /// A client takes a checkpoint: with it all that the box has in its memory.
  void captured(const PeerCredentials& client);
  /// What the network process says that it has denied: its words are no better than the guest's.
  void denied(std::string_view what);

 private:
  void append(std::string_view event, Json details);

  HomePaths paths_;
  std::string id_;
  std::uint64_t generation_;
  int denials_ = 0;
};

}  // namespace boxlite::shim
