/* pidfd_open() for programs under a valgrind that does not know it (3.19): the reading end of a pipe whose writing end a thread
 * holds until the child has ended. Preloaded by tests/valgrind.sh. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

struct watch {
    pid_t pid;
    int fd;
};

static void *await(void *arg)
{
    struct watch *w = arg;
    siginfo_t info;

    waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOWAIT); /* an error: it was reaped */
    close(w->fd);
    free(w);
    return NULL;
}

int pidfd_open(pid_t pid, unsigned flags)
{
    struct watch *w = malloc(sizeof(*w));
    pthread_attr_t attr;
    pthread_t thread;
    int ends[2];

    (void)flags;
    if (!w || pipe2(ends, O_CLOEXEC)) {
        free(w);
        return -1;
    }
    *w = (struct watch){ pid, ends[1] };
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 65536);
    if (pthread_create(&thread, &attr, await, w)) {
        close(ends[0]);
        close(ends[1]);
        free(w);
        return -1;
    }
    return ends[0];
}
