/* The private libvirtd: its configuration, its start, its adoption, its end.
 * Called by: libvirt.c.  Calls: subproc, xapi-hv-keeper. */
#ifndef XAPI_HV_LIBVIRT_DAEMON_H
#define XAPI_HV_LIBVIRT_DAEMON_H

#include "lib/subproc.h"
#include "xapi/hv/hv_driver.h"

struct lv_daemon {
    char *dir; /* ROOT/hv/libvirt: everything that libvirtd would keep in the system's directories */
    char *run;              /* RUN/hv: sockets, ours and the guests' */
    char *socket;           /* RUN/hv/libvirt-sock */
    char *uri;
    char *record;           /* dir/daemon: who it is */
    char *program, *keeper;
    char *user, *group;     /* of QEMU */
    char *sr_mount;
    uid_t uid;
    gid_t gid;
    pid_t pid;              /* 0 = none known */
    uint64_t start_time;
    int pidfd;              /* readable when it has ended; -1 = none */
    bool own_kvm;           /* dir/kvm stands in for /dev/kvm, which QEMU's user may not open */
    bool started;           /* by us, just now: its CPU mask is still narrow */
    bool changed;           /* the configuration was: a living daemon must start anew to see it */
};

/* Makes directories, configuration, the shared mount for SRs. Names what the machine lacks. */
int lv_daemon_prepare(struct lv_daemon *d, const struct hv_config *config, struct hv_failure *f);
/* There is a libvirtd that listens: the one that lives, else a new one. Up to a minute. */
int lv_daemon_ensure(struct lv_daemon *d, struct hv_failure *f);
/* Probing is over: all CPUs for it from here on. */
void lv_daemon_settle(struct lv_daemon *d);
/* Ends it: politely, then not. Guests stay. */
void lv_daemon_end(struct lv_daemon *d);
/* Undoes the shared mount for SRs, when it is ours and nothing is mounted below. */
void lv_daemon_unshare(struct lv_daemon *d);
void lv_daemon_free(struct lv_daemon *d);

/* The user that QEMU is to run as may open this path: true as far as modes tell. */
bool lv_user_can_enter(const char *path, uid_t uid, gid_t gid, char *ret_where, size_t size);

#endif
