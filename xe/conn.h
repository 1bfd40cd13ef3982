/* xe's connections: unix socket, TCP, TLS. Calls wait as long as it takes, and somebody is heard meanwhile.
 * Called by: xe.c, client.c.  Calls: lib; libssl, loaded only when a TLS connection is made, so that xe
 * starts fast. */
#ifndef XE_CONN_H
#define XE_CONN_H

#include "lib/util.h"

#include <sys/types.h>

struct conn;
struct catalog;

/* Who is heard while a connection waits. */
struct conn_waker {
    int fd;                    /* readable: call woken; -1 = none */
    int every_ms;              /* call it also that often; -1 = only for fd */
    /* 0 = wait on, -1 = give up: the call fails with ECANCELED. */
    int (*woken)(void *arg);
    void *arg;
};

/* Where to, as the user said it. */
struct conn_target {
    const char *server;        /* name or address; an IPv6 address may stand in brackets */
    const char *socket;        /* unix socket that answers for this machine; NULL = use none */
    bool socket_only;          /* the user named the socket: where it does not answer, nothing else will do */
    int port;                  /* 0 = 443 with TLS, 80 without */
    bool tls;
    const struct catalog *words;       /* what goes wrong is said in this language; NULL = English */
    bool xmlrpc;               /* commands run here, over XML-RPC, and not in the server */
    const struct conn_waker *waker;    /* NULL = nobody; borrowed for as long as the connection lives */
};

/* Connects: to the unix socket when there is one that answers, else to the server (TLS is not used towards
 * 127.0.0.1). 0, or -1 and a sentence in *ret_why (malloc'd). */
int conn_open(const struct conn_target *t, struct conn **ret_conn, char **ret_why);
/* The same to what answers POST /cli: the server, or with t->xmlrpc a program of ours that asks it. */
int conn_open_commands(const struct conn_target *t, struct conn **ret_conn, char **ret_why);
/* A program that belongs to xe: beside it when both were built together, else where it is installed. malloc'd. */
char *conn_program(const char *name);
/* NULL is fine. */
void conn_close(struct conn *c);
int conn_fd(const struct conn *c);
/* Waits for the connection (POLLIN, POLLOUT) or, when other is no -1, for bytes of that descriptor. 0, or -1 +
 * errno. */
int conn_wait(struct conn *c, short events, int other);
/* At least one byte, 0 at the end, -1 + errno. */
ssize_t conn_read(struct conn *c, void *buf, size_t n);
/* What there is: EAGAIN when that is nothing. */
ssize_t conn_read_now(struct conn *c, void *buf, size_t n);
/* True when conn_read has bytes that poll() on the descriptor does not show. */
bool conn_pending(const struct conn *c);
/* All of it. 0, or -1 + errno. */
int conn_write(struct conn *c, const void *buf, size_t n);
/* The other side sees the end of our bytes. */
void conn_end(struct conn *c);

static inline void conn_closep(struct conn **c) { conn_close(*c); }
#define _cleanup_conn_ _cleanup_(conn_closep)

#endif
