"""The other end of the wire: a peer that speaks Ethernet to the guest's card, below the host's TCP (QEMU's -netdev socket).

    peer = Peer()
    machine = t.boot(net=peer.netdev, http_port=None)
    peer.attach()                                # answers ARP and DHCP from now on
    page = peer.get("/")                         # a small TCP client of its own
    peer.send(frame)                             # or anything at all

It is the whole subnet 10.0.2.0/24 but the guest. Frames are not lost on the way: the wire is a TCP connection to QEMU, which stops
reading while the card has no buffers. Whatever the peer is to be sure of it asks by ping(): frames are handled in order."""
import random
import socket
import struct
import threading
import time

import qemu

PEER_MAC = bytes.fromhex("525400000002")
GUEST_MAC = bytes.fromhex("525400123456")       # QEMU's first card
BROADCAST = b"\xff" * 6
GUEST, PEER, DNS, MASK = "10.0.2.15", "10.0.2.2", "10.0.2.3", "255.255.255.0"
IP_TYPE, ARP_TYPE = 0x0800, 0x0806
ICMP, TCP, UDP = 1, 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MSS = 1460


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(kind, payload, destination=GUEST_MAC, source=PEER_MAC):
    return destination + source + struct.pack(">H", kind) + payload


def arp(operation, sender_ip, target_ip, target_mac=b"\0" * 6, sender_mac=PEER_MAC):
    return struct.pack(">HHBBH", 1, IP_TYPE, 6, 4, operation) + sender_mac + socket.inet_aton(sender_ip) + target_mac + \
        socket.inet_aton(target_ip)


