/*
 * Endpoints, events, rings, interrupts: everything a thread can wait for.
 * Order: endpoint->lock, then object->lock, then ring->lock or thread->lock, timer and run queue locks.
 */
#pragma once
#include <kernel/invocation.h>
#include <kernel/memory.h>
#include <kernel/sched.h>
#include <kernel/thread.h>

struct ring;

struct endpoint {
    struct object object;
    struct spinlock lock;
    struct wait_queue callers; /* threads whose message nobody took yet */
    struct wait_queue receivers;
    struct ring *ring GUARDED_BY(&lock); /* bound; not counted: the ring unbinds itself */
    uint64_t ring_cookie;
    struct list_node ring_node;                /* ring->endpoints; ring->lock */
    bool is_on_ring;                           /* ring->lock */
    struct list badges_gone GUARDED_BY(&lock); /* struct badge: notices not delivered yet */
    struct endpoint *ownerless_next;           /* reap_list */
    _Atomic uint32_t owner_count;              /* handles with RIGHT_OWNER; 0 = nobody will ever receive */
};

/* Events and interrupts: state, waiters and watches are guarded by object.lock; watches are on object.watches. */
struct event {
    struct object object;
    uint64_t bits;
    struct wait_queue waiters;
};

struct interrupt {
    struct object object;
    uint32_t source;
    struct list_node source_node; /* irq/interrupt.c, its lock */
    bool is_linked;               /* on its source's list; that lock */
    bool is_pending;              /* fired and not acknowledged; that lock */
    bool is_signalled;            /* not yet seen by a waiter */
    bool is_router;               /* its source was configured through it: flags, cpu; that lock */
    uint32_t flags, cpu;
    struct wait_queue waiters;
};

enum watch_state : uint8_t { WATCH_FREE, WATCH_ACTIVE, WATCH_TIMER, WATCH_CANCELLING };

/* One watch or timeout of a ring. Guarded by ring->lock, except object_node and is_on_object: object->lock. */
struct watch {
    struct timer timer;            /* WATCH_TIMER; its cookie is the generation */
    struct list_node object_node;  /* object->watches */
    struct list_node pending_node; /* ring->pending */
    struct object *object;         /* not counted: its kill unlinks the watch */
    struct ring *ring;
    uint64_t cookie, mask, pending_bits;
    enum watch_state state;
    bool is_multi, is_pending, is_dead, is_on_object;
    uint32_t generation;
    struct watch *free_next;
};

/* The slot of one call that arrived; the server knows it by token (index and generation). Guarded by ring->lock. */
struct ring_call {
    struct debt owed; /* its caller */
    struct ring *ring;
    struct list_node cancelled_node; /* ring->cancelled, when the caller gave up and the server was not told yet */
    uint32_t index, generation;
    uint32_t free_next;
    bool is_taken, is_cancelled;
};

/*
 * An operation that was submitted and waits: it stands in for the thread that a system call would leave waiting, with the same protocol
 * (kernel/thread.h): (operation, sequence) names one wait, exactly one party wins it, takes the operation out of its queue and ends
 * it with operation_finish(). The results stay in the record until there is room for its completion. The wait_ fields are as a
 * thread's; the rest belongs to the submitter until the wait is published, then to the winner, then to ring->lock.
 */
struct operation {
    struct waiter waiter;
    _Atomic uint64_t wait_word;
    struct wait_queue *wait_queue; /* peek() */
    struct object *wait_object;
    uint64_t wait_arg, wait_bits;
    struct debt *awaits;
    struct timer timer;
    uint64_t deadline_ns; /* the timer is armed unless DEADLINE_INFINITE */
    struct ring *ring;
    struct list_node done_node; /* ring->done */
    struct operation *free_next;
    uint64_t cookie, link_cookie;
    bool is_linked;   /* a timeout came with it: it gets a completion of its own */
    bool is_link_due; /* that is the deadline */
    bool is_in_use;   /* ring->lock */
    status_t status;
    uint64_t op, badge, words[12]; /* of the call, then of what came of it */
};

struct ring {
    struct object object;
    struct spinlock lock;
    struct memory *memory; /* counted, pinned */
    struct cspace *cspace; /* of its maker: where handles in messages go; counted */
    struct cell *cell;     /* its operations are charged to (CELL_LIMIT_CALLS); counted */
    uint32_t sq_entries, cq_entries, page_count;
    uint32_t sq_head, cq_tail; /* the kernel's own copies */
    uint32_t call_count, watch_count, operation_count;
    uint32_t call_free; /* index + 1 chain */
    struct watch *watch_free;
    struct operation *operation_free;
    struct list pending GUARDED_BY(&lock);   /* watches with something to report */
    struct list done GUARDED_BY(&lock);      /* operations with results */
    struct list cancelled GUARDED_BY(&lock); /* calls whose callers gave up */
    struct list endpoints GUARDED_BY(&lock);
    struct wait_queue waiter;         /* at most one thread */
    uint32_t min_complete, submitted; /* of the waiter */
    uint32_t reserved;                /* completion entries promised to submissions and calls under way */
    bool is_entering;                 /* a thread executes submissions */
    bool is_closed;                   /* set once; peek() */
    bool wants_pump;                  /* an endpoint has messages that found no room */
    uint8_t **pages;                  /* direct-map addresses of the ring's memory */
    paddr_t table_page;               /* holds pages[], watch_pages[], call_pages[], operation_pages[] */
    struct watch **watch_pages;
    struct ring_call **call_pages;
    struct operation **operation_pages;
    uint32_t watch_page_count, call_page_count, operation_page_count;
};

