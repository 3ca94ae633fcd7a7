"""Frames as a hostile guest makes them, field by field."""

import socket
import struct

from net_testing.bed import GUEST, GUEST6, GUEST_MAC

GATEWAY_MAC = bytes([0x52, 0x55, 192, 168, 127, 1])


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _address(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def _ethernet(mac, kind):
    return GATEWAY_MAC + mac + struct.pack("!H", kind)


def ip4(source, to, protocol, payload, fragment=0, identity=1):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), identity & 0xFFFF, fragment, 64, protocol, 0, _address(source), _address(to))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def packet(to, kind, port, source=None, source_port=40000, mac=GUEST_MAC, payload=b"payload"):
    """A SYN, or a datagram."""
    v6 = ":" in to
    source = source or (GUEST6 if v6 else GUEST)
    if kind == socket.SOCK_STREAM:
        protocol, at = socket.IPPROTO_TCP, 16
        transport = struct.pack("!HHIIHHHH", source_port, port, 1, 0, 0x5002, 65535, 0, 0)
    else:
        protocol, at = socket.IPPROTO_UDP, 6
        transport = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload
    pseudo = _address(source) + _address(to) + struct.pack("!II", len(transport), protocol)
    transport = transport[:at] + struct.pack("!H", checksum(pseudo + transport)) + transport[at + 2:]
    if v6:
        head = struct.pack("!IHBB16s16s", 0x60000000, len(transport), protocol, 64, _address(source), _address(to))
        return _ethernet(mac, 0x86DD) + head + transport
    return _ethernet(mac, 0x0800) + ip4(source, to, protocol, transport)


def fragment(to, identity, data, offset, more):
    return _ethernet(GUEST_MAC, 0x0800) + ip4(GUEST, to, socket.IPPROTO_UDP, data, (0x2000 if more else 0) | offset // 8, identity)


def arp(sender, target=GUEST):
    """A gratuitous reply that says the sender's address is the guest's."""
    body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, GUEST_MAC, _address(sender), GUEST_MAC, _address(target))
    return _ethernet(GUEST_MAC, 0x0806) + body
