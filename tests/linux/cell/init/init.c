/* On Linux: the first process. Runs /program with its own arguments and /input as standard input, says how it ended, switches off. */
#include "../../personality/programs/program.h"

enum { TCGETS = 0x5401, TCSETS = 0x5402, OPOST = 1, RDONLY = 0, HERE = -100 };

int program(int argc, char **argv, char **envp)
{
    uint32_t terminal[16] = {};
    int status = 0;
    (void)argc;
    CALL(IOCTL, 1, TCGETS, terminal);
    terminal[1] &= ~(uint32_t)OPOST; /* bytes as they are written */
    CALL(IOCTL, 1, TCSETS, terminal);
    print("<begin>\n");
    long child = CALL(CLONE, 17, 0, 0, 0, 0);
    if (child == 0) {
        CALL(CLOSE, 0);
        CALL(OPENAT, HERE, "/input", RDONLY, 0);
        CALL(EXECVE, "/program", argv, envp);
        leave(127);
    }
    CALL(WAIT4, child, &status, 0, 0);
    print("<end %d>\n", (long)status);
    CALL(IOCTL, 1, 0x5409, 1); /* TCSBRK: until all is out */
    CALL(REBOOT, 0xFEE1DEAD, 0x28121969, 0x01234567, 0);
    return 0;
}
