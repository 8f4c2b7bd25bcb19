"""What abi/*.toml says, loaded and checked. Everything after this module may trust the model."""
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

MESSAGE_WORDS = 12
MESSAGE_HANDLES = 4
HANDLE_WORD = 8
KERNEL_IDS = range(1, 32)
SERVICE_IDS = range(32, 256)
SCALARS = {"u64": "uint64_t", "u32": "uint32_t", "u16": "uint16_t", "u8": "uint8_t", "i64": "int64_t", "i32": "int32_t",
           "bool": "bool"}
FIELD_SIZES = {"u64": 8, "i64": 8, "u32": 4, "i32": 4, "u16": 2, "i16": 2, "u8": 1, "i8": 1, "char": 1}
FIELD_TYPES = {"u64": "uint64_t", "i64": "int64_t", "u32": "uint32_t", "i32": "int32_t", "u16": "uint16_t", "i16": "int16_t",
               "u8": "uint8_t", "i8": "int8_t", "char": "char"}
NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
UPPER = re.compile(r"[A-Z][A-Z0-9_]*\Z")
# Words an argument may not be called: C23 keywords, and what the generated functions call their own parameters and locals.
RESERVED = frozenset("""alignas alignof auto bool break case char const constexpr continue default do double else enum extern false
float for goto if inline int long nullptr register restrict return short signed sizeof static static_assert struct switch
thread_local true typedef typeof typeof_unqual union unsigned void volatile while h regs result page deadline_ns context call
server inv self""".split())


class AbiError(Exception):
    """A refused interface file: the text names file and key."""


@dataclass
class Arg:
    name: str
    kind: str            # a key of SCALARS, "bytes", "handle", "new_handle"
    size: int = 0        # bytes: length
    type: str = ""       # handle: kernel interface name
    rights: list = field(default_factory=list)  # handle: rights needed, by name
    text: str = ""

    @property
    def words(self):
        return self.size // 8 if self.kind == "bytes" else 1

    def spell(self):
        if self.kind == "bytes":
            return f"bytes[{self.size}]"
        if self.kind == "handle":
            return f"handle<{self.type}{':' if self.rights else ''}{'+'.join(self.rights)}>"
        return self.kind


@dataclass
class HandleArg:
    name: str
    types: list          # interface names, or ["any"]
    rights: list
    text: str = ""

    def spell(self):
        return "|".join(self.types) + (":" + "+".join(self.rights) if self.rights else "")


@dataclass
class Method:
    name: str
    id: int
    right: str
    ins: list
    outs: list
    handles_in: list
    handles_out: list
    errors: list
    blocking: bool
    idempotent: bool
    raw: bool
    doc: str

    @property
    def in_words(self):
        return sum(a.words for a in self.ins)

    @property
    def out_words(self):
        return sum(a.words for a in self.outs)


@dataclass
class Interface:
    name: str
    id: int
    is_kernel: bool
    doc: str
    rights: dict         # name -> (bit, text)
    methods: list
    file: str


@dataclass
class Field:
    name: str
    type: str            # a key of FIELD_SIZES or a struct's name
    count: int           # 0 = not an array
    offset: int
    size: int
    is_struct: bool


@dataclass
class Struct:
    name: str
    doc: str
    fields: list
    size: int
    align: int


@dataclass
class EventArg:
    name: str
    type: str            # u64, i64, u32, i32 or bytes
    word: int            # 0 or 1
    shift: int           # 0 or 32
    text: str


@dataclass
class Event:
    name: str
    id: int
    class_: str
    thread: str          # whose id the record's thread field is
    args: list
    doc: str


