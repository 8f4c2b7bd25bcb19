/* exec: what is refused, what lives through it, scripts. Started as /bin/exec with /bin/script (#!/bin/exec one two) and /bin/data in the file system. */
#include "program.h"

static bool is_same(const char *a, const char *b)
{
    while (*a != 0 && *a == *b) {
        a++, b++;
    }
    return *a == *b;
}

static int first(void)
{
    char *argv[] = {"script", "three", nullptr}, *envp[] = {"STAGE=2", nullptr};
    EQUAL(CALL(EXECVE, "/bin/nothing", argv, envp), -2);
    EQUAL(CALL(EXECVE, "/bin", argv, envp), -13);
    EQUAL(CALL(EXECVE, "/bin/data", argv, envp), -8);
    EQUAL(CALL(EXECVE, 8, argv, envp), -14);
    EQUAL(CALL(EXECVE, "/bin/script", 8, envp), -14);
    long kept = CALL(OPENAT, -100, "/bin/data", 0, 0), closed = CALL(OPENAT, -100, "/bin/data", 02000000, 0);
    CHECK(kept >= 3 && closed > kept);
    EQUAL(CALL(DUP3, kept, 20, 0), 20);
    EQUAL(CALL(DUP3, kept, 21, 02000000), 21);
    char byte = 0;
    EQUAL(CALL(READ, 20, &byte, 1), 1);
    EQUAL(byte, '0');
    struct {
        long handler, flags, a, b;
    } action = {.handler = 1};
    EQUAL(CALL(RT_SIGACTION, 10, &action, 0, 8), 0);
    action.handler = (long)first;
#if defined(__x86_64__)
    action.flags = 0x04000000;
#endif
    EQUAL(CALL(RT_SIGACTION, 12, &action, 0, 8), 0);
    uint64_t mask = 1ull << 13;
    EQUAL(CALL(RT_SIGPROCMASK, 2, &mask, 0, 8), 0);
    char *end = (char *)CALL(BRK, 0);
    CHECK((char *)CALL(BRK, end + 4096) == end + 4096);
    *end = 1;
    if (failures != 0) {
        return 98;
    }
    CALL(EXECVE, "/bin/script", argv, envp);
    return 97;
}

static void second(int argc, char **argv)
{
    static const char *const wanted[] = {"/bin/exec", "one two", "/bin/script", "three"};
    EQUAL(argc, 4);
    for (int i = 0; i < argc && i < 4; i++) {
        CHECK(is_same(argv[i], wanted[i]));
    }
    char byte = 0;
    EQUAL(CALL(READ, 20, &byte, 1), 1);
    EQUAL(byte, '1');
    EQUAL(CALL(READ, 21, &byte, 1), -9);
    struct {
        long handler, flags, a, b;
    } action;
    EQUAL(CALL(RT_SIGACTION, 10, 0, &action, 8), 0);
    EQUAL(action.handler, 1);
    EQUAL(CALL(RT_SIGACTION, 12, 0, &action, 8), 0);
    EQUAL(action.handler, 0);
    uint64_t mask = 0;
    EQUAL(CALL(RT_SIGPROCMASK, 0, 0, &mask, 8), 0);
    EQUAL(mask, 1ull << 13);
}

int program(int argc, char **argv, char **envp)
{
    if (envp[0] == nullptr || !is_same(envp[0], "STAGE=2")) {
        return first();
    }
    second(argc, argv);
    print("exec\n");
    return 0;
}
