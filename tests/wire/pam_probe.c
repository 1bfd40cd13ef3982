/* A PAM module that misbehaves as the user's name says: what a hostile or broken stack may try.
 * Called by: libpam in xapi-helper, set up by test-pam.py.  Calls: the kernel. */
#include <security/pam_modules.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that runs a program; true when it ended well. */
static bool run_program(void)
{
    char *const argv[] = { (char[]){ "true" }, NULL };
    int status;
    pid_t child = fork();

    if (!child) {
        execv("/bin/true", argv);
        _exit(1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static int verdict(bool done) { return done ? PAM_SUCCESS : PAM_SYSTEM_ERR; }

/* "sleeper" waits, "crasher" crashes, others try a system call each: PAM_SUCCESS when the kernel let it be done. Anybody else
 * is none of our business. */
static int misbehave(const char *user)
{
    char *const argv[] = { (char[]){ "true" }, NULL };

    if (!strcmp(user, "sleeper")) {
        for (;;) poll(NULL, 0, -1);
    }
    if (!strcmp(user, "crasher")) raise(SIGSEGV);
    if (!strcmp(user, "forker")) return verdict(fork() >= 0);
    if (!strcmp(user, "runner")) return verdict(run_program());
    if (!strcmp(user, "execer")) return verdict(!execv("/bin/true", argv));
    if (!strcmp(user, "mounter")) return verdict(!mount("none", "/mnt", "tmpfs", 0, NULL));
    if (!strcmp(user, "tracer")) return verdict(!ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    if (!strcmp(user, "killer")) return verdict(!kill(getppid(), 0));
    if (!strcmp(user, "sniffer")) return verdict(socket(AF_PACKET, SOCK_RAW, 0) >= 0);
    if (!strcmp(user, "climber")) return verdict(!setuid(0));
    return PAM_IGNORE;
}

int pam_sm_authenticate(pam_handle_t *pam, int flags, int argc, const char **argv)
{
    const char *user = NULL;

    (void)flags, (void)argc, (void)argv;
    if (pam_get_user(pam, &user, NULL) != PAM_SUCCESS) return PAM_AUTH_ERR;
    return misbehave(user);
}

int pam_sm_setcred(pam_handle_t *pam, int flags, int argc, const char **argv)
{
    (void)pam, (void)flags, (void)argc, (void)argv;
    return PAM_IGNORE;
}
