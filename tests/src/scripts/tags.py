# Frames with VLAN tags (IEEE 802.1Q), which the kernel takes off and keeps beside the packet, the outer one of two at least.
#
# tags.py INTERFACE TAGS…   one broadcast frame for each, with the types of its tags: 8100, or 88a8.8100 for two
import socket, sys

sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind((sys.argv[1], 0))
own = sock.getsockname()[4]
for tags in sys.argv[2:]:
    head = b"".join(bytes.fromhex(tag) + b"\0\5" for tag in tags.split("."))
    for kind in (b"\x08\x00", b"\x86\xdd", b"\x08\x06"):
        sock.send(b"\xff" * 6 + own + head + kind + bytes(46))
