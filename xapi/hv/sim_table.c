/* The simulator's table of guests: a file mapped by every agent of a test.
 * Called by: sim*.c.  Calls: lib. */
#include "xapi/hv/sim_table.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lib/util.h"

enum { MAGIC = 0x73696d31, VERSION = 3 };

_Static_assert(sizeof(struct sim_domain) <= SIM_SLOT_BYTES, "a guest fits its slot");

static const struct sim_settings default_settings = {
    .clock_rate = 1000,
    .host_memory_bytes = INT64_C(1) << 40,
    .host_cpus = 32,
    .agents = 1,
};

static size_t head_bytes(void) { return (sizeof(struct sim_head) + 4095) & ~(size_t)4095; }

static void read_boot_id(char ret[40])
{
    _cleanup_free_ char *id = NULL;

    memset(ret, 0, 40);
    if (read_file("/proc/sys/kernel/random/boot_id", 4096, &id, NULL) == 0) memcpy(ret, id, strnlen(id, 36));
}

static int init_head(struct sim_table *t, const char *boot_id)
{
    struct sim_settings kept = t->head->magic == MAGIC && t->head->version == VERSION ? t->head->settings
                                                                                      : default_settings;
    pthread_mutexattr_t attr;

    /* Throw the old guests away: their pages too. */
    if (ftruncate(t->fd, 0) < 0 || ftruncate(t->fd, (off_t)t->bytes) < 0) return -1;
    int rc = posix_fallocate(t->fd, 0, (off_t)head_bytes());
    if (rc) {
        errno = rc;
        return -1;
    }
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&t->head->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    t->head->settings = kept;
    t->head->version = VERSION;
    t->head->next_domid = 1;
    memcpy(t->head->boot_id, boot_id, sizeof t->head->boot_id);
    t->head->magic = MAGIC;
    return 0;
}

int sim_table_open(struct sim_table *t, const char *dir, struct hv_failure *f)
{
    _cleanup_free_ char *path = xasprintf("%s/domains", dir);
    char boot_id[40];

    *t = (struct sim_table){ .fd = -1, .bytes = head_bytes() + (size_t)SIM_MAX_DOMAINS * SIM_SLOT_BYTES };
    read_boot_id(boot_id);
    t->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (t->fd < 0 || flock(t->fd, LOCK_EX) < 0) goto fail; /* against another agent that opens it just now */
    struct stat st;
    if (fstat(t->fd, &st) < 0) goto fail;
    bool fresh = (size_t)st.st_size != t->bytes;
    if (fresh &&
        (ftruncate(t->fd, (off_t)t->bytes) < 0 || posix_fallocate(t->fd, 0, (off_t)head_bytes()) != 0))
        goto fail;
    void *map = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, t->fd, 0);
    if (map == MAP_FAILED) goto fail;
    t->head = map;
    t->slots = (char *)map + head_bytes();
    fresh = fresh || t->head->magic != MAGIC || t->head->version != VERSION ||
            memcmp(t->head->boot_id, boot_id, sizeof boot_id) != 0;
    if (fresh && init_head(t, boot_id) < 0) goto fail;
    flock(t->fd, LOCK_UN);
    return 0;

fail:
    hv_fail(f, HV_FAIL_ENGINE, "%s: %s", path, strerror(errno));
    sim_table_close(t);
    return -1;
}

void sim_table_close(struct sim_table *t)
{
    if (t->head) munmap(t->head, t->bytes);
    if (t->fd >= 0) close(t->fd);
    *t = (struct sim_table){ .fd = -1 };
}

struct sim_domain *sim_at(const struct sim_table *t, uint32_t index)
{
    return (struct sim_domain *)(void *)(t->slots + (size_t)index * SIM_SLOT_BYTES);
}

uint32_t sim_index(const struct sim_table *t, const struct sim_domain *dom)
{
    return (uint32_t)(((const char *)dom - t->slots) / SIM_SLOT_BYTES);
}

static uint32_t *bucket_of(const struct sim_table *t, const char *uuid)
{
    uint32_t h = 2166136261u;      /* FNV-1a */

    for (const char *p = uuid; *p; p++) h = (h ^ (unsigned char)*p) * 16777619u;
    return &t->head->buckets[h % SIM_BUCKETS];
}

/* After a holder of the lock died: the states are the truth, everything else follows from them. */
static void rebuild(struct sim_table *t)
{
    memset(t->head->buckets, 0, sizeof t->head->buckets);
    t->head->free = 0;
    t->head->memory_used_bytes = 0;
    for (uint32_t i = t->head->n_slots; i-- > 0;) {
        struct sim_domain *dom = sim_at(t, i);
        uint32_t *link = dom->state == HV_STATE_NONE ? &t->head->free : bucket_of(t, dom->uuid);
        dom->next = *link;
        *link = i + 1;
        if (dom->state != HV_STATE_NONE) t->head->memory_used_bytes += dom->memory_actual_bytes;
    }
}