/* A reply that a server keeps (ipc/reply.c). */
struct reply {
    struct object object;
    struct spinlock lock; /* guards owed */
    struct debt owed;
};

struct dma_run {
    struct memory *memory;
    paddr_t address;
    uint64_t first, count_pages;
    struct list_node node;
};
struct dma {
    struct object object;
    struct spinlock lock;
    struct list runs GUARDED_BY(&lock);
    /* Of the function that this object guards, else nullptr; object/dma.c's guard_lock. */
    volatile uint16_t *command;
    struct list_node guard_node;
};

struct ioports {
    struct object object;
    uint32_t base, count;
};

extern const struct object_class endpoint_class, event_class, interrupt_class, ring_class, dma_class, reply_class;

/* ---- Who waits: threads and operations ---- */

static inline struct thread *waiter_thread(struct waiter *waiter) { return container_of(waiter, struct thread, waiter); }
static inline struct operation *waiter_operation(struct waiter *waiter) { return container_of(waiter, struct operation, waiter); }

extern struct operation debt_nobody; /* what a debt names when its caller gave up */

/* As those of a thread (kernel/thread.h). */
static inline bool operation_claim(struct operation *operation, uint64_t sequence)
{
    uint64_t expected = sequence << 8 | WAIT_BLOCKED;
    return atomic_compare_exchange_strong(&operation->wait_word, &expected, sequence << 8 | WAIT_WOKEN);
}
static inline bool operation_claim_any(struct operation *operation)
{
    uint64_t word = atomic_load_explicit(&operation->wait_word, memory_order_relaxed);
    return (word & 0xFF) == WAIT_BLOCKED && operation_claim(operation, word >> 8);
}
/* Begins the wait: `queue` (its lock held) is where it stands, or nullptr. Returns its sequence. The operation is not the caller's
 * afterwards. */
uint64_t operation_publish(struct operation *operation, struct wait_queue *queue, struct object *object);
/* The wait is claimed and unlinked, words holds the results: the completion goes to the ring. */
void operation_finish(struct operation *operation, status_t status);
/* Ends the wait if it is still this one. */
bool operation_cancel(struct operation *operation, uint64_t sequence, status_t status);

static inline bool waiter_claim(struct waiter *waiter, uint64_t sequence)
{
    return waiter->is_operation ? operation_claim(waiter_operation(waiter), sequence) : thread_wait_claim(waiter_thread(waiter), sequence);
}
static inline bool waiter_claim_any(struct waiter *waiter)
{
    return waiter->is_operation ? operation_claim_any(waiter_operation(waiter)) : thread_wait_claim_any(waiter_thread(waiter));
}
static inline uint64_t waiter_arg(struct waiter *waiter)
{
    return waiter->is_operation ? waiter_operation(waiter)->wait_arg : waiter_thread(waiter)->wait_arg;
}
/* Ends the wait of a claimed and unlinked waiter with `count` result words, at most 4. */
void operation_end(struct operation *operation, status_t status, const uint64_t *words, uint32_t count);
static inline void waiter_end(struct waiter *waiter, status_t status, const uint64_t *words, uint32_t count)
{
    if (waiter->is_operation) {
        operation_end(waiter_operation(waiter), status, words, count);
        return;
    }
    struct thread *thread = waiter_thread(waiter);
    for (uint32_t i = 0; i < count; i++)
        arch_frame_set_word(&thread->frame, i, words[i]);
    thread_wait_finish(thread, status);
    sched_ready(thread);
}
/* Where the reply is owed that a claimed waiter waits for. */
static inline void waiter_await(struct waiter *waiter, struct debt *debt)
{
    if (waiter->is_operation)
        waiter_operation(waiter)->awaits = debt;
    else
        waiter_thread(waiter)->awaits = debt;
}
/* Undoes a claim: the wait goes on, linked to `queue` or (nullptr) nowhere. In two steps: the first with the lock held that keeps
 * others from ending or seeing it too early; the second, with the first's result and no lock held, notices what came meanwhile. */
