# A cable for IP packets without Ethernet headers, as VPNs make them: a tun interface here and one in another network
# namespace, `tun0` each, and this program between them.
#
# tun.py NETNS   the other one's file below /run/netns; prints `ready`
import ctypes, fcntl, os, select, struct, sys

# linux/if_tun.h: TUNSETIFF; IFF_TUN without IFF_NO_PI's opposite.
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
CLONE_NEWNET = 0x40000000


def tun():
    end = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
    return end


here = tun()
libc = ctypes.CDLL(None, use_errno=True)
if libc.setns(os.open(f"/run/netns/{sys.argv[1]}", os.O_RDONLY), CLONE_NEWNET) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
there = tun()
print("ready", flush=True)
while True:
    for end in select.select([here, there], [], [])[0]:
        try:
            os.write(there if end == here else here, os.read(end, 65536))
        except OSError:
            # Not up yet, or a packet that the kernel does not take: cables lose packets.
            pass
