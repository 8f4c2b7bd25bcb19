/*
 * struct tess_call: one call as a server sees it, filled by whoever received it (lib/std loop), read by the generated
 * <interface>_dispatch() of <tess/serve/...>.
 *
 * Handles that came in: when the method returns OK or defers, it has taken them (the dispatcher sets handles_taken); after an
 * error they are still the receiver's, who deletes them, unless the method set handles_taken itself.
 * Handles that go out lie in words[8..]: copied to the caller, or moved when their bit in reply_move_mask is set.
 * Deferring: the method copies `token` away, sets is_deferred and returns OK; later somebody fills a new struct tess_call with
 * <interface>_<method>_reply() and sends it with that token.
 */
#pragma once
#include <stdint.h>
#include <tess/abi.h>

struct tess_call {
    uint64_t op;
    uint64_t badge;
    uint32_t rights; /* of the handle that was called */
    uint64_t token;  /* names the waiting caller; 0 = no reply is wanted */
    uint64_t words[MESSAGE_WORDS];
    handle_t handles[MESSAGE_HANDLES];
    uint32_t handle_count;
    bool handles_taken;
    bool is_deferred;
    uint32_t reply_words;
    uint32_t reply_handles;
    uint32_t reply_move_mask; /* bit i: reply handle i is moved */
};
