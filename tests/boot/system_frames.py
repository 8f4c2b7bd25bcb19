"""Frames that no host's TCP would send: floods of half-open connections, and everything malformed. The page is still served over
the same wire, nothing is restarted, and the memory comes back."""
import json
import struct

import frames
from frames import ACK, FIN, GUEST, GUEST_MAC, ICMP, IP_TYPE, PSH, RST, SYN, TCP, UDP, Peer, ethernet, icmp_echo, ip, tcp_frame, udp
from scenario import scenario
from system_facts import difference, held, is_complete, is_quiet, wait_until

CHUNK = 100         # frames between two pings


def start(t):
    peer = Peer()
    machine = t.boot(net=peer.netdev, http_port=None)
    peer.attach()
    peer.wait(lambda: peer.leases, 60, "a request for an address")
    peer.ping()
    check_page(t, peer)
    return machine, peer


def body(answer):
    return answer.partition(b"\r\n\r\n")[2]


def is_whole(answer):
    return f"Content-Length: {len(body(answer))}\r\n".encode() in answer


def check_page(t, peer):
    answer = peer.get("/")
    t.check(answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"<title>" in answer and is_whole(answer),
            f"the page over raw frames: {answer[:200]!r}")


def facts_now(peer):
    return json.loads(body(peer.get("/status.json")))


def newer_facts(peer, than):
    """httpd may give the same facts again for a quarter of a second."""
    found = facts_now(peer)
    return found if "net" in found and found["uptime_ns"] > than["uptime_ns"] else None


def quiet_facts(peer, timeout=90):
    """Facts when no connection but ours is left; half-open ones are given up after some 20 s."""
    last = {}

    def ask():
        last["facts"] = facts_now(peer)
        return last["facts"] if is_complete(last["facts"]) and is_quiet(last["facts"]) else None
    try:
        return wait_until(ask, timeout, "quiet", pause=1)
    except AssertionError as error:
        raise AssertionError(f"{error}; last: {last['facts'].get('net')} {last['facts']['http']}") from None


def check_after(t, peer, before):
    """Waits until what is held is what was held: queues and slots go back by timers."""
    last = {}

    def ask():
        last["facts"] = quiet_facts(peer)
        last["lost"] = difference(before, held(last["facts"]))
        return last["facts"] if not last["lost"] else None
    try:
        after = wait_until(ask, 60, "what is held, after", pause=1)
    except AssertionError as error:
        raise AssertionError(f"{error}: {last['lost']}") from None
    t.check(all(s["restarts"] == 0 for s in after["services"]), f"services {after['services']}")
    return after


# -- floods ------------------------------------------------------------------------------------------------------------------

def far(chance):
    """An address behind the gateway, of those for documentation (RFC 5737)."""
    return f"{chance.choice(('192.0.2', '198.51.100', '203.0.113'))}.{chance.randrange(1, 255)}"


def near(chance):
    """An address on the wire, which the guest must ask the way to; its table of ways is much smaller than the subnet."""
    return f"10.0.2.{chance.randrange(16, 255)}"


def flood(t, peer, count, source):
    """SYNs from everywhere that are never completed, in order with pages that somebody wants meanwhile."""
    for first in range(0, count, CHUNK):
        peer.send(*(tcp_frame(peer.random.randrange(1_024, 65_536), 80, peer.random.randrange(1 << 32), 0, SYN,
                              source=source(peer.random)) for _ in range(CHUNK)))
        peer.ping()
        if first % (5 * CHUNK) == 0:
            check_page(t, peer)


