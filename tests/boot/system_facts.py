"""What the scenarios of the whole system share: reading its facts, comparing what it holds, and talking to its shell."""
import errno
import json
import re
import socket
import subprocess
import time

import qemu

SERVICES = ("devmgr", "serial", "virtio-net", "virtio-rng", "entropyd", "netd", "httpd", "tsh")


def facts(machine, timeout=10):
    """/status.json over a connection that the client ends first, so that asking leaves no TIME_WAIT in the guest."""
    if not machine.is_running():
        raise AssertionError(f"QEMU ended, exit code {machine.process.returncode} (negative: the signal that killed it)")
    answer = machine.http("/status.json", timeout=timeout)
    if answer.status != 200:
        raise AssertionError(f"/status.json: status {answer.status}")
    return json.loads(answer.text)


def is_complete(found):
    """Every service answered in time. httpd leaves out what does not answer in 50 ms, which a busy host may cause."""
    return all(part in found for part in ("net", "services", "devices", "memory"))


def facts_complete(machine):
    """Facts that lack nothing."""
    return facts_when(machine, is_complete, 40, "complete facts")


def wait_until(condition, timeout, what, pause=0.1):
    """Asks until the condition gives something true; gives that."""
    deadline = time.monotonic() + timeout * qemu.TEST_SCALE
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not in {timeout} s")
        time.sleep(pause)


def facts_when(machine, condition, timeout, what):
    """The first facts for which the condition holds. Pages are made four times a second at most: asking faster is pointless."""
    last = {}

    def ask():
        try:
            last["facts"] = facts(machine)
        except OSError:
            return None
        return last["facts"] if condition(last["facts"]) else None
    try:
        return wait_until(ask, timeout, what, pause=0.3)
    except AssertionError as error:
        raise AssertionError(f"{error}; last: {json.dumps(last.get('facts', {}).get('net'))} "
                             f"{json.dumps(last.get('facts', {}).get('http'))}") from None


def is_quiet(found):
    """No connection but ours, and httpd has given back the memory of the slots that it does not keep."""
    return (is_complete(found) and found["http"]["connections"] <= 1 and found["http"]["spare"] == 0 and
            found["net"]["tcp_open"] <= 1)


def is_drained(found):
    return is_quiet(found) and found["net"]["tcp_time_wait"] == 0


def held(found):
    """What must be the same before and after: {name: figure} of objects by type and of every service's memory."""
    figures = {}
    for kind in found["memory"]["objects"]:
        figures[f"{kind['type']} objects"] = kind["count"]
        figures[f"{kind['type']} bytes"] = kind["bytes"]
    for service in found["services"]:
        figures[f"{service['name']} used"] = service["used_bytes"]
    for process in found["processes"]:
        figures[f"{process['name']} handles"] = process["handles"]
    figures["processes"] = found["process_count"]
    return figures


def difference(before, after):
    """In words: "httpd used 4096 -> 8192, ..."; empty when they are equal."""
    return ", ".join(f"{name} {before.get(name, 0)} -> {after.get(name, 0)}" for name in sorted(before.keys() | after.keys())
                     if before.get(name, 0) != after.get(name, 0))


def wait_held(machine, wanted, timeout, what):
    """Waits until the system holds exactly what it held; some of it is given back by timers. Gives the facts."""
    last = {}

    def ask():
        try:
            last["facts"] = facts(machine)
        except OSError:
            return None
        return last["facts"] if is_complete(last["facts"]) and not difference(wanted, held(last["facts"])) else None
    try:
        return wait_until(ask, timeout, what, pause=0.3)
    except AssertionError as error:
        is_known = last and is_complete(last["facts"])
        found = difference(wanted, held(last["facts"])) if is_known else "no facts"
        raise AssertionError(f"{error}: {found}") from None


def shell(machine, line, pattern, timeout=10):
    """Types a command and waits for what it must print; gives the match. The position moves behind the command's echo first."""
    machine.send(line + "\n")
    machine.expect(re.escape(line), timeout)
    return machine.expect(pattern, timeout)


def connect(machine, timeout=10):
    link = socket.create_connection(("127.0.0.1", machine.options.http_port), timeout * qemu.TEST_SCALE)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def talk(machine, data, timeout=15, is_ended=False):
    """Sends bytes, gives everything that comes back until the guest ends the connection. is_ended: end our direction too."""
    answer = b""
    with connect(machine, timeout) as link:
        try:
            link.sendall(data)
            if is_ended:
                link.shutdown(socket.SHUT_WR)
            while part := link.recv(65536):
                answer += part
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):  # hung up; the last is shutdown()'s word for it
                raise
    return answer


def status_of(answer):
    """The status of the first response in these bytes, or None."""
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(match[1]) if match else None


def responses(data):
    """[(status, headers, body)] of responses that all carry Content-Length."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = int(headers.get("content-length", 0))
        found.append((int(lines[0].split()[1]), headers, rest[:size]))
        data = rest[size:]
    return found
