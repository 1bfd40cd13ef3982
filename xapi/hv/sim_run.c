/* The simulator's thread: delivers events in order and lets what is due happen.
 * Called by: sim.c, sim_poke.c.  Calls: sim_table, sim_console, sim_poke. */
#include "xapi/hv/sim_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#include "lib/clock.h"

#define LOG_MODULE "hv"
#include "lib/log.h"

enum { LOOK_AGAIN_MS = 1000 };       /* for what agents left behind that shared the table and died */

struct sim_queued {
    struct sim_queued *next;
    struct hv_event event;
    char uuid[UUID_TEXT];
    char device[HV_DEVICE_TEXT];
};

/* ---- events ---------------------------------------------------------------------------------- */

void sim_wake(struct sim *s)
{
    while (eventfd_write(s->wake_fd, 1) < 0 && errno == EINTR) ;
}

void sim_emit(struct sim *s, const struct hv_event *event)
{
    if (s->silent) return;
    struct sim_queued *q = xcalloc(1, sizeof *q);
    q->event = *event;
    snprintf(q->uuid, sizeof q->uuid, "%s", event->uuid ? event->uuid : "");
    snprintf(q->device, sizeof q->device, "%s", event->device ? event->device : "");
    q->event.uuid = q->uuid;
    q->event.device = q->device;
    pthread_mutex_lock(&s->queue_lock);
    bool was_empty = !s->queue_head;
    *s->queue_tail = q;
    s->queue_tail = &q->next;
    pthread_mutex_unlock(&s->queue_lock);
    if (was_empty) sim_wake(s);
}

static void deliver(struct sim *s)
{
    pthread_mutex_lock(&s->queue_lock);
    struct sim_queued *q = s->queue_head;
    s->queue_head = NULL;
    s->queue_tail = &s->queue_head;
    pthread_mutex_unlock(&s->queue_lock);
    while (q) {
        struct sim_queued *next = q->next;
        if (q->event.kind == HV_EVENT_STOPPED) sim_console_hang_up(s, q->uuid);
        s->on_event(s->arg, &q->event);
        free(q);
        q = next;
    }
}

void sim_event_of(struct sim *s, const struct sim_domain *dom, enum hv_event_kind kind)
{
    struct hv_event e = { .kind = kind, .uuid = dom->uuid, .domid = dom->domid,
                          .memory_bytes = dom->memory_actual_bytes, .agent = dom->agent };

    sim_emit(s, &e);
}

/* ---- what happens to a guest ----------------------------------------------------------------- */

int64_t sim_real_ms(const struct sim *s, int64_t ms)
{
    int64_t rate = SIM_SETTING(s, clock_rate);

    return rate == 1000 || rate <= 0 ? ms : ms * 1000 / rate;
}

uint64_t sim_cpu_ns(const struct sim *s, const struct sim_domain *dom)
{
    /* A guest keeps a tenth of its vcpus busy. */
    if (!dom->run_since_ms) return dom->cpu_ns;
    int64_t rate = SIM_SETTING(s, clock_rate);
    double ran_ms = (double)(hv_now_ms() - dom->run_since_ms) * (rate > 0 ? (double)rate / 1000 : 1);
    return dom->cpu_ns + (uint64_t)(ran_ms * 1e5) * dom->vcpus;
}

static void stand_still(const struct sim *s, struct sim_domain *dom)
{
    dom->cpu_ns = sim_cpu_ns(s, dom);
    dom->run_since_ms = 0;
}

void sim_stop(struct sim *s, struct sim_domain *dom, enum hv_stop_reason reason)
{
    struct hv_event e = {
        .kind = HV_EVENT_STOPPED, .uuid = dom->uuid, .domid = dom->domid, .reason = reason
    };

    sim_emit(s, &e);
    sim_remove(&s->table, dom);
}

