# Datagrams in pieces. The server tells of each datagram how long it was, and its hash.
#
# pieces.py serve PORT
# pieces.py whole ADDRESS PORT BYTES FROM_PORT   the stack of the machine cuts it up; a word of as many bytes comes back
# pieces.py send OWN ADDRESS PORT FROM_PORT PLAN…
#
# A plan is made of pieces of one datagram of three: `0`, `1` and `2` are they, `d` and `e` are pieces with other bytes
# that overlap the first two and the last two; so `021`, or `0d12`. It prints a line for each plan: `whole`, `silence`, or
# what else the server said. `orphans=N` are last pieces of N datagrams of which nothing more comes; they have no line.
import hashlib, itertools, os, select, socket, struct, sys

PATIENCE, A_WHILE = 5, 0.5
PIECE = 1400  # bytes, in units of eight
SIZE = 2 * PIECE + 333


def hashed(data):
    return b"%d %s" % (len(data), hashlib.sha256(data).hexdigest().encode())


def serve(port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind(("::", port))
    print("ready")
    while True:
        data, client = sock.recvfrom(1 << 16)
        # To `whole ` with as many bytes, to others briefly.
        sock.sendto(data[::-1] if data.startswith(b"whole ") else hashed(data), client)


def bound(address, port, own):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(("", own))
    sock.connect((address, port))
    sock.settimeout(PATIENCE)
    return sock


def whole(address, port, size, own):
    sock = bound(address, port, own)
    data = b"whole " + os.urandom(size - 6)
    sock.send(data)
    came = sock.recv(1 << 16)
    assert came == data[::-1], f"{len(came)} bytes came back, and are not the same"
    print("same")


class Pieces:
    def __init__(self, own, address, port, own_port):
        self.source, self.target = (socket.inet_pton(self.family(address), name) for name in (own, address))
        self.address, self.ports = address, (own_port, port)
        self.raw = socket.socket(self.family(address), socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.sock = bound(address, port, own_port)
        self.numbers = itertools.count(int.from_bytes(os.urandom(2), "big"))

    @staticmethod
    def family(address):
        return socket.AF_INET6 if ":" in address else socket.AF_INET

    def datagram(self):
        data = os.urandom(SIZE - 8)
        header = struct.pack(">HHHH", *self.ports, SIZE, 0)
        pseudo = self.source + self.target + struct.pack(">II", SIZE, 17)
        words = pseudo + header + data
        words += bytes(len(words) % 2)
        total = sum(struct.unpack(f">{len(words) // 2}H", words))
        checksum = ~(total % 0xFFFF) & 0xFFFF or 0xFFFF
        return data, header[:6] + struct.pack(">H", checksum) + data

    def piece(self, number, start, data, last):
        if self.family(self.address) == socket.AF_INET:
            where = start // 8 | (0 if last else 0x2000)
            # The kernel fills in the header's checksum.
            head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(data), number % 65535 + 1, where, 64, 17, 0)
            packet = head + self.source + self.target + data
        else:
            head = struct.pack(">IHBB", 6 << 28, 8 + len(data), 44, 64)
            extension = struct.pack(">BBHI", 17, 0, start | (0 if last else 1), number)
            packet = head + self.source + self.target + extension + data
        self.raw.sendto(packet, (self.address, 0))

    def plan(self, plan):
        data, datagram = self.datagram()
        number = next(self.numbers)
        for name in plan:
            if name in "012":
                start = int(name) * PIECE
                self.piece(number, start, datagram[start : start + PIECE], name == "2")
            else:
                start = PIECE // 2 // 8 * 8 + (PIECE if name == "e" else 0)
                self.piece(number, start, os.urandom(PIECE if name == "d" else 800), False)
        # What overlaps may cost the datagram; what comes in its place would be wrong.
        risky = any(name in plan for name in "de")
        if not select.select([self.sock], [], [], A_WHILE if risky else PATIENCE)[0]:
            return "silence"
        said = self.sock.recv(2048)
        return "whole" if said == hashed(data) else said.decode()

    def orphans(self, count):
        for _ in range(count):
            self.piece(next(self.numbers), PIECE, bytes(PIECE), True)


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
elif sys.argv[1] == "whole":
    whole(sys.argv[2], *map(int, sys.argv[3:]))
else:
    pieces = Pieces(sys.argv[2], sys.argv[3], *map(int, sys.argv[4:6]))
    for plan in sys.argv[6:]:
        if plan.startswith("orphans="):
            pieces.orphans(int(plan.removeprefix("orphans=")))
        else:
            print(plan, pieces.plan(plan))
