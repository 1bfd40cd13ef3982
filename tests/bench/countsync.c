/* Preloaded into a program under test: counts its fsync and fdatasync calls and the bytes it gives to pwrite, in a
 * file that others read while it runs. Three numbers of 64 bits: syncs, pwrites, bytes.
 * Called by: tests/bench/bench.py (LD_PRELOAD, COUNTSYNC_FILE).  Calls: libc. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct counts {
    _Atomic uint64_t syncs, pwrites, bytes;
};

static struct counts nowhere, *counts = &nowhere;
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);

int fsync(int fd);
int fdatasync(int fd);
ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at);

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("COUNTSYNC_FILE");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

    /* a function pointer through an object pointer, as POSIX dlsym has it */
    *(void **)&real_fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    *(void **)&real_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
    if (fd < 0 || ftruncate(fd, sizeof(*counts))) return;
    void *p = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED) counts = p;
    close(fd);
}

int fsync(int fd)
{
    atomic_fetch_add(&counts->syncs, 1);
    return real_fsync(fd);
}

int fdatasync(int fd)
{
    atomic_fetch_add(&counts->syncs, 1);
    return real_fdatasync(fd);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at)
{
    atomic_fetch_add(&counts->pwrites, 1);
    atomic_fetch_add(&counts->bytes, n);
    return real_pwrite64(fd, buf, n, at);
}
