/* What a process finds at its start; memory, clocks, ids. */
#include "program.h"

static char data[10000] = "data";
static char zero[100000];

static void memory(void)
{
    char *page = (char *)CALL(MMAP, 0, 8192, 3, 0x22, -1, 0);
    CHECK((long)page > 0);
    page[0] = 1, page[8191] = 2;
    EQUAL(CALL(MPROTECT, page, 4096, 1), 0);
    EQUAL(page[0], 1);
    EQUAL(CALL(CLOCK_GETTIME, 1, page), -14);
    EQUAL(CALL(MADVISE, page + 4096, 4096, 4), 0);
    EQUAL(page[8191], 0);
    EQUAL(CALL(MUNMAP, page, 8192), 0);
    EQUAL(CALL(MPROTECT, page, 4096, 3), -12);
    EQUAL(CALL(MUNMAP, page, 8192), 0);
    EQUAL(CALL(MMAP, 0, 0, 3, 0x22, -1, 0), -22);
    EQUAL(CALL(MMAP, 0, 4096, 3, 0x2, 99, 0), -9);
    char *fixed = (char *)CALL(MMAP, 0x10000000000 >> 4, 4096, 3, 0x32, -1, 0);
    EQUAL(fixed, 0x10000000000 >> 4);
    EQUAL(CALL(MMAP, fixed, 4096, 3, 0x100022, -1, 0), -17);
    fixed[5] = 5;
    char *grown = (char *)CALL(MREMAP, fixed, 4096, 1 << 20, 1);
    CHECK((long)grown > 0);
    EQUAL(grown[5], 5);
    grown[(1 << 20) - 1] = 1;
    EQUAL(CALL(MUNMAP, grown, 1 << 20), 0);
    long end = CALL(BRK, 0);
    EQUAL(CALL(BRK, end + 100000), end + 100000);
    ((char *)end)[99999] = 1;
    EQUAL(CALL(BRK, end), end);
    EQUAL(CALL(BRK, end + 100000), end + 100000);
    EQUAL(((char *)end)[99999], 0);
}

int program(int argc, char **argv, char **envp)
{
    EQUAL(argc, 2);
    EQUAL(argv[1][0], 'a');
    EQUAL(envp[0][0], 'H');
    while (*envp != nullptr) {
        envp++;
    }
    uint64_t *aux = (uint64_t *)(envp + 1), page_size = 0, random = 0;
    for (; aux[0] != 0; aux += 2) {
        page_size = aux[0] == 6 ? aux[1] : page_size;
        random = aux[0] == 25 ? aux[1] : random;
    }
    EQUAL(page_size, 4096);
    CHECK(random != 0 && *(uint64_t *)random != 0);
    EQUAL(data[0], 'd');
    EQUAL(zero[99999], 0);
    data[9999] = 1, zero[99999] = 1;
    memory();
    int64_t first[2], second[2], wall[2];
    EQUAL(CALL(CLOCK_GETTIME, 1, first), 0);
    const int64_t pause[2] = {0, 3000000};
    EQUAL(CALL(NANOSLEEP, pause, 0), 0);
    EQUAL(CALL(CLOCK_GETTIME, 1, second), 0);
    CHECK((second[0] - first[0]) * 1000000000 + second[1] - first[1] >= 3000000);
    EQUAL(CALL(CLOCK_GETTIME, 0, wall), 0);
    EQUAL(CALL(CLOCK_GETTIME, 99, wall), -22);
    char name[390];
    EQUAL(CALL(UNAME, name), 0);
    EQUAL(name[0], 'L');
    EQUAL(CALL(UNAME, 1), -14);
    CHECK(CALL(GETPID) == CALL(GETTID) && CALL(GETPID) > 0);
    uint64_t random_words[4] = {};
    EQUAL(CALL(GETRANDOM, random_words, 32, 0), 32);
    CHECK(random_words[0] != random_words[1] && random_words[3] != 0);
    EQUAL(CALL(GETRANDOM, 8, 32, 0), -14);
    EQUAL(call6(5000, 0, 0, 0, 0, 0, 0), -38);
    print("basic\n");
    return 7;
}
