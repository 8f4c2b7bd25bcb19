/* Every atomic operation of the kernel is a point where the explorer may let another CPU go on (explore.c). */
#pragma once
#include_next <stdatomic.h>

#ifdef POINTS_COUNTED /* most are only counted down, and nobody asks what was written (call_fuzz.c) */
extern unsigned points_left;
void point_reached(void);
static inline void explore_point(void)
{
    if (points_left-- == 0)
        point_reached();
}
static inline void explore_wrote(void) {}
#else
void explore_point(void);
/* Something that others may wait for was changed. */
void explore_wrote(void);
#endif

#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and
#undef atomic_fetch_and_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_weak_explicit

#define atomic_load(p) (explore_point(), __c11_atomic_load(p, __ATOMIC_SEQ_CST))
#define atomic_load_explicit(p, order) (explore_point(), __c11_atomic_load(p, __ATOMIC_SEQ_CST))
/* A store may be a release: what comes after it is on its own. */
#define atomic_store(p, value) (explore_point(), explore_wrote(), __c11_atomic_store(p, value, __ATOMIC_SEQ_CST), explore_point())
#define atomic_store_explicit(p, value, order) atomic_store(p, value)
#define atomic_fetch_add(p, value) (explore_point(), explore_wrote(), __c11_atomic_fetch_add(p, value, __ATOMIC_SEQ_CST))
#define atomic_fetch_add_explicit(p, value, order) atomic_fetch_add(p, value)
#define atomic_fetch_sub(p, value) (explore_point(), explore_wrote(), __c11_atomic_fetch_sub(p, value, __ATOMIC_SEQ_CST))
#define atomic_fetch_sub_explicit(p, value, order) atomic_fetch_sub(p, value)
#define atomic_fetch_or(p, value) (explore_point(), explore_wrote(), __c11_atomic_fetch_or(p, value, __ATOMIC_SEQ_CST))
#define atomic_fetch_or_explicit(p, value, order) atomic_fetch_or(p, value)
#define atomic_fetch_and(p, value) (explore_point(), explore_wrote(), __c11_atomic_fetch_and(p, value, __ATOMIC_SEQ_CST))
#define atomic_fetch_and_explicit(p, value, order) atomic_fetch_and(p, value)
/* One that changes nothing is not a write: a CPU that polls does not keep others polling. */
#define atomic_exchange(p, value)                                                                                                          \
    ({                                                                                                                                     \
        explore_point();                                                                                                                   \
        auto before_ = __c11_atomic_exchange(p, value, __ATOMIC_SEQ_CST);                                                                  \
        if (before_ != __c11_atomic_load(p, __ATOMIC_SEQ_CST))                                                                             \
            explore_wrote();                                                                                                               \
        before_;                                                                                                                           \
    })
#define atomic_exchange_explicit(p, value, order) atomic_exchange(p, value)
#define atomic_compare_exchange_strong(p, expected, value)                                                                                 \
    ({                                                                                                                                     \
        explore_point();                                                                                                                   \
        bool did_ = __c11_atomic_compare_exchange_strong(p, expected, value, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                          \
        if (did_)                                                                                                                          \
            explore_wrote();                                                                                                               \
        did_;                                                                                                                              \
    })
#define atomic_compare_exchange_strong_explicit(p, expected, value, a, b) atomic_compare_exchange_strong(p, expected, value)
#define atomic_compare_exchange_weak(p, expected, value) atomic_compare_exchange_strong(p, expected, value)
#define atomic_compare_exchange_weak_explicit(p, expected, value, a, b) atomic_compare_exchange_strong(p, expected, value)

/* peek(), peekable_set(), and the words shared with programs. */
#define __atomic_load_n(p, order)                                                                                                          \
    ({                                                                                                                                     \
        explore_point();                                                                                                                   \
        *(volatile typeof(*(p)) *)(p);                                                                                                     \
    })
#define __atomic_store_n(p, value, order)                                                                                                  \
    ({                                                                                                                                     \
        explore_point();                                                                                                                   \
        explore_wrote();                                                                                                                   \
        *(volatile typeof(*(p)) *)(p) = (value);                                                                                           \
    })
