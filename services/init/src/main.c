/* The first process: gathers what the kernel gave, starts the system, and serves until it is switched off. */
#include <init.h>
#include <std/log.h>
#include <std/program.h>
#include <tess/stub/clock.h>
#include <tess/stub/machine.h>

static struct init init; /* too large for the stack */

/* Nothing can run without what failed: say so, and switch off so that nobody waits for it. */
[[noreturn]] static void fail(const char *why)
{
    log_error("cannot start the system: %s", why);
    if (init.machine != HANDLE_NONE) {
        (void)tess_machine_power(init.machine, POWER_FAIL);
    }
    std_exit(1);
}

static void check(status_t status, const char *what)
{
    if (status == ERROR_NO_MEMORY) {
        fail("not enough memory");
    }
    if (status != OK) {
        log_error("%s: %s", what, status_name(status));
        fail(what);
    }
}

int main(void)
{
    init.machine = std_handle("machine");
    init.system = std_handle("system");
    init.cell = std_handle("cell");
    init.clock = std_handle("clock");
    init.image = std_handle("image");
    init.trace = std_handle("trace");
    init.audit = std_handle("audit");
    const char *problem = start_open(&init);
    if (problem != nullptr) {
        fail(problem);
    }
    check(tess_clock_page(init.clock, &init.clock_page), "the clock page");
    check(loop_open(&init.loop, &(struct std_ring_sizes){.sq_entries = 4, .cq_entries = 128, .call_slots = 32, .watch_slots = 80}),
          "the ring");
    check(start_endpoints(&init), "endpoints");
    start_services(&init);
    return loop_run(&init.loop);
}
