"""tess/stub/<interface>.h (callers) and tess/serve/<interface>.h (servers)."""
from emit_abi import HEADER, one_line, op_value
from model import HANDLE_WORD, SCALARS


def in_param(arg):
    if arg.kind == "bytes":
        return f"const uint8_t {arg.name}[{arg.size}]"
    return f"{SCALARS.get(arg.kind, 'handle_t')} {arg.name}"


def out_param(arg):
    if arg.kind == "bytes":
        return f"uint8_t out_{arg.name}[{arg.size}]"
    return f"{SCALARS.get(arg.kind, 'handle_t')} *out_{arg.name}"


def place_args(args):
    """(argument, its first word)"""
    word = 0
    for arg in args:
        yield arg, word
        word += arg.words


def to_word(arg, text):
    return f"(uint64_t)(int64_t){text}" if arg.kind in ("i32", "i64") else text


def from_word(arg, text):
    if arg.kind in ("u64", "handle", "new_handle"):
        return text
    return f"{text} != 0" if arg.kind == "bool" else f"({SCALARS[arg.kind]}){text}"


def range_check(arg, text):
    """The condition under which a word is no value of the argument's type; None when every word is."""
    limits = {"u32": "UINT32_MAX", "u16": "UINT16_MAX", "u8": "UINT8_MAX", "bool": "1"}
    if arg.kind in limits:
        return f"{text} > {limits[arg.kind]}"
    return f"(int64_t){text} != (int32_t){text}" if arg.kind == "i32" else None


def stub_params(method, is_kernel):
    params = ["handle_t h"] + [in_param(a) for a in method.ins] + [f"handle_t {a.name}" for a in method.handles_in]
    params += [out_param(a) for a in method.outs] + [f"handle_t *out_{a.name}" for a in method.handles_out]
    return params + (["uint64_t deadline_ns"] if method.blocking or not is_kernel else [])


def method_comment(interface, method):
    parts = [f"{interface.name}.{method.name}: right {method.right}."]
    if method.doc:
        parts.append(one_line(method.doc))
    for title, args in (("in", method.ins + method.handles_in), ("out", method.outs + method.handles_out)):
        texts = [f"{a.name}: {one_line(a.text)}" for a in args if a.text]
        if texts:
            parts.append(f"{title}: " + "; ".join(texts) + ".")
    if method.errors:
        parts.append("Errors: " + ", ".join(method.errors) + ".")
    return f"/* {' '.join(parts)} */"


def emit_stub(interface, method, moving):
    service = not interface.is_kernel
    op = f"OP_{interface.name.upper()}_{method.name.upper()}"
    if moving:
        op += f" | {(1 << len(method.handles_in)) - 1:#x}ull << 24"
    deadline = "deadline_ns" if method.blocking or service else "DEADLINE_NOW"
    lines = [] if moving else [method_comment(interface, method)]
    if moving:
        lines.append("/* As above; the handles are moved, not copied. */")
    name = f"tess_{interface.name}_{method.name}{'_moving' if moving else ''}"
    lines += [f"[[nodiscard]] static inline status_t {name}({', '.join(stub_params(method, interface.is_kernel))})", "{"]
    lines.append(f"    struct tess_regs regs = {{.op = {op}, .handle = h, .aux = {deadline}}};")
    uses_page = method.in_words > 4 or method.out_words > 4 or method.handles_in or method.handles_out
    if uses_page:
        lines.append("    struct tess_message_page *page = tess_message_page();")

    def cell(word):
        return f"regs.word[{word}]" if word < 4 else f"page->words[{word}]"
    for arg, word in place_args(method.ins):
        if arg.kind == "bytes":
            lines += [f"    memcpy(&{cell(word + k)}, {arg.name} + {8 * k}, 8);" for k in range(arg.words)]
        else:
            lines.append(f"    {cell(word)} = {to_word(arg, arg.name)};")
    for k, arg in enumerate(method.handles_in):
        lines.append(f"    {cell(HANDLE_WORD + k)} = {arg.name};")
    lines.append("    status_t result = tess_invoke(&regs);")
    if service:
        lines.append(f"    result = tess_reply_check(&regs, result, {method.out_words}, {len(method.handles_out)});")
    fill = []
    for arg, word in place_args(method.outs):
        if arg.kind == "bytes":
            fill += [f"memcpy(out_{arg.name} + {8 * k}, &{cell(word + k)}, 8);" for k in range(arg.words)]
        else:
            fill.append(f"*out_{arg.name} = {from_word(arg, cell(word))};")
    fill += [f"*out_{arg.name} = {cell(HANDLE_WORD + k)};" for k, arg in enumerate(method.handles_out)]
    if fill:
        lines += ["    if (result == OK) {"] + [f"        {line}" for line in fill] + ["    }"]
    return lines + ["    return result;", "}", ""]


def emit_stubs(interface):
    lines = [HEADER + f"/* {interface.name}: {one_line(interface.doc)} */", "#pragma once", "#include <tess/abi.h>",
             "#include <tess/invoke.h>", "#include <tess/string.h>", ""]
    for method in interface.methods:
        if method.raw:
            continue
        lines += emit_stub(interface, method, False)
        if method.handles_in:
            lines += emit_stub(interface, method, True)
    return "\n".join(lines)