void sim_restart(struct sim *s, struct sim_domain *dom)
{
    if (dom->stop_on_reboot) {
        sim_stop(s, dom, HV_STOP_REBOOT);
        return;
    }
    dom->due = SIM_DUE_NONE;
    dom->start_time = clock_wall_seconds();
    dom->state = HV_STATE_RUNNING;
    if (!dom->run_since_ms) dom->run_since_ms = hv_now_ms();
    sim_event_of(s, dom, HV_EVENT_REBOOTED);
}

void sim_crash(struct sim *s, struct sim_domain *dom)
{
    stand_still(s, dom);
    dom->due = SIM_DUE_NONE;
    dom->state = HV_STATE_CRASHED;
    sim_event_of(s, dom, HV_EVENT_CRASHED);
}

void sim_pause(struct sim *s, struct sim_domain *dom)
{
    stand_still(s, dom);
    dom->state = HV_STATE_PAUSED;
    sim_event_of(s, dom, HV_EVENT_PAUSED);
}

void sim_unpause(struct sim *s, struct sim_domain *dom)
{
    dom->run_since_ms = hv_now_ms();
    dom->state = HV_STATE_RUNNING;
    sim_event_of(s, dom, HV_EVENT_RESUMED);
}

void sim_balloon(struct sim *s, struct sim_domain *dom, int64_t bytes)
{
    if (bytes > dom->memory_max_bytes) bytes = dom->memory_max_bytes;
    sim_set_memory(&s->table, dom, bytes);
    sim_event_of(s, dom, HV_EVENT_MEMORY);
}

void sim_print(const struct sim *s, const char *uuid, const char *text)
{
    _cleanup_free_ char *path = xasprintf("%s/%s.log", s->console_dir, uuid);
    _cleanup_free_ char *line = xasprintf("%s\r\n", text);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, line, strlen(line)) < 0) log_warn("%s: %s", path, strerror(errno));
}

/* ---- what is due ----------------------------------------------------------------------------- */

static void heap_push(struct sim *s, struct sim_timer timer)
{
    if (s->n_timers == s->cap_timers) {
        s->cap_timers = s->cap_timers ? 2 * s->cap_timers : 64;
        s->timers = xrealloc(s->timers, s->cap_timers * sizeof *s->timers);
    }
    size_t i = s->n_timers++;
    for (; i && s->timers[(i - 1) / 2].due_ms > timer.due_ms; i = (i - 1) / 2)
        s->timers[i] = s->timers[(i - 1) / 2];
    s->timers[i] = timer;
}

static struct sim_timer heap_pop(struct sim *s)
{
    struct sim_timer top = s->timers[0], last = s->timers[--s->n_timers];
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < s->n_timers; i = child) {
        if (child + 1 < s->n_timers && s->timers[child + 1].due_ms < s->timers[child].due_ms) child++;
        if (s->timers[child].due_ms >= last.due_ms) break;
        s->timers[i] = s->timers[child];
    }
    if (s->n_timers) s->timers[i] = last;
    return top;
}

void sim_schedule(struct sim *s, struct sim_domain *dom, enum sim_due what, int64_t delay_ms)
{
    dom->due = what;
    dom->due_ms = hv_now_ms() + sim_real_ms(s, delay_ms);
    struct sim_timer timer = { dom->due_ms, dom->domid, sim_index(&s->table, dom) };
    pthread_mutex_lock(&s->queue_lock);
    heap_push(s, timer);
    bool first = s->timers[0].index == timer.index && s->timers[0].domid == timer.domid;
    pthread_mutex_unlock(&s->queue_lock);
    if (first) sim_wake(s);
}

/* Under the table's lock. A paused guest's clock stands still: it goes on with what was due when it runs
 * again. */
