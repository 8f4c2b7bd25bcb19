/* Several readers and writers as threads, with real sleeping: a lost wake-up shows as a time-out, a missing barrier as a damaged record
 * (or as a report of ThreadSanitizer). Each record is written and read whole, once. */
#include "pipe_queue_futex.h"
#include <pthread.h>

static constexpr uint32_t WRITERS = 3, READERS = 3, RECORDS = 20'000, RECORD_WORDS = 16;
static alignas(4096) uint8_t memory[PIPE_QUEUE_HEADER_BYTES + PIPE_QUEUE_BYTES_MIN];
static struct pipe_queue queue;
static _Atomic uint8_t seen[WRITERS][RECORDS];

static void *writer(void *argument)
{
    uint32_t index = (uint32_t)(uintptr_t)argument;
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t record[RECORD_WORDS];
        for (uint32_t k = 0; k < RECORD_WORDS; k++)
            record[k] = index << 24 | i;
        CHECK(blocking_write(&queue, index + 1, record, sizeof(record)));
    }
    return nullptr;
}

static void *reader(void *argument)
{
    (void)argument;
    uint32_t records[4][RECORD_WORDS], last[WRITERS] = {};
    /* Sizes of whole records: what comes is whole, too. */
    for (uint32_t round = 0, count; (count = blocking_read(&queue, records, sizeof(records[0]) * (1 + round % 4))) != 0; round++) {
        CHECK(count % sizeof(records[0]) == 0);
        for (uint32_t i = 0; i < count / sizeof(records[0]); i++) {
            uint32_t word = records[i][0], from = word >> 24, number = word & 0xFFFFFF;
            for (uint32_t k = 1; k < RECORD_WORDS; k++)
                CHECK(records[i][k] == word);
            CHECK(from < WRITERS && number < RECORDS && number + 1 > last[from]);
            last[from] = number + 1;
            CHECK(atomic_fetch_add(&seen[from][number], 1) == 0);
        }
    }
    return nullptr;
}

int main(void)
{
    pthread_t writers[WRITERS], readers[READERS];
    pipe_queue_init(memory, PIPE_QUEUE_BYTES_MIN);
    CHECK(pipe_queue_attach(&queue, memory, sizeof(memory)));
    for (uintptr_t i = 0; i < READERS; i++)
        CHECK(pthread_create(&readers[i], nullptr, reader, nullptr) == 0);
    for (uintptr_t i = 0; i < WRITERS; i++)
        CHECK(pthread_create(&writers[i], nullptr, writer, (void *)i) == 0);
    for (uint32_t i = 0; i < WRITERS; i++)
        CHECK(pthread_join(writers[i], nullptr) == 0);
    pipe_queue_end(&queue, PIPE_QUEUE_NO_WRITERS);
    futex_wake_all(&queue.header->readable);
    for (uint32_t i = 0; i < READERS; i++)
        CHECK(pthread_join(readers[i], nullptr) == 0);
    for (uint32_t i = 0; i < WRITERS; i++)
        for (uint32_t k = 0; k < RECORDS; k++)
            CHECK(seen[i][k] == 1);
    puts("pipe_queue threads: passed");
    return 0;
}
