/* Copies standard input to standard output, then writes every byte value many times, and ends by the signal that it is given as an argument. */
#include "../personality/programs/program.h"

static char bytes[5000];

int program(int argc, char **argv, char **envp)
{
    (void)envp;
    long count, total = 0;
    while ((count = CALL(READ, 0, bytes, sizeof(bytes))) > 0) {
        total += count;
        for (long done = 0; done < count;)
            done += CALL(WRITE, 1, bytes + done, count - done);
    }
    print("%d bytes, %d arguments, %s\n", total, (long)argc, argv[1]);
    for (uint32_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i % 251 + i / 251);
    for (uint32_t i = 0; i < 40; i++)
        CALL(WRITE, 1, bytes, sizeof(bytes));
    CALL(KILL, CALL(GETPID), 15);
    return 1;
}