static void let_happen(struct sim *s, struct sim_domain *dom)
{
    enum sim_due due = dom->due;

    if (dom->state == HV_STATE_PAUSED) {
        sim_schedule(s, dom, due, 50);
        return;
    }
    dom->due = SIM_DUE_NONE;
    switch (due) {
    case SIM_DUE_NONE: break;
    case SIM_DUE_POWEROFF: sim_stop(s, dom, HV_STOP_POWEROFF); break;
    case SIM_DUE_REBOOT: sim_restart(s, dom); break;
    case SIM_DUE_BALLOON: sim_balloon(s, dom, dom->memory_target_bytes); break;
    }
}

/* Returns how long nothing will be due, in ms. */
static int run_timers(struct sim *s)
{
    for (;;) {
        int64_t now = hv_now_ms();
        pthread_mutex_lock(&s->queue_lock);
        bool some = s->n_timers > 0;
        int64_t wait_ms = some ? s->timers[0].due_ms - now : LOOK_AGAIN_MS;
        struct sim_timer timer = some && wait_ms <= 0 ? heap_pop(s) : (struct sim_timer){ .domid = -1 };
        pthread_mutex_unlock(&s->queue_lock);
        if (timer.domid < 0) return wait_ms < LOOK_AGAIN_MS ? (int)wait_ms : LOOK_AGAIN_MS;
        sim_lock(&s->table);
        struct sim_domain *dom = sim_at(&s->table, timer.index);
        if (dom->state != HV_STATE_NONE && dom->domid == timer.domid && dom->due != SIM_DUE_NONE &&
            dom->due_ms == timer.due_ms)
            let_happen(s, dom);
        sim_unlock(&s->table);
    }
}

/* Takes over what an agent that died had scheduled. */
static void adopt_due(struct sim *s)
{
    sim_lock(&s->table);
    int64_t late = hv_now_ms() - LOOK_AGAIN_MS;
    for (uint32_t i = 0; i < s->table.head->n_slots; i++) {
        struct sim_domain *dom = sim_at(&s->table, i);
        if (dom->state != HV_STATE_NONE && dom->due != SIM_DUE_NONE && dom->due_ms < late) let_happen(s, dom);
    }
    sim_unlock(&s->table);
}

static void *run(void *arg)
{
    struct sim *s = arg;
    int64_t looked_ms = hv_now_ms();

    for (;;) {
        struct pollfd fds[2 + SIM_MAX_CLIENTS] = { { .fd = s->wake_fd, .events = POLLIN },
                                                   { .fd = s->inotify_fd, .events = POLLIN } };
        int wait_ms = run_timers(s);
        deliver(s);
        pthread_mutex_lock(&s->queue_lock);
        bool stopping = s->stopping, more = s->queue_head != NULL;
        pthread_mutex_unlock(&s->queue_lock);
        if (stopping && !more) return NULL;
        size_t n = sim_console_poll(s, fds + 2);
        if (poll(fds, 2 + n, more ? 0 : wait_ms) < 0) continue;
        eventfd_t ignored;
        if (fds[0].revents) (void)eventfd_read(s->wake_fd, &ignored);
        if (fds[1].revents) sim_poke_drain(s);
        sim_console_ready(s, fds + 2, n);
        if (hv_now_ms() - looked_ms >= LOOK_AGAIN_MS) {
            adopt_due(s);
            looked_ms = hv_now_ms();
        }
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

int sim_run_start(struct sim *s, struct hv_failure *f)
{
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake_fd < 0) return hv_fail(f, HV_FAIL_ENGINE, "eventfd: %s", strerror(errno));
    int rc = pthread_create(&s->thread, NULL, run, s);
    if (rc) return hv_fail(f, HV_FAIL_ENGINE, "thread: %s", strerror(rc));
    pthread_setname_np(s->thread, "hv-sim");
    return 0;
}

void sim_run_stop(struct sim *s)
{
    pthread_mutex_lock(&s->queue_lock);
    s->stopping = true;
    pthread_mutex_unlock(&s->queue_lock);
    sim_wake(s);
    pthread_join(s->thread, NULL);
    sim_console_hang_up(s, NULL);
    free(s->timers);
}