@scenario(cpus=(1, 4), timeout=240)
def half_open(t):
    _, peer = start(t)
    flood(t, peer, 500, far)    # what is given on first touch
    flood(t, peer, 500, near)
    first = quiet_facts(peer)
    before = held(first)
    count = t.scaled(1_000, 10_000)
    answered = peer.syn_acks
    flood(t, peer, count, far)
    found = wait_until(lambda: newer_facts(peer, first), 10, "facts of the flood")
    t.check(found["net"]["tcp_open"] > CHUNK, f"{found['net']['tcp_open']} connections in the middle of a flood")
    t.note(f"{count} SYNs, {peer.syn_acks - answered} answered, {found['net']['tcp_open']} connections half-open at the end")
    t.check(peer.syn_acks - answered >= count * 9 // 10, f"only {peer.syn_acks - answered} of {count} SYNs were answered")
    flood(t, peer, count // 5, near)
    check_after(t, peer, before)
    check_page(t, peer)


# -- malformed -----------------------------------------------------------------------------------------------------------------

def samples(peer):
    """Sound frames of every kind the guest understands."""
    chance = peer.random
    return [
        ethernet(frames.ARP_TYPE, frames.arp(1, frames.PEER, GUEST), frames.BROADCAST),
        ethernet(frames.ARP_TYPE, frames.arp(2, "10.0.2.77", GUEST, GUEST_MAC)),
        ethernet(IP_TYPE, ip(ICMP, icmp_echo(1, 2, chance.randbytes(56)))),
        ethernet(IP_TYPE, ip(UDP, udp(67, 68, chance.randbytes(300)))),
        ethernet(IP_TYPE, ip(UDP, udp(53, 4_000, chance.randbytes(60)))),
        ethernet(IP_TYPE, ip(TCP, frames.tcp(chance.randrange(65_536), 80, 1, 0, SYN, options=b"\2\4\5\xb4\1\3\3\7\4\2"))),
        tcp_frame(2_000, 80, 1, 1, ACK | PSH, b"GET / HTTP/1.1\r\n\r\n"),
        tcp_frame(2_000, 80, 1, 1, RST),
        tcp_frame(2_000, 80, 1, 1, FIN | SYN | RST | PSH | ACK),
        ethernet(IP_TYPE, ip(ICMP, icmp_echo(1, 2, bytes(1_000))[:600], ident=7, fragment=0x2000)),
        ethernet(IP_TYPE, ip(TCP, frames.tcp(2_001, 80, 5, 0, SYN), options=b"\x44\x24\5\0" + bytes(32))),
        ethernet(0x86DD, chance.randbytes(60)),
        ethernet(0x8100, b"\0\1\x08\0" + ip(ICMP, icmp_echo(1, 2))),
    ]


def fix_checksums(frame):
    """So that mutations get past the first door: the IPv4 header's checksum made right again."""
    size = (frame[14] & 15) * 4 if len(frame) > 14 else 0
    if len(frame) < 14 + size or size < 20 or frame[12:14] != b"\x08\0":
        return frame
    head = frame[14:24] + b"\0\0" + frame[26:14 + size]
    frame = frame[:24] + struct.pack(">H", frames.checksum(head)) + frame[26:]
    protocol, payload = frame[23], frame[14 + size:]
    if protocol == TCP and len(payload) >= 20:
        found = frames.checksum(frame[26:34] + struct.pack(">BBH", 0, TCP, len(payload)) + payload[:16] + b"\0\0" + payload[18:])
        return frame[:14 + size] + payload[:16] + struct.pack(">H", found) + payload[18:]
    if protocol == ICMP and len(payload) >= 8:
        found = frames.checksum(payload[:2] + b"\0\0" + payload[4:])
        return frame[:14 + size] + payload[:2] + struct.pack(">H", found) + payload[4:]
    return frame


def mutated(peer):
    chance = peer.random
    frame = bytearray(chance.choice(samples(peer)))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(14 if chance.random() < 0.8 else 0, len(frame))
        frame[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    cut = chance.random()
    if cut < 0.15:
        frame = frame[:chance.randint(1, len(frame))]
    elif cut < 0.25:
        frame += chance.randbytes(chance.randint(1, 1_514))
    return fix_checksums(bytes(frame)) if chance.random() < 0.7 else bytes(frame)


def odd_sizes(peer):
    """Too short for a header, too long for the wire, and lengths that lie."""
    for size in (*range(1, 60), 1_513, 1_514, 1_515, 1_518, 1_522, 2_048, 4_000, 9_000, 16_000, 65_000):
        yield GUEST_MAC + frames.PEER_MAC + b"\x08\0" + bytes(size - 14) if size >= 14 else bytes(size)
    whole = ip(ICMP, icmp_echo(9, 9, bytes(100)))
    for length in (0, 1, 19, 20, 21, 27, 129, 1_500, 65_535):
        yield fix_checksums(ethernet(IP_TYPE, whole[:2] + struct.pack(">H", length) + whole[4:]))
    for words in range(16):
        yield ethernet(IP_TYPE, bytes([0x40 | words]) + whole[1:])
    for offset in range(16):
        segment = frames.tcp(2_002, 80, 1, 0, SYN)
        yield fix_checksums(ethernet(IP_TYPE, ip(TCP, segment[:12] + bytes([offset << 4]) + segment[13:])))
    for options in (b"\2\0\0\0", b"\2\xff\0\0", b"\3\3\xff\1", b"\x08\x0a\0\0", b"\5\xff\0\0", b"\xfe" * 40):
        yield tcp_frame(peer.random.randrange(65_536), 80, 1, 0, SYN, options=options)


def fragments(peer):
    """Overlapping, repeated, beyond the end, never completed."""
    whole = icmp_echo(3, 3, peer.random.randbytes(3_000))
    for ident in range(100, 140):
        for _ in range(4):
            at = peer.random.randrange(0, 3_000, 8)
            part = whole[at:at + peer.random.choice((8, 16, 100, 1_400))]
            yield ethernet(IP_TYPE, ip(ICMP, part, ident=ident, fragment=peer.random.choice((0, 0x2000)) | at // 8))
    for offset in (0x1FFF, 0x1FFE, 0x1F00):
        yield ethernet(IP_TYPE, ip(ICMP, bytes(1_400), ident=99, fragment=offset))
        yield ethernet(IP_TYPE, ip(ICMP, bytes(1_400), ident=99, fragment=0x2000 | offset))


def send_all(t, peer, list_of_frames):
    some = []
    for frame in list_of_frames:
        some.append(frame)
        if len(some) == CHUNK:
            peer.send(*some)
            peer.ping()
            some = []
    peer.send(*some)
    peer.ping()
    check_page(t, peer)


def storm(t, peer, count):
    send_all(t, peer, odd_sizes(peer))
    send_all(t, peer, fragments(peer))
    send_all(t, peer, (mutated(peer) for _ in range(count)))


@scenario(cpus=(1, 4), timeout=240)
def malformed(t):
    machine, peer = start(t)
    storm(t, peer, 1_000)       # what is given on first touch
    before = held(quiet_facts(peer))
    count = t.scaled(3_000, 100_000)
    storm(t, peer, count)
    after = check_after(t, peer, before)
    t.note(f"{count} mutated frames, {after['net']['dropped']} frames dropped")
    t.check("crashed" not in machine.serial, "something crashed: see the serial log")


@scenario(cpus=(1, 4), timeout=60)
def reassembly(t):
    """Fragments that are sound are put together, in any order."""
    _, peer = start(t)
    for order in ((0, 1), (1, 0)):
        key = (0x7E55, 40_000 + order[0])
        whole = icmp_echo(*key, peer.random.randbytes(1_400))
        parts = [(0x2000, whole[:800]), (800 // 8, whole[800:])]
        peer.send(*(ethernet(IP_TYPE, ip(ICMP, parts[i][1], ident=order[0] + 1, fragment=parts[i][0])) for i in order))
        peer.wait(lambda: key in peer.pongs, 10, f"an answer to a ping in two parts, order {order}")
