"""The image builder: what it accepts, what it refuses and with which words, and that its output is a function of its input."""
import json
import struct
import subprocess
import sys
import tempfile
import tomllib
import unittest
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from image import compile as table, cpio, lines  # noqa: E402
from image.manifest import ManifestError, read_manifest  # noqa: E402

GOOD = """[system]
name = "Test"

[[service]]
name = "devmgr"
program = "bin/devmgr"
memory = "1 MiB"
provides = ["device", "devmgr"]
[service.handles]
machine = { from = "kernel:machine", rights = ["hardware"] }

[[service]]
name = "web"
program = "bin/web"
memory = "64 KiB"
after = ["net"]
args = ["--port", "80"]
[service.handles]
net = { from = "net:net", rights = ["observe", "listen"] }
page = "image:page.html"

[[service]]
name = "net"
program = "bin/net"
memory = "4 MiB"
slots = 100
priority = 3
start = "boot"
restart = "always"
after = ["devmgr"]
provides = ["net"]
[service.device]
vendor = 0x1AF4
device = [0x1000, 0x1041]
"""
FILES = {"bin/devmgr", "bin/web", "bin/net", "page.html", "devices.tbl"}


def schema():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-B", str(ROOT / "tools/idlc/idlc.py"), "--abi", str(ROOT / "abi"), "--out", folder],
                       check=True)
        return json.loads((Path(folder) / "manifest-schema.json").read_text())


SCHEMA = schema()


def read(text, arch="x86_64"):
    return read_manifest("system.toml", text, SCHEMA, arch, FILES)


class ManifestTest(unittest.TestCase):
    def refused(self, text, line, *words):
        with self.assertRaises(ManifestError) as caught:
            read(text)
        message = str(caught.exception)
        self.assertTrue(message.startswith(f"system.toml:{line}: "), message)
        for word in words:
            self.assertIn(word, message)

    def changed(self, old, new, *words, add=0):
        """The good manifest with one change is refused in the line of the change (+ add)."""
        self.assertEqual(GOOD.count(old), 1, old)
        line = GOOD[:GOOD.index(old)].count("\n") + 1 + add
        self.refused(GOOD.replace(old, new), line, *words)

    def test_good(self):
        manifest = read(GOOD)
        self.assertEqual([s.name for s in manifest.services], ["devmgr", "web", "net"])
        web = manifest.services[1]
        self.assertEqual(web.memory_bytes, 65536)
        self.assertEqual(web.handles[0].rights, SCHEMA["interfaces"]["net"]["rights"]["observe"] |
                         SCHEMA["interfaces"]["net"]["rights"]["listen"] | 8 | 16)

    def test_unknown_keys(self):
        self.changed('priority = 3', 'prority = 3', "service.prority", "unknown key")
        self.changed('vendor = 0x1AF4', 'vender = 0x1AF4', "service.device.vender", "unknown key")
        self.changed('name = "Test"', 'name = "Test"\ncolour = "red"', "system.colour", add=1)
        self.changed('[system]', '[sistem]', "unknown key")
        self.changed('rights = ["observe", "listen"]', 'right = ["observe"]', "service.handles.net", "unknown key")

    def test_cpu_quota(self):
        self.assertEqual([s.cpu_quota for s in read(GOOD.replace("slots = 100", "slots = 100\ncpu_quota = 50")).services], [0, 0, 50])
        limited = read(GOOD.replace("slots = 100", "slots = 100\nhandle_limit = 128\ncall_limit = 9")).services[2]
        self.assertEqual((limited.handle_limit, limited.call_limit), (128, 9))
        self.changed("slots = 100", "slots = 100\nhandle_limit = 63", "service.handle_limit", add=1)
        self.changed("slots = 100", "slots = 100\ncall_limit = 0", "service.call_limit", add=1)
        self.changed("slots = 100", "slots = 100\ncpu_quota = 0", "service.cpu_quota", add=1)
        self.changed("slots = 100", "slots = 100\ncpu_quota = 25601", "service.cpu_quota", add=1)

    def test_duplicates(self):
        self.changed('name = "web"', 'name = "net"', "service.name", "duplicate", add=10)
        self.changed('slots = 100', 'slots = 100\nslots = 101', "syntax", add=1)
        self.changed('provides = ["net"]', 'provides = ["net", "net"]', "twice")

    def test_missing(self):
        self.changed('program = "bin/web"', 'program = "bin/wep"', "service.program", "not in the boot image")
        self.changed('memory = "64 KiB"', '', "service", "\"memory\" is missing", add=-3)
        self.changed('"image:page.html"', '"image:other.html"', "service.handles.page", "not in the boot image")

    def test_types(self):
        self.changed('memory = "64 KiB"', 'memory = 65536', "service.memory", "string")
        self.changed('memory = "64 KiB"', 'memory = "64 kB"', "no size")
        self.changed('slots = 100', 'slots = "100"', "number")
        self.changed('slots = 100', 'slots = 0', "between 1 and 32768")
        self.changed('slots = 100', 'slots = true', "number")
        self.changed('args = ["--port", "80"]', 'args = ["--port", 80]', "list of strings")
        self.changed('restart = "always"', 'restart = "sometimes"', "one of never, on-failure, always")
        self.changed('device = [0x1000, 0x1041]', 'device = [0x10000]', "16 bits")
        self.changed('name = "web"', 'name = "a-name-far-too-long"', "longer")

    def test_handles(self):
        self.changed('"net:net"', '"nat:net"', "service.handles.net", "no service \"nat\"")
        self.changed('"net:net"', '"net:nat"', "provides net")
        self.changed('"net:net"', '"net"', "is not SERVICE:ENDPOINT")
        self.changed('"kernel:machine"', '"kernel:everything"', "unknown handle source")
        self.changed('["observe", "listen"]', '["observe", "read"]', "no right \"read\"")
        self.changed('["observe", "listen"]', '["owner"]', "belongs to the service")
        self.changed('page = "image', '"self.process" = "image', "given by init")
        self.changed('provides = ["net"]', 'provides = ["nothing"]', "no service interface")

    def test_order(self):
        self.changed('after = ["devmgr"]', 'after = ["web"]', "circle", add=-14)
        self.changed('after = ["devmgr"]', 'after = ["dev"]', "no service \"dev\"")

    def test_device(self):
        self.changed('provides = ["device", "devmgr"]', 'provides = ["devmgr"]', "devmgr", add=24)

    def test_lines_survive_odd_layout(self):
        text = GOOD.replace('args = ["--port", "80"]', 'args = [\n  "[[service]]", # ]\n  "x = 1",\n]').replace(
            'hostname', 'hostname')
        self.refused(text.replace("page = ", "pages = [1]\npage = "), text[:text.index("page = ")].count("\n") + 1, "pages")

    def test_every_key_has_its_line(self):
        text = (ROOT / "boot/system.toml").read_text()
        found = lines.find_lines(text)

        def walk(value, path):
            items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for key, inner in items:
                if isinstance(key, str) and path + (key,) in found:
                    line = text.splitlines()[found[path + (key,)] - 1]
                    self.assertIn(key, line)
                if isinstance(inner, dict) or isinstance(value, dict) and isinstance(inner, list) and inner and \
                        isinstance(inner[0], dict):
                    self.assertIn(path + (key,) if isinstance(key, str) else path, found)
                walk(inner, path + (key,))
        walk(tomllib.loads(text), ())

    def test_arch_selects(self):
        text = GOOD + '[[service]]\narch = ["aarch64"]\nname = "net"\nprogram = "bin/net"\nmemory = "1 MiB"\n'
        read(text)
        with self.assertRaises(ManifestError):
            read(text, "aarch64")


