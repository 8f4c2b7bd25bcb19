/* One thread: against a model, with random sizes; and with a header that says anything at all (AddressSanitizer watches). */
#include "check.h"
#include <ring/pipe_queue.h>
#include <string.h>

static constexpr uint32_t SIZE = 4096 * 2;
static alignas(4096) uint8_t memory[PIPE_QUEUE_HEADER_BYTES + SIZE];
static uint64_t seed = 88172645463325252;

static uint32_t random_below(uint32_t limit)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17; /* Marsaglia, Xorshift RNGs, 2003 */
    return (uint32_t)(seed >> 20) % limit;
}

static struct pipe_queue fresh(void)
{
    struct pipe_queue q;
    memset(memory, 0, sizeof(memory));
    pipe_queue_init(memory, SIZE);
    CHECK(pipe_queue_attach(&q, memory, sizeof(memory)));
    return q;
}

static void test_sizes(void)
{
    struct pipe_queue q;
    CHECK(pipe_queue_memory_size(4096) == 8192 && pipe_queue_memory_size(1u << 20) == (1u << 20) + 4096);
    CHECK(pipe_queue_memory_size(2048) == 0 && pipe_queue_memory_size(12288) == 0 && pipe_queue_memory_size(2u << 20) == 0);
    CHECK(!pipe_queue_attach(&q, memory, 4096) && !pipe_queue_attach(&q, memory, 0) && !pipe_queue_attach(&q, memory, 4096 + 12288));
    CHECK(!pipe_queue_attach(&q, memory, (size_t)1 << 40));
}

static void test_ends(void)
{
    struct pipe_queue q = fresh();
    uint8_t bytes[16] = "abc";
    uint32_t count, value;
    bool wake_lock;
    CHECK(pipe_queue_read(&q, bytes, 16, &count) == PIPE_QUEUE_EMPTY && count == 0);
    CHECK(!pipe_queue_is_readable(&q) && pipe_queue_is_writable(&q));
    CHECK(pipe_queue_write(&q, 7, bytes, 3, &count, &wake_lock) == PIPE_QUEUE_OK && count == 3 && !wake_lock);
    pipe_queue_end(&q, PIPE_QUEUE_NO_WRITERS);
    CHECK(pipe_queue_read(&q, bytes, 16, &count) == PIPE_QUEUE_OK && count == 3);
    CHECK(pipe_queue_is_readable(&q) && !pipe_queue_prepare_read_wait(&q, &value));
    CHECK(pipe_queue_read(&q, bytes, 16, &count) == PIPE_QUEUE_ENDED);
    CHECK(pipe_queue_read(&q, bytes, 0, &count) == PIPE_QUEUE_OK && count == 0);
    pipe_queue_end(&q, PIPE_QUEUE_NO_READERS);
    CHECK(pipe_queue_write(&q, 7, bytes, 3, &count, &wake_lock) == PIPE_QUEUE_ENDED && count == 0);
    CHECK(pipe_queue_is_writable(&q) && !pipe_queue_prepare_write_wait(&q, 4096, &value));
    CHECK(pipe_queue_lock(&q, 8) == PIPE_QUEUE_OK); /* the failed write gave it back */
}

static void test_atomic(void)
{
    struct pipe_queue q = fresh();
    static uint8_t bytes[SIZE * 2];
    uint32_t count;
    bool wake_lock;
    CHECK(pipe_queue_write(&q, 7, bytes, sizeof(bytes), &count, &wake_lock) == PIPE_QUEUE_OK && count == SIZE); /* in part */
    CHECK(pipe_queue_write(&q, 7, bytes, 1, &count, &wake_lock) == PIPE_QUEUE_FULL && count == 0);
    CHECK(pipe_queue_read(&q, bytes, 4095, &count) == PIPE_QUEUE_OK && count == 4095);
    CHECK(pipe_queue_write(&q, 7, bytes, 4096, &count, &wake_lock) == PIPE_QUEUE_FULL); /* whole or not at all */
    CHECK(!pipe_queue_is_writable(&q));
    CHECK(pipe_queue_write(&q, 7, bytes, 4097, &count, &wake_lock) == PIPE_QUEUE_OK && count == 4095);
    CHECK(pipe_queue_read(&q, bytes, 4096, &count) == PIPE_QUEUE_OK && count == 4096);
    CHECK(pipe_queue_write(&q, 7, bytes, 4096, &count, &wake_lock) == PIPE_QUEUE_OK && count == 4096);
}

