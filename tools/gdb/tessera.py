"""gdb commands for Tessera (loaded by `make debug`): look round the kernel's own structures, add a program's symbols.

    tess-cpus               what each CPU runs
    tess-threads            every thread: process, state, where it is
    tess-handles PROCESS    the handles of a process, by id or name
    tess-backtrace THREAD   a thread's user-mode frames, by address of its struct
    tess-program NAME ADDR  symbols of a program, loaded at ADDR (`tess-threads` shows program counters)
    tess-serial             the serial line's last lines
"""
import os
from pathlib import Path

import gdb

ENTRIES_MAX = 100_000  # a damaged list must not hang the debugger
SLOTS_PER_PAGE = 64
WAIT_STATES = {0: "-", 1: "blocked", 2: "woken"}


def value(expression):
    return gdb.parse_and_eval(expression)


def plain(number):
    """The value of a field that may be _Atomic."""
    kind = number.type.strip_typedefs()
    return int(number if kind.code != gdb.TYPE_CODE_STRUCT else number.cast(gdb.lookup_type("unsigned long")))


def pointer(field):
    """A pointer's address, also of an _Atomic pointer."""
    return int(field.cast(gdb.lookup_type("unsigned long")))


def at(type_name, address):
    return gdb.Value(address).cast(gdb.lookup_type(type_name).pointer()).dereference()


def entries(head, type_name, member):
    """The structs on a circular list whose nodes are `member`."""
    struct_type = gdb.lookup_type(type_name)
    offset = next(f.bitpos // 8 for f in struct_type.fields() if f.name == member)
    first = int(head.address)
    node = pointer(head[head.type.fields()[0].name] if head.type.fields()[0].name == "next" else head["head"]["next"])
    count = 0
    while node and node != first and count < ENTRIES_MAX:
        yield at(type_name, node - offset)
        node = pointer(at("struct list_node", node)["next"])
        count += 1


def processes():
    return entries(value("process_all"), "struct process", "all_node")


def process_name(process):
    return process["name"].string("ascii", "replace", length=16).rstrip("\0")


def process_id(process):
    return plain(process["object"]["id"])


def frame_registers(frame):
    """(pc, sp, frame pointer) of a saved user frame on any architecture."""
    names = {f.name for f in frame.type.fields()}
    if "rip" in names:
        return int(frame["rip"]), int(frame["rsp"]), int(frame["rbp"])
    if "pstate" in names:
        return int(frame["pc"]), int(frame["sp"]), int(frame["x"][29])
    return int(frame["pc"]), int(frame["sp"]), int(frame["s0"])


def symbol(address):
    text = gdb.execute(f"info symbol {address:#x}", to_string=True).strip()
    return "" if text.startswith("No symbol") else " " + text.split(" in section")[0]


class Command(gdb.Command):
    def __init__(self, name, function):
        self.__doc__ = function.__doc__
        self.function = function
        super().__init__(name, gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        try:
            self.function(*gdb.string_to_argv(argument))
        except TypeError as error:
            raise gdb.GdbError(f"{error}; help {self.function.__name__.replace('_', '-')}") from None


def tess_cpus():
    """What each CPU runs."""
    for index in range(plain(value("cpu_count"))):
        if not pointer(value("cpus")[index]):
            print(f"cpu {index}: not set up yet")
            continue
        cpu = value("cpus")[index].dereference()
        thread = pointer(cpu["current"])
        text = "idle"
        if thread:
            running = at("struct thread", thread)
            text = f"thread {plain(running['object']['id'])} of {process_name(running['process'].dereference())}"
        online = "" if plain(cpu["is_online"]) else " (offline)"
        print(f"cpu {index}{online}: {text}")


def tess_threads():
    """Every thread: its address, process, state, and user program counter."""
    print(f"{'struct thread':18} {'id':>6} {'process':16} {'cpu':>3} {'state':8} pc")
    for process in processes():
        for thread in entries(process["threads"], "struct thread", "process_node"):
            state = "running" if plain(thread["is_running"]) else WAIT_STATES.get(plain(thread["wait_word"]) & 0xFF, "?")
            pc, _, _ = frame_registers(thread["frame"])
            print(f"{int(thread.address):#018x} {plain(thread['object']['id']):6} {process_name(process):16} "
                  f"{plain(thread['cpu']):3} {state:8} {pc:#x}{symbol(pc)}")


def tess_handles(which):
    """tess-handles PROCESS: the handles of a process, by id or name."""
    types = {f.enumval: f.name for f in gdb.lookup_type("enum object_type").fields()}
    for process in processes():
        if which not in (process_name(process), str(process_id(process))):
            continue
        space = process["cspace"].dereference()
        for index in range(plain(space["slot_count"])):
            slot = space["pages"][index // SLOTS_PER_PAGE][index % SLOTS_PER_PAGE]
            address = pointer(slot["object"])
            if address:
                held = at("struct object", address)
                handle = plain(slot["generation"]) << 32 | index
                print(f"{handle:#018x} {types.get(plain(held['type']), plain(held['type'])):20} "
                      f"rights {plain(slot['rights']):#x} object {plain(held['id'])}")


def tess_backtrace(thread):
    """tess-backtrace THREAD: the user-mode frames of a blocked thread; THREAD is the address of its struct (tess-threads).
    Memory is read through the address space that is active now, so stop in that process (or in the kernel called by it)."""
    pc, _, fp = frame_registers(at("struct thread", int(value(thread)))["frame"])
    # The frame record: arch_frame.h, ARCH_FRAME_RECORD_OFFSET.
    offset = int(value("ARCH_FRAME_RECORD_OFFSET")) if gdb.lookup_global_symbol("ARCH_FRAME_RECORD_OFFSET") else (
        -16 if "riscv" in gdb.selected_inferior().architecture().name() else 0)
    word = gdb.lookup_type("unsigned long")
    for number in range(64):
        print(f"#{number} {pc:#x}{symbol(pc)}")
        if not fp or fp % 8:
            break
        try:
            record = gdb.Value(fp + offset).cast(word.pointer())
            pc, following = int(record[1]), int(record[0])
        except gdb.MemoryError:
            break
        if following <= fp or not pc:
            break
        fp = following


def tess_program(name, address):
    """tess-program NAME ADDRESS: adds the symbols of a program of the boot image, loaded at ADDRESS."""
    gdb.execute(f"add-symbol-file {Path(os.environ['TESSERA_BOOT']) / (name + '.debug')} -o {int(value(address)):#x}")


def tess_serial():
    """The last lines of the serial line."""
    path = Path(os.environ["TESSERA_SERIAL"])
    print("\n".join(path.read_text(errors="replace").splitlines()[-25:]) if path.exists() else "nothing yet")


for function in (tess_cpus, tess_threads, tess_handles, tess_backtrace, tess_program, tess_serial):
    Command(function.__name__.replace("_", "-"), function)
print("Tessera: tess-cpus, tess-threads, tess-handles, tess-backtrace, tess-program, tess-serial; continue to boot")
