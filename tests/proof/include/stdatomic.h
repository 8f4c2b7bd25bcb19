/* The proofs are sequential: atomic functions are plain accesses. A harness in which others change a word between two reads defines
 * __atomic_load_n, the kernel's way to read what is shared with user space, itself. */
#pragma once

typedef _Bool atomic_bool;

#define memory_order_relaxed 0
#define memory_order_acquire 0
#define memory_order_release 0
#define memory_order_acq_rel 0
#define memory_order_seq_cst 0

#ifndef atomic_load_explicit
#define atomic_load_explicit(p, order) (*(p))
#endif
#ifndef atomic_store_explicit
#define atomic_store_explicit(p, value, order) ((void)(*(p) = (value)))
#endif
#define atomic_load(p) (*(p))
#define atomic_store(p, value) ((void)(*(p) = (value)))
#define atomic_thread_fence(order) ((void)0)
#define atomic_exchange(p, value) proof_exchange(*(p), value)
#define atomic_exchange_explicit(p, value, order) proof_exchange(*(p), value)
#define atomic_fetch_add(p, value) ((*(p) += (value)) - (value))
#define atomic_fetch_add_explicit(p, value, order) ((*(p) += (value)) - (value))
#define atomic_fetch_sub(p, value) ((*(p) -= (value)) + (value))
#define atomic_fetch_sub_explicit(p, value, order) ((*(p) -= (value)) + (value))
#define atomic_fetch_or(p, value) proof_fetch_or(*(p), value)
#define atomic_fetch_and(p, value) proof_fetch_and(*(p), value)
#define atomic_compare_exchange_strong(p, expected, value) proof_compare_exchange(*(p), *(expected), value)
#define atomic_compare_exchange_strong_explicit(p, expected, value, a, b) proof_compare_exchange(*(p), *(expected), value)
#define atomic_compare_exchange_weak(p, expected, value) proof_compare_exchange(*(p), *(expected), value)
#define atomic_compare_exchange_weak_explicit(p, expected, value, a, b) proof_compare_exchange(*(p), *(expected), value)

#define proof_exchange(word, value)                                                                                                        \
    ({                                                                                                                                     \
        typeof(word) before_ = (word);                                                                                                     \
        (word) = (value);                                                                                                                  \
        before_;                                                                                                                           \
    })
#define proof_fetch_or(word, value) proof_exchange(word, (word) | (value))
#define proof_fetch_and(word, value) proof_exchange(word, (word) & (value))
#define proof_compare_exchange(word, expected, value)                                                                                      \
    ({                                                                                                                                     \
        bool same_ = (word) == (expected);                                                                                                 \
        if (same_)                                                                                                                         \
            (word) = (value);                                                                                                              \
        else                                                                                                                               \
            (expected) = (word);                                                                                                           \
        same_;                                                                                                                             \
    })

#ifndef __atomic_load_n
#define __atomic_load_n(p, order) (*(p))
#endif
#define __atomic_store_n(p, value, order) ((void)(*(p) = (value)))
