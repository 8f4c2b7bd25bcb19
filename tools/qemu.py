"""Running the system under QEMU: the command line for each machine, and class Machine, which tests drive.

    with Machine(Options(arch="x86_64", cpus=4)) as machine:
        machine.expect(r"init: .* running", timeout=10)
        machine.send("ps\\n")
        page = machine.http("/")
"""
import http.client
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARCHES = ("x86_64", "aarch64", "riscv64")
OLDEST = (7, 2)
NATIVE = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64", "riscv64": "riscv64"}
PACKAGE = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm", "riscv64": "qemu-system-misc"}
PANIC_CODE = 255        # isa-debug-exit and semihosting after a panic
PROBE_SECONDS = 5
TEST_SCALE = float(os.environ.get("TEST_TIMEOUT_SCALE", "1"))


class QemuError(Exception):
    """Something about QEMU or this machine that a person must be told."""


class ExpectError(AssertionError):
    """The guest did not say what was expected in time."""


@dataclass
class Options:
    arch: str = "x86_64"
    cpus: int = 1
    mem: str = "128M"
    cmdline: str = ""
    http_port: int | None = None      # host port forwarded to the guest's port 80; None = none, 0 = any free one
    icount: bool = False
    net: str = "user"                 # "user", "none", or a -netdev argument as "socket,connect=127.0.0.1:1234"
    rng: bool = True
    accel: str = "tcg"                # "tcg", "kvm", "hvf"
    kernel: Path | None = None        # default: build/ARCH/boot/kernel.*
    image: Path | str | None = None   # default: build/ARCH/boot/boot.img; "none" = boot without
    machine: str = ""                 # added to -machine, as ",gic-version=3"
    cpu: str = ""                     # -cpu, in place of our choice
    reboot: bool = False              # a reset starts the guest again instead of ending QEMU
    gdb: str = ""                     # where gdb may connect; the CPU then waits
    is_single_threaded: bool = False  # one host thread emulates all CPUs (tcg only)
    extra: list = field(default_factory=list)

    def build_folder(self):
        return ROOT / "build" / self.arch / "boot"


# -- what is installed -------------------------------------------------------------------------------------------------------

def qemu_path(arch):
    name = f"qemu-system-{arch}"
    path = shutil.which(name)
    if not path:
        raise QemuError(f"{name} is missing; install it (Debian, Ubuntu: apt install {PACKAGE[arch]}), or: make setup")
    return path


def qemu_version(arch):
    text = subprocess.run([qemu_path(arch), "--version"], capture_output=True, text=True).stdout
    match = re.search(r"version (\d+)\.(\d+)", text)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version < OLDEST:
        raise QemuError(f"{qemu_path(arch)} is version {version[0]}.{version[1]}; "
                        f"{OLDEST[0]}.{OLDEST[1]} or newer is needed")
    return version


def is_port_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pick_accel(arch):
    """The fastest accelerator that has been seen to run our kernel here. The answer is kept in build/accel.json."""
    candidate = "hvf" if platform.system() == "Darwin" else "kvm"
    if NATIVE.get(platform.machine()) != arch:
        return "tcg"
    if candidate == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    kept = ROOT / "build" / "accel.json"
    key = f"{arch} {candidate} {qemu_version(arch)} {platform.node()} {platform.release()}"
    known = {}
    if kept.exists():
        try:
            known = json.loads(kept.read_text())
        except ValueError:
            known = {}
    if key not in known:
        known[key] = is_accel_working(arch, candidate)
        kept.write_text(json.dumps(known, indent=1) + "\n")
    return candidate if known[key] else "tcg"


