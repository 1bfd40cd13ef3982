/* xapi-helper ROLE: work that may hang or that hostile input may break, in a process that can be ended.
 * Called by: xapi, with the request on stdin.  Calls: confine.c, a role's file.
 *
 * The answer is one line on stdout. The parent ends us when it has waited long enough; the alarm is for a parent that
 * is gone. */
#include "xapi/helper/helper.h"

#include <stdio.h>
#include <unistd.h>

#include "lib/util.h"
#include "xapi/helper/confine.h"

enum { DEADLINE_S = 90, CONFINEMENT_FAILED = 3 };

static const struct {
    const char *name;
    int (*run)(void);
    unsigned needs;
    bool endless;                  /* as long as its input comes */
} roles[] = {
    { "pam", helper_pam, NEEDS_SHADOW | NEEDS_SOCKETS, false },
    { "pam-password", helper_pam_password, NEEDS_ROOT | NEEDS_SOCKETS, false },
    { "bootloader", helper_bootloader, NEEDS_IMAGES, false },
    { "ovf", helper_ovf, 0, false },
    { "import-disk", helper_import_disk, NEEDS_TIME, true },
};

int main(int argc, char **argv)
{
    bool programs = argc == 3 && streq(argv[2], "--programs");

    for (size_t i = 0; (argc == 2 || programs) && i < ARRAY_SIZE(roles); i++) {
        if (!streq(argv[1], roles[i].name)) continue;
        if (!roles[i].endless) alarm(DEADLINE_S);
        if (helper_confine(roles[i].needs | (programs ? NEEDS_PROGRAMS : 0))) return CONFINEMENT_FAILED;
        return roles[i].run();
    }
    fputs("usage: xapi-helper pam|pam-password|bootloader|ovf|import-disk [--programs]\n"
          "This program is run by xapi; the request comes on stdin.\n",
          stderr);
    return 2;
}
