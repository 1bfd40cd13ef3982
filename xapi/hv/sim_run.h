/* The simulator's inside: its object, what happens to guests by themselves, events, pokes, consoles.
 * Called by: sim*.c.  Calls: sim_table. */
#ifndef XAPI_HV_SIM_RUN_H
#define XAPI_HV_SIM_RUN_H

#include <poll.h>

#include "xapi/hv/sim_table.h"

struct sim_queued;
struct sim_client;

/* Something that is due: an entry is void when the slot's domain or its due time is another by then. */
struct sim_timer { int64_t due_ms, domid; uint32_t index; };

struct sim {
    struct sim_table table;
    char *dir, *console_dir, *poke_dir;         /* immutable */
    hv_event_fn on_event;                       /* immutable */
    void *arg;
    pthread_t thread;
    int wake_fd, inotify_fd;                    /* immutable */

    pthread_mutex_t queue_lock;                 /* rank: inside the table's lock */
    struct sim_queued *queue_head, **queue_tail;     /* lock: queue_lock */
    struct sim_timer *timers;                   /* a heap; lock: queue_lock */
    size_t n_timers, cap_timers;
    struct sim_client *new_clients;             /* lock: queue_lock */
    bool stopping;                              /* lock: queue_lock */
    bool silent; /* while opening: no events; only the opening thread is there */

    struct sim_client *clients;                 /* of the thread alone */
    size_t n_clients;
};

/* A setting, with or without the lock. */
#define SIM_SETTING(s, name) __atomic_load_n(&(s)->table.head->settings.name, __ATOMIC_RELAXED)

/* sim_run.c: the thread that delivers events and lets due things happen. */
int sim_run_start(struct sim *s, struct hv_failure *f);
void sim_run_stop(struct sim *s);
/* The thread looks again. */
void sim_wake(struct sim *s);
void sim_emit(struct sim *s, const struct hv_event *event);

/* What happens to a guest; all under the table's lock. */
void sim_event_of(struct sim *s, const struct sim_domain *dom, enum hv_event_kind kind);
void sim_stop(struct sim *s, struct sim_domain *dom, enum hv_stop_reason reason);
void sim_restart(struct sim *s, struct sim_domain *dom);
void sim_crash(struct sim *s, struct sim_domain *dom);
void sim_pause(struct sim *s, struct sim_domain *dom);
void sim_unpause(struct sim *s, struct sim_domain *dom);
void sim_balloon(struct sim *s, struct sim_domain *dom, int64_t bytes);
/* In so many (simulated) milliseconds. */
void sim_schedule(struct sim *s, struct sim_domain *dom, enum sim_due what, int64_t delay_ms);
uint64_t sim_cpu_ns(const struct sim *s, const struct sim_domain *dom);
/* Simulated milliseconds as real ones. */
int64_t sim_real_ms(const struct sim *s, int64_t ms);
/* A line on the guest's text console; not under the lock. */
void sim_print(const struct sim *s, const char *uuid, const char *text);

/* sim.c: what several verbs are made of. A fault point that a test armed; */
int sim_injected(const char *point, struct hv_failure *f);
/* the lock and a guest that runs (or, with paused_too, may be paused); NULL, without it, and the failure; */
struct sim_domain *sim_enter_running(struct sim *s, const char *point, const char *uuid, bool paused_too,
                                     struct hv_failure *f);
/* a new guest. After `late` a caller may kill the whole agent: what a half-done start leaves is then a running domain. */
int sim_begin(struct sim *s, const char *point, const char *late, const struct hv_vm *vm, int64_t delay_ms,
              int64_t deadline_ms, int64_t *ret_domid, struct hv_failure *f);

/* sim_migrate.c: verbs of the vtable. */
int sim_migrate_send(void *d, const char *uuid, int fd, bool live, int64_t deadline_ms, struct hv_failure *f);
int sim_migrate_receive(void *d, const struct hv_vm *vm, int fd, int64_t deadline_ms, int64_t *ret_domid,
                        struct hv_failure *f);

/* sim_poke.c: DIR/poke. Obeys what lies there. */
int sim_poke_open(struct sim *s, struct hv_failure *f);
void sim_poke_drain(struct sim *s);

/* sim_console.c: screens and text consoles, on the thread. */
enum { SIM_MAX_CLIENTS = 64 };
int sim_console_open(struct sim *s, const char *uuid, enum hv_console which, int *ret_fd,
                     struct hv_failure *f);
/* Fills fds (room for SIM_MAX_CLIENTS) and returns how many; then what poll() found, in the same order. */
size_t sim_console_poll(struct sim *s, struct pollfd *fds);
void sim_console_ready(struct sim *s, const struct pollfd *fds, size_t n);
/* The guest is gone: hang up. NULL: all. */
void sim_console_hang_up(struct sim *s, const char *uuid);

#endif