def is_accel_working(arch, accel):
    """Boots our kernel without a boot image: it says so and ends QEMU. An accelerator under which a guest makes no progress, or
    that cannot be opened, does not get there in time."""
    options = Options(arch=arch, accel=accel, net="none", rng=False, image="none")
    try:
        done = subprocess.run(command(options) + ["-serial", "stdio"], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return len(done.stdout) > 0


# -- the command line --------------------------------------------------------------------------------------------------------

def cpu_model(options, version):
    if options.cpu:
        return options.cpu
    if options.accel != "tcg":
        return "host"
    if options.arch == "x86_64":
        # QEMU 8 and newer offer x2APIC, whose reads they refuse under -icount.
        return "max,-x2apic" if options.icount and version >= (8, 0) else "max"
    return {"aarch64": "cortex-a72", "riscv64": "rv64"}[options.arch]


def accelerator(options):
    is_single = options.accel == "tcg" and (options.icount or options.is_single_threaded)
    return "tcg,thread=single" if is_single else options.accel


def is_map_racy(arch):
    """Before 8.1.1 QEMU crashes now and then (SIGSEGV in memory_region_dispatch_write) when one CPU changes the memory map, as
    the sizing of PCI windows does, while another one writes to a device: a running CPU sees the new map before its TLB is
    flushed. Not with all CPUs in one host thread. (QEMU's change: "softmmu: Use async_run_on_cpu in tcg_commit".) On riscv64 one thread
    is no way out: a CPU that waits for another one keeps it for its whole turn, as PAUSE does not give way there."""
    return arch != "riscv64" and qemu_version(arch) < (8, 2)


def command(options):
    """The arguments of QEMU without those of serial line and monitor."""
    version = qemu_version(options.arch)
    folder = options.build_folder()
    kernel = options.kernel or folder / ("kernel.elf" if options.arch == "x86_64" else "kernel.bin")
    image = options.image or folder / "boot.img"
    cmdline = options.cmdline
    arguments = [qemu_path(options.arch), "-nodefaults", "-display", "none",
                 "-machine", ("q35" if options.arch == "x86_64" else "virt") + options.machine,
                 "-accel", accelerator(options),
                 "-cpu", cpu_model(options, version), "-smp", str(options.cpus), "-m", options.mem, "-kernel", str(kernel)]
    if image != "none":
        arguments += ["-initrd", str(image)]
    if options.arch == "x86_64":
        arguments += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    elif options.arch == "aarch64" and options.accel == "tcg":
        arguments += ["-semihosting-config", "enable=on,target=native"]
        cmdline = f"{cmdline} exit=semihosting".strip()
    if cmdline:
        arguments += ["-append", cmdline]
    if options.net != "none":
        arguments += ["-netdev", f"{options.net},id=net0", "-device", "virtio-net-pci,netdev=net0,disable-legacy=on,romfile="]
    if options.rng:
        arguments += ["-device", "virtio-rng-pci,disable-legacy=on"]
    if options.icount:
        arguments += ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2024-01-01T00:00:00,clock=vm"]
    if not options.reboot:
        arguments += ["-no-reboot"]
    if options.gdb:
        arguments += ["-S", "-gdb", options.gdb]
    return arguments + list(options.extra)


def launcher(options):
    """What is put before the command line to start QEMU; see listen_backlog.c. Nothing where that cannot be built or loaded."""
    if options.net != "user" or platform.system() != "Linux":
        return []
    source, library = ROOT / "tools" / "listen_backlog.c", ROOT / "build" / "listen_backlog.so"
    if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            fresh = Path(folder) / library.name
            compiler = next(filter(shutil.which, ("clang-19", "clang", "cc")), None)
            if not compiler or subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(fresh), str(source)],
                                              stderr=subprocess.DEVNULL).returncode != 0:
                return []
            fresh.replace(library)
    return ["env", f"LD_PRELOAD={library}"]


# -- talking to a running QEMU -----------------------------------------------------------------------------------------------

# What the guest prints when its page can be had. A connection that QEMU takes earlier would wait for the retransmission of its
# lost first packet, 6 s, so the port is forwarded only then.
READY = (re.compile(r"netd: address \S+"), re.compile(r"httpd: listening on port 80"))


def is_ready(serial):
    return all(pattern.search(serial) for pattern in READY)


