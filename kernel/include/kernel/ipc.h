/*
 * Endpoints, events, rings, interrupts: everything a thread can wait for.
 * Order: endpoint->lock, then object->lock, then ring->lock, then thread->lock, timer and run queue locks.
 */
#pragma once
#include <kernel/invocation.h>
#include <kernel/memory.h>
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

struct ring_call {
    struct thread *caller; /* counted; nullptr = free */
    uint64_t sequence;
    uint32_t generation;
    uint32_t free_next;
};

struct ring {
    struct object object;
    struct spinlock lock;
    struct memory *memory; /* counted, pinned */
    struct cspace *cspace; /* of its maker: where handles in messages go; counted */
    uint32_t sq_entries, cq_entries, page_count;
    uint32_t sq_head, cq_tail; /* the kernel's own copies */
    uint32_t call_count, watch_count;
    uint32_t call_free; /* index + 1 chain */
    struct watch *watch_free;
    struct list pending GUARDED_BY(&lock); /* watches with something to report */
    struct list endpoints GUARDED_BY(&lock);
    struct wait_queue waiter;         /* at most one thread */
    uint32_t min_complete, submitted; /* of the waiter */
    uint32_t reserved;                /* completion entries promised to submissions and calls under way */
    bool is_entering;                 /* a thread executes submissions */
    bool is_closed;
    bool wants_pump;    /* an endpoint has messages that found no room */
    uint8_t **pages;    /* direct-map addresses of the ring's memory */
    paddr_t table_page; /* holds pages[], watch_pages[], call_pages[] */
    struct watch **watch_pages;
    struct ring_call **call_pages;
    uint32_t watch_page_count, call_page_count;
};

struct dma_run {
    struct memory *memory;
    paddr_t address;
    uint64_t count_pages;
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

extern const struct object_class endpoint_class, event_class, interrupt_class, ring_class, dma_class;

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
/* A reply to `caller` (object counted, consumed): copies the message in the replier's registers and message page, wakes or hands over. */
status_t endpoint_reply_to(struct invocation *inv, struct object *caller, uint64_t sequence, bool is_handoff);
/* Checks the handles of an outgoing message and moves or copies them into `to`; all or nothing. */
status_t message_transfer_handles(uint64_t op, const uint64_t in[4], struct cspace *from, struct cspace *to, uint64_t out[4]);

/* A completion entry and a call slot for one message; false when the ring is full (it then pumps its endpoints when there is room). */
bool ring_reserve_call(struct ring *ring, bool wants_reply, uint32_t *out_index);
/* True when something found no room meanwhile: the caller pumps the ring once it holds no lock. */
[[nodiscard]] bool ring_unreserve_call(struct ring *ring, uint32_t index);
/* Fills what was reserved. The caller's wait (sequence) is published already. index UINT32_MAX: no reply wanted. */
void ring_commit_call(struct ring *ring, uint32_t index, struct thread *caller, uint64_t sequence, uint64_t cookie, uint64_t op,
                      uint64_t badge, const uint64_t words[12]);
bool ring_deliver_badge_gone(struct ring *ring, uint64_t cookie, uint64_t badge);
/* A watch has news; its object's lock is held. */
void ring_watch_signal(struct watch *watch, uint64_t bits, bool is_dead);

/* Messages that found no room get another chance. No lock held. */
void ring_pump(struct ring *ring);

/* A process that ended counts as dead for watches although its handle stays valid. object->lock held. */
bool object_has_ended(struct object *object);
/* A watch was added: an interrupt that fired before must reach it. */
void interrupt_recheck(struct interrupt *interrupt);
void interrupt_fire(uint32_t source); /* irq_device */

void event_signal(struct event *event, uint64_t bits);

/* Log: kernel side. */
void log_write(uint32_t level, uint64_t process_id, const char *text, uint32_t size);
void log_init(void);
void log_reader_gone(struct event *event); /* killed: the log lets go of it if it is the reader's */
