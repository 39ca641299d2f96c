# What an interface carries beyond an ordinary packet.
#
# carries.py set INTERFACE BYTES   has it make and carry TCP trains of so many bytes (BIG TCP); prints the families that it
#                                  does so for, as this kernel has it: `v4 v6`, `v6` or nothing
# carries.py watch INTERFACE       a dialog: to each line, how many bytes the longest IP packet of `v4` or `v6` had that came
#                                  in since
import select, socket, struct, sys

# linux/rtnetlink.h, linux/if_link.h, linux/if_ether.h
RTM_NEWLINK, RTM_GETLINK, NLM_F_REQUEST, NLM_F_ACK = 16, 18, 1, 4
BOUNDS = {"v4": (63, 64), "v6": (41, 58)}  # IFLA_GSO_IPV4_MAX_SIZE and IFLA_GRO_IPV4_MAX_SIZE, and IPv6's
ETH_P_ALL, KINDS = 3, {0x0800: "v4", 0x86DD: "v6"}
ETHERNET, IFINFO, HEADER = 14, 16, 16
SO_RCVBUFFORCE = 33  # asm-generic/socket.h


def ask(kind, flags, index, attributes=b""):
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + attributes
    link.send(struct.pack("=IHHII", HEADER + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body)
    return link.recv(1 << 16)


def bounds(index):
    answer, found, at = ask(RTM_GETLINK, 0, index), {}, HEADER + IFINFO
    while at + 4 <= len(answer):
        length, kind = struct.unpack_from("=HH", answer, at)
        if length == 8:
            found[kind] = struct.unpack_from("=I", answer, at + 4)[0]
        at += max(4, (length + 3) & ~3)
    return found


def put(name, size):
    index = socket.if_nametoindex(name)
    for attributes in (BOUNDS["v6"], BOUNDS["v4"]):
        ask(RTM_NEWLINK, NLM_F_ACK, index, b"".join(struct.pack("=HHI", 8, kind, size) for kind in attributes))
    found = bounds(index)
    print(*(family for family, kinds in BOUNDS.items() if all(found.get(kind) == size for kind in kinds)))


def watch(name):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
    tap.bind((name, ETH_P_ALL))
    head, longest = bytearray(ETHERNET), {}
    print("ready")
    while True:
        heard, _, _ = select.select([tap, sys.stdin], [], [])
        if tap in heard:
            length, (_, kind, way, *_) = tap.recvfrom_into(head, ETHERNET, socket.MSG_TRUNC)
            family = KINDS.get(kind) if way != socket.PACKET_OUTGOING else None
            longest[family] = max(longest.get(family, 0), length - ETHERNET)
        elif not (line := sys.stdin.readline()):
            return
        else:
            print(longest.pop(line.strip(), 0))


if sys.argv[1] == "set":
    put(sys.argv[2], int(sys.argv[3]))
else:
    watch(sys.argv[2])
