"""kernel/trace_events.h: one function for each event of abi/trace.toml, a test of a bit when its class is off; and its page of docs."""
from emit_abi import HEADER, one_line
from model import SCALARS


def word_text(event, word):
    parts = []
    for a in event.args:
        if a.word == word and a.type != "bytes":
            parts.append(f"(uint64_t){'(uint32_t)' if a.type == 'i32' else ''}{a.name}{f' << {a.shift}' if a.shift else ''}")
    return " | ".join(parts) or "0"


def emit_event(e):
    by_bytes = any(a.type == "bytes" for a in e.args)
    params = ["struct cpu *cpu", "uint64_t thread"]
    params += [f"const char {a.name}[16]" if a.type == "bytes" else f"{SCALARS[a.type]} {a.name}" for a in e.args]
    lines = ["", f"/* {one_line(e.class_)}; thread: {one_line(e.thread)} */",
             f"static inline void trace_{e.name}({', '.join(params)})", "{",
             f"    if (!trace_is_on(cpu, TRACE_CLASS_{e.class_.upper()}))", "        return;"]
    if by_bytes:
        name = next(a.name for a in e.args if a.type == "bytes")
        lines += ["    uint64_t words[2];", f"    memcpy(words, {name}, sizeof(words));"]
    a, b = ("words[0]", "words[1]") if by_bytes else (word_text(e, 0), word_text(e, 1))
    function = "trace_write_life" if e.class_ == "life" else "trace_write"
    return lines + [f"    {function}(cpu, TRACE_{e.name.upper()}, thread, {a}, {b});", "}"]


def emit_header(model):
    lines = [HEADER + "#pragma once", "#include <kernel/trace.h>", "#include <tess/string.h>"]
    for e in model.events:
        lines += emit_event(e)
    return "\n".join(lines) + "\n"


def emit_page(model):
    lines = ["# Trace events", "", "What `trace.start` records, by class. Every record has a time, a CPU and a thread.", "",
             "| class | bit | |", "|---|---|---|"]
    lines += [f"| {name} | {bit} | {one_line(text)} |" for name, (bit, text) in model.classes.items()]
    for e in model.events:
        lines += ["", f"## {e.name}", "", f"Event {e.id}, class `{e.class_}`. Thread: {one_line(e.thread)}.", ""]
        lines += [one_line(e.doc), ""] if e.doc else []
        lines += [f"- `{a.name}: {a.type}`{' ' + one_line(a.text) if a.text else ''}" for a in e.args]
    return "\n".join(lines) + "\n"
