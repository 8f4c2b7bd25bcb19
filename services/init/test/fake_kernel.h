/*
 * A small model of the kernel and of lib/std for host tests of init: handles, untypeds with quotas, endpoints, processes, the
 * watch on their death, timers and a clock that the test moves. It counts what init holds, and any call can be made to fail.
 */
#pragma once
#include <stddef.h>
#include <tess/abi.h>

constexpr uint64_t FAKE_RAM_PAGES = 4096;

/* A fresh machine; `image` becomes the boot image. */
void fake_reset(const void *image, size_t image_size);

/* The n-th kernel call from now on that can run out of memory fails with NO_MEMORY, once; 0 = none. */
void fake_fail_at(uint32_t n);
bool fake_has_failed(void);

/* Handles in init's table; pages charged to the root untyped; objects alive. */
uint32_t fake_handles(void);
uint64_t fake_pages(void);
uint32_t fake_objects(void);
/* Handles that the process was spawned with, by name; HANDLE_NONE: not given. Rights and badge as given. */
bool fake_child_handle(uint64_t process_id, const char *name, uint32_t *out_rights, uint64_t *out_badge, uint64_t *out_object);
/* Processes alive. */
uint32_t fake_processes(void);

/* The process ends; its watch runs. */
void fake_end(uint64_t process_id, uint32_t cause, int32_t status);
/* Runs watches that became due without the test's doing (a kill by init). */
void fake_run(void);
/* Moves the clock; timers that become due run. */
void fake_sleep(uint64_t ns);
uint32_t fake_timers(void);

/* Everything logged since the last call, lines separated by \n. */
const char *fake_log(void);

extern handle_t fake_clock_page, fake_image, fake_machine, fake_system, fake_clock;
