"""Reads and checks the system manifest (TOML). Everything that can be wrong is found here, with file, line and key, so that
init reads a table that needs no interpretation. tools/image/compile.py turns the result into that table."""
import re
import tomllib
from dataclasses import dataclass, field

from image.lines import find_lines, line_of

PAGE = 4096
SIZE = re.compile(r"(\d+) ?(B|KiB|MiB|GiB)")
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
NAME = re.compile(r"[a-z][a-z0-9-]*")
HANDLE_NAME = re.compile(r"[a-z][a-z0-9._-]*")
ARCHES = ["x86_64", "aarch64", "riscv64"]
START = ["manual", "boot"]
RESTART = ["never", "on-failure", "always"]
KERNEL_SOURCES = ["machine", "system", "log", "clock", "untyped", "trace", "audit"]
KERNEL_INTERFACES = {"audit": "log"}   # where it is not the source's name
# What init itself serves.
INIT_INTERFACES = {"supervisor": "supervisor"}
# Names that every process finds whatever the manifest says (abi/types.toml, struct bootstrap), and init's own prefix.
RESERVED_HANDLES = {"self.cspace", "self.vspace", "self.process", "self.thread", "self.untyped", "log"}
SERVE_PREFIX = "serve."
DEVICE_HANDLE = "device"
DEVICE_SOURCE = ("devmgr", "device")
BOOTSTRAP_HANDLES = 64
# A handle without a list of rights gets all of its interface's and these; one with a list gets exactly that, and ALWAYS.
DEFAULT_GENERIC = ["copy", "mint", "watch", "inspect"]
ALWAYS_GENERIC = ["watch", "inspect"]


class ManifestError(Exception):
    """"FILE:LINE: key: what"."""


@dataclass
class Handle:
    name: str
    kind: str          # "endpoint", "kernel", "image", "device"
    target: tuple      # (service, endpoint) | (object,) | (path,) | (index of the device,)
    rights: int


@dataclass
class Device:
    service: str
    vendor: int
    devices: list
    unit: int
    is_console: bool


@dataclass
class Service:
    name: str
    program: str
    path: tuple
    memory_bytes: int
    slots: int
    priority: int
    cpu_quota: int
    handle_limit: int
    call_limit: int
    start: str
    restart: str
    after: list
    provides: list
    args: list
    interfaces: dict = field(default_factory=dict)  # endpoint -> interface
    handles: list = field(default_factory=list)
    device: Device | None = None


@dataclass
class Manifest:
    name: str
    hostname: str
    services: list
    devices: list


