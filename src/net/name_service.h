// The name server of a box, at the gateway's address: the box's own zone (dns_message.h), and a forwarder to the host's name
// servers.
//
// A question by UDP comes from the gate and its answer goes back there. By TCP the box is connected
// through libslirp and a socket pair (name_connection.h). A question is asked of one server after the other until one answers,
// for kPatience in all; by TCP if it came by TCP, so an answer too long for UDP (TC) goes to the box as it is and brings it to
// TCP. Each question has a socket of its own: a random port, connected, and an id that is not the box's.
//
// Bounded: kMaxLookups questions (more are not answered), kMaxClients TCP clients (more are closed).
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "net/dns_message.h"
#include "net/ip_address.h"
#include "net/poll_set.h"

namespace boxlite::net {

class NameService {
 public:
  static constexpr std::size_t kMaxLookups = 256;
  static constexpr std::size_t kMaxClients = 64;
  static constexpr auto kPatience = std::chrono::seconds(5);
  static constexpr auto kFresh = std::chrono::seconds(5);

  /// A UDP answer for this port of the box.
  using Answer = std::function<void(std::uint16_t box_port, std::span<const std::uint8_t> message)>;
  /// The servers known are older than kFresh, and there is a question: set_resolvers() is wanted.
  using Ask = std::function<void()>;

  NameService(const std::vector<std::string>& resolvers, Answer answer, Ask ask);

  /// A TCP client: a connected stream socket, non-blocking.
  void serve_client(UniqueFd socket);

  void ask(std::uint16_t box_port, std::span<const std::uint8_t> message);
  void set_resolvers(const std::vector<std::string>& resolvers);

  void prepare(PollSet& polls);
  void dispatch(const PollSet& polls);

 private:
  struct Client;
  // Who asked: a UDP port of the box, or a TCP client.
  struct Asker {
    std::uint16_t box_port = 0;
    Client* client = nullptr;
  };
  struct Lookup {
    Asker asker;
    std::uint16_t box_id = 0;
    DnsMessage query;  // with the id of our own
    DnsQuestion question;
    std::size_t next_resolver = 0;
    Clock::time_point try_until;
    UniqueFd socket;
    std::size_t sent = 0;  // TCP: of length and query
    DnsMessage received;   // TCP: length and answer so far
    int poll_index = -1;
  };
  struct Client {
    UniqueFd socket;
    std::vector<std::uint8_t> in;
    std::vector<std::uint8_t> out;
    bool busy = false;   // a lookup of it is on its way
    bool ended = false;  // says no more; goes when it has its answer
    bool broken = false;
    Clock::time_point end;
    int poll_index = -1;
  };

  void take(const Asker& asker, std::span<const std::uint8_t> message);
  void reply(const Asker& asker, std::span<const std::uint8_t> message);
  /// Sends the question to the next server; answers "server failure" when there is none left. False: the lookup is over.
  bool try_next(Lookup& lookup);
  bool open_socket(Lookup& lookup, const IpAddress& resolver);
  /// False: the lookup is over.
  bool advance(Lookup& lookup, short events);
  enum class Step { kWait, kFailed, kAnswered };
  Step receive_udp(Lookup& lookup);
  Step exchange_tcp(Lookup& lookup, short events);
  bool accept_answer(Lookup& lookup, std::span<const std::uint8_t> message);

  void serve(Client& client, short events);
  void take_client_questions(Client& client);
  /// True if there was something to send, and all of it went.
  static bool flush(Client& client);

  Answer answer_;
  Ask ask_;
  std::vector<IpAddress> resolvers_;
  Clock::time_point resolvers_known_;
  bool asked_resolvers_ = false;
  std::list<Lookup> lookups_;
  std::list<Client> clients_;
};

}  // namespace boxlite::net
