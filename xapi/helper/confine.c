/* What a role of xapi-helper may still do once it has begun: account, groups, capabilities, limits, system calls.
 * Called by: helper.c.  Calls: libseccomp, the kernel. */
#include "xapi/helper/confine.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/util.h"

#if defined(__SANITIZE_ADDRESS__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INSTRUMENTED 1
#endif
#endif
#ifndef INSTRUMENTED
#define INSTRUMENTED 0
#endif

#if INSTRUMENTED
/* The search for leaks is a second process that looks into ours. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }
#endif

enum { MEMORY_MAX = 512 << 20, FILE_MAX = 16 << 20, IMAGE_MAX = 512 << 20, FILES_MAX = 64, CPU_MAX_S = 60 };

static int failed(const char *what)
{
    fprintf(stderr, "xapi-helper: %s: %s\n", what, strerror(errno));
    return -1;
}

/* ---- account and capabilities -------------------------------------------------------------------------- */

struct identity {
    bool change;                   /* to uid and gid */
    uid_t uid;
    gid_t gid, extra;              /* extra: 0 = none */
    uint64_t capabilities;         /* kept */
};

static uint64_t bit(unsigned capability)
{
    return UINT64_C(1) << capability;
}

static struct identity choose(unsigned needs)
{
    const struct passwd *pw = needs & NEEDS_ROOT ? NULL : getpwnam(HELPER_ACCOUNT);
    struct identity id = { .change = pw && pw->pw_uid, .uid = pw ? pw->pw_uid : 0, .gid = pw ? pw->pw_gid : 0 };
    struct stat st;

    /* libpam takes a refused audit record for a failure when root gets it, for nothing when somebody else does. */
    if (!id.change) id.capabilities = bit(CAP_AUDIT_WRITE);
    if (!(needs & (NEEDS_SHADOW | NEEDS_ROOT)) || stat("/etc/shadow", &st)) return id;
    if (st.st_gid && st.st_mode & S_IRGRP) id.extra = st.st_gid;
    /* Systems that leave the file to capabilities alone: mode 000. */
    if (needs & NEEDS_ROOT && !(st.st_mode & S_IWUSR)) id.capabilities |= bit(CAP_DAC_OVERRIDE);
    else if (id.change ? !id.extra : !(st.st_mode & S_IRUSR)) id.capabilities |= bit(CAP_DAC_READ_SEARCH);
    return id;
}

static int set_capabilities(uint64_t wanted)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { { .effective = 0 } };
    struct __user_cap_data_struct now[2] = { { .effective = 0 } };

    /* What is not there (a container's root may have little) is not asked for. */
    if (syscall(SYS_capget, &head, now)) return failed("capget");
    for (int i = 0; i < 2; i++)
        data[i].permitted = data[i].effective = (uint32_t)(wanted >> 32 * i) & now[i].permitted;
    return syscall(SYS_capset, &head, data) ? failed("capset") : 0;
}

static int become(unsigned needs)
{
    if (geteuid()) return 0;
    const struct identity id = choose(needs);
    const unsigned bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE;

    /* 1. Programs that root starts get nothing for it; no capability can come back. Refused where root has little anyhow. */
    if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) && errno != EPERM) return failed("securebits");
    for (unsigned c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
        if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) && errno != EPERM) return failed("bounding set");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)) return failed("ambient set");

    /* 2. Groups, then the account. */
    if (setgroups(id.extra ? 1 : 0, &id.extra)) return failed("setgroups");
    if (id.change) {
        if (prctl(PR_SET_KEEPCAPS, id.capabilities != 0, 0, 0, 0)) return failed("keepcaps");
        if (setresgid(id.gid, id.gid, id.gid)) return failed("setresgid");
        if (setresuid(id.uid, id.uid, id.uid)) return failed("setresuid");
        if (!setuid(0)) {
            errno = EPERM;
            return failed("uid 0 came back");
        }
    }

    /* 3. What is kept of the capabilities. */
    return set_capabilities(id.capabilities);
}

/* ---- limits -------------------------------------------------------------------------------------------- */

