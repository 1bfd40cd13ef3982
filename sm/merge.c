/* image-merge FORMAT TOP BASE [RATE [OWNER-FILE OWNER]]: copies the data of an image into the one that it stands on.
 * Called by: the agent's coalesce work (xapi/storage/copy.c).  Calls: lib/vhd, qemu-img.
 *
 * Step 1 of sm/dir_gc.c: no lock is taken, readers of TOP see nothing of it, and it can be killed and begun again. Runs
 * when nobody else wants the disk (idle I/O class); RATE limits it, in bytes a second. Progress goes to stdout as
 * qemu-img prints it. When OWNER-FILE no longer begins with the line OWNER (sm/dir_owner.c), it ends at once. */
#include "lib/num.h"
#include "lib/vhd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum { PIECE = 1 << 20, IOPRIO_IDLE = 3 << 13, IOPRIO_PROCESS = 1, OWNER_LIMIT = 256, LOOK_NS = 100000000 };

/* Whose the images must stay; path NULL = nobody asks. */
struct owner {
    const char *path, *text;
};

static int fail(const char *what)
{
    fprintf(stderr, "image-merge: %s: %s\n", what, strerror(errno));
    return 1;
}

static bool still_ours(const struct owner *o)
{
    _cleanup_free_ char *text = NULL;

    if (!o->path) return true;
    if (read_file(o->path, OWNER_LIMIT, &text, NULL)) return false;
    text[strcspn(text, "\n")] = '\0';
    return streq(text, o->text);
}

static int fail_taken(const struct owner *o)
{
    fprintf(stderr, "image-merge: %s: the images belong to somebody else now\n", o->path);
    return 1;
}

/* Not more than rate bytes a second since the start. False when the images are no longer ours. */
static bool keep_pace(const struct timespec *start, int64_t done, int64_t rate, const struct owner *owner)
{
    while (still_ours(owner)) {
        struct timespec now;
        if (rate <= 0) return true;
        clock_gettime(CLOCK_MONOTONIC, &now);
        double ahead = (double)done / (double)rate -
                       ((double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9);
        if (ahead <= 0.001) return true;
        long nap_ns = ahead * 1e9 > LOOK_NS ? LOOK_NS : (long)(ahead * 1e9);
        const struct timespec nap = { 0, nap_ns };
        nanosleep(&nap, NULL);
    }
    return false;
}

static int copy_run(struct vhd *top, struct vhd *base, char *buf, int64_t at, int64_t len)
{
    for (int64_t done = 0; done < len; done += PIECE) {
        size_t n = len - done < PIECE ? (size_t)(len - done) : PIECE;
        if (vhd_read_own(top, buf, n, at + done) || vhd_write(base, buf, n, at + done)) return -1;
    }
    return 0;
}

static int merge_vhd(const char *top_path, const char *base_path, int64_t rate, const struct owner *owner)
{
    _cleanup_vhd_ struct vhd *top = NULL, *base = NULL;
    _cleanup_free_ char *buf = xmalloc(PIECE);
    struct timespec start;
    const char *why = "";
    int64_t moved = 0, total, len;
    bool own;

    int top_fd = open(top_path, O_RDONLY | O_CLOEXEC);
    if (top_fd < 0 || vhd_open(top_fd, false, &top, &why)) return fail(top_fd < 0 ? top_path : why);
    int base_fd = open(base_path, O_RDWR | O_CLOEXEC);
    if (base_fd < 0 || vhd_open(base_fd, true, &base, &why)) return fail(base_fd < 0 ? base_path : why);
    const int64_t size = vhd_footer(top)->size;
    if (size > vhd_footer(base)->size && vhd_resize(base, size)) return fail(base_path);
    total = vhd_used(top);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int64_t at = 0; at < size; at += len) {
        if (vhd_extent(top, at, size - at < VHD_BLOCK ? size - at : VHD_BLOCK, &own, &len))
            return fail(top_path);
        if (!own) continue;
        if (!keep_pace(&start, moved, rate, owner)) return fail_taken(owner);
        if (copy_run(top, base, buf, at, len)) return fail(base_path);
        moved += len;
        printf("    (%.2f/100%%)\r", total ? 100.0 * (double)moved / (double)total : 100.0);
        fflush(stdout);
    }
    return vhd_flush(base) ? fail(base_path) : 0;
}

/* Its exit status; it is ended when the images are no longer ours. */
static int watch(pid_t child, const struct owner *owner)
{
    const struct timespec nap = { 0, LOOK_NS };
    int status = 0;
    pid_t got;

    while ((got = waitpid(child, &status, owner->path ? WNOHANG : 0)) == 0) {
        if (still_ours(owner)) {
            nanosleep(&nap, NULL);
            continue;
        }
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        return fail_taken(owner);
    }
    if (got < 0) return fail("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* QEMU's own locks are left out: a guest that has both open reads on, and nothing that it reads changes. */
static int merge_qcow2(const char *top, const char *base, const char *rate, const struct owner *owner)
{
    struct stat st;
    const char *driver = stat(top, &st) == 0 && S_ISBLK(st.st_mode) ? "host_device" : "file";
    _cleanup_free_ char *options =
        xasprintf("driver=qcow2,file.driver=%s,file.locking=off,file.filename=%s,"
                  "backing.driver=qcow2,backing.file.driver=%s,backing.file.locking=off,"
                  "backing.file.filename=%s",
                  driver, top, driver, base);
    const char *const argv[] = {
        "qemu-img", "commit", "-p", "-d", "-r", rate, "--image-opts", options, NULL
    };

    if (strchr(top, ',') || strchr(base, ',')) {
        errno = EINVAL;
        return fail("a path with a comma");
    }
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return child < 0 ? fail("fork") : watch(child, owner);
}

int main(int argc, char **argv)
{
    const struct owner owner = { argc == 7 ? argv[5] : NULL, argc == 7 ? argv[6] : NULL };
    int64_t rate = 0;

    if (argc < 4 || argc > 7 || argc == 6 || (argc >= 5 && (!num_parse_int(argv[4], &rate) || rate < 0))) {
        fprintf(stderr, "usage: image-merge qcow2|vhd TOP BASE [BYTES-A-SECOND [OWNER-FILE OWNER]]\n");
        return 2;
    }
    syscall(SYS_ioprio_set, IOPRIO_PROCESS, 0, IOPRIO_IDLE);
    setpriority(PRIO_PROCESS, 0, 19);
    if (streq(argv[1], "vhd")) return merge_vhd(argv[2], argv[3], rate, &owner);
    if (streq(argv[1], "qcow2")) return merge_qcow2(argv[2], argv[3], argc >= 5 ? argv[4] : "0", &owner);
    errno = EINVAL;
    return fail(argv[1]);
}