void sim_lock(struct sim_table *t)
{
    int rc = pthread_mutex_lock(&t->head->lock);

    if (rc == EOWNERDEAD) {
        rebuild(t);
        pthread_mutex_consistent(&t->head->lock);
    } else {
        assert(rc == 0);
    }
}

void sim_unlock(struct sim_table *t) { pthread_mutex_unlock(&t->head->lock); }

struct sim_domain *sim_find(const struct sim_table *t, const char *uuid)
{
    for (uint32_t i = *bucket_of(t, uuid); i;) {
        struct sim_domain *dom = sim_at(t, i - 1);
        if (streq(dom->uuid, uuid)) return dom;
        i = dom->next;
    }
    return NULL;
}

int sim_reserve_disks(struct sim_table *t, struct sim_domain *dom, size_t n_disks, struct hv_failure *f)
{
    /* A full disk must be an error here, not a SIGBUS at the first touch of the page. */
    size_t bytes = offsetof(struct sim_domain, disks) + n_disks * sizeof(struct sim_disk);
    off_t at = (off_t)head_bytes() + (off_t)sim_index(t, dom) * SIM_SLOT_BYTES;
    int rc = posix_fallocate(t->fd, at, (off_t)bytes);

    return rc == 0 ? 0 : hv_fail(f, HV_FAIL_ENGINE, "table of guests: %s", strerror(rc));
}

struct sim_domain *sim_alloc(struct sim_table *t, size_t n_disks, struct hv_failure *f)
{
    struct sim_head *h = t->head;
    struct sim_domain *dom;

    if (n_disks > SIM_MAX_DISKS) {
        hv_fail(f, HV_FAIL_DEVICE_FULL, "at most %d disks", SIM_MAX_DISKS);
        return NULL;
    }
    if (h->free) {
        dom = sim_at(t, h->free - 1);
    } else if (h->n_slots < SIM_MAX_DOMAINS) {
        dom = sim_at(t, h->n_slots);
    } else {
        hv_fail(f, HV_FAIL_BUILD, "the table of guests is full (%d)", SIM_MAX_DOMAINS);
        return NULL;
    }
    /* A slot that was used has its first page; only a long list of disks can reach beyond it. */
    if (!h->free || offsetof(struct sim_domain, disks) + n_disks * sizeof(struct sim_disk) > 4096)
        if (sim_reserve_disks(t, dom, n_disks, f) < 0) return NULL;
    if (h->free) h->free = dom->next;
    else h->n_slots++;
    memset(dom, 0, offsetof(struct sim_domain, disks));
    return dom;
}

void sim_publish(struct sim_table *t, struct sim_domain *dom, enum hv_state state)
{
    uint32_t *link = bucket_of(t, dom->uuid);

    dom->next = *link;
    t->head->memory_used_bytes += dom->memory_actual_bytes;
    __atomic_store_n(&dom->state, (uint32_t)state, __ATOMIC_RELEASE);
    *link = sim_index(t, dom) + 1;
}

void sim_remove(struct sim_table *t, struct sim_domain *dom)
{
    uint32_t self = sim_index(t, dom) + 1, *link = bucket_of(t, dom->uuid);

    while (*link != self) link = &sim_at(t, *link - 1)->next;
    *link = dom->next;
    __atomic_store_n(&dom->state, (uint32_t)HV_STATE_NONE, __ATOMIC_RELEASE);
    t->head->memory_used_bytes -= dom->memory_actual_bytes;
    dom->next = t->head->free;
    t->head->free = self;
}

void sim_set_memory(struct sim_table *t, struct sim_domain *dom, int64_t actual_bytes)
{
    t->head->memory_used_bytes += actual_bytes - dom->memory_actual_bytes;
    dom->memory_actual_bytes = actual_bytes;
}

int64_t *sim_setting(struct sim_table *t, const char *key)
{
    struct sim_settings *s = &t->head->settings;
    const struct { const char *key; int64_t *value; } all[] = {
        { "start_ms", &s->start_ms }, { "stop_ms", &s->stop_ms }, { "shutdown_ms", &s->shutdown_ms },
        { "reboot_ms", &s->reboot_ms }, { "suspend_ms", &s->suspend_ms }, { "resume_ms", &s->resume_ms },
        { "attach_ms", &s->attach_ms }, { "detach_ms", &s->detach_ms }, { "pause_ms", &s->pause_ms },
        { "balloon_ms", &s->balloon_ms }, { "clock_rate", &s->clock_rate },
        { "host_memory_bytes", &s->host_memory_bytes }, { "host_cpus", &s->host_cpus },
        { "image_bytes", &s->image_bytes }, { "save_rate", &s->save_rate }, { "agents", &s->agents },
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (streq(all[i].key, key)) return all[i].value;
    return NULL;
}
