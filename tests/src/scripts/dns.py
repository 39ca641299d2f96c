# A name server: a port, and if need be an address that it knows as `outside.test`, as it knows every address, and one that it listens at. It answers
# TXT queries for any name with as many bytes of text as the name's first label says: `1100.test`. What does not fit into
# the client's EDNS size comes truncated over UDP, and whole over TCP.
import socket, socketserver, struct, sys, threading


def strings(size):
    text = b"".join(b"%07d," % number for number in range(size // 8 + 1))[:size]
    return [text[start : start + 250] for start in range(0, size, 250)]


def data_of(kind, data):
    return struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(data)) + data


def answer(query, tcp):
    number, _, _, _, _, extra = struct.unpack(">6H", query[:12])
    end = 12
    labels = []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]])
        end += 1 + query[end]
    end += 5
    question = query[12:end]
    # The client's OPT record: an empty name, the type, and in the class's place the size.
    limit = 65535 if tcp else struct.unpack(">H", query[end + 3 : end + 5])[0] if extra else 512
    kind, code = query[end - 3], 0
    if kind == 16:
        record = data_of(16, b"".join(bytes([len(part)]) + part for part in strings(int(labels[0]))))
    elif labels == [b"outside", b"test"]:
        record = data_of(1, socket.inet_aton(sys.argv[2])) if kind == 1 else b""
    elif kind == 12:
        record = data_of(12, b"\7outside\4test\0")
    else:
        record, code = b"", 3
    option = struct.pack(">BHHIH", 0, 41, 1232, 0, 0) if extra else b""
    header = lambda flags, count: struct.pack(">6H", number, flags, 1, count, 0, 1 if extra else 0)
    whole = header(0x8480 | code, 1 if record else 0) + question + record + option
    return whole if len(whole) <= limit else header(0x8680, 0) + question + option


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        query, sock = self.request
        sock.sendto(answer(query, False), self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        while size := self.rfile.read(2):
            whole = answer(self.rfile.read(struct.unpack(">H", size)[0]), True)
            self.wfile.write(struct.pack(">H", len(whole)) + whole)


at = (sys.argv[3] if len(sys.argv) > 3 else "::", int(sys.argv[1]))
family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET


class UdpServer(socketserver.ThreadingUDPServer):
    address_family = family


class TcpServer(socketserver.ThreadingTCPServer):
    address_family = family
    allow_reuse_address = True


servers = [UdpServer(at, Udp), TcpServer(at, Tcp)]
threads = [threading.Thread(target=server.serve_forever) for server in servers]
for thread in threads:
    thread.start()
print("ready")
