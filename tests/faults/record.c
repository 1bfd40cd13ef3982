/* Preloaded into a program under test: writes down every change that it makes to the files whose path begins with
 * RECORD_PREFIX, and every sync, in the order in which they happen; powercut.py replays it up to any point.
 * Called by: tests/faults/ (LD_PRELOAD, RECORD_PREFIX, RECORD_FILE).  Calls: libc.
 *
 * Bytes are written down before they are written, names and the end of a sync after they are made: what a sync covers was
 * there before it began.
 * A way to change a file that is not known here shows when the whole record is replayed and the result compared. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { CREATE = 1, DATA, SIZE, ZERO, RENAME, LINK, UNLINK, MKDIR, RMDIR, SYNC_BEGIN, SYNC_END, UNKNOWN, SYMLINK };

/* As powercut.py reads it: this, then path, second path, data. */
struct record {
    uint32_t kind, thread;
    uint64_t t_ns, inode;
    int64_t at;
    uint32_t path_len, other_len;
    uint64_t len;      /* of the data that follow; SIZE: the new size is in `at`; ZERO: how many bytes */
};

static const char *prefix;
static size_t prefix_len;
static int out = -1;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void start(void)
{
    const char *file = getenv("RECORD_FILE");

    prefix = getenv("RECORD_PREFIX");
    if (!file || !prefix) return;
    prefix_len = strlen(prefix);
    out = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

/* The prefix itself, what begins with it, and the folder that it names files in (for syncs of that folder). */
static bool ours(const char *path)
{
    if (out < 0 || !path) return false;
    if (strncmp(path, prefix, prefix_len) == 0) return true;
    size_t n = strlen(path);
    return strncmp(path, prefix, n) == 0 && prefix[n] == '/' && !strchr(prefix + n + 1, '/');
}

static void put(enum kind kind, uint64_t inode, int64_t at, const char *path, const char *other, const struct iovec *data,
                int parts, uint64_t zeros)
{
    struct timespec now;
    struct iovec iov[3 + 1024];
    uint64_t len = 0;
    int saved = errno, n = 3;

    clock_gettime(CLOCK_MONOTONIC, &now);
    for (int i = 0; i < parts && n < 3 + 1024; i++, n++) {
        iov[n] = data[i];
        len += data[i].iov_len;
    }
    struct record r = {
        .kind = kind, .thread = (uint32_t)syscall(SYS_gettid), .t_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
        .inode = inode, .at = at, .path_len = path ? (uint32_t)strlen(path) : 0, .other_len = other ? (uint32_t)strlen(other) : 0,
        .len = parts ? len : zeros,
    };
    iov[0] = (struct iovec){ &r, sizeof(r) };
    iov[1] = (struct iovec){ (void *)(uintptr_t)path, r.path_len };
    iov[2] = (struct iovec){ (void *)(uintptr_t)other, r.other_len };
    if (writev(out, iov, n) != (ssize_t)(sizeof(r) + r.path_len + r.other_len + len)) abort();
    errno = saved;
}

/* The file behind a descriptor, when it is one of ours. */
static bool of_fd(int fd, uint64_t *ret_inode, char path[PATH_MAX])
{
    char link[64];
    struct stat st;
    int saved = errno;

    if (out < 0 || fd == out) return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n > 0) path[n] = '\0';
    bool is = n > 0 && ours(path) && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
    if (is) *ret_inode = st.st_ino;
    errno = saved;
    return is;
}

static uint64_t inode_of(int dir, const char *path)
{
    struct stat st;
    int saved = errno, rc = fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW);

    errno = saved;
    return rc ? 0 : st.st_ino;
}

/* An absolute path for one that is relative to a folder. */
static const char *whole(int dir, const char *path, char buf[PATH_MAX])
{
    char link[64], base[PATH_MAX];

    if (out < 0 || *path == '/') return path;
    if (dir == AT_FDCWD) {
        if (!getcwd(base, sizeof(base))) return path;
    } else {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
        ssize_t n = readlink(link, base, sizeof(base) - 1);
        if (n < 0) return path;
        base[n] = '\0';
    }
    return snprintf(buf, PATH_MAX, "%s/%s", base, path) < PATH_MAX ? buf : path;
}

/* ---- opening ---- */

