"""kernel/abi_dispatch.h and .c: the tables by which the kernel finds, checks and calls the method of an object."""
from emit_abi import HEADER
from emit_user import from_word, in_param, method_comment, method_right, out_param, place_args, range_check, to_word
from model import SCALARS


def handler_params(interface, method):
    params = ["struct invocation *inv", f"struct {interface.name} *self"]
    params += [f"const struct cap *{a.name}" if a.kind == "handle" else in_param(a) for a in method.ins]
    return params + [out_param(a) for a in method.outs]


def emit_header(model):
    lines = [HEADER + """/*
 * Every kernel object's methods. The system-call path looks kernel_methods[type][method] up, checks `shape` and `right`, and calls
 * fn with inv->words complete and zero-filled. fn checks ranges, resolves handle arguments, and calls the hand-written
 * <interface>_<method>() declared here; after OK it stores results in inv->out and passes them on with invocation_return().
 */
#pragma once
#include <kernel/invocation.h>
#include <kernel/types.h>
#include <tess/abi.h>
"""]
    lines += [f"struct {i.name};" for i in model.kernel] + [""]
    for i in model.kernel:
        for m in i.methods:
            lines += [method_comment(i, m), f"[[nodiscard]] status_t {i.name}_{m.name}({', '.join(handler_params(i, m))});"]
        lines.append("")
    return "\n".join(lines)


def rights_text(model, arg):
    target = model.interface(arg.type)
    names = [f"{arg.type.upper()}_RIGHT_{r.upper()}" if r in target.rights else f"RIGHT_{r.upper()}" for r in arg.rights]
    return " | ".join(names) or "0"


def emit_wrapper(model, i, m):
    lines = [f"static status_t dispatch_{i.name}_{m.name}(struct invocation *inv)", "{"]
    for arg, word in place_args(m.ins):
        check = range_check(arg, f"inv->words[{word}]")
        if check:
            lines += [f"    if ({check}) {{", "        return ERROR_BAD_ARGUMENT;", "    }"]
    handles = [(a, w) for a, w in place_args(m.ins) if a.kind == "handle"]
    if handles:
        lines.append("    status_t result;")
    for arg, word in handles:
        lines += [f"    struct cap cap_{arg.name};",
                  f"    result = invocation_handle(inv, inv->words[{word}], OBJECT_{arg.type.upper()}, {rights_text(model, arg)}, "
                  f"&cap_{arg.name});",
                  "    if (result != OK) {", "        return result;", "    }"]
    object_self = "thread_from_object(inv->object)" if i.name == "thread" else f"(struct {i.name} *)inv->object"
    passed = ["inv", object_self]
    for arg, word in place_args(m.ins):
        if arg.kind == "handle":
            passed.append(f"&cap_{arg.name}")
        elif arg.kind == "bytes":
            passed.append(f"(const uint8_t *)&inv->words[{word}]")
        else:
            passed.append(from_word(arg, f"inv->words[{word}]"))
    for arg in m.outs:
        if arg.kind == "bytes":
            lines.append(f"    uint8_t out_{arg.name}[{arg.size}] = {{}};")
            passed.append(f"out_{arg.name}")
        else:
            lines.append(f"    {SCALARS.get(arg.kind, 'handle_t')} out_{arg.name} = {{}};")
            passed.append(f"&out_{arg.name}")
    call = f"{i.name}_{m.name}({', '.join(passed)})"
    if not m.outs:
        return lines + [f"    return {call};", "}", ""]
    lines += [f"    {'' if handles else 'status_t '}result = {call};", "    if (result == OK) {"]
    for arg, word in place_args(m.outs):
        if arg.kind == "bytes":
            lines.append(f"        memcpy(&inv->out[{word}], out_{arg.name}, {arg.size});")
        else:
            lines.append(f"        inv->out[{word}] = {to_word(arg, f'out_{arg.name}')};")
    return lines + [f"        invocation_return(inv, {m.out_words});", "    }", "    return result;", "}", ""]


def emit_source(model):
    lines = [HEADER + "#include <kernel/abi_dispatch.h>", "#include <kernel/thread.h>", "#include <tess/string.h>", ""]
    for i in model.kernel:
        for m in i.methods:
            lines += emit_wrapper(model, i, m)
    lines += ["/* No method has the number 0; an op that is all zero must not find a shape of zero either. */",
              "const struct kernel_method kernel_methods[32][KERNEL_METHODS_MAX] = {"]
    lines += [f"    [{type}][0] = {{nullptr, 0, METHOD_NONE}}," for type in range(32)]
    for i in model.kernel:
        for m in i.methods:
            flags = [f for f, on in (("METHOD_BLOCKING", m.blocking), ("METHOD_RAW", m.raw)) if on]
            lines.append(f"    [OBJECT_{i.name.upper()}][{m.id}] = {{dispatch_{i.name}_{m.name}, {method_right(i, m)}, "
                         f"{' | '.join([f'{kernel_shape(i, m):#x}'] + flags)}}},")
    return "\n".join(lines + ["};"]) + "\n"


def kernel_shape(i, m):
    """What op must say of method, interface and sizes (handles to kernel objects travel as words)."""
    return m.id | i.id << 8 | (0 if m.raw else m.in_words << 16)