static void test_lock(void)
{
    struct pipe_queue q = fresh();
    uint32_t count, holder;
    bool wake_lock;
    CHECK(pipe_queue_lock(&q, 7) == PIPE_QUEUE_OK && pipe_queue_lock(&q, 8) == PIPE_QUEUE_LOCKED);
    CHECK(pipe_queue_write(&q, 8, "x", 1, &count, &wake_lock) == PIPE_QUEUE_LOCKED);
    CHECK(!pipe_queue_mend(&q, &holder) && holder == 7);
    CHECK(!pipe_queue_unlock(&q, 7) && pipe_queue_lock(&q, 8) == PIPE_QUEUE_OK);
    q.header->lock |= PIPE_QUEUE_WAITERS;
    CHECK(pipe_queue_mend(&q, &holder) == false && holder == 8);
    CHECK(pipe_queue_unlock(&q, 8) && q.header->lock == (8 | PIPE_QUEUE_WAITERS)); /* the kernel hands it over */
    /* A writer that died before it published has written nothing. */
    struct pipe_queue_write write;
    q = fresh();
    CHECK(pipe_queue_lock(&q, 7) == PIPE_QUEUE_OK && pipe_queue_reserve(&q, 100, &write) == PIPE_QUEUE_OK && write.size == 100);
    memset(write.spans[0].data, 1, 100);
    q.header->lock = 0;
    CHECK(pipe_queue_readable(&q) == 0 && pipe_queue_write(&q, 8, "yz", 2, &count, &wake_lock) == PIPE_QUEUE_OK);
    uint8_t bytes[4];
    CHECK(pipe_queue_read(&q, bytes, 4, &count) == PIPE_QUEUE_OK && count == 2 && memcmp(bytes, "yz", 2) == 0);
}

