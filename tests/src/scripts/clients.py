# Clients by the hundred, one after another: each asks and is answered, and then closes its connection or resets it.
#
# clients.py ADDRESS PORT COUNT close|reset
import socket, struct, sys

address, port, count, ending = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
for _ in range(count):
    with socket.create_connection((address, port), timeout=5) as sock:
        sock.sendall(b"?\n")
        if not sock.recv(256):
            sys.exit("closed without an answer")
        if ending == "reset":
            # SO_LINGER with no time to linger (socket(7)).
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
