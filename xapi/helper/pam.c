/* The roles pam and pam-password: this host's accounts through PAM.
 * Called by: helper.c.  Calls: libpam. */
#include "xapi/helper/helper.h"

#include <errno.h>
#include <security/pam_appl.h>
#include <stdio.h>

#include "lib/util.h"

enum { MAX_REQUEST = 8192 };

struct request {
    char bytes[MAX_REQUEST];
    const char *user, *password;
};

static int read_request(struct request *r)
{
    size_t n = 0;

    while (n < sizeof(r->bytes)) {
        ssize_t got = read(0, r->bytes + n, sizeof(r->bytes) - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n += (size_t)got;
    }
    const char *end = memchr(r->bytes, '\0', n);
    if (!end || n == sizeof(r->bytes) || r->bytes[n - 1] != '\0' || end == r->bytes + n - 1) return -1;
    r->user = r->bytes;
    r->password = end + 1;
    return strlen(r->user) + strlen(r->password) + 2 == n ? 0 : -1;
}

/* Every question without echo is answered with the password, every other one with the user's name. */
static int converse(int n, const struct pam_message **messages, struct pam_response **ret_answers, void *arg)
{
    const struct request *r = arg;

    if (n <= 0 || n > PAM_MAX_NUM_MSG) return PAM_CONV_ERR;
    struct pam_response *answers = xcalloc((size_t)n, sizeof(*answers));
    for (int i = 0; i < n; i++) {
        if (messages[i]->msg_style == PAM_PROMPT_ECHO_OFF) answers[i].resp = xstrdup(r->password);
        else if (messages[i]->msg_style == PAM_PROMPT_ECHO_ON) answers[i].resp = xstrdup(r->user);
    }
    *ret_answers = answers;
    return PAM_SUCCESS;
}

/* Ours when it is installed; else what the system uses for everybody. */
static const char *service(void)
{
    static const char *const names[] = { "xapi", "system-auth", "common-auth" };
    char path[64];

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "/etc/pam.d/%s", names[i]);
        if (!access(path, R_OK)) return names[i];
    }
    return "other";
}

/* The delay after a wrong password is the agent's: it holds no thread. */
static void no_delay(int status, unsigned delay_us, void *arg)
{
    (void)status;
    (void)delay_us;
    (void)arg;
}

static int check(pam_handle_t *pam)
{
    pam_set_item(pam, PAM_FAIL_DELAY, (const void *)no_delay);
    int rc = pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);

    return rc == PAM_SUCCESS ? pam_acct_mgmt(pam, PAM_SILENT) : rc;
}

static int set(pam_handle_t *pam)
{
    return pam_chauthtok(pam, PAM_SILENT);
}

static int with_pam(const char *service_name, int (*fn)(pam_handle_t *pam))
{
    struct request r;
    struct pam_conv conv = { converse, &r };
    pam_handle_t *pam = NULL;

    if (read_request(&r)) {
        puts("The request was not understood");
        return 1;
    }
    int rc = pam_start(service_name, r.user, &conv, &pam);
    if (rc == PAM_SUCCESS) rc = fn(pam);
    /* Whether the user or the password was wrong is nobody's business. */
    bool wrong = rc == PAM_AUTH_ERR || rc == PAM_USER_UNKNOWN;
    puts(rc == PAM_SUCCESS ? "ok" : wrong ? "Invalid credentials" : pam_strerror(pam, rc));
    if (pam) pam_end(pam, rc);
    explicit_bzero(&r, sizeof(r));
    return rc == PAM_SUCCESS ? 0 : 1;
}

int helper_pam(void)
{
    return with_pam(service(), check);
}

int helper_pam_password(void)
{
    return with_pam(access("/etc/pam.d/xapi", R_OK) ? "passwd" : "xapi", set);
}
