# Datagrams that are handed to the kernel as one train, to be cut up as late as can be (UDP_SEGMENT of linux/udp.h).
#
# trains.py whole|single serve PORT
# trains.py whole|single send ADDRESS PORT FROM_PORT COUNTxBYTES…   so many datagrams of so many bytes, and a shorter one
#
# `whole` receives a train as it comes (UDP_GRO), `single` one datagram at a time. What was sent has to come back, turned
# around, as a train. For each, `send` prints as whom the server saw it, and in how many pieces the train came there and
# back: 1 if nobody cut it up, or somebody put it together again.
import os, socket, struct, sys

UDP_SEGMENT, UDP_GRO = 103, 104  # linux/udp.h
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
PATIENCE = 5
HEAD = struct.Struct(">HH")  # which one of how many
early = []


def opened(family, port, whole):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
    sock.setsockopt(socket.SOL_UDP, UDP_GRO, whole)
    sock.bind(("", port))
    return sock


def send(sock, train, size, target):
    sock.sendmsg([train], [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))], 0, target)


def receive(sock):
    """Datagrams that came together, and from whom."""
    data, extra, _, peer = sock.recvmsg(1 << 16, socket.CMSG_SPACE(4))
    size = struct.unpack("=i", extra[0][2])[0] if extra else len(data)
    return [data[start : start + size] for start in range(0, len(data), size)], peer


def train_from(sock, peer=None, length=None):
    """All datagrams of a train in their order, in how many pieces they came, and from whom; from `peer`, and a train of that
    length, if not None. Of another length is what overtook it, sent on another processor: that is kept."""
    found, pieces, waiting = {}, 0, early[:]
    early.clear()
    while length is None or len(found) < length:
        came, sender = waiting.pop(0) if waiting else receive(sock)
        peer = peer or sender
        assert sender[:2] == peer[:2], f"it comes from {sender}, not from {peer}"
        _, count = HEAD.unpack_from(came[0])
        length = length or count
        if count != length:
            early.append((came, sender))
            continue
        pieces += 1
        for datagram in came:
            number, _ = HEAD.unpack_from(datagram)
            assert number not in found, f"datagram {number} came twice"
            found[number] = datagram
    return [found[number] for number in range(length)], pieces, peer


def turned(datagram):
    return datagram[: HEAD.size] + datagram[: HEAD.size - 1 : -1]


def serve(whole, port):
    sock = opened(socket.AF_INET6, port, whole)
    print("ready")
    while True:
        came, pieces, client = train_from(sock)
        host = client[0].removeprefix("::ffff:")
        seen = f"[{host}]:{client[1]}" if ":" in host else f"{host}:{client[1]}"
        send(sock, b"".join(map(turned, came)), len(came[0]), client)
        sock.sendto(HEAD.pack(0, 1) + f"{seen} {pieces}".encode(), client)


def ask(sock, target, size, count):
    bodies = [os.urandom(size - HEAD.size) for _ in range(count)] + [os.urandom(size // 2)]
    sent = [HEAD.pack(number, count + 1) + body for number, body in enumerate(bodies)]
    send(sock, b"".join(sent), size, target)
    came, pieces, _ = train_from(sock, target, count + 1)
    assert came == [turned(datagram) for datagram in sent], f"{[*map(len, came)]} came back for {[*map(len, sent)]}"
    (told,), _, _ = train_from(sock, target, 1)
    print(told[HEAD.size :].decode(), pieces)


whole, what, *words = sys.argv[1] == "whole", *sys.argv[2:]
if what == "serve":
    serve(whole, int(words[0]))
else:
    (address, *ports), trains = words[:3], words[3:]
    port, own = map(int, ports)
    sock = opened(socket.AF_INET6 if ":" in address else socket.AF_INET, own, whole)
    sock.settimeout(PATIENCE)
    for train in trains:
        count, size = map(int, train.split("x"))
        ask(sock, (address, port), size, count)
