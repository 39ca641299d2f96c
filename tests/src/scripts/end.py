# One end of a conversation, which says and hears what it is told to by lines of standard input, and answers each with a
# line. It ends with its input.
#
# end.py tcp|udp listen PORT                        TCP takes one client, before the first command
# end.py tcp|udp connect ADDRESS PORT [FROM_PORT]
#
# say WORD   sends it: `said`, or the error that came
# hear       waits for a word: that, `closed`, the error that came, `silence`
# fate       sends a word and waits for its rejection: `reset`, `refused`, `aborted` by this host itself, `silence`
# quiet      that no word comes for a while: `silence`, or what came
import errno, select, socket, sys

PATIENCE, A_WHILE = 5000, 300  # milliseconds
RESET = (errno.ECONNRESET, errno.EPIPE)  # the latter after the far end's FIN


def named(error):
    if error.errno in RESET:
        return "reset"
    # A UDP socket that its host ended has no peer any more, and says so before it tells of the end.
    aborted = dict.fromkeys((errno.ECONNABORTED, errno.EDESTADDRREQ), "aborted")
    names = {errno.ECONNREFUSED: "refused", **aborted}
    return names.get(error.errno, str(error))


class End:
    def __init__(self, proto, how, *where):
        self.stream = proto == "tcp"
        kind = socket.SOCK_STREAM if self.stream else socket.SOCK_DGRAM
        self.peer, self.listener = None, None
        if how == "listen":
            self.sock = socket.socket(socket.AF_INET6, kind)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(("::", int(where[0])))
            if self.stream:
                self.listener = self.sock
                self.listener.listen()
        else:
            family, _, _, _, target = socket.getaddrinfo(where[0], int(where[1]), type=kind)[0]
            self.sock = socket.socket(family, kind)
            self.sock.bind(("", int(where[2]) if where[2:] else 0))
            self.sock.settimeout(PATIENCE / 1000)
            self.sock.connect(target)
            self.sock.settimeout(None)

    def accept(self):
        if self.listener:
            self.sock, self.listener = self.listener.accept()[0], None

    def wait(self, events, limit):
        poll = select.poll()
        poll.register(self.sock, events)
        return poll.poll(limit)

    def say(self, word="word"):
        self.sock.send(word.encode() + b"\n" * self.stream)
        return "said"

    def hear(self, limit=PATIENCE):
        if not self.wait(select.POLLIN, limit):
            return "silence"
        word, peer = self.sock.recvfrom(2048)
        if not self.stream and self.peer is None:
            # From now on it is a conversation with this one, who also hears of its end.
            self.peer = self.sock.connect(peer) or peer
        return word.decode().strip() or "closed"

    def quiet(self):
        return self.hear(A_WHILE)

    def fate(self):
        # Routers may be slow to say no to datagrams; of a connection one rejection is the end.
        for _ in range(5):
            self.say("fate")
            if self.wait(0, PATIENCE):
                error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                return named(OSError(error, "no error"))
        return "silence"


end = End(*sys.argv[1:])
print("ready")
for line in sys.stdin:
    name, *words = line.split()
    try:
        end.accept()
        print(getattr(end, name)(*words))
    except OSError as error:
        print(named(error))
