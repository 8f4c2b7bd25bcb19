"""The checked manifest as the tables that init and devmgr read: services/init/include/manifest.h and
services/devmgr/include/device_table.h are the contract; sizes here must match their static_asserts."""
import struct
import zlib

from image.manifest import DEVICE_SOURCE, INIT_INTERFACES, KERNEL_SOURCES, RESTART, START

MAGIC, VERSION = 0x464D5354, 2
DEVICE_MAGIC, DEVICE_VERSION, DEVICE_BADGE_BASE, DEVICE_CONSOLE = 0x56445354, 1, 0x10000, 1
NONE = 0xFFFFFFFF
HEADER = struct.Struct("<IIQII32s32s" + "II" * 5)
SERVICE = struct.Struct("<16sQIIIIIIII" + "II" * 4)
PROVIDE = struct.Struct("<24sII")
HANDLE = struct.Struct("<24sIIIIQ")
DEVICE = struct.Struct("<16sIHHII8H")
CHECKSUM_OFFSET = 20
SOURCE = {"endpoint": 0, "kernel": 1, "image": 2, "init": 3}
assert (HEADER.size, SERVICE.size, PROVIDE.size, HANDLE.size, DEVICE.size) == (128, 88, 32, 48, 48)


class Strings:
    def __init__(self):
        self.data, self.known = bytearray(b"\0"), {"": 0}

    def add(self, text):
        if text not in self.known:
            self.known[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self.known[text]


def start_order(services):
    """The services such that each comes behind those it names in `after`; otherwise as in the manifest."""
    ordered, left = [], list(services)
    while left:
        done = {s.name for s in ordered}
        following = next(s for s in left if all(a in done for a in s.after))
        ordered.append(following)
        left.remove(following)
    return ordered


class Compiler:
    def __init__(self, manifest, schema):
        self.manifest, self.schema = manifest, schema
        self.services = start_order(manifest.services)
        self.number = {s.name: i for i, s in enumerate(self.services)}
        self.strings, self.indices = Strings(), []
        self.provides, self.handles = [], []
        self.provide_number = {}
        for service in self.services:
            for endpoint in service.provides:
                self.provide_number[service.name, endpoint] = len(self.provides)
                interface = schema["interfaces"][service.interfaces[endpoint]]["id"]
                self.provides.append(PROVIDE.pack(endpoint.encode(), self.number[service.name], interface))

    def run(self, values):
        """Appends to the indices, gives (first, count)."""
        first = len(self.indices)
        self.indices += values
        return first, len(values)

    def handle(self, service, handle):
        kind, badge = handle.kind, self.number[service.name] + 1
        if kind == "endpoint" and handle.target[0] == "init":
            kind, target = "init", list(INIT_INTERFACES).index(handle.target[1])
        elif kind == "endpoint":
            target = self.provide_number[handle.target]
        elif kind == "device":
            kind, target, badge = "endpoint", self.provide_number[DEVICE_SOURCE], DEVICE_BADGE_BASE + handle.target[0]
        elif kind == "kernel":
            target, badge = KERNEL_SOURCES.index(handle.target[0]), 0
        else:
            target, badge = (self.strings.add(handle.target[0]) if handle.target[0] else NONE), 0
        return HANDLE.pack(handle.name.encode(), SOURCE[kind], target, handle.rights, 0, badge)

    def service(self, service):
        first_handle = len(self.handles)
        self.handles += [self.handle(service, h) for h in service.handles]
        first_provide = min((self.provide_number[service.name, e] for e in service.provides), default=0)
        return SERVICE.pack(
            service.name.encode(), service.memory_bytes, self.strings.add(service.program), service.slots, service.priority,
            START.index(service.start), RESTART.index(service.restart), service.cpu_quota,
            service.handle_limit, service.call_limit,
            *self.run([self.number[a] for a in service.after]), first_provide, len(service.provides),
            first_handle, len(service.handles), *self.run([self.strings.add(a) for a in service.args]))

    def binary(self):
        services = [self.service(s) for s in self.services]
        indices = [struct.pack("<I", i) for i in self.indices]
        body, tables = bytearray(), []
        for records in (services, self.provides, self.handles, indices, [bytes([b]) for b in self.strings.data]):
            body += bytes(-len(body) % 8)
            tables += [HEADER.size + len(body), len(records)]
            body += b"".join(records)
        header = HEADER.pack(MAGIC, VERSION, int(self.schema["abi_hash"], 16), HEADER.size + len(body), 0,
                             self.manifest.name.encode(), self.manifest.hostname.encode(), *tables)
        checksum = zlib.crc32(header + body)
        return header[:CHECKSUM_OFFSET] + struct.pack("<I", checksum) + header[CHECKSUM_OFFSET + 4:] + bytes(body)


def compile_manifest(manifest, schema):
    """The bytes of manifest.bin."""
    return Compiler(manifest, schema).binary()


def compile_devices(manifest):
    """The bytes of devices.tbl."""
    entries = [DEVICE.pack(d.service.encode(), DEVICE_CONSOLE if d.is_console else 0, d.vendor, d.unit, len(d.devices), 0,
                           *(d.devices + [0] * 8)[:8]) for d in manifest.devices]
    body = b"".join(entries)
    return struct.pack("<IIII", DEVICE_MAGIC, DEVICE_VERSION, len(entries), 16 + len(body)) + body
