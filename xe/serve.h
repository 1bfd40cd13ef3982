/* The server's side of the thin CLI protocol: a conversation with one client.
 * Called by: xapi/http/cli.c, xmlrpc_main.c.  Calls: thin, cmd, lib/stream.
 *
 * Both take the client's arguments and give a command what it asks of the client; where messages are answered
 * is theirs. */
#ifndef XE_SERVE_H
#define XE_SERVE_H

#include "xe/cmd.h"

#include "lib/stream.h"

struct serve {
    struct stream *stream;
    struct arena *arena;
    bool (*hung_up)(void *arg);        /* has the client closed its side?  NULL: only a read tells */
    void *hung_up_arg;
    int write_ms;                      /* how long a client may take to read; negative = for ever */
    struct strbuf out;                 /* messages not sent yet */
    bool gone;                         /* the client has hung up, or does not keep to the protocol */
    int64_t transfer_deadline_ns;
    const char *task;                  /* the client knows that this one runs; in the arena */
    struct catalog *words;             /* the client's language */
};

/* Both sides' hellos. False when the client does not speak the protocol. */
bool serve_hello(struct serve *s);
/* The lines of a request's body, in the arena; a first line "session_id=..." is *ret_session (else NULL).
 * Returns what is wrong, a sentence for the client, or NULL. */
const char *serve_arguments(struct serve *s, const char *body, size_t n, const char *const **ret_args,
                            size_t *ret_n, const char **ret_session);
/* Fills in the client's half of a command's environment. language: the request's header Accept-Language, of which
 * the first counts. wants: its header X-Xe-Wants, what our own client understands beyond the protocol, words
 * between commas; either NULL when there is none:
 *   task   remarks (Debug) about the task that is waited for: "xe-task soon", "xe-task begin SESSION TASK" ("xe-task
 *          shown ..." when the server shows how far it is), "xe-task progress 0.5", "xe-task end"
 *   advice what to do after an error, on standard error */
void serve_env(struct serve *s, const char *wants, const char *language, struct cmd_env *env);
/* Sends what has been gathered. */
void serve_flush(struct serve *s);
/* A text for the client's standard error. */
void serve_say(struct serve *s, const char *text);
/* Ends the conversation with this exit status. */
void serve_exit(struct serve *s, int code);
void serve_free(struct serve *s);

#endif
