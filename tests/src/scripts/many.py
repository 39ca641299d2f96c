# Conversations by the thousand, each with one packet: a datagram to each of so many ports.
#
# many.py ADDRESS FIRST_PORT COUNT
import socket, sys

address, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
for port in range(first, first + count):
    sock.sendto(b"one of many", (address, port))