def ip(protocol, payload, source=PEER, destination=GUEST, ident=0, fragment=0, options=b"", ttl=64):
    """fragment: the 16-bit field of flags and offset."""
    size = 20 + len(options)
    head = struct.pack(">BBHHHBBH4s4s", 0x40 | size // 4, 0, size + len(payload), ident, fragment, ttl, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(destination)) + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def pseudo(protocol, size, source, destination):
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack(">BBH", 0, protocol, size)


def udp(source_port, port, payload, source=PEER, destination=GUEST):
    head = struct.pack(">HHHH", source_port, port, 8 + len(payload), 0)
    found = checksum(pseudo(UDP, len(head) + len(payload), source, destination) + head + payload) or 0xFFFF
    return head[:6] + struct.pack(">H", found) + payload


def tcp(source_port, port, sequence, acknowledged, flags, payload=b"", source=PEER, destination=GUEST, window=65535, options=b""):
    options += b"\1" * (-len(options) % 4)
    head = struct.pack(">HHIIBBHHH", source_port, port, sequence & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF,
                       (20 + len(options)) // 4 << 4, flags, window, 0, 0) + options
    found = checksum(pseudo(TCP, len(head) + len(payload), source, destination) + head + payload)
    return head[:16] + struct.pack(">H", found) + head[18:] + payload


def icmp_echo(ident, sequence, payload=b""):
    head = struct.pack(">BBHHH", 8, 0, 0, ident, sequence) + payload
    return head[:2] + struct.pack(">H", checksum(head)) + head[4:]


def tcp_frame(source_port, port, sequence, acknowledged, flags, payload=b"", source=PEER, **more):
    return ethernet(IP_TYPE, ip(TCP, tcp(source_port, port, sequence, acknowledged, flags, payload, source, **more), source))


class Connection:
    """A client's end of one TCP connection: in order, one segment of data out, nothing lost but what the guest drops."""

    def __init__(self, peer, source_port, port):
        self.peer, self.source_port, self.port = peer, source_port, port
        self.sequence, self.acknowledged = peer.random.randrange(1 << 32), 0
        self.received = b""
        self.is_open = self.has_fin = self.is_reset = False

    def send(self, flags, payload=b"", options=b""):
        self.peer.send(tcp_frame(self.source_port, self.port, self.sequence, self.acknowledged, flags, payload, options=options))

    def open(self):
        """May be repeated: the guest may have dropped the first."""
        self.send(SYN, options=struct.pack(">BBH", 2, 4, MSS))

    def input(self, sequence, acknowledged, flags, payload):
        """A segment from the guest; under the peer's lock."""
        if flags & RST:
            self.is_reset = True
        elif flags & SYN:
            if not self.is_open:
                self.is_open = True
                self.sequence = (self.sequence + 1) & 0xFFFFFFFF
                self.acknowledged = (sequence + 1) & 0xFFFFFFFF
            self.send(ACK)
        elif self.is_open and (payload or flags & FIN):
            if sequence == self.acknowledged:
                self.received += payload
                self.has_fin = bool(flags & FIN)
                self.acknowledged = (sequence + len(payload) + self.has_fin) & 0xFFFFFFFF
            self.send(ACK)


class Peer:
    def __init__(self, seed=1):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.netdev = f"socket,connect=127.0.0.1:{self.listener.getsockname()[1]}"
        self.random = random.Random(seed)
        self.changed = threading.Condition()
        self.connections, self.pongs = {}, set()
        self.next_port, self.next_ping = 10_000, 1
        self.received = 0               # frames
        self.syn_acks = 0               # to nobody's connection
        self.leases = 0
        self.link = None

    def attach(self, timeout=20):
        self.listener.settimeout(timeout * qemu.TEST_SCALE)
        self.link, _ = self.listener.accept()
        self.listener.close()
        self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sending = threading.Lock()
        threading.Thread(target=self.read, daemon=True).start()

    def close(self):
        if self.link:
            self.link.close()

    def send(self, *frames):
        """QEMU's stream of frames: each with its length, 32 bits, in network order."""
        with self.sending:
            self.link.sendall(b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))

    def read(self):
        stream = self.link.makefile("rb")
        try:
            while head := stream.read(4):
                frame = stream.read(struct.unpack(">I", head)[0])
                with self.changed:
                    self.received += 1
                    self.input(frame)
                    self.changed.notify_all()
        except (OSError, ValueError, struct.error):
            pass                        # QEMU ended

    # -- what comes from the guest ----------------------------------------------------------------------------------------

    def input(self, frame):
        kind = struct.unpack_from(">H", frame, 12)[0]
        if kind == ARP_TYPE:
            self.input_arp(frame[14:])
        elif kind == IP_TYPE:
            size, protocol = (frame[14] & 15) * 4, frame[23]
            payload = frame[14 + size:14 + struct.unpack_from(">H", frame, 16)[0]]
            if protocol == TCP:
                self.input_tcp(payload, socket.inet_ntoa(frame[30:34]))
            elif protocol == UDP:
                self.input_udp(payload)
            elif protocol == ICMP:
                self.input_icmp(payload)

    def input_arp(self, packet):
        operation = struct.unpack_from(">H", packet, 6)[0]
        sender, wanted = socket.inet_ntoa(packet[14:18]), socket.inet_ntoa(packet[24:28])
        if operation == 1 and wanted != GUEST:
            self.send(ethernet(ARP_TYPE, arp(2, wanted, sender, GUEST_MAC)))

    def input_icmp(self, packet):
        if packet[:1] == b"\0" and checksum(packet) == 0:
            self.pongs.add(struct.unpack_from(">HH", packet, 4))

    def input_tcp(self, packet, destination):
        port, source_port, sequence, acknowledged, offset, flags = struct.unpack_from(">HHIIBB", packet)
        connection = self.connections.get(source_port)
        if connection and destination == PEER:
            connection.input(sequence, acknowledged, flags, packet[(offset >> 4) * 4:])
        elif flags & SYN:
            self.syn_acks += 1

    def input_udp(self, packet):
        if struct.unpack_from(">HH", packet) == (68, 67):
            self.input_dhcp(packet[8:])

    def input_dhcp(self, packet):
        """RFC 2131: every request is granted the same address."""
        options, at, wish = packet[240:], 0, None
        while at + 1 < len(options) and options[at] != 255:
            if options[at] == 53:
                wish = options[at + 2]
            at += 1 if options[at] == 0 else 2 + options[at + 1]
        answer = {1: 2, 3: 5}.get(wish)
        if answer is None:
            return
        self.leases += answer == 5
        address = socket.inet_aton
        body = struct.pack(">BBBB4sHH", 2, 1, 6, 0, packet[4:8], 0, 0) + b"\0" * 4 + address(GUEST) + address(PEER) + b"\0" * 4 + \
            packet[28:44] + b"\0" * 192 + bytes.fromhex("63825363")
        for code, value in ((53, bytes([answer])), (54, address(PEER)), (51, struct.pack(">I", 86_400)), (1, address(MASK)),
                            (3, address(PEER)), (6, address(DNS))):
            body += bytes([code, len(value)]) + value
        self.send(ethernet(IP_TYPE, ip(UDP, udp(67, 68, body + b"\xff"))))

    # -- what a test asks for -------------------------------------------------------------------------------------------------

    def wait(self, condition, timeout, what, repeat=None):
        """Waits for something that input() brings; repeat is called every second meanwhile. Gives what the condition gave."""
        deadline = time.monotonic() + timeout * qemu.TEST_SCALE
        again = time.monotonic() + 1
        with self.changed:
            while not (found := condition()):
                now = time.monotonic()
                if now > deadline:
                    raise AssertionError(f"{what}: not in {timeout} s")
                if repeat and now > again:
                    repeat()
                    again = now + 1
                self.changed.wait(0.1)
            return found

    def ping(self, payload=b"", timeout=30):
        """Everything sent before has been handled by the guest when this comes back."""
        key = (0x7E55, self.next_ping & 0xFFFF)
        self.next_ping += 1
        with self.changed:
            self.pongs.discard(key)

        def ask():
            self.send(ethernet(IP_TYPE, ip(ICMP, icmp_echo(*key, payload))))
        ask()
        self.wait(lambda: key in self.pongs, timeout, "an answer to a ping", ask)

    def connect(self, port=80, timeout=30):
        with self.changed:
            self.next_port = self.next_port + 1 if self.next_port < 60_000 else 10_000
            connection = self.connections[self.next_port] = Connection(self, self.next_port, port)
        connection.open()
        self.wait(lambda: connection.is_open or connection.is_reset, timeout, "a connection", connection.open)
        return connection

    def forget(self, connection):
        """Ends our side in order."""
        with self.changed:
            if connection.is_open and not connection.is_reset:
                connection.send(FIN | ACK)
            del self.connections[connection.source_port]

    has_answered = False    # the web server listens: from then on five resets are a failure

    def get(self, path, timeout=30):
        """The whole answer to one request, headers and all. A connection that the guest reset is opened anew."""
        request = f"GET {path} HTTP/1.1\r\nHost: tessera\r\nConnection: close\r\n\r\n".encode()
        end = time.monotonic() + timeout
        resets = 0
        while resets < 5 or (not self.has_answered and time.monotonic() < end):
            connection = self.connect(timeout=timeout)
            sent_at = connection.sequence

            def ask():
                if not connection.received:     # it was lost: the same bytes again
                    connection.sequence = sent_at
                    connection.send(PSH | ACK, request)
                    connection.sequence = (sent_at + len(request)) & 0xFFFFFFFF
            if not connection.is_reset:
                ask()
                self.wait(lambda: connection.has_fin or connection.is_reset, timeout, f"all of {path}", ask)
            self.forget(connection)
            if connection.has_fin:
                self.has_answered = True
                return connection.received
            resets += 1
            if not self.has_answered:
                time.sleep(0.05)    # nobody listens yet: asked again until somebody does
        raise AssertionError(f"{path}: reset again and again")
