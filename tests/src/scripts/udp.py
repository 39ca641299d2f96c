# A datagram that must not be cut up on its way, and what is said to it. Routers may say nothing to the first one.
#
# udp.py ADDRESS PORT BYTES  prints `answered`, `refused`, `unreachable`, `too large: ` and the largest packet, `silence`
import errno, select, socket, sys

TRIES = 5
family, kind, _, _, server = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_DGRAM)[0]
level = socket.IPPROTO_IP if family == socket.AF_INET else socket.IPPROTO_IPV6
# IP_MTU_DISCOVER, IP_RECVERR and IP_MTU of linux/in.h, and their IPv6 likes of linux/in6.h; 2 is "always".
discover, hear_errors, mtu = (10, 11, 14) if family == socket.AF_INET else (23, 25, 24)

sock = socket.socket(family, kind)
sock.setsockopt(level, discover, 2)
sock.setsockopt(level, hear_errors, 1)
sock.connect(server)
poll = select.poll()
poll.register(sock, select.POLLIN)


def outcome():
    for _ in range(TRIES):
        sock.send(bytes(int(sys.argv[3])))
        if poll.poll(1000):
            sock.recv(2048)
            return "answered"
    return "silence"


try:
    print(outcome())
except OSError as error:
    said = {errno.ECONNREFUSED: "refused", errno.EHOSTUNREACH: "unreachable", errno.ENETUNREACH: "unreachable"}
    said[errno.EMSGSIZE] = f"too large: {sock.getsockopt(level, mtu)}"
    print(said.get(error.errno, error))