static int limit(unsigned needs)
{
    const struct {
        enum __rlimit_resource resource;
        rlim_t most;
    } limits[] = {
        { RLIMIT_CORE, 0 },
        { RLIMIT_CPU, needs & NEEDS_TIME ? RLIM_INFINITY : CPU_MAX_S },
        { RLIMIT_FSIZE, needs & NEEDS_IMAGES ? IMAGE_MAX : FILE_MAX },
        { RLIMIT_NOFILE, FILES_MAX },
        { RLIMIT_AS, INSTRUMENTED ? RLIM_INFINITY : MEMORY_MAX },
    };

    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        const struct rlimit r = { limits[i].most, limits[i].most };
        if (limits[i].most != RLIM_INFINITY && setrlimit(limits[i].resource, &r)) return failed("setrlimit");
    }
    return 0;
}

/* ---- system calls -------------------------------------------------------------------------------------- */

#define CALL(name) SCMP_SYS(name)

/* Files as the account may use them, memory, threads, time, signals to itself. */
static const int always[] = {
    CALL(read), CALL(readv), CALL(pread64), CALL(write), CALL(writev), CALL(pwrite64), CALL(close), CALL(lseek),
    CALL(open), CALL(openat), CALL(stat), CALL(lstat), CALL(fstat), CALL(newfstatat), CALL(statx), CALL(statfs),
    CALL(fstatfs), CALL(access), CALL(faccessat), CALL(faccessat2), CALL(readlink), CALL(readlinkat), CALL(getdents),
    CALL(getdents64), CALL(getcwd), CALL(fcntl), CALL(flock), CALL(dup), CALL(dup2), CALL(dup3), CALL(pipe), CALL(pipe2),
    CALL(umask), CALL(fsync), CALL(fdatasync), CALL(ftruncate), CALL(unlink), CALL(unlinkat), CALL(rename),
    CALL(renameat), CALL(renameat2), CALL(mkdir), CALL(mkdirat), CALL(rmdir), CALL(chmod), CALL(fchmod), CALL(fchmodat),
    CALL(utimensat), CALL(fadvise64),
    CALL(mmap), CALL(munmap), CALL(mprotect), CALL(mremap), CALL(madvise), CALL(brk),
    CALL(futex), CALL(set_robust_list), CALL(rseq), CALL(set_tid_address), CALL(sched_yield), CALL(sched_getaffinity),
    CALL(membarrier),
    CALL(nanosleep), CALL(clock_nanosleep), CALL(clock_gettime), CALL(clock_getres), CALL(gettimeofday), CALL(time),
    CALL(alarm), CALL(setitimer), CALL(getitimer),
    CALL(poll), CALL(ppoll), CALL(select), CALL(pselect6), CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait),
    CALL(epoll_pwait), CALL(eventfd2),
    CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(rt_sigpending), CALL(rt_sigtimedwait),
    CALL(sigaltstack), CALL(restart_syscall),
    CALL(getpid), CALL(gettid), CALL(getppid), CALL(getpgrp), CALL(getpgid), CALL(getsid), CALL(getuid), CALL(geteuid),
    CALL(getgid), CALL(getegid), CALL(getgroups), CALL(getresuid), CALL(getresgid), CALL(getrlimit), CALL(getrusage),
    CALL(capget), CALL(uname), CALL(sysinfo), CALL(getrandom), CALL(exit), CALL(exit_group),
};

/* Modules give their children and themselves other accounts; without privileges that changes nothing, and some ask. */
static const int programs[] = {
    CALL(execve), CALL(execveat), CALL(clone), CALL(fork), CALL(vfork), CALL(wait4), CALL(waitid), CALL(setpgid),
    CALL(setsid), CALL(chdir), CALL(fchdir), CALL(arch_prctl), CALL(prctl), CALL(prlimit64), CALL(setuid), CALL(setgid),
    CALL(setreuid), CALL(setregid), CALL(setresuid), CALL(setresgid), CALL(setgroups), CALL(kill), CALL(ioctl),
    CALL(close_range),
};