def qmp(path, execute, **arguments):
    """One command to QEMU's monitor (QMP) at a socket; gives its result."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(path)
        stream = link.makefile("rw")
        stream.readline()
        for name, args in (("qmp_capabilities", {}), (execute, arguments)):
            stream.write(json.dumps({"execute": name, "arguments": args}) + "\n")
            stream.flush()
            while "event" in (reply := json.loads(stream.readline() or '{"error": {"desc": "QEMU ended"}}')):
                pass
            if "error" in reply:
                raise QemuError(f"QMP {name}: {reply['error']['desc']}")
        return reply["return"]


def forward_http(path, port):
    """Forwards the host's port to the guest's port 80."""
    answer = qmp(path, "human-monitor-command", **{"command-line": f"hostfwd_add net0 tcp:127.0.0.1:{port}-:80"})
    if answer.strip():
        raise QemuError(f"cannot forward port {port}: {answer.strip()}")


# -- a machine under a test --------------------------------------------------------------------------------------------------

class Response:
    def __init__(self, status, headers, body, seconds):
        self.status, self.headers, self.body, self.seconds = status, headers, body, seconds
        self.text = body.decode("utf-8", "replace")


class Machine:
    """One QEMU whose serial line is read in the background. All waiting is bounded; leaving the `with` block ends it."""

    def __init__(self, options, log=None):
        self.options = options
        self.log_path = Path(log) if log else None
        self.process = None
        self.started = 0.0
        self.serial = ""              # everything the guest printed
        self.position = 0             # where the next expect() starts
        self.changed = threading.Condition()
        self.is_forwarded = False

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        if self.options.http_port == 0:
            self.options.http_port = free_port()
        self.folder = tempfile.mkdtemp(prefix="tessera-")
        self.qmp_path = f"{self.folder}/qmp"
        arguments = launcher(self.options) + command(self.options) + ["-serial", "stdio", "-qmp", f"unix:{self.qmp_path},server=on,wait=off"]
        if self.log_path:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self.log = open(self.log_path, "wb") if self.log_path else None
        self.started = time.monotonic()
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        start_new_session=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        return self

    def read(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            if self.log:
                self.log.write(data)
                self.log.flush()
            with self.changed:
                self.serial += data.decode("utf-8", "replace").replace("\r", "")
                self.changed.notify_all()
            if not self.is_forwarded and self.options.http_port and self.options.net == "user" and is_ready(self.serial):
                self.is_forwarded = True
                forward_http(self.qmp_path, self.options.http_port)
        with self.changed:
            self.changed.notify_all()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def uptime(self):
        """Seconds since QEMU was started."""
        return time.monotonic() - self.started

    def expect(self, pattern, timeout=10):
        """Waits for the pattern behind what the last expect() matched; gives the match."""
        deadline = time.monotonic() + timeout * TEST_SCALE
        compiled = re.compile(pattern, re.M)
        with self.changed:
            while True:
                match = compiled.search(self.serial, self.position)
                if match:
                    self.position = match.end()
                    return match
                left = deadline - time.monotonic()
                if left <= 0 or not self.reader.is_alive():
                    why = f"in {timeout} s" if left <= 0 else f"before QEMU ended (exit code {self.process.wait()})"
                    tail = "\n".join("    " + line for line in self.serial[self.position:].splitlines()[-15:])
                    raise ExpectError(f"no \"{pattern}\" {why}; the guest's last lines:\n{tail}")
                self.changed.wait(min(left, 0.5))

    def refuse(self, pattern, seconds):
        """The pattern must not come for some time; does not move the position."""
        time.sleep(seconds)
        match = re.compile(pattern, re.M).search(self.serial, self.position)
        if match:
            raise ExpectError(f"unexpected: {match[0]}")

    def send(self, text):
        """Types the text on the serial line."""
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def wait_exit(self, timeout=10):
        """Waits for QEMU's end; gives its exit code."""
        try:
            code = self.process.wait(timeout * TEST_SCALE)
        except subprocess.TimeoutExpired:
            raise ExpectError(f"QEMU still runs after {timeout} s") from None
        self.reader.join(2)
        return code

    def http(self, path="/", timeout=10, method="GET", headers=None, body=None):
        """One request to the guest's port 80; gives a Response, raises OSError."""
        start = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.options.http_port, timeout=timeout * TEST_SCALE)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
            return Response(answer.status, dict(answer.getheaders()), data, time.monotonic() - start)
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP answer: {error!r}") from None
        finally:
            connection.close()

    def http_ready(self, path="/", timeout=15):
        """Asks until the first good answer; gives it."""
        deadline = time.monotonic() + timeout * TEST_SCALE
        while True:
            try:
                answer = self.http(path, timeout=2)
                if answer.status == 200:
                    return answer
                problem = f"status {answer.status}"
            except OSError as error:
                problem = str(error)
            if time.monotonic() > deadline or not self.is_running():
                raise ExpectError(f"no page in {timeout} s ({problem}); the guest's last lines:\n" +
                                  "\n".join("    " + line for line in self.serial.splitlines()[-15:]))
            time.sleep(0.02)

    def qmp(self, execute, **arguments):
        """One command to QEMU's monitor (QMP); gives its result."""
        return qmp(self.qmp_path, execute, **arguments)

    def monitor(self, line):
        """One command to the human monitor; gives its text."""
        return self.qmp("human-monitor-command", **{"command-line": line})

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process:
            self.process.wait()
            self.reader.join(2)
            self.process.stdin.close()
            self.process.stdout.close()
        if self.log:
            self.log.close()
            self.log = None
        shutil.rmtree(self.folder, ignore_errors=True)
