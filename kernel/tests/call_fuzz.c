/*
 * Fuzz entry: the input's bytes are the choices of a generation of hostile programs on one CPU. Time is virtual, so an input that is
 * run alone always does the same. When the bytes are used up, or nothing would ever run again, the generation is destroyed, and nothing may be missing.
 */
#include "programs.h"
#include <arch/arch.h>
#include <host.h>
#include <kernel/object.h>

uint64_t programs_seed = 1;
static const uint8_t *next, *end;
static bool is_ending;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* After the last byte: a fixed sequence, so that whatever waits for a certain choice gets it. */
static uint64_t take(uint32_t bytes)
{
    static uint64_t after;
    uint64_t value = 0;
    if (next == end)
        atomic_store(&programs_must_end, true);
    for (uint32_t i = 0; i < bytes; i++) {
        after = next == end ? after * 6364136223846793005 + 1442695040888963407 : 0; /* Knuth, TAOCP 3.3.4, MMIX */
        value = value << 8 | (next == end ? after >> 56 : *next++);
    }
    return value;
}

uint64_t next_random(uint64_t *) { return take(8); }
uint64_t below(uint64_t *, uint64_t limit) { return take(limit <= 256 ? 1 : limit <= 65536 ? 2 : 8) % limit; }

static void idle(void)
{
    if (host_will_wake() && !programs_must_end)
        return;
    atomic_store(&programs_must_end, true);
    quiesce_enter(arch_cpu());
    if (!is_ending) {
        programs_end();
        is_ending = true;
    } else if (programs_have_ended()) {
        host_stop();
    }
    quiesce_leave(arch_cpu());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_booted;
    if (!is_booted) {
        host_time_is_virtual = true;
        programs_boot(1);
        is_booted = true;
    }
    next = data;
    end = data + size;
    is_ending = false;
    quiesce_enter(arch_cpu());
    programs_begin();
    quiesce_leave(arch_cpu());
    host_cpu_run(0, programs_user, idle);
    return 0;
}
