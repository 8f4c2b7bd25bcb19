/*
 * A foreign system call: into the upcall code (personality.h), which adds two registers, and back; x86_64 comes back without the
 * kernel. The thread that measures takes the personality itself: whatever native calls it makes from then on are passed on. The last.
 */
#include "bench.h"
#include <personality.h>
#include <std/program.h>
#include <tess/stub/thread.h>

static struct personality personality;

static void upcall_prepare(void)
{
    bench_must(personality_map(), "upcall code");
    bench_must(personality_create(&personality, 1), "an upcall frame");
    bench_must(personality_take(&personality, 0, std_self.thread), "upcalls");
    bench_must(tess_thread_set_upcall(std_self.thread, personality.frames.memory, 0, (uint64_t)personality.frame, personality_quick_entry(),
                                      personality_fault_entry()),
               "upcalls with a quick way back");
}

static void upcall_run(uint32_t count)
{
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < count; i++) {
        wrong |= personality_call(PERSONALITY_ADD, i, 5) ^ (i + 5);
    }
    bench_check(wrong == 0, "an upcall gave another sum");
}

const struct bench bench_upcall = {.name = "upcall", .count = 500, .prepare = upcall_prepare, .run = upcall_run};