class Checker:
    """One reading of one manifest. `where` arguments are paths into the TOML tree."""

    def __init__(self, file_name, text, schema, arch, files):
        self.file_name, self.schema, self.arch, self.files = file_name, schema, arch, files
        try:
            self.tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"\(at line (\d+), column \d+\)", str(error))
            line = place[1] if place else len(text.splitlines()) or 1
            raise ManifestError(f"{file_name}:{line}: syntax: {str(error).split(' (at ')[0]}") from None
        self.lines = find_lines(text)

    def fail(self, where, what):
        key = ".".join(str(part) for part in where if not isinstance(part, int)) or "manifest"
        raise ManifestError(f"{self.file_name}:{line_of(self.lines, where)}: {key}: {what}")

    # -- typed access ----------------------------------------------------------------------------------------------------

    def keys(self, table, where, known):
        if not isinstance(table, dict):
            self.fail(where, "must be a table")
        for key in table:
            if key not in known:
                self.fail(where + (key,), f"unknown key (known: {', '.join(known)})")

    def get(self, table, where, key, kind, default=None, is_needed=False):
        """table[key] of the type; kind is int, str, bool, dict or [str]."""
        if key not in table:
            if is_needed:
                self.fail(where, f"key \"{key}\" is missing")
            return default
        value = table[key]
        inner = kind[0] if isinstance(kind, list) else None
        is_right = isinstance(value, list) and all(type(v) is inner for v in value) if inner else type(value) is kind
        if not is_right:
            names = {int: "a number", str: "a string", bool: "true or false", dict: "a table"}
            self.fail(where + (key,), f"must be {'a list of strings' if inner else names[kind]}")
        return value

    def number(self, table, where, key, low, high, default=None, is_needed=False):
        value = self.get(table, where, key, int, default, is_needed)
        if value is not None and not low <= value <= high:
            self.fail(where + (key,), f"{value} is not between {low} and {high}")
        return value

    def choice(self, table, where, key, values, default):
        value = self.get(table, where, key, str, default)
        if value not in values:
            self.fail(where + (key,), f"\"{value}\" is not one of {', '.join(values)}")
        return value

    def size(self, table, where, key):
        text = self.get(table, where, key, str, is_needed=True)
        match = SIZE.fullmatch(text)
        if not match or int(match[1]) == 0:
            self.fail(where + (key,), f"\"{text}\" is no size (as in \"4 MiB\", \"64 KiB\")")
        value = (int(match[1]) * UNITS[match[2]] + PAGE - 1) // PAGE * PAGE
        if value > 1 << 40:
            self.fail(where + (key,), "more than 1 TiB")
        return value

    def name_of(self, text, where, pattern, limit):
        if not pattern.fullmatch(text):
            self.fail(where, f"\"{text}\" is no name (small letters, digits, \"-\")")
        if len(text.encode()) >= limit:
            self.fail(where, f"\"{text}\" is longer than {limit - 1} characters")
        return text

    # -- the manifest ----------------------------------------------------------------------------------------------------

    def read(self):
        self.keys(self.tree, (), ["system", "service"])
        system = self.get(self.tree, (), "system", dict, is_needed=True)
        self.keys(system, ("system",), ["name", "hostname"])
        name = self.text_field(system, ("system",), "name", is_needed=True)
        hostname = self.text_field(system, ("system",), "hostname", default=name.lower())
        tables = self.tree.get("service", [])
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables) or not tables:
            self.fail(("service",), "must be [[service]] tables, at least one")
        pairs = [(("service", i), t) for i, t in enumerate(tables)]
        services = [self.service(t, where) for where, t in pairs if self.is_for_arch(t, where)]
        tables = {s.path: tables[s.path[1]] for s in services}
        self.check_duplicates(services)
        by_name = {s.name: s for s in services}
        self.check_after(services, by_name)
        for service in services:
            self.handles(service, tables[service.path], by_name)
        devices = []
        for service in services:
            self.device(service, tables[service.path], by_name, devices)
            if len(service.handles) + len(service.provides) + len(RESERVED_HANDLES) > BOOTSTRAP_HANDLES:
                self.fail(service.path + ("handles",), f"more than {BOOTSTRAP_HANDLES} handles with those every process has")
        return Manifest(name, hostname, services, devices)

    def text_field(self, table, where, key, default=None, is_needed=False):
        text = self.get(table, where, key, str, default, is_needed)
        if not text or len(text.encode()) > 31 or not text.isprintable():
            self.fail(where + (key,), "must be 1 to 31 printable characters")
        return text

    def is_for_arch(self, table, where):
        arches = self.get(table, where, "arch", [str], ARCHES)
        for arch in arches:
            if arch not in ARCHES:
                self.fail(where + ("arch",), f"\"{arch}\" is not one of {', '.join(ARCHES)}")
        return self.arch in arches

    def service(self, table, where):
        self.keys(table, where, ["name", "program", "memory", "slots", "priority", "cpu_quota", "handle_limit",
                                 "call_limit", "start", "restart", "after", "provides", "args", "arch", "interfaces", "handles", "device"])
        name = self.name_of(self.get(table, where, "name", str, is_needed=True), where + ("name",), NAME,
                            self.schema["service_name_bytes"] + 1)
        if name in ("init", "kernel", "image"):
            self.fail(where + ("name",), f"\"{name}\" is reserved")
        program = self.get(table, where, "program", str, is_needed=True)
        if program not in self.files:
            self.fail(where + ("program",), f"\"{program}\" is not in the boot image")
        provides = self.get(table, where, "provides", [str], [])
        for endpoint in provides:
            self.name_of(endpoint, where + ("provides",), NAME, self.schema["handle_name_bytes"] - len(SERVE_PREFIX))
        if len(set(provides)) != len(provides):
            self.fail(where + ("provides",), "the same endpoint twice")
        service = Service(
            name, program, where, self.size(table, where, "memory"), self.number(table, where, "slots", 1, 32768, 64),
            self.number(table, where, "priority", 0, 31, 16), self.number(table, where, "cpu_quota", 1, 25600) or 0,
            self.number(table, where, "handle_limit", 64, 1 << 20) or 0,
            self.number(table, where, "call_limit", 1, 1 << 20) or 0, self.choice(table, where, "start", START, "boot"),
            self.choice(table, where, "restart", RESTART, "on-failure"), self.get(table, where, "after", [str], []), provides,
            self.get(table, where, "args", [str], []))
        if sum(len(a.encode()) + 1 for a in service.args) > 1024 or any("\0" in a for a in service.args):
            self.fail(where + ("args",), "more than 1024 bytes, or a zero byte")
        service.interfaces = self.interfaces(service, table, where)
        return service

    def interfaces(self, service, table, where):
        named = self.get(table, where, "interfaces", dict, {})
        for endpoint, interface in named.items():
            here = where + ("interfaces", endpoint)
            if endpoint not in service.provides:
                self.fail(here, f"\"{endpoint}\" is not in provides")
            self.interface(interface, here)
        for endpoint in service.provides:
            if endpoint not in named:
                self.interface(endpoint, where + ("provides",))
        return {e: named.get(e, e) for e in service.provides}

    def interface(self, name, where):
        known = {n: i for n, i in self.schema["interfaces"].items() if i["kind"] == "service"}
        if name not in known:
            self.fail(where, f"there is no service interface \"{name}\" (known: {', '.join(sorted(known))})")

    def check_duplicates(self, services):
        seen = {}
        for service in services:
            if service.name in seen:
                first = line_of(self.lines, seen[service.name].path + ("name",))
                self.fail(service.path + ("name",), f"duplicate service \"{service.name}\" (first in line {first})")
            seen[service.name] = service

    def check_after(self, services, by_name):
        for service in services:
            for other in service.after:
                if other not in by_name:
                    self.fail(service.path + ("after",), f"there is no service \"{other}\"")
        done, left = set(), list(services)
        while left:
            ready = [s for s in left if all(a in done for a in s.after)]
            if not ready:
                self.fail(left[0].path + ("after",), f"circle among {', '.join(s.name for s in left)}")
            done |= {s.name for s in ready}
            left = [s for s in left if s.name not in done]

    # -- handles ---------------------------------------------------------------------------------------------------------

    def handles(self, service, table, by_name):
        where = service.path + ("handles",)
        for name, value in self.get(table, service.path, "handles", dict, {}).items():
            here = where + (name,)
            self.name_of(name, here, HANDLE_NAME, self.schema["handle_name_bytes"])
            if name in RESERVED_HANDLES - {"log"} or name.startswith(SERVE_PREFIX) or name == DEVICE_HANDLE:
                self.fail(here, "this name is given by init")
            if isinstance(value, str):
                value = {"from": value}
            self.keys(value, here, ["from", "rights"])
            source = self.get(value, here, "from", str, is_needed=True)
            rights = self.get(value, here, "rights", [str], None)
            service.handles.append(self.handle(name, source, rights, here, by_name))

    def handle(self, name, source, rights, where, by_name):
        owner, colon, what = source.partition(":")
        if not colon:
            self.fail(where, f"source \"{source}\" is not SERVICE:ENDPOINT, kernel:OBJECT or image:PATH")
        if owner == "kernel":
            if what not in KERNEL_SOURCES:
                self.fail(where, f"unknown handle source \"{source}\" (kernel: {', '.join(KERNEL_SOURCES)})")
            return Handle(name, "kernel", (what,), self.rights(rights, KERNEL_INTERFACES.get(what, what), where))
        if owner == "image":
            if what and what not in self.files:
                self.fail(where, f"\"{what}\" is not in the boot image")
            return Handle(name, "image", (what,), self.rights(rights if rights is not None else ["read", "copy"], "memory", where))
        interfaces = INIT_INTERFACES if owner == "init" else by_name[owner].interfaces if owner in by_name else None
        if interfaces is None:
            self.fail(where, f"unknown handle source \"{source}\": there is no service \"{owner}\"")
        if what not in interfaces:
            self.fail(where, f"unknown handle source \"{source}\": {owner} provides {', '.join(interfaces) or 'nothing'}")
        return Handle(name, "endpoint", (owner, what), self.rights(rights, interfaces[what], where))

    def rights(self, names, interface, where):
        """The mask of rights by name; None = the default."""
        generic, own = self.schema["generic_rights"], self.schema["interfaces"][interface]["rights"]
        if names is None:
            names = [*own, *DEFAULT_GENERIC]
        mask = 0
        for name in [*names, *ALWAYS_GENERIC]:
            if name == "owner":
                self.fail(where, "right \"owner\" belongs to the service that provides the endpoint")
            if name not in own and name not in generic:
                self.fail(where, f"interface {interface} has no right \"{name}\" (it has {', '.join([*own, *generic])})")
            mask |= own.get(name, 0) | (generic.get(name, 0) if name not in own else 0)
        return mask

    def device(self, service, table, by_name, devices):
        entry = self.get(table, service.path, "device", dict)
        if entry is None:
            return
        where = service.path + ("device",)
        self.keys(entry, where, ["vendor", "device", "unit", "console"])
        if DEVICE_SOURCE[0] not in by_name or DEVICE_SOURCE[1] not in by_name[DEVICE_SOURCE[0]].interfaces:
            self.fail(where, "there is no service \"devmgr\" that provides \"device\"")
        is_console = self.get(entry, where, "console", bool, False)
        if is_console and len(entry) > 1:
            self.fail(where, "console = true stands alone")
        ids = entry.get("device", [])
        ids = [ids] if isinstance(ids, int) else ids
        if not is_console:
            self.number(entry, where, "vendor", 0, 0xFFFF, is_needed=True)
            if not isinstance(ids, list) or not 1 <= len(ids) <= 8 or \
                    not all(type(i) is int and 0 <= i <= 0xFFFF for i in ids):
                self.fail(where + ("device",), "must be 1 to 8 device numbers of 16 bits")
        found = Device(service.name, entry.get("vendor", 0), ids, self.number(entry, where, "unit", 0, 255, 0), is_console)
        for other in devices:
            same = other.is_console and is_console or not (other.is_console or is_console) and \
                other.vendor == found.vendor and other.unit == found.unit and set(other.devices) & set(ids)
            if same:
                self.fail(where, f"the same device as service \"{other.service}\"")
        devices.append(found)
        service.device = found
        mask = self.rights(["claim"], "device", where)
        service.handles.append(Handle(DEVICE_HANDLE, "device", (len(devices) - 1,), mask))


def read_manifest(file_name, text, schema, arch, files):
    """The checked manifest of an architecture; `files` = names in the boot image. Raises ManifestError."""
    return Checker(file_name, text, schema, arch, files).read()