@dataclass
class Model:
    errors: dict         # name -> (value, text)
    constants: dict      # name -> (value, text)
    structs: list
    interfaces: list     # kernel by id, then service by id
    classes: dict = field(default_factory=dict)  # of trace events: name -> (bit, text)
    events: list = field(default_factory=list)   # by id

    @property
    def kernel(self):
        return [i for i in self.interfaces if i.is_kernel]

    @property
    def service(self):
        return [i for i in self.interfaces if not i.is_kernel]

    def generic_rights(self):
        """name -> mask, for the rights every handle has (constants RIGHT_* of one bit)."""
        return {name[6:].lower(): value for name, (value, _) in self.constants.items() if name.startswith("RIGHT_")}

    def right_mask(self, interface, name):
        if name in interface.rights:
            return 1 << interface.rights[name][0]
        return self.generic_rights()[name]

    def interface(self, name):
        return next((i for i in self.interfaces if i.name == name), None)


def refuse(file, key, text):
    raise AbiError(f"{file}: {key}: {text}")


def read_toml(path):
    try:
        with open(path, "rb") as f:
            return tomllib.load(f)
    except tomllib.TOMLDecodeError as error:
        raise AbiError(f"{path}: not TOML: {error}") from None
    except OSError as error:
        raise AbiError(f"{path}: cannot be read: {error.strerror}") from None


def check_keys(file, key, table, allowed, needed=()):
    if not isinstance(table, dict):
        refuse(file, key, "must be a table")
    for k in table:
        if k not in allowed:
            refuse(file, f"{key}.{k}" if key else k, "unknown key")
    for k in needed:
        if k not in table:
            refuse(file, f"{key}.{k}" if key else k, "missing key")


def check_type(file, key, value, type_):
    if type(value) is not type_:
        refuse(file, key, f"must be {type_.__name__}")
    return value


def check_pair(file, key, value):
    if not (isinstance(value, list) and len(value) == 2 and type(value[0]) is int and isinstance(value[1], str)):
        refuse(file, key, "must be [number, text]")
    return value


def check_strings(file, key, value):
    if not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
        refuse(file, key, "must be a list of strings")
    return value


def load_errors(path):
    data = read_toml(path)
    check_keys(path, "", data, ("error",), ("error",))
    errors, seen = {}, {}
    for name, value in data["error"].items():
        key = f"error.{name}"
        number, text = check_pair(path, key, value)
        if not UPPER.match(name):
            refuse(path, key, "name must be upper case")
        if not -4096 < number < 0:
            refuse(path, key, "value must be negative and above -4096")
        if number in seen:
            refuse(path, key, f"value {number} is already that of {seen[number]}")
        seen[number] = name
        errors[name] = (number, text)
    return errors


FIELD = re.compile(r"([a-z][a-z0-9_]*): ([a-z][a-z0-9_]*)(?:\[([1-9][0-9]*)\])?\Z")


def load_struct(path, name, table, known):
    key = f"struct.{name}"
    if not NAME.match(name):
        refuse(path, key, "name must be lower case")
    check_keys(path, key, table, ("doc", "fields"), ("doc", "fields"))
    fields, offset, align_max, seen = [], 0, 1, set()
    for text in check_strings(path, f"{key}.fields", table["fields"]):
        match = FIELD.match(text)
        if not match:
            refuse(path, f"{key}.fields", f"'{text}' is not \"name: type\"")
        fname, ftype, count = match[1], match[2], int(match[3] or 0)
        if fname in seen or fname in RESERVED - {"self"}:
            refuse(path, f"{key}.{fname}", "name is a duplicate or reserved")
        seen.add(fname)
        if ftype in FIELD_SIZES:
            size = align = FIELD_SIZES[ftype]
        elif ftype in known:
            size, align = known[ftype].size, known[ftype].align
        else:
            refuse(path, f"{key}.{fname}", f"unknown type {ftype} (a record must be defined before it is used)")
        if offset % align:
            refuse(path, f"{key}.{fname}", f"hole: offset {offset} is not aligned to {align}")
        size *= max(count, 1)
        fields.append(Field(fname, ftype, count, offset, size, ftype in known))
        offset += size
        align_max = max(align_max, align)
    if not fields or offset % align_max:
        refuse(path, key, f"hole at the end: size {offset} is not a multiple of {align_max}")
    return Struct(name, table["doc"], fields, offset, align_max)


