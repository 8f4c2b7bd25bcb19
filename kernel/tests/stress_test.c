/*
 * Hostile programs on several CPUs. When a generation has made enough calls, the supervisor (whoever idles) destroys it and begins
 * the next. Run with a seed to repeat one, and with a second number for the number of generations.
 */
#include "programs.h"
#include <arch/arch.h>
#include <host.h>
#include <kernel/object.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

constexpr uint32_t CPUS = 4;
constexpr uint64_t CALLS_PER_GENERATION = 20'000, GENERATION_NS = 2'000'000'000;

uint64_t programs_seed;
static uint32_t generations = 8, generation_count;
static uint64_t started_ns;
static bool is_ending;
static _Atomic int supervisor_lock;

uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17; /* Marsaglia, Xorshift RNGs, 2003 */
    return *state * 0x2545F4914F6CDD1D;
}

uint64_t below(uint64_t *state, uint64_t limit) { return (next_random(state) >> 16) % limit; }

static void begin(void)
{
    programs_begin();
    started_ns = arch_time_ns();
    is_ending = false;
}

/* Runs on whatever CPU idles, outside of a kernel entry. */
static void supervise(void)
{
    if (atomic_exchange(&supervisor_lock, 1) != 0)
        return;
    if (programs_calls >= CALLS_PER_GENERATION || object_count(OBJECT_THREAD) == 0 || arch_time_ns() - started_ns > GENERATION_NS)
        atomic_store(&programs_must_end, true);
    if (programs_must_end) {
        quiesce_enter(arch_cpu());
        if (!is_ending) {
            programs_end();
            is_ending = true;
        } else if (programs_have_ended()) {
            if (++generation_count == generations)
                host_stop();
            else
                begin();
        }
        quiesce_leave(arch_cpu());
    }
    atomic_store(&supervisor_lock, 0);
}

static void *cpu_main(void *argument)
{
    host_cpu_run((uint32_t)(uintptr_t)argument, programs_user, supervise);
    return nullptr;
}

int main(int count, char **arguments)
{
    programs_seed = count > 1 ? strtoull(arguments[1], nullptr, 0) : arch_time_ns();
    generations = count > 2 ? (uint32_t)strtoul(arguments[2], nullptr, 0) : generations;
    printf("seed %lu\n", programs_seed);
    fflush(stdout);
    programs_boot(CPUS);
    quiesce_enter(arch_cpu());
    begin();
    quiesce_leave(arch_cpu());
    pthread_t threads[CPUS];
    for (uint32_t i = 1; i < CPUS; i++)
        pthread_create(&threads[i], nullptr, cpu_main, (void *)(uintptr_t)i);
    cpu_main(nullptr);
    for (uint32_t i = 1; i < CPUS; i++)
        pthread_join(threads[i], nullptr);
    programs_report();
    return 0;
}
