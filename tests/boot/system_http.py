"""What nobody should send to a web server: garbage, endless requests, clients that never finish. It answers or hangs up, goes on
serving everybody else, and gives back what it used."""
import random
import socket
import time

from scenario import scenario
from system_facts import (connect, facts_complete, facts_when, held, is_quiet, status_of, talk, wait_held)

GET = b"GET / HTTP/1.1\r\nHost: tessera\r\n"
SLOTS = 128                     # connections that httpd serves at once
HEAD_S = 5                      # its patience with a request that has begun

# (what is sent, statuses that may come back)
BAD = [
    (b"\0" * 10_000, (400,)),
    (b"\r\n" * 100, (400,)),
    (b"GET\r\n\r\n", (400,)),
    (b"GET / HTTP/1.1\r\n\r\n", (400,)),                                                  # no Host
    (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", (505,)),
    (b"GET / FTP/1.1\r\nHost: x\r\n\r\n", (400,)),
    (b"get / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", (501,)),
    (b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414,)),
    (b"GET /" + b"a" * 100_000, (414,)),
    (b"G" * 100_000, (400, 414, 501)),
    (GET + b"X: " + b"y" * 20_000 + b"\r\n\r\n", (431,)),
    (GET + b"".join(b"X-%d: y\r\n" % i for i in range(200)) + b"\r\n", (431,)),
    (GET + b"X: y\r\n" * 100_000, (431,)),
    (GET + b"Bad Header: y\r\n\r\n", (400,)),
    (GET + b"X : y\r\n\r\n", (400,)),
    (GET + b"X: a\r\n folded\r\n\r\n", (400,)),
    (GET + b"X: \0\r\n\r\n", (400,)),
    (GET + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", (400,)),
    (GET + b"Content-Length: -1\r\n\r\n", (400,)),
    (GET + b"Content-Length: 99999999999999999999999\r\n\r\n", (400, 413)),
    (GET + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", (400, 501)),
    (b"GET /%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", (400,)),
    (b"GET /%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", (400,)),
    (b"GET /../../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", (400, 404)),
    (b"GET /\\..\\x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", (400, 404)),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2, (400,)),   # the beginning of TLS
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 501, 505)),
]


def check_bad(t, machine):
    for data, statuses in BAD:
        answer = talk(machine, data, is_ended=len(data) > 50_000)
        # A client that goes on sending after the answer may see a reset instead of it.
        is_ok = status_of(answer) in statuses or (answer == b"" and len(data) > 50_000)
        t.check(is_ok, f"{data[:60]!r} ({len(data)} bytes): {answer[:100]!r}, expected {statuses}")


def check_random(t, machine, count):
    """Mutations of a sound request; whatever they are, the connection comes to an end."""
    chance = random.Random(1)
    sound = GET + b"Connection: close\r\nIf-None-Match: \"a\"\r\nContent-Length: 3\r\n\r\nabc"
    for _ in range(count):
        data = bytearray(sound)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            data[at:at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 4))
        answer = talk(machine, bytes(data), is_ended=True)
        t.check(answer == b"" or status_of(answer) in (200, 304, 400, 404, 405, 408, 414, 431, 501, 505),
                f"{bytes(data)!r}: {answer[:100]!r}")


def check_slow(t, machine, count, limit_s):
    """Clients that send a request a few bytes at a time and never end it, all at once; meanwhile somebody wants a page."""
    links = [connect(machine, 30) for _ in range(count)]
    for link in links:
        link.sendall(b"GET / HT")
    start = time.monotonic()
    answer = talk(machine, GET + b"Connection: close\r\n\r\n", timeout=60)
    seconds = time.monotonic() - start
    t.check(status_of(answer) == 200, f"beside {count} slow clients: {answer[:100]!r}")
    t.check(seconds < limit_s, f"a page beside {count} slow clients took {seconds:.1f} s")
    ended = 0
    for link in links:
        link.settimeout(60)
        try:
            link.sendall(b"T")
            told = link.recv(65536)
            t.check(told == b"" or status_of(told) == 408, f"a slow client got {told[:100]!r}")
            ended += 1
        except (ConnectionResetError, BrokenPipeError):
            ended += 1
        except socket.timeout:
            pass
        link.close()
    t.check(ended == count, f"{count - ended} of {count} slow clients were never told to go")
    return seconds


@scenario(cpus=(1, 4), timeout=180)
def bad_requests(t):
    machine = t.boot()
    machine.http_ready("/", timeout=60)
    check_slow(t, machine, SLOTS + 60, 60)      # what is given on first touch
    check_bad(t, machine)
    facts_when(machine, is_quiet, 60, "quiet")
    before = held(facts_complete(machine))
    check_bad(t, machine)
    check_random(t, machine, t.scaled(150, 5_000))
    few = check_slow(t, machine, SLOTS - 28, HEAD_S)
    many = check_slow(t, machine, SLOTS + 60, 60)
    t.note(f"a page beside 100 slow clients {few:.2f} s, beside 188 {many:.1f} s")
    after = wait_held(machine, before, 60, "what is held, after")
    t.check(all(s["restarts"] == 0 for s in after["services"]), "a service was restarted")
    t.check(after["http"]["timeouts"] >= SLOTS, f"only {after['http']['timeouts']} timeouts")
