/* What to do after an error: a table, a row for each code that somebody can do something about.
 * Called by: cmd.c, tests/unit/test-advice.c.  Calls: nothing. */
#ifndef XE_ADVICE_H
#define XE_ADVICE_H

#include "lib/util.h"

enum { ADVICE_COMMANDS = 3 };

struct advice {
    const char *code;                  /* of the API, or CMD_FAILURE or CMD_USAGE */
    unsigned param;                    /* counts from 1: the row is for errors with this value there; 0 = for all */
    const char *value;
    const char *text;                  /* one or two sentences */
    /* Command lines behind "xe ". %1 ... is the error's parameter, as a uuid when it names an object; %0 the command
     * that failed; %c the class that the first parameter names, as in "%c-list". */
    const char *commands[ADVICE_COMMANDS];
};

/* Rows of one code stand together, those for one value first. Ends with a code of NULL. */
extern const struct advice advice_table[];

/* The row for an error, or NULL. */
const struct advice *advice_find(const char *code, const char *const *params, size_t n);

#endif
