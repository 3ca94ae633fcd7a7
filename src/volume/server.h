// A 9P2000.L server of one directory.
//
// Its client is the kernel of a guest, or whoever has taken that over: every message is hostile. What it may reach is bounded by
// the jail it runs in (vmm/volume_server.h), which holds the directory and nothing else; this code does not rely on that. A file
// is reached one name at a time from the descriptor of its directory, names hold no "/", ".." leads to the directory that a file
// was reached through, and no symbolic link is ever followed: links are the guest's business. Device nodes are neither made nor
// opened.
//
// One message at a time, in order: what a message changed is seen by the next. Nothing waits for anybody but the file system:
// locks are tried, fifos are never opened.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "volume/ownership.h"
#include "volume/wire.h"

namespace boxlite::volume {

class Server {
 public:
  static constexpr std::uint32_t kMaxMessage = 1024 * 1024;
  static constexpr std::size_t kMaxFids = 16384;

  /// `root`: the directory, opened with O_PATH.
  Server(UniqueFd root, Ownership ownership);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  /// The largest message, size field included; until one has been agreed on, that of Tversion.
  std::uint32_t max_message() const { return max_message_; }

  /// Answers one whole message. nullopt: it is not 9P, and the connection is to be ended.
  std::optional<std::string> handle(std::string_view message);

 private:
  struct Node;
  struct Fid;
  using NodePtr = std::shared_ptr<Node>;
  // 0, or the errno that the request is answered with.
  using Handler = int (Server::*)(Reader&, Writer&);

  static Handler handler_of(Message type);

  int version(Reader& in, Writer& out);
  int attach(Reader& in, Writer& out);
  int flush(Reader& in, Writer& out);
  int walk(Reader& in, Writer& out);
  int clunk(Reader& in, Writer& out);
  int remove(Reader& in, Writer& out);
  int open(Reader& in, Writer& out);
  int create(Reader& in, Writer& out);
  int read(Reader& in, Writer& out);
  int write(Reader& in, Writer& out);
  int fsync(Reader& in, Writer& out);
  int get_attributes(Reader& in, Writer& out);
  int set_attributes(Reader& in, Writer& out);
  int list(Reader& in, Writer& out);
  int statfs(Reader& in, Writer& out);
  int symlink(Reader& in, Writer& out);
  int make_node(Reader& in, Writer& out);
  int make_directory(Reader& in, Writer& out);
  int read_link(Reader& in, Writer& out);
  int link(Reader& in, Writer& out);
  int rename(Reader& in, Writer& out);
  int unlink(Reader& in, Writer& out);
  int lock(Reader& in, Writer& out);
  int get_lock(Reader& in, Writer& out);
  int walk_attribute(Reader& in, Writer& out);
  int create_attribute(Reader& in, Writer& out);

  Fid* find(std::uint32_t id);
  int add(std::uint32_t id, Fid fid);
  int enter(const NodePtr& directory, const std::string& name, NodePtr& found) const;
  int reopen(const Node& node, int flags, UniqueFd& opened) const;
  void put_id(Writer& out, const struct stat& st) const;
  int put_new(const NodePtr& directory, const std::string& name, const Attributes& wanted, Writer& out);

  std::optional<Attributes> mark_of(const Node& node, int open_fd) const;
  int set_mark(const Node& node, int open_fd, const Attributes& wanted, bool directory) const;
  int set_owner(const Node& node, int open_fd, const struct stat& st, const Attributes& wanted, bool new_file) const;
  int set_mode(const Node& node, int open_fd, const struct stat& st, const Attributes& wanted) const;
  bool too_many_attributes() const;
  int set_size(const Fid& fid, std::uint64_t size) const;

  NodePtr root_;
  dev_t root_device_ = 0;
  Ownership ownership_;
  std::map<std::uint32_t, Fid> fids_;
  std::uint32_t max_message_ = 8192;
};

/// Serves the connection until its end. False: the client broke the protocol.
bool serve(Server& server, int connection, int launcher);

}  // namespace boxlite::volume
