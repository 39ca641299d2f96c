# SCTP (RFC 9260) over raw sockets, for kernels without it: as much as an association of one message each way takes.
#
#   INIT, INIT ACK, COOKIE ECHO, COOKIE ACK, DATA, SACK + DATA, SACK + SHUTDOWN, SHUTDOWN ACK, SHUTDOWN COMPLETE
#
# Both ends look at the CRC32c of each packet, at its verification tag and at its ports.
#
# sctp.py serve PORT                              answers each message with as whom it saw the client
# sctp.py ask ADDRESS PORT FROM_PORT [leave-open]  prints that
import os, select, socket, struct, sys

SCTP = 132
DATA, INIT, INIT_ACK, SACK, ABORT, SHUTDOWN, SHUTDOWN_ACK, COOKIE_ECHO, COOKIE_ACK, SHUTDOWN_COMPLETE = (
    0, 1, 2, 3, 6, 7, 8, 10, 11, 14,
)  # fmt: skip
STATE_COOKIE = 7
PATIENCE = 5
# Long enough that a checksum which misses a part of it shows.
MESSAGE = bytes(number * 37 % 251 for number in range(1000))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def chunk(kind, value=b"", flags=0):
    return struct.pack(">BBH", kind, flags, 4 + len(value)) + value + bytes(-len(value) % 4)


def packet(source, destination, tag, *chunks):
    head, body = struct.pack(">HHI", source, destination, tag), b"".join(chunks)
    return head + struct.pack("<I", crc32c(head + bytes(4) + body)) + body


def parse(data, family):
    """Ports, tag and chunks by their type; and what is wrong with the checksum, if anything."""
    if family == socket.AF_INET:
        data = data[(data[0] & 15) * 4 :]
    source, destination, tag = struct.unpack(">HHI", data[:8])
    (theirs,) = struct.unpack("<I", data[8:12])
    ours = crc32c(data[:8] + bytes(4) + data[12:])
    chunks, rest = {}, data[12:]
    while rest:
        kind, _, length = struct.unpack(">BBH", rest[:4])
        chunks[kind] = rest[4:length]
        rest = rest[length + -length % 4 :]
    wrong = None if ours == theirs else f"checksum {theirs:08x} instead of {ours:08x} on chunks {sorted(chunks)}"
    return source, destination, tag, chunks, wrong


def init(kind, tag, tsn, options=b""):
    return chunk(kind, struct.pack(">IIHHI", tag, 1 << 16, 1, 1, tsn) + options)


def data_chunk(tsn, message):
    return chunk(DATA, struct.pack(">IHHI", tsn, 0, 0, 0) + message, 3)


def sack(tsn):
    return chunk(SACK, struct.pack(">IIHH", tsn, 1 << 16, 0, 0))


def number(data):
    return struct.unpack(">I", data[:4])[0]


def show(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def serve(own_port):
    socks = [socket.socket(family, socket.SOCK_RAW, SCTP) for family in (socket.AF_INET, socket.AF_INET6)]
    print("ready")
    peers = {}  # by address and port: our tag, theirs, the number of our next message
    while True:
        for sock in select.select(socks, [], [])[0]:
            data, address = sock.recvfrom(65536)
            host = address[0]
            port, destination, tag, chunks, wrong = parse(data, sock.family)
            if destination != own_port:
                continue

            def answer(tag, *chunks):
                sock.sendto(packet(own_port, port, tag, *chunks), (host, 0))

            if INIT in chunks:
                theirs = number(chunks[INIT])
                if wrong or tag != 0:
                    answer(theirs, chunk(ABORT, (wrong or "INIT with a tag").encode()))
                    continue
                peers[host, port] = [number(os.urandom(4)) | 1, theirs, 1000]
                cookie = chunk(0, os.urandom(33))
                cookie = struct.pack(">HH", STATE_COOKIE, 37) + cookie[4:]
                answer(theirs, init(INIT_ACK, peers[host, port][0], 1000, cookie))
                continue
            peer = peers.get((host, port))
            if peer is None or wrong or tag != peer[0]:
                # The tag of a stranger's ABORT is the stranger's own.
                fault = wrong or f"{show(host, port)} is nobody I know, or its tag is wrong"
                answer(peer[1] if peer else tag, chunk(ABORT, fault.encode(), 0 if peer else 1))
            elif COOKIE_ECHO in chunks:
                answer(peer[1], chunk(COOKIE_ACK))
            elif DATA in chunks:
                tsn, message = number(chunks[DATA]), chunks[DATA][12:]
                answer(peer[1], sack(tsn), data_chunk(peer[2], show(host, port).encode() + b" " + message))
                peer[2] += 1
            elif SHUTDOWN in chunks:
                answer(peer[1], chunk(SHUTDOWN_ACK))
            elif SHUTDOWN_COMPLETE in chunks:
                del peers[host, port]


class Association:
    def __init__(self, address, port, own_port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_RAW, SCTP)
        self.sock.settimeout(PATIENCE)
        self.sock.connect((address, 0))
        self.port, self.own_port = port, own_port
        self.ours, self.theirs = number(os.urandom(4)) | 1, 0

    def exchange(self, chunks, *expected):
        """Sends, and receives what is expected in one packet."""
        self.send(*chunks)
        while True:
            try:
                answer = self.sock.recv(65536)
            except OSError as error:
                sys.exit(f"no answer with chunk {expected[0]}: {error}")
            source, destination, tag, chunks, wrong = parse(answer, self.sock.family)
            if (source, destination) == (self.port, self.own_port):
                break
        assert wrong is None, wrong
        assert ABORT not in chunks, chunks[ABORT].decode()
        assert tag == self.ours, f"tag {tag:08x} instead of {self.ours:08x}"
        assert set(expected) <= set(chunks), f"chunks {sorted(chunks)} instead of {expected}"
        return [chunks[kind] for kind in expected]

    def send(self, *chunks):
        self.sock.send(packet(self.own_port, self.port, self.theirs, *chunks))


def ask(address, port, own_port, leave_open):
    peer, tsn = Association(address, port, own_port), 5000
    (ack,) = peer.exchange([init(INIT, peer.ours, tsn)], INIT_ACK)
    peer.theirs = number(ack)
    kind, length = struct.unpack(">HH", ack[16:20])
    assert kind == STATE_COOKIE, kind
    peer.exchange([chunk(COOKIE_ECHO, ack[20 : 16 + length])], COOKIE_ACK)
    acknowledged, data = peer.exchange([data_chunk(tsn, MESSAGE)], SACK, DATA)
    assert number(acknowledged) == tsn, number(acknowledged)
    seen, message = data[12:].split(b" ", 1)
    assert message == MESSAGE, "the message came back changed"
    if leave_open:
        peer.send(sack(number(data)))
    else:
        peer.exchange([sack(number(data)), chunk(SHUTDOWN, struct.pack(">I", number(data)))], SHUTDOWN_ACK)
        peer.send(chunk(SHUTDOWN_COMPLETE))
    print(seen.decode())


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), "leave-open" in sys.argv[5:])