class CompileTest(unittest.TestCase):
    def test_tables(self):
        manifest = read(GOOD)
        data = table.compile_manifest(manifest, SCHEMA)
        header = table.HEADER.unpack_from(data)
        self.assertEqual(header[:2] + header[3:4], (table.MAGIC, table.VERSION, len(data)))
        blank = data[:20] + bytes(4) + data[24:]
        self.assertEqual(header[4], zlib.crc32(blank))
        offset, count = header[7:9]
        names = [table.SERVICE.unpack_from(data, offset + 88 * i)[0].rstrip(b"\0") for i in range(count)]
        self.assertEqual(names, [b"devmgr", b"net", b"web"])
        self.assertEqual(table.compile_manifest(read(GOOD), SCHEMA), data)

    def test_devices(self):
        data = table.compile_devices(read(GOOD))
        self.assertEqual(struct.unpack_from("<IIII", data), (table.DEVICE_MAGIC, 1, 1, 64))
        self.assertEqual(table.DEVICE.unpack_from(data, 16)[:6], (b"net".ljust(16, b"\0"), 0, 0x1AF4, 0, 2, 0))


class ArchiveTest(unittest.TestCase):
    def test_round_trip(self):
        files = {"b": b"x" * 5000, "a/c": b"", "a/b": b"1"}
        data = cpio.archive(files)
        found = cpio.read(data)
        self.assertEqual({n: d for n, (_, d) in found.items()}, files)
        for name, (offset, content) in found.items():
            self.assertTrue(not content or offset % cpio.PAGE == 0, name)
        self.assertEqual(data, cpio.archive(dict(reversed(files.items()))))
        with self.assertRaises(ValueError):
            cpio.read(data[:6000])


if __name__ == "__main__":
    unittest.main()
