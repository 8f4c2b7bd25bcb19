/*
 * What the files of the intruder share. The service makes its own children: it holds no program file and no clock, so a child
 * is a copy of its address space (clone.c). One page is shared by the service and the child that runs.
 */
#pragma once
#include <std/log.h>
#include <std/memory.h>
#include <std/program.h>
#include <std/time.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <tess/abi.h>
#include <tess/invoke.h>
#include <tess/util.h>

constexpr uint64_t SHARED_ADDRESS = 0x2A5A5A5000; /* no power of two or other value that random calls like to name */
constexpr uint64_t USER_END = 1ull << 38;

struct shared {
    struct std_self self; /* of the child */
    handle_t http;
    uint64_t seed;
    _Atomic uint64_t calls; /* made so far, by all children */
    uint64_t calls_wanted;  /* the random caller ends when `calls` is there */
    _Atomic uint64_t step;  /* where an attack was, for the report */
    uint32_t appends_left;  /* records that random calls may still write */
};
extern struct shared *shared;

/* ---- Children (clone.c) ---- */
void shared_make(void); /* first */
struct clone {
    handle_t untyped, vspace, cspace, process, thread;
};
struct clone_args {
    int32_t (*fn)(uint64_t argument); /* its result is the exit status */
    uint64_t argument;
    uint64_t untyped_bytes;
    bool has_http, has_log;
};
[[nodiscard]] status_t clone_start(struct clone *clone, const struct clone_args *args);
/* Destroys everything that was the child's. */
void clone_end(struct clone *clone);

/* ---- Attacks (attack.c, machine.c): each runs in a child, which may die ---- */
constexpr int32_t STATUS_SAFE = 0, STATUS_BREACH = 1;
enum attack_end : uint8_t {
    ENDS_ANYHOW, /* dies of a fault or ends by itself, but with no breach */
    ENDS_FAULT,  /* must die of a fault */
    ENDS_SAFE,   /* must live through it */
    ENDS_KILLED, /* runs until it is killed */
};
struct attack {
    const char *name;
    int32_t (*fn)(uint64_t argument);
    uint32_t count; /* runs, with arguments 0, 1, ... */
    enum attack_end end;
};
extern const struct attack attacks[], machine_attacks[]; /* each ends with a null name */

/* ---- The random caller (random.c) ---- */
uint64_t random_next(uint64_t *state);
int32_t random_calls(uint64_t argument);
/* Rings whose memory another thread overwrites; argument: rounds. */
int32_t ring_garbage(uint64_t argument);

/* A call in full; results are in words. */
status_t raw_call(uint64_t op, handle_t handle, uint64_t aux, uint64_t words[MESSAGE_WORDS]);
