/* Handles in words. Every sentence continues "may ...". */
#include <caps.h>
#include <format.h>
#include <stdarg.h>
#include <tess/fmt.h>
#include <tess/string.h>

constexpr uint32_t FIRST_OWN_RIGHT = 8; /* below are the generic ones */

struct text {
    char *buffer;
    size_t size, length;
};

[[gnu::format(printf, 2, 3)]] static void text_add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = text->size - text->length;
    int count = fmt_vprint(text->buffer + text->length, room, format, args);
    va_end(args);
    text->length += (size_t)count < room ? (size_t)count : room - 1;
}

/* "read, write and exec": the rights from bit `first` on, with `last_word` before the last. Returns how many there were. */
static uint32_t add_rights(struct text *text, uint32_t interface, uint32_t rights, uint32_t first, const char *last_word)
{
    uint32_t count = 0, total = 0;
    for (uint32_t bit = first; bit < 32; bit++) {
        total += (rights >> bit & 1) != 0 && right_name(interface, bit) != nullptr;
    }
    for (uint32_t bit = first; bit < 32; bit++) {
        const char *name = right_name(interface, bit);
        if ((rights >> bit & 1) == 0 || name == nullptr) {
            continue;
        }
        count++;
        text_add(text, "%s%s", count == 1 ? "" : count == total ? last_word : ", ", name);
    }
    return count;
}

static void add_size(struct text *text, uint64_t bytes)
{
    char size[24];
    format_size(size, sizeof(size), bytes);
    text_add(text, "%s", size);
}

static void describe_endpoint(struct text *text, const struct tess_handle_info *info, const struct caps_target *target)
{
    const char *service = target->name != nullptr ? target->name : "an unnamed endpoint";
    text_add(text, info->rights & RIGHT_OWNER ? "answer calls to %s" : "call %s", service);
    if (target->interface != 0) {
        text_add(text, ":%s", interface_name(target->interface));
    }
    if ((info->rights & RIGHT_OWNER) == 0) {
        text_add(text, " (");
        bool has_any = false;
        if (target->interface != 0) {
            has_any = add_rights(text, target->interface, info->rights, FIRST_OWN_RIGHT, ", ") > 0;
        } else if (info->rights >> FIRST_OWN_RIGHT != 0) {
            text_add(text, "rights 0x%x", info->rights >> FIRST_OWN_RIGHT << FIRST_OWN_RIGHT);
            has_any = true;
        }
        text_add(text, has_any ? ")" : "no method)");
    }
    if (info->badge != 0) {
        text_add(text, ", known to it as %llu", (unsigned long long)info->badge);
    }
}

static void describe_memory(struct text *text, const struct tess_handle_info *info)
{
    if (add_rights(text, OBJECT_MEMORY, info->rights, FIRST_OWN_RIGHT, " and ") == 0) {
        text_add(text, "only measure");
    }
    text_add(text, " ");
    add_size(text, info->detail[0]);
    text_add(text, info->detail[1] != 0 ? " of device registers" : " of memory");
}

static void describe_untyped(struct text *text, const struct tess_handle_info *info)
{
    text_add(text, info->rights & UNTYPED_RIGHT_CREATE ? "make kernel objects and memory out of " : "see the use of ");
    add_size(text, info->detail[0] * 4096);
    text_add(text, " (");
    add_size(text, info->detail[1] * 4096);
    text_add(text, " used)");
}

static void describe_process(struct text *text, const struct tess_handle_info *info, const struct caps_target *target)
{
    text_add(text, info->rights & PROCESS_RIGHT_MANAGE ? "create threads in and end process %llu" : "observe process %llu",
             (unsigned long long)info->object_id);
    if (target->name != nullptr) {
        text_add(text, " (%s)", target->name);
    }
}

