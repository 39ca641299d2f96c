# Packets whose transport checksum is right, wrong or left out, and what becomes of them.
#
# sums.py send udp|tcp SOURCE ADDRESS PORT FROM_PORT SUM BYTES [MAC]
#   SUM is `right`, `wrong` or `none`, which are the first bytes of the payload too; TCP sends a SYN. With the MAC address
#   of the next hop, what is longer than a page lies apart from its Ethernet header from the start (packet(7)).
# sums.py listen PORT   also sees what the machine's stack then drops; a dialog:
#   next   waits for a packet to the port: its protocol, its checksum, the bytes of its payload
#   heard  waits for a datagram at the socket: the first word of its payload, and whom it came from
import os, socket, struct, sys

ETH_P_IP, ETH_P_IPV6, ETH_P_ALL = 0x0800, 0x86DD, 3  # linux/if_ether.h
PATIENCE = 5


def folded(data):
    data += bytes(len(data) % 2)
    return sum(struct.unpack(f">{len(data) // 2}H", data)) % 0xFFFF


class Transport:
    """TCP or UDP: its number, and where its checksum is."""

    def __init__(self, name):
        self.name, self.number, self.place = (name, 6, 16) if name == "tcp" else (name, 17, 6)

    def sum(self, source, target, data):
        """Of all but the checksum itself."""
        pseudo = source + target + struct.pack(">II", len(data), self.number)
        return ~folded(pseudo + data[: self.place] + bytes(2) + data[self.place + 2 :]) & 0xFFFF or 0xFFFF

    def header(self, ports, body):
        if self.name == "udp":
            return struct.pack(">HHHH", *ports, 8 + body, 0)
        return struct.pack(">HHIIHHHH", *ports, int.from_bytes(os.urandom(4), "big"), 0, 5 << 12 | 2, 65535, 0, 0)


TRANSPORTS = {transport.number: transport for transport in (Transport("tcp"), Transport("udp"))}


def send(name, source, address, port, own, word, size, mac=None):
    transport = Transport(name)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ends = [socket.inet_pton(family, end) for end in (source, address)]
    body = (word.encode() + b" " + os.urandom(size))[:size]
    data = transport.header((own, port), size) + body
    checksum = {"right": 0, "wrong": 0x5555, "none": None}[word]
    if checksum is not None:
        checksum = (transport.sum(*ends, data) ^ checksum) or 1
        data = data[: transport.place] + struct.pack(">H", checksum) + data[transport.place + 2 :]
    if family == socket.AF_INET:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(data), 0, 0x4000, 64, transport.number, 0) + b"".join(ends)
        head = head[:10] + struct.pack(">H", ~folded(head) & 0xFFFF) + head[12:]
    else:
        head = struct.pack(">IHBB", 6 << 28, len(data), transport.number, 64) + b"".join(ends)
    if mac:
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        link.bind(("eth0", 0))
        ether = bytes.fromhex(mac.replace(":", "")) + link.getsockname()[4]
        kind = ETH_P_IP if family == socket.AF_INET else ETH_P_IPV6
        link.send(ether + struct.pack(">H", kind) + head + data)
    else:
        socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW).sendto(head + data, (address, 0))


def transported(packet):
    """Its transport, addresses, and transport header with payload."""
    if packet[0] >> 4 == 4:
        size = struct.unpack_from(">H", packet, 2)[0]
        number, source, target, rest = packet[9], packet[12:16], packet[16:20], packet[20:size]
    else:
        number, source, target, rest = packet[6], packet[8:24], packet[24:40], packet[40:]
    return TRANSPORTS.get(number), source, target, rest


def judged(transport, source, target, data):
    (came,) = struct.unpack_from(">H", data, transport.place)
    size = len(data) - (8 if transport.name == "udp" else 20)
    wanted = transport.sum(source, target, data)
    return f"{transport.name} {'none' if came == 0 else 'right' if came == wanted else 'wrong'} {size}"


def listen(port):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    sock, listener = (socket.socket(socket.AF_INET6, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
    for end in (sock, listener):
        end.bind(("::", port))
    listener.listen()
    tap.settimeout(PATIENCE)
    sock.settimeout(PATIENCE)

    def next_packet():
        while True:
            packet, (_, _, kind, _, _) = tap.recvfrom(1 << 16)
            if kind == socket.PACKET_OUTGOING:
                continue
            transport, source, target, data = transported(packet)
            if transport and struct.unpack_from(">H", data, 2)[0] == port:
                return judged(transport, source, target, data)

    def heard():
        data, (host, own, *_) = sock.recvfrom(1 << 16)
        return f"{data.split(b' ')[0].decode()} {host.removeprefix('::ffff:')} {own}"

    print("ready")
    for line in sys.stdin:
        try:
            print(next_packet() if line.strip() == "next" else heard())
        except TimeoutError:
            print("silence")


if sys.argv[1] == "listen":
    listen(int(sys.argv[2]))
else:
    name, source, address, port, own, word, size, *mac = sys.argv[2:]
    send(name, source, address, int(port), int(own), word, int(size), *mac)