def load_types(path):
    data = read_toml(path)
    check_keys(path, "", data, ("constants", "struct"), ("constants", "struct"))
    constants, structs = {}, {}
    for name, value in data["constants"].items():
        number, text = check_pair(path, f"constants.{name}", value)
        if not UPPER.match(name):
            refuse(path, f"constants.{name}", "name must be upper case")
        if not 0 <= number < 1 << 64:
            refuse(path, f"constants.{name}", "value must fit in 64 bits, unsigned")
        constants[name] = (number, text)
    for name, value in (("MESSAGE_WORDS", MESSAGE_WORDS), ("MESSAGE_HANDLES", MESSAGE_HANDLES),
                        ("MESSAGE_HANDLE_WORD", HANDLE_WORD)):
        if constants.get(name, (None,))[0] != value:
            refuse(path, f"constants.{name}", f"must be {value}: the generator knows no other envelope")
    for name, table in data["struct"].items():
        structs[name] = load_struct(path, name, table, structs)
    return constants, list(structs.values())


ARG = re.compile(r"([a-z][a-z0-9_]*): (\S+)(?:  (\S.*))?\Z")
HANDLE = re.compile(r"handle<([a-z][a-z0-9_]*)(?::([a-z_+]+))?>\Z")
BYTES = re.compile(r"bytes\[([1-9][0-9]*)\]\Z")


def split_args(path, key, value):
    names = set()
    for text in check_strings(path, key, value):
        match = ARG.match(text)
        if not match:
            refuse(path, key, f"'{text}' is not \"name: type  text\" (two blanks before the text)")
        if match[1] in RESERVED:
            refuse(path, f"{key}.{match[1]}", "name is reserved")
        if match[1] in names:
            refuse(path, f"{key}.{match[1]}", "duplicate name")
        names.add(match[1])
        yield match[1], match[2], match[3] or ""


def load_args(path, key, value, is_kernel, is_in):
    args = []
    for name, type_, text in split_args(path, key, value):
        handle, bytes_ = HANDLE.match(type_), BYTES.match(type_)
        if type_ in SCALARS:
            args.append(Arg(name, type_, text=text))
        elif bytes_:
            size = int(bytes_[1])
            if size % 8:
                refuse(path, f"{key}.{name}", "bytes[N]: N must be a multiple of 8")
            args.append(Arg(name, "bytes", size=size, text=text))
        elif handle and is_kernel and is_in:
            rights = handle[2].split("+") if handle[2] else []
            args.append(Arg(name, "handle", type=handle[1], rights=rights, text=text))
        elif type_ == "new_handle" and is_kernel and not is_in:
            args.append(Arg(name, "new_handle", text=text))
        else:
            refuse(path, f"{key}.{name}", f"unknown type {type_}, or one that cannot stand here")
    return args


def load_handles(path, key, value):
    handles = []
    for name, type_, text in split_args(path, key, value):
        types, _, rights = type_.partition(":")
        handles.append(HandleArg(name, types.split("|"), rights.split("+") if rights else [], text))
    return handles


METHOD_KEYS = ("id", "right", "in", "out", "handles_in", "handles_out", "errors", "blocking", "idempotent", "raw", "doc")