static void describe_machine(struct text *text, const struct tess_handle_info *info)
{
    bool has_power = (info->rights & MACHINE_RIGHT_POWER) != 0;
    if (info->rights & MACHINE_RIGHT_HARDWARE) {
        text_add(text, "reach every device, interrupt and port of the machine%s", has_power ? ", and switch it off" : "");
    } else {
        text_add(text, has_power ? "switch the machine off or reboot it" : "do nothing with the machine");
    }
}

static void describe_dma(struct text *text, const struct tess_handle_info *info)
{
    text_add(text, "let its device read and write memory (%llu pages pinned; %s)", (unsigned long long)info->detail[0],
             info->detail[1] != 0 ? "behind an IOMMU" : "no IOMMU");
}

/* Objects whose sentence is the names of the rights and a noun. */
static const char *noun_of(uint32_t type)
{
    switch (type) {
    case OBJECT_CSPACE: return "a table of handles";
    case OBJECT_VSPACE: return "an address space";
    case OBJECT_RING: return "a ring";
    case OBJECT_EVENT: return "an event";
    case OBJECT_CLOCK: return "the wall clock";
    default: return object_type_name(type);
    }
}

static void describe_plain(struct text *text, const struct tess_handle_info *info)
{
    if (add_rights(text, info->type, info->rights, FIRST_OWN_RIGHT, " and ") == 0) {
        text_add(text, info->rights & RIGHT_INSPECT ? "look at" : "hold");
    }
    text_add(text, " %s", noun_of(info->type));
}

void caps_describe(char *buffer, size_t size, const struct tess_handle_info *info, const struct caps_target *target)
{
    struct text text = {.buffer = buffer, .size = size};
    buffer[0] = '\0';
    switch (info->type) {
    case OBJECT_UNTYPED: describe_untyped(&text, info); break;
    case OBJECT_MEMORY: describe_memory(&text, info); break;
    case OBJECT_PROCESS: describe_process(&text, info, target); break;
    case OBJECT_ENDPOINT: describe_endpoint(&text, info, target); break;
    case OBJECT_MACHINE: describe_machine(&text, info); break;
    case OBJECT_DMA: describe_dma(&text, info); break;
    case OBJECT_THREAD:
        text_add(&text, info->rights & THREAD_RIGHT_CONTROL ? "control thread %llu" : "observe thread %llu",
                 (unsigned long long)info->object_id);
        break;
    case OBJECT_INTERRUPT: text_add(&text, "handle interrupt %llu", (unsigned long long)info->detail[0]); break;
    case OBJECT_IOPORTS:
        text_add(&text, "use I/O ports 0x%llx to 0x%llx", (unsigned long long)info->detail[0],
                 (unsigned long long)(info->detail[0] + info->detail[1] - 1));
        break;
    case OBJECT_LOG:
        add_rights(&text, OBJECT_LOG, info->rights, FIRST_OWN_RIGHT, " and ");
        text_add(&text, info->rights & LOG_RIGHT_READ ? " the log" : " to the log");
        break;
    case OBJECT_SYSTEM: text_add(&text, "observe the whole system: every process and what it may do"); break;
    default: describe_plain(&text, info); break;
    }
}

void caps_generic_rights(char *buffer, size_t size, uint32_t rights)
{
    struct text text = {.buffer = buffer, .size = size};
    buffer[0] = '\0';
    rights &= ~(uint32_t)RIGHT_OWNER; /* means something for endpoints alone, and there the sentence says it */
    for (uint32_t bit = 0; bit < FIRST_OWN_RIGHT; bit++) {
        if (rights >> bit & 1) {
            text_add(&text, "%s%s", text.length > 0 ? " " : "", right_name(0, bit));
        }
    }
}

const char *caps_warning(const struct tess_handle_info *info)
{
    if (info->type == OBJECT_DMA && (info->rights & DMA_RIGHT_MAP) && info->detail[1] == 0) {
        return "a driver of a bus-mastering device is trusted with all memory: this machine has no IOMMU";
    }
    if (info->type == OBJECT_MACHINE && (info->rights & MACHINE_RIGHT_HARDWARE)) {
        return "whoever may program devices is trusted with all memory";
    }
    return nullptr;
}
