/* Conformance: every method of every kernel object. See conformance.h for the groups. */
#include <conformance.h>

const struct role roles[] = {
    {"exhaust", role_exhaust_handles},
    {"exit", role_exit},
    {"fault", role_fault},
    {"wait", role_wait},
    {"map", role_map},
    {"unmapped", role_unmapped},
    {"beyond", role_beyond},
    {"paged", role_paged},
    {"blocked", role_blocked},
    {"echo", role_echo},
    {"call", role_call},
    {"trace", role_trace},
    {"flood", role_flood},
    {"fork", role_fork},
    {"full", role_full},
    {"keeper", role_keeper},
    {"upcall", role_upcall},
    {"fpu", role_fpu},
    {"ring_maker", role_ring_maker},
    {"spin", role_spin},
    {},
};

int main(void)
{
    if (!guest_init())
        return child_result;
    generic_tests();
    exhaustion_tests();
    untyped_tests();
    cspace_tests();
    memory_tests();
    clone_tests();
    vspace_tests();
    resize_tests();
    pager_tests();
    large_tests();
    tlb_tests();
    process_tests();
    fork_tests();
    thread_tests();
    operation_tests();
    sched_tests();
    budget_tests();
    lend_tests();
    quota_tests();
    limits_tests();
    event_tests();
    reply_tests();
    futex_tests();
    registers_tests();
    upcall_tests();
    inspect_tests();
    fpu_tests();
    endpoint_tests();
    message_tests();
    transfer_tests();
    ring_tests();
    ring_call_tests();
    device_tests();
    system_tests();
    trace_tests();
    audit_tests();
    tests_finish();
}
