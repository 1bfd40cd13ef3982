/* The simulator's table of guests: a file mapped by every agent of a test.
 * Called by: sim*.c.  Calls: lib.
 *
 * A robust, process-shared mutex in the file guards everything. It is held for memory writes only (and, when
 * the file grows, for reserving a page of it). A slot becomes valid by its state alone, which is written
 * last: whoever finds the lock's owner dead rebuilds the index from the states. */
#ifndef XAPI_HV_SIM_TABLE_H
#define XAPI_HV_SIM_TABLE_H

#include <pthread.h>

#include "xapi/hv/hv_driver.h"

enum {
    SIM_MAX_DISKS = 112,
    SIM_MAX_NICS = 16,
    SIM_MAX_DOMAINS = 16384,
    SIM_BUCKETS = 16384,
    SIM_SLOT_BYTES = 16384
};

enum sim_due { SIM_DUE_NONE, SIM_DUE_POWEROFF, SIM_DUE_REBOOT, SIM_DUE_BALLOON };

struct sim_nic {
    uint32_t device;
    char mac[18];
    char tap[16];
    char ipv4[20], ipv6[HV_ADDRESS_TEXT];   /* what its tools are to give it; "" = nothing */
    uint8_t used;
};

struct sim_disk {
    uint8_t slot;
    uint8_t used, cdrom, readonly, empty;
    char path[123];                      /* cut when longer: only shown */
};

struct sim_domain {
    uint32_t next;                       /* index + 1 of the next in the bucket or in the free list */
    uint32_t state;                      /* enum hv_state */
    char uuid[UUID_TEXT];
    char name[91];
    int64_t domid, start_time;
    int64_t memory_max_bytes, memory_target_bytes, memory_actual_bytes;
    uint32_t vcpus_max, vcpus, weight, cap, shadow_percent;
    uint32_t domain_type;
    uint8_t deaf, agent, clutch, stop_on_reboot, cancel;
    uint64_t cpu_ns;                     /* used until it last stood still */
    int64_t run_since_ms;                /* 0 = stands still */
    int64_t due_ms;
    uint32_t due;                        /* enum sim_due */
    uint32_t n_disks;                    /* entries of disks in use or used before */
    struct sim_nic nics[SIM_MAX_NICS];
    struct sim_disk disks[SIM_MAX_DISKS];
};

struct sim_settings {
    int64_t start_ms, stop_ms, shutdown_ms, reboot_ms, suspend_ms, resume_ms, attach_ms, detach_ms, pause_ms,
        balloon_ms;
    int64_t clock_rate, host_memory_bytes, host_cpus, image_bytes, save_rate, agents;
};

struct sim_head {
    uint32_t magic, version;
    char boot_id[40];
    pthread_mutex_t lock;
    struct sim_settings settings;
    int64_t next_domid;
    int64_t memory_used_bytes;           /* sum of memory_actual_bytes */
    uint32_t lost;                       /* the hypervisor is away */
    uint32_t n_slots;                    /* slots ever used */
    uint32_t free;                       /* index + 1 */
    uint32_t buckets[SIM_BUCKETS];       /* index + 1 */
};

struct sim_table {
    int fd;
    struct sim_head *head;               /* the mapping */
    char *slots;
    size_t bytes;
};

/* Maps DIR/domains, made when missing, emptied when the machine was rebooted since. */
int sim_table_open(struct sim_table *t, const char *dir, struct hv_failure *f);
void sim_table_close(struct sim_table *t);

void sim_lock(struct sim_table *t);
void sim_unlock(struct sim_table *t);

/* Under the lock, all of these. */
struct sim_domain *sim_at(const struct sim_table *t, uint32_t index);
uint32_t sim_index(const struct sim_table *t, const struct sim_domain *dom);
struct sim_domain *sim_find(const struct sim_table *t, const char *uuid);
/* A free slot with room on disk for so many disks; its fields are zero but `next`. It is found and counted
 * only after sim_publish(). NULL with the failure. */
struct sim_domain *sim_alloc(struct sim_table *t, size_t n_disks, struct hv_failure *f);
void sim_publish(struct sim_table *t, struct sim_domain *dom, enum hv_state state);
/* The balloon moved. */
void sim_set_memory(struct sim_table *t, struct sim_domain *dom, int64_t actual_bytes);
/* The guest is gone. */
void sim_remove(struct sim_table *t, struct sim_domain *dom);
/* Room on disk for a further entry of disks. */
int sim_reserve_disks(struct sim_table *t, struct sim_domain *dom, size_t n_disks, struct hv_failure *f);

/* The settings' address by name, or NULL. */
int64_t *sim_setting(struct sim_table *t, const char *key);

#endif
