"""Starts a program, and tells when interfaces and addresses have changed so many times: `links.py COUNT PROGRAM…`.

A line on stdin starts it. Answers `seen` after that many messages of rtnetlink, `ended` if the program ends before.
"""
import os
import select
import socket
import subprocess
import sys

LINK, ADDRESS4, ROUTE4, ADDRESS6 = 1, 0x10, 0x40, 0x100

events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
events.bind((0, LINK | ADDRESS4 | ROUTE4 | ADDRESS6))
print("ready", flush=True)
sys.stdin.readline()
program = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
end = os.pidfd_open(program.pid)
left = int(sys.argv[1])
while left > 0:
    ready, _, _ = select.select([events, end], [], [])
    if events in ready:
        events.recv(65536)
        left -= 1
    elif end in ready:
        break
print("ended" if left > 0 else "seen", flush=True)
program.wait()
