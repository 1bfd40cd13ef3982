/* The terminal that xe runs in and the signals that may end it: whatever happens, the terminal is put right and
 * no half file stays. Called by: xe.c, client.c and what it is made of.  Calls: libc. */
#ifndef XE_TERMINAL_H
#define XE_TERMINAL_H

#include "lib/util.h"

#include <signal.h>
#include <termios.h>

struct terminal {
    int wake[2];                       /* a byte comes out of [0] when an interrupt waits to be heard */
    volatile sig_atomic_t listening, interrupted, raw, asking, bar;
    const char *volatile file;
    struct termios saved;
};

/* Once, before the signals' handlers are set. */
void terminal_init(struct terminal *t);
/* The body of every handler: a SIGINT that somebody listens for is kept for him; anything else puts the terminal
 * right, removes the file that is being written and ends xe with 128 + the signal's number. Async-signal-safe. */
void terminal_signal(struct terminal *t, int signal_number);

/* on: the next SIGINT is heard by poll() on wake[0], and the one behind it, before somebody listens anew, ends xe.
 * Else every SIGINT ends xe. */
void terminal_listen(struct terminal *t, bool on);
/* True when a SIGINT came since; it is taken. */
bool terminal_interrupted(struct terminal *t);

/* Makes a file of that name, which must be new, and has it removed when xe ends now: no signal comes in between. The name is
 * borrowed. The descriptor, or -1 + errno. */
int terminal_create(struct terminal *t, const char *path);
/* The file to be removed when xe ends now; NULL: none. */
void terminal_writing(struct terminal *t, const char *path);

/* Bytes of the keyboard go as they are typed, and what is written is shown as it is. Nothing happens when standard
 * input is no terminal. */
void terminal_raw(struct terminal *t);
/* As it was before. */
void terminal_restore(struct terminal *t);

/* A line that is written over and over on standard error: a signal takes it away. */
void terminal_bar(struct terminal *t, bool shown);
/* Columns of standard error, 80 when that is not known. */
unsigned terminal_width(void);
/* Somebody is there to be asked. */
bool terminal_can_ask(void);

#endif
