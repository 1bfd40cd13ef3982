/* The terminal that xe runs in and the signals that may end it.
 * Called by: xe.c, client.c and what it is made of.  Calls: libc. */
#include "xe/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

static const char erase[] = "\r\033[K";

void terminal_init(struct terminal *t)
{
    *t = (struct terminal){ .wake = { -1, -1 } };
    /* Without descriptors left nobody can listen: a SIGINT then ends xe, as ever. */
    if (pipe2(t->wake, O_CLOEXEC | O_NONBLOCK) < 0) t->wake[0] = t->wake[1] = -1;
}

/* What cannot be shown needs not be. */
static void show(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0) return;
}

void terminal_signal(struct terminal *t, int signal_number)
{
    const char *file = t->file;
    int kept = errno;

    if (signal_number == SIGINT && t->listening && !t->interrupted) {
        t->interrupted = 1;
        if (write(t->wake[1], "", 1) == 1) {
            errno = kept;
            return;
        }
    }
    if (t->raw || t->asking) show("\r\n");
    terminal_restore(t);
    if (t->bar) show(erase);
    if (file) unlink(file);
    if (signal_number == SIGABRT) return;      /* xe itself has failed, and abort() goes on */
    _exit(128 + signal_number);
}

void terminal_listen(struct terminal *t, bool on)
{
    if (on && t->listening) return;            /* what has come meanwhile is still to be heard */
    t->listening = 0;
    if (!on || t->wake[0] < 0) return;
    (void)terminal_interrupted(t);
    t->interrupted = 0;
    t->listening = 1;
}

bool terminal_interrupted(struct terminal *t)
{
    char byte;

    return t->interrupted && read(t->wake[0], &byte, 1) == 1;
}

int terminal_create(struct terminal *t, const char *path)
{
    sigset_t all, before;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) t->file = path;
    int kept = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = kept;
    return fd;
}

void terminal_writing(struct terminal *t, const char *path)
{
    t->file = path;
}

void terminal_raw(struct terminal *t)
{
    struct termios raw;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &t->saved) < 0) return;
    raw = t->saved;
    cfmakeraw(&raw);
    t->raw = 1;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

void terminal_restore(struct terminal *t)
{
    if (!t->raw) return;
    tcsetattr(STDIN_FILENO, TCSANOW, &t->saved);
    t->raw = 0;
}

void terminal_bar(struct terminal *t, bool shown)
{
    if (t->bar && !shown) show(erase);
    t->bar = shown;
}

unsigned terminal_width(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

bool terminal_can_ask(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}
