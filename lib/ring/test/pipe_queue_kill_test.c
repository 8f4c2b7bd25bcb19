/*
 * Readers and writers as processes that are killed wherever they are, again and again, while others go on. After each kill the parent does what
 * posixd does. Nobody may hang, no record may be damaged or come twice, and a writer that was not killed loses none that no killed
 * reader took along.
 */
#include "pipe_queue_futex.h"
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

static constexpr uint32_t WORKERS = 4, KILLS = 400, RECORD_WORDS = 16, IDS = 4096;
static struct shared {
    alignas(4096) uint8_t pipe[PIPE_QUEUE_HEADER_BYTES + PIPE_QUEUE_BYTES_MIN];
    _Atomic uint32_t last[IDS]; /* number of the last record that anybody read of this writer */
    _Atomic uint64_t record_count;
    _Atomic uint32_t is_over;
} *shared;
static struct pipe_queue queue;

static void write_forever(uint32_t id)
{
    for (uint32_t number = 1; !shared->is_over; number++) {
        uint32_t record[RECORD_WORDS];
        record[0] = id;
        for (uint32_t i = 1; i < RECORD_WORDS; i++)
            record[i] = number * i;
        if (!blocking_write(&queue, id, record, sizeof(record)))
            break;
    }
    _exit(0);
}

static void read_forever(void)
{
    uint32_t records[4][RECORD_WORDS];
    for (uint32_t round = 0, count; (count = blocking_read(&queue, records, sizeof(records[0]) * (1 + round % 4))) != 0; round++) {
        CHECK(count % sizeof(records[0]) == 0);
        for (uint32_t k = 0; k < count / sizeof(records[0]); k++) {
            uint32_t id = records[k][0], number = records[k][1];
            CHECK(id > 0 && id < IDS);
            for (uint32_t i = 1; i < RECORD_WORDS; i++)
                CHECK(records[k][i] == number * i);
            /* With one reader at a time they come in order; two may note theirs the other way round, but never the same. */
            uint32_t last = atomic_load(&shared->last[id]);
            while (last < number && !atomic_compare_exchange_weak(&shared->last[id], &last, number))
                ;
            CHECK(last != number);
            atomic_fetch_add(&shared->record_count, 1);
        }
    }
    _exit(0);
}

/* As posixd: the dead one's lock is given back in its name; who may sleep is woken. */
static void mend(uint32_t dead)
{
    uint32_t holder;
    bool has_slept = pipe_queue_mend(&queue, &holder);
    if (holder == dead)
        atomic_store(&queue.header->lock, 0);
    if (has_slept) {
        futex_wake_all(&queue.header->readable);
        futex_wake_all(&queue.header->writable);
    }
}

static pid_t start(bool is_writer, uint32_t id)
{
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(120); /* a hang ends the test as a failure */
        if (is_writer)
            write_forever(id);
        read_forever();
    }
    return pid;
}

int main(void)
{
    shared = mmap(nullptr, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    pipe_queue_init(shared->pipe, PIPE_QUEUE_BYTES_MIN);
    CHECK(pipe_queue_attach(&queue, shared->pipe, sizeof(shared->pipe)));
    pid_t pids[WORKERS];
    uint32_t ids[WORKERS], next_id = 1;
    for (uint32_t i = 0; i < WORKERS; i++)
        pids[i] = start(i % 2 == 0, ids[i] = next_id++);
    srandom(1);
    for (uint32_t kill_count = 0; kill_count < KILLS; kill_count++) {
        uint32_t victim = (uint32_t)random() % WORKERS;
        /* Until something moved since the last kill, then a random moment: a wake-up that was lost for good hangs here. */
        uint64_t before = shared->record_count;
        for (uint32_t i = 0; shared->record_count == before; i++) {
            CHECK(i < 30'000);
            usleep(1000);
        }
        usleep((useconds_t)random() % 300);
        int status;
        kill(pids[victim], SIGKILL);
        CHECK(waitpid(pids[victim], &status, 0) == pids[victim] && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        mend(ids[victim]);
        pids[victim] = start(victim % 2 == 0, ids[victim] = next_id++);
    }
    shared->is_over = 1;
    pipe_queue_end(&queue, PIPE_QUEUE_NO_WRITERS | PIPE_QUEUE_NO_READERS);
    futex_wake_all(&queue.header->readable);
    futex_wake_all(&queue.header->writable);
    for (uint32_t i = 0; i < WORKERS; i++) {
        int status;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    printf("pipe_queue kills: %u, %llu records whole\n", KILLS, (unsigned long long)shared->record_count);
    return 0;
}