def load_method(path, name, table, is_kernel, errors):
    key = f"method.{name}"
    if not NAME.match(name):
        refuse(path, key, "name must be lower case")
    check_keys(path, key, table, METHOD_KEYS, ("id", "right"))
    if not 1 <= check_type(path, f"{key}.id", table["id"], int) <= 255:
        refuse(path, f"{key}.id", "must be 1..255")
    flags = {k: check_type(path, f"{key}.{k}", table.get(k, False), bool) for k in ("blocking", "idempotent", "raw")}
    if not is_kernel and (flags["blocking"] or flags["raw"]):
        refuse(path, key, "blocking and raw are for kernel methods (every service call waits)")
    if is_kernel and ("handles_in" in table or "handles_out" in table):
        refuse(path, key, "kernel methods take handle<...> words and return new_handle words, they transfer no handles")
    method = Method(name, table["id"], check_type(path, f"{key}.right", table["right"], str),
                    load_args(path, f"{key}.in", table.get("in", []), is_kernel, True),
                    load_args(path, f"{key}.out", table.get("out", []), is_kernel, False),
                    load_handles(path, f"{key}.handles_in", table.get("handles_in", [])),
                    load_handles(path, f"{key}.handles_out", table.get("handles_out", [])),
                    check_strings(path, f"{key}.errors", table.get("errors", [])),
                    flags["blocking"], flags["idempotent"], flags["raw"],
                    check_type(path, f"{key}.doc", table.get("doc", ""), str))
    if method.raw and (method.ins or method.outs):
        refuse(path, key, "a raw method is decoded by hand: it has no in and out")
    for error in method.errors:
        if error not in errors:
            refuse(path, f"{key}.errors", f"unknown error {error}")
    if len(set(method.errors)) != len(method.errors):
        refuse(path, f"{key}.errors", "an error is listed twice")
    for direction, words, handles in (("in", method.in_words, method.handles_in), ("out", method.out_words, method.handles_out)):
        limit = HANDLE_WORD if handles else MESSAGE_WORDS
        if words > limit:
            refuse(path, f"{key}.{direction}", f"{words} words, at most {limit}{' beside handles' if handles else ''}")
        if len(handles) > MESSAGE_HANDLES:
            refuse(path, f"{key}.handles_{direction}", f"at most {MESSAGE_HANDLES} handles")
    ins = [a.name for a in method.ins + method.handles_in]
    outs = [a.name for a in method.outs + method.handles_out]
    if len(set(ins)) != len(ins) or len(set(outs)) != len(outs):
        refuse(path, key, "a handle and an argument have the same name")
    return method


def load_interface(path, is_kernel, errors, generic):
    data = read_toml(path)
    check_keys(path, "", data, ("name", "id", "doc", "rights", "method"), ("name", "id", "doc", "method"))
    name = check_type(path, "name", data["name"], str)
    if not NAME.match(name) or name != path.stem:
        refuse(path, "name", "must be lower case and that of the file")
    ids = KERNEL_IDS if is_kernel else SERVICE_IDS
    if check_type(path, "id", data["id"], int) not in ids:
        refuse(path, "id", f"must be {ids.start}..{ids.stop - 1}")
    check_type(path, "doc", data["doc"], str)
    rights, bits = {}, {}
    table = check_type(path, "rights", data.get("rights", {}), dict)
    for right, value in table.items():
        bit, text = check_pair(path, f"rights.{right}", value)
        if not NAME.match(right):
            refuse(path, f"rights.{right}", "name must be lower case")
        if not 8 <= bit <= 31:
            refuse(path, f"rights.{right}", f"bit {bit} is not in 8..31")
        if bit in bits:
            refuse(path, f"rights.{right}", f"bit {bit} is already that of {bits[bit]}")
        if right in generic:
            refuse(path, f"rights.{right}", "is the name of a generic right")
        bits[bit] = right
        rights[right] = (bit, text)
    check_type(path, "method", data["method"], dict)
    methods, method_ids = [], {}
    for method_name, table in data["method"].items():
        method = load_method(path, method_name, table, is_kernel, errors)
        if method.id in method_ids:
            refuse(path, f"method.{method_name}.id", f"{method.id} is already that of {method_ids[method.id]}")
        method_ids[method.id] = method_name
        if method.right not in rights and method.right not in generic:
            refuse(path, f"method.{method_name}.right", f"unknown right {method.right}")
        methods.append(method)
    if not methods:
        refuse(path, "method", "no method")
    methods.sort(key=lambda m: m.id)
    return Interface(name, data["id"], is_kernel, data["doc"], rights, methods, str(path))