def serve_params(method):
    params = ["void *context", "struct tess_call *call"] + [in_param(a) for a in method.ins]
    params += [f"handle_t {a.name}" for a in method.handles_in] + [out_param(a) for a in method.outs]
    return params + [f"handle_t *out_{a.name}" for a in method.handles_out]


def value_params(method):
    params = ["struct tess_call *call"]
    for arg in method.outs:
        params.append(in_param(arg))
    return params + [f"handle_t {a.name}" for a in method.handles_out]


def emit_reply(interface, method):
    lines = [f"/* Fills the answer to {interface.name}.{method.name} (the dispatcher does it; a deferred answer needs it). */",
             f"static inline void {interface.name}_{method.name}_reply({', '.join(value_params(method))})", "{"]
    for arg, word in place_args(method.outs):
        if arg.kind == "bytes":
            lines.append(f"    memcpy(&call->words[{word}], {arg.name}, {arg.size});")
        else:
            lines.append(f"    call->words[{word}] = {to_word(arg, arg.name)};")
    for k, arg in enumerate(method.handles_out):
        lines.append(f"    call->words[{HANDLE_WORD + k}] = {arg.name};")
    lines += [f"    call->reply_words = {method.out_words};", f"    call->reply_handles = {len(method.handles_out)};"]
    return lines + ["}", ""]


def emit_case(interface, method):
    lines = [f"    case {method.id}: /* {method.name} */"]
    mask = method_right(interface, method)
    lines += [f"        if ((call->rights & {mask}) != {mask}) {{", "            return ERROR_MISSING_RIGHT;", "        }"]
    checks = [f"op_words(call->op) != {method.in_words}", f"call->handle_count != {len(method.handles_in)}"]
    checks += [c for a, w in place_args(method.ins) if (c := range_check(a, f"call->words[{w}]"))]
    lines += [f"        if ({' || '.join(checks)}) {{", "            return ERROR_BAD_ARGUMENT;", "        }"]
    lines += [f"        if (server->{method.name} == nullptr) {{", "            return ERROR_UNKNOWN_METHOD;", "        }"]
    lines.append("        {")
    passed = ["context", "call"]
    for arg, word in place_args(method.ins):
        passed.append(f"(const uint8_t *)&call->words[{word}]" if arg.kind == "bytes" else from_word(arg, f"call->words[{word}]"))
    passed += [f"call->handles[{k}]" for k in range(len(method.handles_in))]
    for arg in method.outs:
        if arg.kind == "bytes":
            lines.append(f"            uint8_t out_{arg.name}[{arg.size}] = {{}};")
            passed.append(f"out_{arg.name}")
        else:
            lines.append(f"            {SCALARS[arg.kind]} out_{arg.name} = {{}};")
            passed.append(f"&out_{arg.name}")
    for arg in method.handles_out:
        lines.append(f"            handle_t out_{arg.name} = HANDLE_NONE;")
        passed.append(f"&out_{arg.name}")
    lines.append(f"            status_t result = server->{method.name}({', '.join(passed)});")
    lines += ["            if (result == OK && !call->is_deferred) {"]
    values = ["call"] + [f"out_{a.name}" for a in method.outs + method.handles_out]
    lines += [f"                {interface.name}_{method.name}_reply({', '.join(values)});", "            }"]
    if method.handles_in:
        lines += ["            call->handles_taken |= result == OK || call->is_deferred;"]
    return lines + ["            return result;", "        }"]


def method_right(interface, method):
    if method.right in interface.rights:
        return f"{interface.name.upper()}_RIGHT_{method.right.upper()}"
    return f"RIGHT_{method.right.upper()}"


def emit_serve(interface):
    name = interface.name
    lines = [HEADER + f"/* {name}: {one_line(interface.doc)} */", "#pragma once", "#include <tess/abi.h>", "#include <tess/call.h>",
             "#include <tess/string.h>", "",
             "/* A null pointer is a method this server does not have. See <tess/call.h> for who owns handles, and for deferring. */",
             f"struct {name}_server {{"]
    for method in interface.methods:
        lines.append(f"    {method_comment(interface, method)}")
        lines.append(f"    status_t (*{method.name})({', '.join(serve_params(method))});")
    lines += ["};", ""]
    for method in interface.methods:
        lines += emit_reply(interface, method)
    lines += ["/* Checks interface, method, right, sizes and ranges in this order, calls the server, fills the answer. */",
              f"[[nodiscard]] static inline status_t {name}_dispatch(const struct {name}_server *server, void *context, "
              "struct tess_call *call)", "{",
              "    call->reply_words = call->reply_handles = 0;",
              f"    if (op_interface(call->op) != INTERFACE_{name.upper()}) {{", "        return ERROR_UNKNOWN_METHOD;", "    }",
              "    switch (op_method(call->op)) {"]
    for method in interface.methods:
        lines += emit_case(interface, method)
    lines += ["    default:", "        return ERROR_UNKNOWN_METHOD;", "    }", "}"]
    return "\n".join(lines) + "\n"
