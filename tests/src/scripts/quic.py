# The parts of QUIC that a network sees: a connection is known by a number that the client chose, not by addresses. When
# the client turns up at another address, the server asks it there whether it is itself (a path challenge), and sends
# what it has to send to the new address only, without being asked again.
#
# quic.py serve PORT
# quic.py ask ADDRESS PORT FIRST_PORT SECOND_PORT  prints as whom the server saw the client, before and after the move
import os, socket, sys

PUSHES = 3  # datagrams that a server sends of its own accord


def serve(port):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(("::", port))
    print("ready")
    clients = {}  # by connection number: the address that has proved itself, and the challenge to another
    while True:
        data, address = sock.recvfrom(2048)
        number, word = data[:8], data[8:]
        known, challenge = clients.setdefault(number, (address, None))
        if word.startswith(b"response ") and word[9:] == challenge:
            clients[number] = (address, None)
            for push in range(PUSHES):
                sock.sendto(number + b"push %d " % push + seen(address), address)
        elif known == address:
            sock.sendto(number + b"seen " + seen(address), address)
        else:
            challenge = os.urandom(8)
            clients[number] = (known, challenge)
            sock.sendto(number + b"challenge " + challenge, address)


def seen(address):
    host = address[0].removeprefix("::ffff:")
    return (f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}").encode()


class Path:
    def __init__(self, server, port, number):
        self.number = number
        self.sock = socket.socket(server[0], socket.SOCK_DGRAM)
        self.sock.settimeout(5)
        self.sock.bind(("", port))
        self.sock.connect(server[4])

    def send(self, word):
        self.sock.send(self.number + word)

    def receive(self, kind):
        data = self.sock.recv(2048)
        assert data.startswith(self.number + kind + b" "), (kind, data)
        return data[9 + len(kind) :]


def ask(address, port, first, second):
    server = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    number = os.urandom(8)
    path = Path(server, first, number)
    for _ in range(3):
        path.send(b"hello")
        before = path.receive(b"seen")
    moved = Path(server, second, number)
    moved.send(b"hello")
    moved.send(b"response " + moved.receive(b"challenge"))
    for push in range(PUSHES):
        after = moved.receive(b"push %d" % push)
    for _ in range(3):
        moved.send(b"hello")
        assert moved.receive(b"seen") == after
    # The old path is none any more: who speaks there has to prove himself again.
    path.send(b"hello")
    path.receive(b"challenge")
    print(before.decode(), after.decode())


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ask(sys.argv[2], *map(int, sys.argv[3:]))