static int opened(int dir, const char *given, int flags, mode_t mode)
{
    char buf[PATH_MAX];
    REAL(int, "openat", int, const char *, int, ...);
    const char *path = whole(dir, given, buf);

    if (!ours(path) || !(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE) {
        int fd = real(dir, given, flags, mode);
        if (fd >= 0 && (flags & O_TMPFILE) == O_TMPFILE && ours(path)) put(UNKNOWN, 0, 0, "O_TMPFILE", NULL, NULL, 0, 0);
        return fd;
    }
    uint64_t was = inode_of(dir, given);
    int fd = real(dir, given, flags, mode);
    if (fd < 0) return fd;
    uint64_t is;
    if (!of_fd(fd, &is, (char[PATH_MAX]){ 0 })) return fd;
    if (!was) put(CREATE, is, 0, path, NULL, NULL, 0, 0);
    else if (flags & O_TRUNC) put(SIZE, is, 0, path, NULL, NULL, 0, 0);
    return fd;
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(args, mode_t) : 0;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...); \
    int name(const char *path, int flags, ...) \
    { \
        va_list args; \
        va_start(args, flags); \
        mode_t mode = mode_of(flags, args); \
        va_end(args); \
        return opened(AT_FDCWD, path, flags, mode); \
    }
#define OPENAT(name) \
    int name(int dir, const char *path, int flags, ...); \
    int name(int dir, const char *path, int flags, ...) \
    { \
        va_list args; \
        va_start(args, flags); \
        mode_t mode = mode_of(flags, args); \
        va_end(args); \
        return opened(dir, path, flags, mode); \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define TEMPORARY(name, declared, types, called) \
    int name declared; \
    int name declared \
    { \
        REAL(int, #name, types); \
        uint64_t inode; \
        char path[PATH_MAX]; \
        int fd = real called; \
        if (fd >= 0 && of_fd(fd, &inode, path)) put(CREATE, inode, 0, path, NULL, NULL, 0, 0); \
        return fd; \
    }
#define COMMA ,
TEMPORARY(mkstemp, (char *path_template), char *, (path_template))
TEMPORARY(mkstemp64, (char *path_template), char *, (path_template))
TEMPORARY(mkostemp, (char *path_template, int flags), char * COMMA int, (path_template, flags))
TEMPORARY(mkostemp64, (char *path_template, int flags), char * COMMA int, (path_template, flags))

/* ---- contents ---- */

static void data(int fd, const struct iovec *iov, int n, int64_t at)
{
    uint64_t inode;
    char path[PATH_MAX];

    if (!of_fd(fd, &inode, path)) return;
    if (at < 0) {
        struct stat st;
        at = fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &st) ? st.st_size : lseek(fd, 0, SEEK_CUR);
    }
    put(DATA, inode, at, path, NULL, iov, n, 0);
}

#define WRITE(name, declared, called, iov, n, at) \
    ssize_t name declared; \
    ssize_t name declared \
    { \
        REAL(ssize_t, #name, DECLARED); \
        data(fd, iov, n, at); \
        return real called; \
    }

#define DECLARED int, const void *, size_t
WRITE(write, (int fd, const void *buf, size_t len), (fd, buf, len), (&(struct iovec){ (void *)(uintptr_t)buf, len }), 1, -1)
#undef DECLARED
#define DECLARED int, const void *, size_t, off64_t
WRITE(pwrite, (int fd, const void *buf, size_t len, off64_t at), (fd, buf, len, at), (&(struct iovec){ (void *)(uintptr_t)buf, len }), 1, at)
WRITE(pwrite64, (int fd, const void *buf, size_t len, off64_t at), (fd, buf, len, at), (&(struct iovec){ (void *)(uintptr_t)buf, len }), 1, at)
#undef DECLARED
#define DECLARED int, const struct iovec *, int
WRITE(writev, (int fd, const struct iovec *iov, int n), (fd, iov, n), iov, n, -1)
#undef DECLARED
#define DECLARED int, const struct iovec *, int, off64_t
WRITE(pwritev, (int fd, const struct iovec *iov, int n, off64_t at), (fd, iov, n, at), iov, n, at)
WRITE(pwritev64, (int fd, const struct iovec *iov, int n, off64_t at), (fd, iov, n, at), iov, n, at)
#undef DECLARED

static void sized(int fd, int64_t size)
{
    uint64_t inode;
    char path[PATH_MAX];

    if (of_fd(fd, &inode, path)) put(SIZE, inode, size, path, NULL, NULL, 0, 0);
}

#define TRUNCATE(name) \
    int name(int fd, off64_t size); \
    int name(int fd, off64_t size) \
    { \
        REAL(int, #name, int, off64_t); \
        sized(fd, size); \
        return real(fd, size); \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

/* Was done: a hole or zeros; space ahead changes no byte, but may have moved the end. */
static void allocated(int fd, int mode, int64_t at, int64_t len)
{
    uint64_t inode;
    char path[PATH_MAX];
    struct stat st;

    if (!of_fd(fd, &inode, path)) return;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) put(ZERO, inode, at, path, NULL, NULL, 0, (uint64_t)len);
    else if (mode & ~FALLOC_FL_KEEP_SIZE) put(UNKNOWN, inode, mode, "fallocate", NULL, NULL, 0, 0);
    if (!(mode & FALLOC_FL_KEEP_SIZE) && fstat(fd, &st) == 0 && at + len >= st.st_size)
        put(SIZE, inode, st.st_size, path, NULL, NULL, 0, 0);
}

#define FALLOCATE(name) \
    int name(int fd, int mode, off64_t at, off64_t len); \
    int name(int fd, int mode, off64_t at, off64_t len) \
    { \
        REAL(int, #name, int, int, off64_t, off64_t); \
        int rc = real(fd, mode, at, len);      /* many filesystems cannot: what fails changes nothing */ \
        if (rc == 0) allocated(fd, mode, at, len); \
        return rc; \
    }
FALLOCATE(fallocate)
FALLOCATE(fallocate64)

#define POSIX_FALLOCATE(name) \
    int name(int fd, off64_t at, off64_t len); \
    int name(int fd, off64_t at, off64_t len) \
    { \
        REAL(int, #name, int, off64_t, off64_t); \
        int rc = real(fd, at, len); \
        if (rc == 0) allocated(fd, 0, at, len); \
        return rc; \
    }
POSIX_FALLOCATE(posix_fallocate)
POSIX_FALLOCATE(posix_fallocate64)

/* Those that write behind our back are refused: programs then take the way by read and write. */
ssize_t copy_file_range(int in, off64_t *in_at, int to, off64_t *to_at, size_t len, unsigned flags);
ssize_t copy_file_range(int in, off64_t *in_at, int to, off64_t *to_at, size_t len, unsigned flags)
{
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);

    if (!of_fd(to, &(uint64_t){ 0 }, (char[PATH_MAX]){ 0 })) return real(in, in_at, to, to_at, len, flags);
    errno = EXDEV;
    return -1;
}

/* ---- names ---- */

#define NAME2(kind, name, declared, types, called, dir1, path1, dir2, path2) \
    int name declared; \
    int name declared \
    { \
        REAL(int, #name, types); \
        char a[PATH_MAX], b[PATH_MAX]; \
        const char *from = whole(dir1, path1, a), *to = whole(dir2, path2, b); \
        bool mine = ours(from) || ours(to); \
        uint64_t inode = mine ? inode_of(dir1, path1) : 0; \
        int rc = real called; \
        if (mine && rc == 0) put(kind, inode, 0, from, to, NULL, 0, 0); \
        return rc; \
    }
NAME2(RENAME, rename, (const char *old, const char *new), const char * COMMA const char *, (old, new), AT_FDCWD, old, AT_FDCWD, new)
NAME2(RENAME, renameat, (int d1, const char *old, int d2, const char *new), int COMMA const char * COMMA int COMMA const char *,
      (d1, old, d2, new), d1, old, d2, new)
NAME2(RENAME, renameat2, (int d1, const char *old, int d2, const char *new, unsigned flags),
      int COMMA const char * COMMA int COMMA const char * COMMA unsigned, (d1, old, d2, new, flags), d1, old, d2, new)
NAME2(LINK, link, (const char *old, const char *new), const char * COMMA const char *, (old, new), AT_FDCWD, old, AT_FDCWD, new)
NAME2(LINK, linkat, (int d1, const char *old, int d2, const char *new, int flags),
      int COMMA const char * COMMA int COMMA const char * COMMA int, (d1, old, d2, new, flags), d1, old, d2, new)

#define NAME1(kind, name, declared, types, called, dir, path) \
    int name declared; \
    int name declared \
    { \
        REAL(int, #name, types); \
        char buf[PATH_MAX]; \
        const char *at = whole(dir, path, buf); \
        bool mine = ours(at); \
        uint64_t inode = mine ? inode_of(dir, path) : 0; \
        int rc = real called; \
        if (mine && rc == 0) put(kind, inode, 0, at, NULL, NULL, 0, 0); \
        return rc; \
    }
NAME1(UNLINK, unlink, (const char *path), const char *, (path), AT_FDCWD, path)
NAME1(UNLINK, unlinkat, (int dir, const char *path, int flags), int COMMA const char * COMMA int, (dir, path, flags), dir, path)
NAME1(RMDIR, rmdir, (const char *path), const char *, (path), AT_FDCWD, path)
NAME1(MKDIR, mkdir, (const char *path, mode_t mode), const char * COMMA mode_t, (path, mode), AT_FDCWD, path)
NAME1(MKDIR, mkdirat, (int dir, const char *path, mode_t mode), int COMMA const char * COMMA mode_t, (dir, path, mode), dir, path)

int symlink(const char *target, const char *path);
int symlink(const char *target, const char *path)
{
    REAL(int, "symlink", const char *, const char *);
    char buf[PATH_MAX];
    const char *at = whole(AT_FDCWD, path, buf);

    int rc = real(target, path);
    if (rc == 0 && ours(at)) put(SYMLINK, 0, 0, at, target, NULL, 0, 0);
    return rc;
}

/* ---- syncs ---- */

#define SYNC(name) \
    int name(int fd); \
    int name(int fd) \
    { \
        REAL(int, #name, int); \
        uint64_t inode; \
        char path[PATH_MAX]; \
        if (!of_fd(fd, &inode, path)) return real(fd); \
        put(SYNC_BEGIN, inode, 0, path, NULL, NULL, 0, 0); \
        int rc = real(fd); \
        if (rc == 0) put(SYNC_END, inode, 0, path, NULL, NULL, 0, 0); \
        return rc; \
    }
SYNC(fsync)
SYNC(fdatasync)
SYNC(syncfs)