def place_event_args(path, key, value):
    """Two words: u64 takes one, neighbouring u32 or i32 share one, bytes[16] takes both."""
    args, bits = [], 0
    for name, type_, text in split_args(path, key, value):
        if type_ == "bytes[16]":
            size, type_ = 128, "bytes"
        elif type_ in ("u64", "i64", "u32", "i32"):
            size = int(type_[1:])
        else:
            refuse(path, f"{key}.{name}", f"unknown type {type_}: u64, i64, u32, i32 or bytes[16]")
        bits = (bits + min(size, 64) - 1) // min(size, 64) * min(size, 64)
        if bits + size > 128:
            refuse(path, f"{key}.{name}", "does not fit: a record has two words of arguments")
        args.append(EventArg(name, type_, bits // 64, bits % 64, text))
        bits += size
    return args


def load_event(path, name, table, classes):
    key = f"event.{name}"
    if not NAME.match(name):
        refuse(path, key, "name must be lower case")
    check_keys(path, key, table, ("id", "class", "thread", "args", "doc"), ("id", "class", "thread", "args"))
    if not 1 <= check_type(path, f"{key}.id", table["id"], int) <= 65535:
        refuse(path, f"{key}.id", "must be 1..65535")
    if check_type(path, f"{key}.class", table["class"], str) not in classes:
        refuse(path, f"{key}.class", f"unknown class {table['class']}")
    return Event(name, table["id"], table["class"], check_type(path, f"{key}.thread", table["thread"], str),
                 place_event_args(path, f"{key}.args", table["args"]), check_type(path, f"{key}.doc", table.get("doc", ""), str))


def load_trace(path):
    data = read_toml(path)
    check_keys(path, "", data, ("class", "event"), ("class", "event"))
    classes, events, bits, ids = {}, [], {}, {}
    for name, value in data["class"].items():
        bit, text = check_pair(path, f"class.{name}", value)
        if not NAME.match(name) or not 0 <= bit <= 31 or bit in bits:
            refuse(path, f"class.{name}", "must be a lower case name with a bit of its own, 0..31")
        bits[bit] = name
        classes[name] = (bit, text)
    for name, table in data["event"].items():
        event = load_event(path, name, table, classes)
        if event.id in ids:
            refuse(path, f"event.{name}.id", f"{event.id} is already that of {ids[event.id]}")
        ids[event.id] = name
        events.append(event)
    return classes, sorted(events, key=lambda e: e.id)


def check_references(model):
    """Types and rights that handles name: known only once every file is loaded."""
    generic = model.generic_rights()

    def check(interface, key, types, rights, kernel_only):
        for type_ in types:
            target = model.interface(type_)
            if type_ != "any" and (target is None or (kernel_only and not target.is_kernel)):
                refuse(interface.file, key, f"unknown type {type_}")
            for right in rights:
                if right not in generic and (target is None or right not in target.rights):
                    refuse(interface.file, key, f"{type_} has no right {right}")

    for interface in model.interfaces:
        for method in interface.methods:
            for arg in method.ins:
                if arg.kind == "handle":
                    check(interface, f"method.{method.name}.in.{arg.name}", [arg.type], arg.rights, True)
            for direction, handles in (("in", method.handles_in), ("out", method.handles_out)):
                for handle in handles:
                    check(interface, f"method.{method.name}.handles_{direction}.{handle.name}", handle.types, handle.rights, False)


def load(root):
    root = Path(root)
    errors = load_errors(root / "errors.toml")
    constants, structs = load_types(root / "types.toml")
    model = Model(errors, constants, structs, [])
    if (root / "trace.toml").exists():
        model.classes, model.events = load_trace(root / "trace.toml")
    generic = model.generic_rights()
    ids, names = {}, {}
    for folder, is_kernel in (("kernel", True), ("service", False)):
        found = []
        for path in sorted((root / folder).glob("*.toml")):
            interface = load_interface(path, is_kernel, errors, generic)
            if interface.id in ids:
                refuse(path, "id", f"{interface.id} is already that of {ids[interface.id]}")
            if interface.name in names:
                refuse(path, "name", f"{interface.name} is already that of {names[interface.name]}")
            ids[interface.id] = names[interface.name] = str(path)
            found.append(interface)
        model.interfaces += sorted(found, key=lambda i: i.id)
    if not model.kernel:
        raise AbiError(f"{root}: kernel: no interface")
    check_references(model)
    return model
