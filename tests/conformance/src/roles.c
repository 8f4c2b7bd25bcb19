/* Child processes of the tests: small, each does one thing. */
#include <conformance.h>
#include <tess/string.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/thread.h>
#include <tess/stub/untyped.h>

int32_t role_exit(void) { return 7; }

/* Waits until it is killed. */
int32_t role_wait(void)
{
    status_t status = tess_thread_sleep(std_self.thread, DEADLINE_INFINITE);
    return status == OK ? 0 : 1;
}

static int32_t recurse(uint32_t depth)
{
    volatile uint8_t block[512];
    block[0] = (uint8_t)depth;
    return depth == 0 ? 0 : recurse(depth - 1) + block[0];
}

typedef void (*code_fn)(void);

/* Does what std_arg(1) says; each of them ends the process. */
int32_t role_fault(void)
{
    const char *what = std_arg(1);
    static uint8_t data[64];
    if (strcmp(what, "read") == 0)
        return *(volatile int32_t *)8;
    if (strcmp(what, "write") == 0)
        *(volatile int32_t *)0x7000000000 = 1;
    if (strcmp(what, "kernel") == 0)
        return *(volatile int32_t *)0xFFFFFFFF80000000;
    if (strcmp(what, "noncanonical") == 0)
        return *(volatile int32_t *)0x123456789ABCDEF0;
    if (strcmp(what, "text") == 0)
        *(volatile uint32_t *)(uint64_t)role_exit = 0;
    if (strcmp(what, "execute") == 0)
        ((code_fn)(uint64_t)data)();
    if (strcmp(what, "jump") == 0)
        ((code_fn)0xFFFFFFFF80000000)();
    if (strcmp(what, "stack") == 0)
        return recurse(1u << 30);
    if (strcmp(what, "trap") == 0)
        __builtin_trap();
    if (strcmp(what, "clock") == 0)
        *(volatile uint64_t *)std_bootstrap()->clock_page = 0;
    if (strcmp(what, "exhaust") == 0) {
        void *pages;
        if (std_pages_alloc(64 << 20, &pages) == OK)
            for (uint64_t i = 0; i < 64 << 20; i += STD_PAGE)
                ((volatile uint8_t *)pages)[i] = 1;
    }
    return 99;
}
