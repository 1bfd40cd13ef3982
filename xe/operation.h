/* A long operation as the user sees it: a bar that says how far it is, on a terminal only.
 * Called by: client.c, transfer.c.  Calls: terminal, lib. */
#ifndef XE_OPERATION_H
#define XE_OPERATION_H

#include "xe/terminal.h"

#include "lib/strbuf.h"

struct operation {
    struct terminal *term;
    const char *name;                  /* of the command; borrowed */
    bool bar;                          /* somebody sees standard error */
    char *session, *task;              /* references as text; NULL: nothing is under way that could be cancelled */
    bool shown;                        /* the server says how far it is: no bar of ours */
    bool cancelled;                    /* the server has been asked to */
    int64_t began_ns, shown_ns;
    double done;                       /* 0 .. 1 as the task says; negative: not known */
    uint64_t bytes, total;             /* of a transfer; total 0: not known */
};

/* name: what stands before the bar. */
void operation_init(struct operation *op, struct terminal *term, const char *name);
void operation_free(struct operation *op);

/* A task begins: from now on Ctrl-C is heard, see terminal_listen(). shown: somebody else says how far it is. */
void operation_begin(struct operation *op, const char *session, const char *task, bool shown);
void operation_progress(struct operation *op, double done);
/* It moves bytes: so many until now, of total (0: not known). */
void operation_bytes(struct operation *op, uint64_t bytes, uint64_t total);
/* Shows the bar, when it is time for it. */
void operation_tick(struct operation *op);
/* Takes the bar away, so that something else may be written. */
void operation_hide(struct operation *op);
void operation_end(struct operation *op);

/* The bar as a line of at most width - 1 columns: name, part done, bar, bytes, bytes a second, time. */
void operation_line(const struct operation *op, int64_t now_ns, unsigned width, struct strbuf *b);

#endif