static void test_sleep(void)
{
    struct pipe_queue q = fresh();
    uint8_t bytes[SIZE] = {};
    uint32_t count, value, again, holder;
    bool wake_lock;
    CHECK(!pipe_queue_should_wake_readers(&q) && !pipe_queue_should_wake_writers(&q));
    CHECK(pipe_queue_prepare_read_wait(&q, &value) && q.header->readable == value);
    CHECK(pipe_queue_prepare_read_wait(&q, &again) && again == value); /* a second sleeper: the same word */
    CHECK(pipe_queue_write(&q, 7, bytes, 1, &count, &wake_lock) == PIPE_QUEUE_OK);
    CHECK(pipe_queue_should_wake_readers(&q) && q.header->readable != value && !pipe_queue_should_wake_readers(&q));
    CHECK(!pipe_queue_prepare_read_wait(&q, &value));
    /* Full: a writer is woken when there is room for PIPE_QUEUE_ATOMIC bytes. */
    CHECK(pipe_queue_write(&q, 7, bytes, SIZE, &count, &wake_lock) == PIPE_QUEUE_OK && count == SIZE - 1);
    CHECK(pipe_queue_prepare_write_wait(&q, 1, &value) && q.header->writable == value);
    CHECK(pipe_queue_read(&q, bytes, 4095, &count) == PIPE_QUEUE_OK && !pipe_queue_should_wake_writers(&q));
    CHECK(!pipe_queue_prepare_write_wait(&q, 4095, &value) && pipe_queue_prepare_write_wait(&q, 100'000, &value));
    CHECK(pipe_queue_read(&q, bytes, 1, &count) == PIPE_QUEUE_OK && pipe_queue_should_wake_writers(&q) && q.header->writable != value);
    /* A waker that dies between its two steps leaves what mend cannot tell from done: it wakes whoever may sleep. */
    CHECK(pipe_queue_mend(&q, &holder) && holder == 0);
    CHECK(pipe_queue_prepare_write_wait(&q, 8000, &value) == false);
    value = q.header->readable;
    CHECK(pipe_queue_mend(&q, &holder) && q.header->readable != value);
    value = q.header->readable;
    pipe_queue_end(&q, PIPE_QUEUE_NO_WRITERS);
    CHECK(q.header->readable != value);
}

static void test_model(void)
{
    struct pipe_queue q = fresh();
    static uint8_t model[SIZE], bytes[SIZE + 1000];
    uint32_t used = 0, count;
    uint8_t next = 0;
    bool wake_lock;
    q.header->head = q.header->tail = UINT64_MAX - 30'000; /* wraps on the way */
    for (uint32_t round = 0; round < 200'000; round++) {
        uint32_t size = random_below(4) == 0 ? random_below(sizeof(bytes)) : random_below(600);
        if (random_below(2) != 0) {
            for (uint32_t i = 0; i < size; i++)
                bytes[i] = (uint8_t)(next + i);
            uint32_t room = SIZE - used, expected = size <= PIPE_QUEUE_ATOMIC ? (size <= room ? size : 0) : size < room ? size : room;
            enum pipe_queue_result result = pipe_queue_write(&q, 7, bytes, size, &count, &wake_lock);
            CHECK(count == expected && (result == PIPE_QUEUE_OK) == (expected > 0 || size == 0));
            memcpy(model + used, bytes, count);
            used += count;
            next += (uint8_t)count;
        } else {
            enum pipe_queue_result result = pipe_queue_read(&q, bytes, size, &count);
            CHECK(count == (size < used ? size : used) && (result == PIPE_QUEUE_OK) == (count > 0 || size == 0));
            CHECK(memcmp(bytes, model, count) == 0);
            used -= count;
            memmove(model, model + count, used);
        }
        CHECK(pipe_queue_readable(&q) == used && pipe_queue_is_writable(&q) == (SIZE - used >= PIPE_QUEUE_ATOMIC));
    }
}

/* Another participant writes anything anywhere in the header: every access stays within the memory, every call ends. */
static void test_hostile(void)
{
    static uint8_t bytes[SIZE + 1000];
    struct pipe_queue q = fresh();
    uint32_t count, value, broken = 0, fine = 0;
    bool wake_lock;
    for (uint32_t round = 0; round < 200'000; round++) {
        uint64_t word = random_below(3) == 0 ? random_below(UINT32_MAX) * UINT64_C(0x1'0000'0001) : random_below(20'000);
        switch (random_below(6)) {
        case 0: q.header->head = word; break;
        case 1: q.header->tail = word; break;
        case 2: q.header->lock = (uint32_t)word & 7; break;
        case 3: q.header->ends = (uint32_t)word & 3; break;
        case 4: q.header->size = (uint32_t)word; break;
        default: q.header->readable = q.header->writable = (uint32_t)word; break;
        }
        enum pipe_queue_result result = pipe_queue_read(&q, bytes, random_below(sizeof(bytes)), &count);
        broken += result == PIPE_QUEUE_BROKEN, fine += result == PIPE_QUEUE_OK;
        result = pipe_queue_write(&q, 1 + random_below(7), bytes, random_below(sizeof(bytes)), &count, &wake_lock);
        broken += result == PIPE_QUEUE_BROKEN, fine += result == PIPE_QUEUE_OK;
        CHECK(pipe_queue_readable(&q) <= SIZE);
        (void)pipe_queue_prepare_read_wait(&q, &value), (void)pipe_queue_prepare_write_wait(&q, random_below(9000), &value);
        (void)pipe_queue_should_wake_readers(&q), (void)pipe_queue_should_wake_writers(&q);
        CHECK(!pipe_queue_mend(&q, &value) || value <= PIPE_QUEUE_OWNER);
    }
    CHECK(broken > 1000 && fine > 1000);
}

int main(void)
{
    test_sizes();
    test_ends();
    test_atomic();
    test_lock();
    test_sleep();
    test_model();
    test_hostile();
    puts("pipe_queue: 7 tests passed");
    return 0;
}
