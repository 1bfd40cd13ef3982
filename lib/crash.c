/* A report written from a signal's handler.
 * Called by: xapi/main.c, xapi/rpc/dispatch.c, xapi/http/http_auth.c.  Calls: the kernel, libgcc's unwinder.
 *
 * File-scope state: a process has one handler of a signal. The handler uses what is async-signal-safe, and backtrace(), which is once
 * libgcc is loaded. */
#include "lib/crash.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/log.h"

enum { FRAMES = 64, STACK_BYTES = 64 << 10, TEXT_BYTES = 1024, PATH_BYTES = 4096, WRITE_S = 30 };

static const struct { int number; const char *name; } signals[] = {
    { SIGSEGV, "SIGSEGV" }, { SIGBUS, "SIGBUS" }, { SIGILL, "SIGILL" }, { SIGFPE, "SIGFPE" }, { SIGABRT, "SIGABRT" },
};

static struct {
    char prefix[PATH_BYTES];       /* FOLDER/crash- */
    const char *program;
    pthread_key_t stack;           /* a thread's stack for the handler */
    bool installed;
    _Atomic int writer;            /* the thread that writes a report; 0 = none */
} state;

static _Thread_local struct { struct crash_work work; bool has_stack; } thread;

/* ---- text without printf ---- */

struct text { char bytes[TEXT_BYTES]; size_t n; };

static void put(struct text *t, const char *s)
{
    while (*s && t->n < sizeof(t->bytes) - 1) t->bytes[t->n++] = *s++;
    t->bytes[t->n] = '\0';
}

static void put_number(struct text *t, uint64_t number, unsigned base)
{
    char digits[24];
    size_t at = sizeof(digits);

    digits[--at] = '\0';
    do digits[--at] = "0123456789abcdef"[number % base];
    while (number /= base);
    put(t, digits + at);
}

static void put_line(struct text *t, const char *what, const char *value)
{
    put(t, what);
    put(t, value);
    put(t, "\n");
}

/* ---- the handler ---- */

static const char *name_of(int number)
{
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        if (signals[i].number == number) return signals[i].name;
    return "";
}

static void put_signal(struct text *t, int number, const siginfo_t *info)
{
    put(t, state.program);
    put(t, " crashed: ");
    put(t, name_of(number));
    if (info->si_code > 0) {
        put(t, " at address 0x");
        put_number(t, (uintptr_t)info->si_addr, 16);
    } else if (info->si_pid != getpid()) {
        put(t, ", sent by process ");
        put_number(t, (uint64_t)info->si_pid, 10);
    }
    put(t, "\n");
}

static void put_work(struct text *t)
{
    char name[17] = "", object[REF_TEXT];

    prctl(PR_GET_NAME, name);
    put_line(t, "thread: ", name);
    if (thread.work.call) put_line(t, "call: ", thread.work.call);
    if (thread.work.call && !ref_is_null(thread.work.object)) put_line(t, "object: ", ref_text(thread.work.object, object));
    if (*log_call()) put_line(t, "task: ", log_call());
    put(t, "where:\n");
}

static void write_report(int number, const siginfo_t *info)
{
    struct text path = { .n = 0 }, head = { .n = 0 };
    char long_path[PATH_BYTES + 64];
    void *frames[FRAMES];
    size_t n = strlen(state.prefix);

    put_number(&path, (uint64_t)time(NULL), 10);
    put(&path, "-");
    put_number(&path, (uint64_t)getpid(), 10);
    put(&path, ".new");
    memcpy(long_path, state.prefix, n);
    memcpy(long_path + n, path.bytes, path.n + 1);
    int fd = open(long_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return;
    put_signal(&head, number, info);
    put_work(&head);
    bool good = write(fd, head.bytes, head.n) == (ssize_t)head.n;
    if (good) backtrace_symbols_fd(frames, backtrace(frames, FRAMES), fd);
    fsync(fd);
    close(fd);
}

/* SA_RESETHAND has put the usual end in place: abort() goes on to it, a fault happens again, and what somebody sent is sent again.
 * Who crashes while he writes the report leaves it as it is; and a disk that stands still does not keep us. */
static void on_crash(int number, siginfo_t *info, void *context)
{
    int nobody = 0, self = gettid();

    (void)context;
    if (atomic_compare_exchange_strong(&state.writer, &nobody, self)) {
        alarm(WRITE_S);
        write_report(number, info);
    } else if (nobody != self) {
        for (;;) pause();                       /* another thread is at it, and ends us all */
    }
    if (info->si_code <= 0) raise(number);
}

/* ---- setting up ---- */

/* A stack that has overflowed is none to write a report on. */
static void give_stack(void)
{
    thread.has_stack = true;
    if (!state.installed) return;
    void *bytes = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (bytes == MAP_FAILED) return;
    const stack_t stack = { .ss_sp = bytes, .ss_size = STACK_BYTES };
    if (sigaltstack(&stack, NULL)) munmap(bytes, STACK_BYTES);
    else pthread_setspecific(state.stack, bytes);
}

static void take_stack(void *bytes)
{
    const stack_t none = { .ss_flags = SS_DISABLE };

    sigaltstack(&none, NULL);
    munmap(bytes, STACK_BYTES);
}

int crash_install(const char *folder, const char *program)
{
    void *frame;

    if (mkdir(folder, 0700) && errno != EEXIST) return -1;
    int n = snprintf(state.prefix, sizeof(state.prefix), "%s/crash-", folder);
    if (n < 0 || (size_t)n >= sizeof(state.prefix)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if ((errno = pthread_key_create(&state.stack, take_stack))) return -1;
    state.program = program;
    state.installed = true;
    backtrace(&frame, 1);                       /* loads the unwinder, which takes memory */
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        struct sigaction action = { .sa_flags = SA_SIGINFO | SA_ONSTACK | (int)SA_RESETHAND }, before;
        action.sa_sigaction = on_crash;
        sigemptyset(&action.sa_mask);
        if (!sigaction(signals[i].number, NULL, &before) && before.sa_handler == SIG_DFL) sigaction(signals[i].number, &action, NULL);
    }
    give_stack();
    return 0;
}

struct crash_work crash_begin(const char *call, struct ref object)
{
    const struct crash_work before = thread.work;

    if (!thread.has_stack) give_stack();
    thread.work = (struct crash_work){ call, object };
    return before;
}

void crash_end(const struct crash_work *before)
{
    thread.work = *before;
}