uint64_t waiter_restore(struct waiter *waiter, struct wait_queue *queue);
void waiter_restored(struct waiter *waiter, uint64_t sequence);
/* The present call waits, in the queue, whose lock is held (nullptr: nowhere): its thread, or its operation. */
static inline status_t wait_begin(struct invocation *inv, struct wait_queue *queue, struct object *object, uint64_t arg, uint64_t bits)
{
    struct operation *operation = inv->operation;
    if (operation != nullptr) {
        operation->wait_arg = arg;
        operation->wait_bits = bits;
        (void)operation_publish(operation, queue, object);
        return STATUS_BLOCKED;
    }
    struct thread *thread = inv->thread;
    thread->wait_arg = arg;
    thread->wait_bits = bits;
    if (queue != nullptr)
        list_push_back(&queue->waiters, &thread->wait_node);
    thread_wait_publish(thread, queue, object, inv->aux);
    return STATUS_BLOCKED;
}

/* Who is owed the reply, which nobody is afterwards; nullptr: there is none. */
struct waiter *debt_take(struct debt *debt, uint64_t *out_sequence);
/* The caller's wait was claimed and ends otherwise: the holder is told. */
void debt_cancel(struct debt *debt, struct waiter *caller);

/* A call and a reply_receive, by a short way if they are usual ones; they end the kernel entry: the thread to resume. */
struct thread *endpoint_call_quick(struct invocation *inv, struct thread *current);
struct thread *endpoint_reply_receive_quick(struct invocation *inv, struct thread *current);
/* Any call on an endpoint handle. */
status_t endpoint_call(struct invocation *inv, struct endpoint *endpoint);
/* The last handle with this badge went away (no lock held). */
void endpoint_badge_gone(struct badge *badge);
void endpoint_owner_gone(struct endpoint *endpoint);
/* Delivers queued callers and badge notices to the bound ring while it has room. True when it gave back a promise of the ring that
 * another endpoint's message may have missed: ring_pump() then. */
bool endpoint_pump(struct endpoint *endpoint);
void endpoint_unbind_locked(struct endpoint *endpoint) REQUIRES(&endpoint->lock);
/* A ring that nobody has a handle to any more counts as none, and is unbound: its kill may still be due on another CPU when the next
 * server comes. */
bool endpoint_is_bound_locked(struct endpoint *endpoint) REQUIRES(&endpoint->lock);
/* A reply to (caller, sequence), taken from a debt: copies the message in the replier's registers and message page, wakes or hands over. */
status_t endpoint_reply_to(struct invocation *inv, struct waiter *caller, uint64_t sequence, bool is_handoff);
/* Checks the handles of an outgoing message and moves or copies them into `to`; all or nothing. */
bool message_is_valid(uint64_t op); /* the sizes that op states */
status_t message_transfer_handles(uint64_t op, const uint64_t in[4], struct cspace *from, struct cspace *to, uint64_t out[4]);

/* A completion entry and a call slot for one message; false when the ring is full (it then pumps its endpoints when there is room). */
bool ring_reserve_call(struct ring *ring, bool wants_reply, uint32_t *out_index);
/* True when something found no room meanwhile: the caller pumps the ring once it holds no lock. */
[[nodiscard]] bool ring_unreserve_call(struct ring *ring, uint32_t index);
/* A message for the ring: where it comes from and what it says. words holds the message, handles already the receiver's. */
struct ring_message {
    struct waiter *caller; /* claimed, or about to wait (inv); nullptr: no reply wanted */
    uint64_t cookie, op, badge;
    const uint64_t *words;
};
/* Fills what was reserved, and lets the caller wait for the reply: one who waits already goes on (false: PEER_DIED, he is still the
 * caller's; else waiter_restored() with *out_sequence), the present call begins to (inv; STATUS_BLOCKED in the end). */
bool ring_commit_call(struct ring *ring, uint32_t index, const struct ring_message *message, struct invocation *inv,
                      uint64_t *out_sequence);
bool ring_deliver_badge_gone(struct ring *ring, uint64_t cookie, uint64_t badge);
/* A watch has news; its object's lock is held. */
void ring_watch_signal(struct watch *watch, uint64_t bits, bool is_dead);
/* The watches of the object that asked for one of the bits, at most 64; nobody is told later. No lock is held. */
void object_watches_signal(struct object *object, uint64_t bits);

/* Messages that found no room get another chance. No lock held. */
void ring_pump(struct ring *ring);

/* A process that ended counts as dead for watches although its handle stays valid. object->lock held. */
bool object_has_ended(struct object *object);
/* A watch was added: an interrupt that fired before must reach it. */
void interrupt_recheck(struct interrupt *interrupt);
void interrupt_fire(uint32_t source);                /* irq_device */
void interrupt_move_all(uint32_t from, uint32_t to); /* cpu_lease.c */

/* Called with no lock held: lets interrupts in where many wait or watch. The other one never does. */
void event_signal(struct event *event, uint64_t bits);
void event_signal_at_once(struct event *event, uint64_t bits);

/* Log: kernel side. */
void log_write(uint32_t level, uint64_t process_id, const char *text, uint32_t size);
void log_init(void);
void log_reader_gone(struct event *event); /* killed: the log lets go of it if it is the reader's */
