/*
 * What is done with authority, recorded in the log `audit` (log/audit.c): who gave which handle to whom, took back, destroyed,
 * made of hardware, killed, or was denied. Endpoint locks may be held by the caller, no object's lock.
 *
 * A process cannot flood the log unseen: what repeats is counted in one record, and beyond a rate only counted (AUDIT_LEFT_OUT);
 * denials have a rate of their own.
 */
#pragma once
#include <kernel/cap.h>

struct invocation;
struct process;

/* `from` gave `to` a handle to object. The same table: nobody got anything, nothing is recorded. */
[[gnu::cold]] void audit_gave(uint32_t what, struct cspace *from, struct cspace *to, const struct object *object, uint32_t rights,
                              uint64_t badge);
/* The caller did something to an object: AUDIT_REVOKE, AUDIT_DESTROY, AUDIT_DEVICE. */
[[gnu::cold]] void audit_did(uint32_t what, struct cspace *actor, const struct object *object, uint64_t first, uint64_t second);
/* AUDIT_KILL, AUDIT_PROCESS. */
[[gnu::cold]] void audit_process(uint32_t what, struct cspace *actor, const struct process *process, uint64_t detail);
/* Records that a right was missing; returns MISSING_RIGHT. */
[[gnu::cold]] status_t audit_denied(struct cspace *actor, const struct object *object, uint64_t op, uint32_t rights);
/* The table's process ends: what was only counted is written. */
void audit_flush(struct cspace *actor);