static const int sockets[] = {
    CALL(connect), CALL(bind), CALL(sendto), CALL(sendmsg), CALL(sendmmsg), CALL(recvfrom), CALL(recvmsg),
    CALL(recvmmsg), CALL(getsockname), CALL(getpeername), CALL(getsockopt), CALL(setsockopt), CALL(shutdown),
    CALL(socketpair),
};

/* Of a socket that the parent has connected. */
static const int connected[] = { CALL(sendto), CALL(recvfrom), CALL(shutdown) };

/* Reading one's own state, and names for threads. */
static const uint64_t prctls[] = {
    PR_CAPBSET_READ, PR_GET_SECUREBITS, PR_GET_KEEPCAPS, PR_GET_DUMPABLE, PR_CAP_AMBIENT, PR_GET_NAME, PR_SET_NAME,
};

static const uint64_t families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };

/* A new file that is root's own is given the owner of the old one. */
static const int owners[] = { CALL(chown), CALL(fchown), CALL(lchown), CALL(fchownat) };

/* What libraries try and do without. */
static const struct {
    int call;
    uint32_t error;
} refused[] = {
    { CALL(clone3), ENOSYS },      /* its flags are behind a pointer: threads then come by clone() */
    { CALL(set_mempolicy), ENOSYS },
    { CALL(sched_setscheduler), EPERM },
};

/* Calls that this architecture does not have are left out by libseccomp. */
static int allow(scmp_filter_ctx f, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
        if (rc && rc != -EEXIST) return rc;
    }
    return 0;
}

/* Allowed when its argument, under the mask, is this. */
static int allow_if(scmp_filter_ctx f, int call, unsigned argument, uint64_t mask, uint64_t value)
{
    const struct scmp_arg_cmp is = { .arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value };
    return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, 1, &is);
}

static int allow_each(scmp_filter_ctx f, int call, const uint64_t *values, size_t n)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < n; i++) rc = allow_if(f, call, 0, UINT64_MAX, values[i]);
    return rc;
}

static int add_rules(scmp_filter_ctx f, unsigned needs)
{
    int rc = allow(f, always, ARRAY_SIZE(always));

    for (size_t i = 0; !rc && i < ARRAY_SIZE(refused); i++)
        rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(refused[i].error), refused[i].call, 0);
    if (!rc) rc = allow_if(f, CALL(tgkill), 0, UINT64_MAX, (uint64_t)getpid());
    if (!rc && needs & NEEDS_ROOT) rc = allow(f, owners, ARRAY_SIZE(owners));
    if (!rc && needs & NEEDS_SOCKETS) rc = allow(f, sockets, ARRAY_SIZE(sockets));
    if (!rc && needs & NEEDS_SOCKETS) rc = allow_each(f, CALL(socket), families, ARRAY_SIZE(families));
    if (!rc && needs & NEEDS_IMAGES) rc = allow(f, connected, ARRAY_SIZE(connected));
    if (rc) return rc;
    if (needs & NEEDS_PROGRAMS) return allow(f, programs, ARRAY_SIZE(programs));

    /* Threads, but no processes; limits may be read; a descriptor may be asked whether it is a terminal. */
    rc = allow_each(f, CALL(prctl), prctls, ARRAY_SIZE(prctls));
    if (!rc) rc = allow_if(f, CALL(clone), 0, CLONE_THREAD, CLONE_THREAD);
    if (!rc) rc = allow_if(f, CALL(prlimit64), 2, UINT64_MAX, 0);
    if (!rc) rc = allow_if(f, CALL(ioctl), 1, UINT64_MAX, TCGETS);
    if (!rc) rc = allow_if(f, CALL(ioctl), 1, UINT64_MAX, FIONREAD);
    return rc;
}

static int filter(unsigned needs)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int rc = f ? add_rules(f, needs) : -ENOMEM;

    if (!rc) rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (!rc) rc = seccomp_load(f);
    seccomp_release(f);
    errno = -rc;
    return rc ? failed("seccomp") : 0;
}

int helper_confine(unsigned needs)
{
    umask(077);
    if (limit(needs) || become(needs)) return -1;
    /* A change of account takes these two back, so they come after it. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)) return failed("dumpable");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)) return failed("pdeathsig");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return failed("no_new_privs");
    return filter(needs);
}
