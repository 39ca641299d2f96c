# A file that is sent without passing by its sender's memory, so that packets refer to its pages.
#
# files.py serve PORT FILE
# files.py exchange ADDRESS PORT FILE HOW   the file goes each way by TCP: `sendfile`, `splice`, or `zerocopy` from memory
# files.py datagrams ADDRESS PORT FILE BYTES…   to the server of pieces.py: the first so many bytes of it each, by sendfile
import hashlib, mmap, os, select, socket, sys

SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000  # asm-generic/socket.h, linux/socket.h
PATIENCE = 20
CHUNK = 1 << 16


def by_sendfile(sock, file):
    sent = 0
    while step := os.sendfile(sock.fileno(), file.fileno(), sent, CHUNK):
        sent += step


def by_splice(sock, file):
    outlet, inlet = os.pipe()
    while left := os.splice(file.fileno(), inlet, CHUNK):
        while left:
            left -= os.splice(outlet, sock.fileno(), left)


def by_zerocopy(sock, file):
    sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    whole = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    sent = 0
    while sent < len(whole):
        select.select([], [sock], [])
        try:
            sent += sock.send(whole[sent : sent + CHUNK], MSG_ZEROCOPY)
        except OSError as error:
            # Too many words of what has been sent are waiting to be read (ENOBUFS).
            assert error.errno == 105, error
        heed(sock)


def heed(sock):
    """Takes the kernel's words of what has been sent."""
    try:
        while True:
            sock.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except BlockingIOError:
        pass


HOW = {"sendfile": by_sendfile, "splice": by_splice, "zerocopy": by_zerocopy}


def expect(sock, path):
    """What comes is what the file holds."""
    with open(path, "rb") as file:
        wanted = file.read()
    came = bytearray()
    while len(came) < len(wanted) and (chunk := sock.recv(1 << 20)):
        came += chunk
    assert came == wanted, f"{len(came)} bytes came, and are not the file's {len(wanted)}"


def serve(port, path):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    print("ready")
    while True:
        with listener.accept()[0] as sock, open(path, "rb") as file:
            how = sock.recv(16).decode()
            sock.send(b"yes")
            expect(sock, path)
            HOW[how](sock, file)
            # The client has all of it.
            sock.recv(1)


def exchange(address, port, path, how):
    with socket.create_connection((address, port), PATIENCE) as sock, open(path, "rb") as file:
        sock.send(how.encode())
        assert sock.recv(16) == b"yes"
        sock.setblocking(True)
        HOW[how](sock, file)
        expect(sock, path)


def datagrams(address, port, path, *sizes):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.connect((address, port))
    with open(path, "rb") as file:
        for size in map(int, sizes):
            assert os.sendfile(sock.fileno(), file.fileno(), 0, size) == size
            assert select.select([sock], [], [], PATIENCE)[0], f"no answer to {size} bytes"
            said = sock.recv(2048)
            file.seek(0)
            wanted = b"%d %s" % (size, hashlib.sha256(file.read(size)).hexdigest().encode())
            assert said == wanted, f"{said} came of {wanted}"


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]), sys.argv[3])
else:
    address, port, *words = sys.argv[2:]
    {"exchange": exchange, "datagrams": datagrams}[sys.argv[1]](address, int(port), *words)
