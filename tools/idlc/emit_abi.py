"""tess/abi.h and tess/abi_names.c: errors, constants, records, op values. Tier core: kernel and user code."""
from emit_golden import abi_hash
from model import FIELD_TYPES

HEADER = "/* Made by tools/idlc from abi/: change the interface files, not this. */\n"

OP_FUNCTIONS = """
/* op = method (8) | interface (8) << 8 | words (4) << 16 | handles (3) << 20 | move mask (4) << 24; OP_SEND is bit 28. */
static inline uint32_t op_method(uint64_t op) { return (uint32_t)op & 0xFF; }
static inline uint32_t op_interface(uint64_t op) { return (uint32_t)(op >> 8) & 0xFF; }
static inline uint32_t op_words(uint64_t op) { return (uint32_t)(op >> 16) & 0xF; }
static inline uint32_t op_handles(uint64_t op) { return (uint32_t)(op >> 20) & 0x7; }
static inline uint32_t op_move_mask(uint64_t op) { return (uint32_t)(op >> 24) & 0xF; }
/* Replies carry the status, received messages the rights of the handle called, in bits 32..63. */
static inline status_t op_status(uint64_t op) { return (status_t)(uint32_t)(op >> 32); }
static inline uint32_t op_rights(uint64_t op) { return (uint32_t)(op >> 32); }
static inline uint64_t op_make(uint32_t interface_id, uint32_t method, uint32_t words, uint32_t handles, uint32_t move_mask)
{
    return (uint64_t)method | (uint64_t)interface_id << 8 | (uint64_t)words << 16 | (uint64_t)handles << 20 |
           (uint64_t)move_mask << 24;
}
"""


def op_value(interface, method):
    return method.id | interface.id << 8 | method.in_words << 16 | len(method.handles_in) << 20


def one_line(text):
    return " ".join(text.split()).replace("*/", "* /")


def comment(text):
    return f" /* {one_line(text)} */" if text.strip() else ""


def emit_struct(s):
    lines = [f"/* {one_line(s.doc)} */", f"struct tess_{s.name} {{"]
    for f in s.fields:
        type_ = f"struct tess_{f.type}" if f.is_struct else FIELD_TYPES[f.type]
        lines.append(f"    {type_} {f.name}{f'[{f.count}]' if f.count else ''};")
    lines += ["};", f"static_assert(sizeof(struct tess_{s.name}) == {s.size});"]
    lines += [f"static_assert(offsetof(struct tess_{s.name}, {f.name}) == {f.offset});" for f in s.fields]
    return lines


def emit_header(model):
    lines = [HEADER + "#pragma once", "#include <stddef.h>", "#include <stdint.h>", "#include <tess/types.h>", "",
             f"constexpr uint64_t ABI_HASH = {abi_hash(model):#018x}ull;", "", "enum : status_t {", "    OK = 0,"]
    lines += [f"    ERROR_{name} = {value},{comment(text)}" for name, (value, text) in model.errors.items()]
    lines += ["};", ""]
    for name, (value, text) in model.constants.items():
        wide = value >= 1 << 32
        lines.append(f"constexpr uint{64 if wide else 32}_t {name} = {value:#x}{'ull' if wide else 'u'};{comment(text)}")
    lines += ["", "/* What a handle names, as cspace.inspect and system.* report it. */", "enum object_type : uint32_t {",
              "    OBJECT_NONE = 0,"]
    lines += [f"    OBJECT_{i.name.upper()} = {i.id}," for i in model.kernel]
    lines += ["    OBJECT_TYPE_LIMIT = 32,", "};", "", "enum : uint32_t {"]
    lines += [f"    INTERFACE_{i.name.upper()} = {i.id}," for i in model.interfaces]
    lines += ["};", OP_FUNCTIONS]
    for i in model.interfaces:
        lines.append(f"/* {i.name}: {one_line(i.doc)} */")
        for name, (bit, text) in i.rights.items():
            lines.append(f"constexpr uint32_t {i.name.upper()}_RIGHT_{name.upper()} = 1u << {bit};{comment(text)}")
        for m in i.methods:
            lines.append(f"constexpr uint64_t OP_{i.name.upper()}_{m.name.upper()} = {op_value(i, m):#x};")
        lines.append("")
    for s in model.structs:
        lines += emit_struct(s) + [""]
    lines += emit_trace_constants(model)
    lines += ["/* Names for people; never nullptr. */", "const char *status_name(status_t status);",
              "const char *object_type_name(enum object_type type);", "const char *interface_name(uint32_t interface_id);",
              "/* \"interface.method\" parts: nullptr when there is no such method. */",
              "const char *method_name(uint32_t interface_id, uint32_t method);",
              "/* A right by its bit, 0..31: the generic ones by their own names; nullptr when the bit means nothing there. */",
              "const char *right_name(uint32_t interface_id, uint32_t bit);",
              "/* What a trace record means; nullptr for an unknown event. */",
              "const struct trace_event_info *trace_event_info(uint32_t event);"]
    return "\n".join(lines) + "\n"


