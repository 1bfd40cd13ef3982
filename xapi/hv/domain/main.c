/* xapi-domain ROLE: what libxenguest does, outside the agent.
 * Called by: the Xen driver.  Calls: build.c, stream.c. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "xapi/hv/domain/domain.h"

/* ---- what libxc says ------------------------------------------------------------------------- */

struct logger {
    xentoollog_logger base;      /* first: libxc has the pointer */
    bool debug;
    char error[256];             /* the first of a series: what follows is its consequence */
};

static void vmessage(xentoollog_logger *base, xentoollog_level level, int errnoval, const char *context,
                     const char *format, va_list al)
{
    struct logger *l = (struct logger *)base;
    char text[sizeof l->error];

    (void)errnoval;
    vsnprintf(text, sizeof text, format, al);
    if (level >= XTL_ERROR && !*l->error) memcpy(l->error, text, sizeof text);
    if (l->debug) fprintf(stderr, "%s: %s\n", context ? context : "xc", text);
}

static void destroy(xentoollog_logger *base) { (void)base; }

static struct logger *the_logger(void)
{
    static struct logger logger = { .base = { .vmessage = vmessage, .destroy = destroy } };

    return &logger;
}

xentoollog_logger *domain_logger(void) { return &the_logger()->base; }
const char *domain_last_error(void) { return the_logger()->error; }
void domain_clear_error(void) { the_logger()->error[0] = '\0'; }

/* ---- roles ----------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*run)(void);
} roles[] = {
    { "build", domain_build_main },
    { "save", domain_save_main },
    { "restore", domain_restore_main },
};

int main(int argc, char **argv)
{
    const struct rlimit none = { 0, 0 };

    if (argc == 2) {
        setrlimit(RLIMIT_CORE, &none);
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        signal(SIGPIPE, SIG_IGN);
        the_logger()->debug = getenv("XAPI_DOMAIN_DEBUG") != NULL;
        for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
            if (streq(argv[1], roles[i].name)) return roles[i].run();
    }
    fputs("usage: xapi-domain build|save|restore\nThis program is run by xapi's Xen driver.\n", stderr);
    return 2;
}
