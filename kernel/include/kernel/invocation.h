/* One system call (or one submitted operation) on its way through the generated dispatcher (abi_dispatch.c). */
#pragma once
#include <kernel/cap.h>

struct thread;

/* Internal results of a handler, above all statuses a user can see. */
constexpr status_t STATUS_BLOCKED = 0x40000001;   /* the thread waits; whoever wakes it writes its result registers */
constexpr status_t STATUS_NO_RESULT = 0x40000002; /* result registers were written by the handler, or the thread is gone */

/* Every CPU has one for system calls (cpu->invocation). Its thread and cspace are set when the thread is switched to; handle is not
 * set, aux and words only for methods that want them. */
struct invocation {
    struct object *object;
    struct thread *thread; /* the caller */
    struct cspace *cspace; /* the caller's table */
    uint64_t op;
    handle_t handle;     /* that was invoked */
    uint64_t aux;        /* deadline, or reply token */
    struct badge *badge; /* set for endpoints only */
    uint32_t rights;
    uint32_t out_count;          /* of a submitted operation */
    struct operation *operation; /* from a ring, and it may wait: what waits instead of the thread */
    bool is_submitted;           /* from a ring: the thread may not block */
    bool is_committed;           /* had effects: must not be made again for want of memory */
    const uint64_t *words;       /* the arguments: where they are in the frame, or below; read before the thread waits or gets results */
    uint64_t copied[12];
    uint64_t out[12];
};

typedef status_t (*kernel_method_fn)(struct invocation *inv);
/* Flags above the shape, so that no op has the shape of a method with a flag. A raw method takes a message of any size. */
enum : uint32_t { METHOD_BLOCKING = 1u << 31, METHOD_RAW = 1u << 30, METHOD_NONE = 1u << 29 };
constexpr uint32_t METHOD_SHAPE_MASK = 0x7FFFFF; /* of op: method, interface, words, handles */
constexpr uint32_t KERNEL_METHODS_MAX = 32;      /* of one interface */
struct kernel_method {
    kernel_method_fn fn;
    uint32_t right;
    uint32_t shape; /* what op has under METHOD_SHAPE_MASK (raw: method and interface only), and flags. METHOD_NONE or, where no
                     * op has this place and the shape 0: no such method */
};
extern const struct kernel_method kernel_methods[32][KERNEL_METHODS_MAX]; /* by object type and method id */

/* Makes the call of the current thread that lies in its CPU's invocation, and ends the kernel entry: the thread to resume. */
struct thread *kernel_syscall_general(struct thread *current);

/* For submitted operations: looks up inv->handle and checks what abi/README.md says is checked first, in its order; *out_may_wait: it is
 * a call or a blocking method, and wants inv->operation. Then runs it. STATUS_BLOCKED: inv->operation waits. RESTART: check again. */
[[nodiscard]] status_t invocation_check(struct invocation *inv, bool *out_may_wait);
[[nodiscard]] status_t invocation_run(struct invocation *inv);

/* The handler's results inv->out are complete: they go to the caller's registers and message page, or stay for the completion. */
void invocation_return(struct invocation *inv, uint32_t count);

/* Resolves a handle argument: type and rights checked. The object is valid for this kernel entry. */
[[nodiscard]] status_t invocation_handle(struct invocation *inv, uint64_t value, enum object_type type, uint32_t rights,
                                         struct cap *out_cap);
/* The object of a cap or invocation as its own type (struct thread keeps its frame first). */
void *object_self(struct object *object);
/* Gives a freshly created object (refs = 1, the caller's) to the calling process as a top-level handle; on failure the object dies. */
[[nodiscard]] status_t invocation_give(struct invocation *inv, struct object *object, uint32_t rights, handle_t *out_handle);