def emit_trace_constants(model):
    if not model.events:
        return ["struct trace_event_info;"]
    lines = ["/* Classes of trace events, as bits of trace.start's mask, and events (abi/trace.toml). */"]
    lines += [f"constexpr uint32_t TRACE_CLASS_{name.upper()} = 1u << {bit};{comment(text)}"
              for name, (bit, text) in model.classes.items()]
    lines += ["enum trace_event : uint16_t {"] + [f"    TRACE_{e.name.upper()} = {e.id}," for e in model.events] + ["};"]
    lines += ["enum trace_arg_type : uint8_t { TRACE_ARG_U64, TRACE_ARG_I64, TRACE_ARG_U32, TRACE_ARG_I32, TRACE_ARG_BYTES };",
              "struct trace_arg_info {", "    const char *name;", "    enum trace_arg_type type;",
              "    uint8_t word, shift; /* which of a record's two words, and where in it */", "};",
              "struct trace_event_info {", "    const char *name, *class_name;", "    uint32_t class_bit, arg_count;",
              "    struct trace_arg_info args[4];", "};", ""]
    return lines


def emit_trace_names(model):
    lines = ["", "const struct trace_event_info *trace_event_info(uint32_t event)", "{"]
    for e in model.events:
        args = ", ".join(f'{{"{a.name}", TRACE_ARG_{a.type.upper()}, {a.word}, {a.shift}}}' for a in e.args)
        lines.append(f'    static const struct trace_event_info {e.name}_info = '
                     f'{{"{e.name}", "{e.class_}", TRACE_CLASS_{e.class_.upper()}, {len(e.args)}, {{{args}}}}};')
    lines += ["    switch (event) {"] + [f"    case {e.id}: return &{e.name}_info;" for e in model.events]
    return lines + ["    default: return nullptr;", "    }", "}"]


def emit_names(model):
    lines = [HEADER + "#include <tess/abi.h>", "", "const char *status_name(status_t status)", "{", "    switch (status) {",
             '    case OK: return "OK";']
    lines += [f'    case ERROR_{name}: return "{name}";' for name in model.errors]
    lines += ['    default: return status > 0 ? "OK" : "unknown error";', "    }", "}", "",
              "const char *interface_name(uint32_t interface_id)", "{", "    switch (interface_id) {"]
    lines += [f'    case INTERFACE_{i.name.upper()}: return "{i.name}";' for i in model.interfaces]
    lines += ['    default: return "unknown";', "    }", "}", "", "const char *object_type_name(enum object_type type)", "{",
              '    return type == OBJECT_NONE ? "none" : type < OBJECT_TYPE_LIMIT ? interface_name(type) : "unknown";', "}", "",
              "const char *method_name(uint32_t interface_id, uint32_t method)", "{", "    switch (interface_id << 8 | method) {"]
    for i in model.interfaces:
        lines += [f'    case {i.id} << 8 | {m.id}: return "{m.name}";' for m in i.methods]
    lines += ["    default: return nullptr;", "    }", "}", "",
              "const char *right_name(uint32_t interface_id, uint32_t bit)", "{", "    switch (bit) {"]
    lines += [f'    case {mask.bit_length() - 1}: return "{name}";' for name, mask in model.generic_rights().items()]
    lines += ["    default: break;", "    }", "    switch (interface_id << 8 | bit) {"]
    for i in model.interfaces:
        lines += [f'    case {i.id} << 8 | {bit}: return "{name}";' for name, (bit, _) in i.rights.items()]
    lines += ["    default: return nullptr;", "    }", "}"]
    lines += emit_trace_names(model)
    return "\n".join(lines) + "\n"
