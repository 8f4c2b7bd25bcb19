/* Stands in for lib/core's <tess/invoke.h> in host tests: the test defines what a call does. */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

struct tess_regs {
    uint64_t op;
    handle_t handle;
    uint64_t aux;
    uint64_t word[4];
};

struct tess_message_page *tess_message_page(void);
status_t tess_invoke(struct tess_regs *regs);

static inline status_t tess_reply_check(const struct tess_regs *, status_t status, uint32_t, uint32_t) { return status; }
