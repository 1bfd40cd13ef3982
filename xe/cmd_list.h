/* CLASS-list: what a command line asks for, and the rows that it means.
 * Called by: cmd_record.c, cmd_list.c, cmd_watch.c.  Calls: cmd. */
#ifndef XE_CMD_LIST_H
#define XE_CMD_LIST_H

#include "xe/cmd.h"

struct list {
    const struct xe_record *type;
    const char *columns;               /* params=; NULL: the defaults of the class */
    const char **titles;               /* by field, as cmd_field_title; NULL for what is no column */
    bool keep_all;                     /* no filters */
    field_id *ids;                     /* the model fields that filters and columns need; NULL: all */
    size_t n_ids;
};

/* Reads the command line. Everything is in the command's arena. */
int list_begin(struct cmd *c, struct list *ret, struct xerr *err);
/* The objects that match, sorted. */
int list_fetch(struct cmd *c, const struct list *l, struct cmd_object_row **ret_rows, size_t *ret_n,
               struct xerr *err);
/* Keeps those that match. */
int list_filter(struct cmd *c, const struct list *l, struct cmd_object_row *rows, size_t *n,
                struct xerr *err);

int cmd_list(struct cmd *c, struct xerr *err);
/* The same with watch=: goes on until the client has gone. */
int cmd_watch_list(struct cmd *c, const struct list *l, struct xerr *err);

#endif
