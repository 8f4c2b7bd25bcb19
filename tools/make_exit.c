/*
 * A function for GNU make, $(leave STATUS): ends make with that exit status. Make itself answers 2 for whatever fails, but
 * `make run EXEC=program` is to end as the program did. Loaded by the Makefile (GNU make manual, 12.2 "Loading Dynamic Objects"); where
 * make cannot load it, its own answer stays.
 */
#include <stdlib.h>

typedef char *make_function(const char *name, unsigned int count, char **arguments);
void gmk_add_function(const char *name, make_function *function, unsigned int min, unsigned int max, unsigned int flags);
int make_exit_setup(void);
extern int plugin_is_GPL_compatible;

int plugin_is_GPL_compatible; /* make asks for the symbol */

static char *leave(const char *name, unsigned int count, char **arguments)
{
    (void)name, (void)count;
    exit(atoi(arguments[0]));
}

int make_exit_setup(void)
{
    gmk_add_function("leave", leave, 1, 1, 0);
    return 1;
}
