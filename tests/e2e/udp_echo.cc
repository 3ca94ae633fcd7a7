// Sends every datagram on a UDP port back to where it came from: for a box of test_network.py, whose busybox has nothing that
// speaks UDP.
//
//   udp_echo PORT
#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>

int main(int, char** argv) {
  const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<in_port_t>(std::atoi(argv[1])));
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return 1;
  static std::array<char, 65536> data;
  for (;;) {
    sockaddr_in from = {};
    socklen_t length = sizeof from;
    const ssize_t size = ::recvfrom(socket, data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (size >= 0)
      (void)::sendto(socket, data.data(), static_cast<std::size_t>(size), 0, reinterpret_cast<const sockaddr*>(&from), length);
  }
}
