/* What the files of the conformance tests share. Each group of tests is a function that runs its own table. */
#pragma once
#include <guest.h>
#include <std/ring.h>

/* ---- The table of all kernel methods (methods.py) ---- */
enum argument_kind : uint8_t { ARGUMENT_OTHER, ARGUMENT_U32, ARGUMENT_I32, ARGUMENT_HANDLE };
struct argument {
    enum argument_kind kind;
    uint8_t word;
    uint8_t type; /* ARGUMENT_HANDLE: enum object_type */
    uint32_t right;
};
struct method {
    const char *name;
    uint8_t interface, number;
    uint32_t right;
    uint8_t in_words, argument_count;
    bool is_blocking, is_raw, gives_handle;
    struct argument arguments[8];
};
extern const struct method methods[];
extern const uint32_t method_count;

static inline uint64_t method_op(const struct method *method) { return op_make(method->interface, method->number, method->in_words, 0, 0); }

/* One object of every type, with all rights, as far as this machine has them (HANDLE_NONE: ioports elsewhere than on x86_64). */
struct samples {
    handle_t of[OBJECT_TYPE_LIMIT];
    struct child child; /* suspended: process, thread, vspace, cspace */
    struct std_ring ring;
};
bool samples_make(struct samples *samples);
void samples_drop(struct samples *samples);

/* A call in full: op, handle, aux, words 0..11. Results go to words; returns the status. */
status_t raw_call(uint64_t op, handle_t handle, uint64_t aux, uint64_t words[12]);

/* A handle with these rights only; derived from `handle`. */
handle_t with_rights(handle_t handle, uint32_t rights);

/* ---- Groups ---- */
void generic_tests(void);
void exhaustion_tests(void);
void untyped_tests(void);
void cspace_tests(void);
void memory_tests(void);
void clone_tests(void);
void fork_tests(void);
void vspace_tests(void);
void resize_tests(void);
void pager_tests(void);
void large_tests(void);
void tlb_tests(void);
void process_tests(void);
void thread_tests(void);
void sched_tests(void);
void budget_tests(void);
void lend_tests(void);
void quota_tests(void);
void limits_tests(void);
void endpoint_tests(void);
void message_tests(void);
void transfer_tests(void);
void ring_tests(void);
void ring_call_tests(void);
void operation_tests(void);
void event_tests(void);
void reply_tests(void);
void futex_tests(void);
void registers_tests(void);
void registers_kept(void); /* the test itself */
void upcall_tests(void);
void inspect_tests(void);
void fpu_tests(void);
void device_tests(void);
void system_tests(void);
void trace_tests(void);
void audit_tests(void);

/* ---- Roles of child processes ---- */
int32_t role_exhaust_handles(void);
int32_t role_exit(void);
int32_t role_fault(void);
int32_t role_spin(void);
int32_t role_wait(void);
int32_t role_echo(void);
int32_t role_call(void);
int32_t role_map(void);
int32_t role_beyond(void);
int32_t role_paged(void);
int32_t role_unmapped(void);
int32_t role_full(void);
int32_t role_keeper(void);
int32_t role_fpu(void);
int32_t role_ring_maker(void);
int32_t role_trace(void);
int32_t role_flood(void);
int32_t role_fork(void);
int32_t role_blocked(void);
int32_t role_upcall(void);
