/* Sessions with iSCSI targets.
 * Called by: lvmoiscsi.c, iscsi.c.  Calls: iscsiadm(8), scsi. */
#include "sm/target.h"

#include "lib/num.h"
#include "lib/strbuf.h"
#include "lib/xmlrpc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

enum { PORT = 3260, MAX_PORTALS = 32, RECORD_LIMIT = 64 << 10 };
#define NODES "/etc/iscsi/nodes"

static bool plain_word(const char *s, const char *also)
{
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(also, *p)) return false;
    return *s && *s != '-';
}

/* ---- discovery ----------------------------------------------------------------------------- */

struct portal {
    const char *text, *address, *iqn; /* text: "10.0.0.1:3260" */
    int64_t port;
};

/* "10.0.0.1:3260,1 iqn.2024-01..." */
static bool take_portal(struct sm *sm, char *line, struct portal *ret_portal)
{
    char *iqn = strchr(line, ' '), *comma = strchr(line, ',');
    struct portal p = { .port = PORT };

    if (!iqn || !comma || comma > iqn) return false;
    *comma = '\0';
    p.iqn = arena_strdup(sm->arena, iqn + 1);
    p.text = arena_strdup(sm->arena, line);
    char *colon = strrchr(line, ':');
    if (!colon || !num_parse_int(colon + 1, &p.port)) return false;
    *colon = '\0';
    p.address = arena_strdup(sm->arena, line);
    *ret_portal = p;
    return true;
}

static const char *address_text(struct sm *sm, const struct target *t)
{
    const bool bare_v6 = strchr(t->address, ':') && *t->address != '[';

    return arena_printf(sm->arena, bare_v6 ? "[%s]:%lld" : "%s:%lld", t->address, (long long)t->port);
}

static int discover(struct sm *sm, const struct target *t, struct portal ret_portals[MAX_PORTALS],
                    size_t *ret_n, struct xerr *err)
{
    const char *argv[] = { "iscsiadm",    "--mode",   "discovery",         "--type",
                           "sendtargets", "--portal", address_text(sm, t), NULL };
    const char *out = "";
    char *save = NULL;
    size_t n = 0;

    if (sm_run(sm, argv, &out, SM_ISCSI_TARGET, err)) return -1;
    for (char *line = strtok_r(arena_strdup(sm->arena, out), "\n", &save); line && n < MAX_PORTALS;
         line = strtok_r(NULL, "\n", &save))
        n += take_portal(sm, line, &ret_portals[n]);
    *ret_n = n;
    return n ? 0 : sm_fail(err, SM_ISCSI_DISCOVERY, "%s has no target for us", t->address);
}

static void put(struct strbuf *xml, const char *element, const char *text)
{
    strbuf_printf(xml, "\t\t<%s>\n\t\t\t", element);
    xmlrpc_encode_text(text, strlen(text), xml);
    strbuf_printf(xml, "\n\t\t</%s>\n", element);
}

static void put_target(struct sm *sm, struct strbuf *xml, size_t index, const struct portal *p)
{
    strbuf_str(xml, "\t<TGT>\n");
    put(xml, "Index", arena_printf(sm->arena, "%zu", index));
    put(xml, "IPAddress", p->address);
    if (p->port != PORT) put(xml, "Port", arena_printf(sm->arena, "%lld", (long long)p->port));
    put(xml, "TargetIQN", p->iqn);
    strbuf_str(xml, "\t</TGT>\n");
}

/* The last entry stands for all of them: XenServer's clients know it. */
static int fail_targets(struct sm *sm, const struct target *t, struct xerr *err)
{
    const struct portal any = { .address = t->address, .iqn = "*", .port = t->port };
    struct portal portals[MAX_PORTALS];
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    size_t n = 0;

    if (discover(sm, t, portals, &n, err)) return -1;
    strbuf_str(&xml, "<?xml version=\"1.0\" ?>\n<iscsi-target-iqns>\n");
    for (size_t i = 0; i < n; i++) put_target(sm, &xml, i, &portals[i]);
    put_target(sm, &xml, n, &any);
    strbuf_str(&xml, "</iscsi-target-iqns>\n");
    return sm_fail_choice(err, SM_IQN_MISSING,
                          "The request is missing or has an incorrect target IQN parameter",
                          arena_strdup(sm->arena, strbuf_cstr(&xml)));
}

int target_config(struct sm *sm, struct target *ret_target, struct xerr *err)
{
    struct target t = { .address = sm_config(sm, "target", ""),
                        .iqn = sm_config(sm, "targetIQN", ""),
                        .port = PORT };
    const char *port = sm_config(sm, "port", "");

    if (!*t.address) return sm_fail(err, SM_TARGET_MISSING, "The request is missing the target parameter");
    if (!plain_word(t.address, ".-:[]_%"))
        return sm_fail(err, SM_INVALID_ARGUMENT, "no target: '%s'", t.address);
    if (*port && (!num_parse_int(port, &t.port) || t.port < 1 || t.port > 65535))
        return sm_fail(err, SM_ISCSI_PORT, "port is '%s'", port);
    if (!*t.iqn) return fail_targets(sm, &t, err);
    if (!plain_word(t.iqn, ".:-_")) return sm_fail(err, SM_INVALID_ARGUMENT, "no IQN: '%s'", t.iqn);
    *ret_target = t;
    return 0;
}

/* ---- the record of a node ------------------------------------------------------------------ */

/* open-iscsi's file for a portal of the target: it begins with the portal's name. */
static const char *record_path(struct sm *sm, const struct portal *p)
{
    const char *folder = arena_printf(sm->arena, NODES "/%s", p->iqn), *found = NULL;
    const char *start = arena_printf(sm->arena, "%s,%lld,", p->address, (long long)p->port);
    DIR *dir = opendir(folder);
    const struct dirent *e;
    struct stat st;

    while (dir && !found && (e = readdir(dir)))
        if (has_prefix(e->d_name, start)) found = arena_printf(sm->arena, "%s/%s", folder, e->d_name);
    if (dir) closedir(dir);
    if (found && stat(found, &st) == 0 && S_ISDIR(st.st_mode))
        found = arena_printf(sm->arena, "%s/default", found);
    return found;
}

struct setting {
    const char *name, *value;
};

static bool is_setting(const char *line, const struct setting *settings)
{
    for (size_t i = 0; settings[i].name; i++)
        if (has_prefix(line, settings[i].name) && line[strlen(settings[i].name)] == ' ') return true;
    return false;
}

/* The settings take the places of those of their name. */
static int rewrite(struct sm *sm, const char *path, const struct setting *settings, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    _cleanup_free_ char *old = NULL;
    char *save = NULL;

    if (!path || read_file(path, RECORD_LIMIT, &old, NULL))
        return sm_fail(err, SM_ISCSI_LOGIN, "open-iscsi has no record of the target");
    for (char *line = strtok_r(old, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (is_setting(line, settings)) continue;
        if (has_prefix(line, "# END"))
            for (size_t i = 0; settings[i].name; i++)
                strbuf_printf(&text, "%s = %s\n", settings[i].name, settings[i].value);
        strbuf_printf(&text, "%s\n", line);
    }
    if (write_file_atomic(path, text.ptr, text.len, 0600))
        return sm_fail_errno(err, SM_ISCSI_LOGIN, "cannot write %s", path);
    (void)sm;
    return 0;
}

static int set_up(struct sm *sm, const struct portal *p, struct xerr *err)
{
    const char *user = sm_config(sm, "chapuser", ""), *password = sm_config(sm, "chappassword", "");
    const char *user_in = sm_config(sm, "incoming_chapuser", ""),
               *password_in = sm_config(sm, "incoming_chappassword", "");
    const bool paths = scsi_multipath(sm);
    struct setting settings[16] = { { "node.startup", "manual" } };
    size_t n = 1;

    if (strchr(user, '\n') || strchr(password, '\n') || strchr(user_in, '\n') || strchr(password_in, '\n'))
        return sm_fail(err, SM_INVALID_ARGUMENT, "a name or password with a line break");
    /* Without another path a session that is lost may come back for two minutes; with one the other takes over at once. */
    settings[n++] = (struct setting){ "node.session.timeo.replacement_timeout", paths ? "15" : "120" };
    if (paths) { /* and a portal that is silent is not waited for two minutes */
        settings[n++] = (struct setting){ "node.session.initial_login_retry_max", "1" };
        settings[n++] = (struct setting){ "node.conn[0].timeo.login_timeout", "10" };
    }
    settings[n++] = (struct setting){ "node.conn[0].timeo.noop_out_interval", "5" };
    settings[n++] = (struct setting){ "node.conn[0].timeo.noop_out_timeout", "5" };
    settings[n++] = (struct setting){ "node.session.auth.authmethod", *user ? "CHAP" : "None" };
    if (*user) {
        settings[n++] = (struct setting){ "node.session.auth.username", user };
        settings[n++] = (struct setting){ "node.session.auth.password", password };
    }
    if (*user && *user_in) {
        settings[n++] = (struct setting){ "node.session.auth.username_in", user_in };
        settings[n++] = (struct setting){ "node.session.auth.password_in", password_in };
    }
    return rewrite(sm, record_path(sm, p), settings, err);
}

/* ---- sessions ------------------------------------------------------------------------------ */

/* A file of sysfs, "" when it is not there. */
static const char *sysfs(struct sm *sm, const char *folder, const char *name, const char *file)
{
    _cleanup_free_ char *text = NULL;

    if (read_file(arena_printf(sm->arena, "/sys/class/%s/%s/%s", folder, name, file), 4096, &text, NULL)) return "";
    text[strcspn(text, "\n")] = '\0';
    return arena_strdup(sm->arena, text);
}

/* "connection3:0" is of "session3". */
static bool is_over(struct sm *sm, const char *connection, const struct portal *p)
{
    const char *address = sysfs(sm, "iscsi_connection", connection, "persistent_address"), *asked = p->address;
    const size_t n = strlen(address), bracket = *asked == '[';

    return strncmp(asked + bracket, address, n) == 0 && (bracket ? asked[n + 1] == ']' : asked[n] == '\0') &&
           streq(sysfs(sm, "iscsi_connection", connection, "persistent_port"), arena_printf(sm->arena, "%lld", (long long)p->port));
}

/* A session with the target, over the portal or (NULL) over any. */
static bool has_session(struct sm *sm, const char *iqn, const struct portal *p)
{
    DIR *dir = opendir("/sys/class/iscsi_connection");
    const struct dirent *e;
    bool found = false;

    while (dir && !found && (e = readdir(dir))) {
        if (!has_prefix(e->d_name, "connection")) continue;
        const char *number = e->d_name + strlen("connection");
        const char *session = arena_printf(sm->arena, "session%.*s", (int)strcspn(number, ":"), number);
        found = streq(sysfs(sm, "iscsi_session", session, "targetname"), iqn) && (!p || is_over(sm, e->d_name, p));
    }
    if (dir) closedir(dir);
    return found;
}

static const char *use_folder(struct sm *sm, const struct target *t)
{
    return arena_printf(sm->arena, "%s/iscsi-%s", sm->state_dir, t->iqn);
}

static const char *use_path(struct sm *sm, const struct target *t, const char *user)
{
    return arena_printf(sm->arena, "%s/%s", use_folder(sm, t), user);
}

bool target_is_used_by(struct sm *sm, const struct target *t, const char *user)
{
    return access(use_path(sm, t, user), F_OK) == 0 && has_session(sm, t->iqn, NULL);
}

static int login_portal(struct sm *sm, const struct portal *p, struct xerr *err)
{
    const char *argv[] = { "iscsiadm", "--mode",  "node", "--targetname", p->iqn, "--portal",
                           p->text,    "--login", NULL };

    if (set_up(sm, p, err)) return -1; /* a discovery makes the record anew */
    return has_session(sm, p->iqn, p) ? 0 : sm_run(sm, argv, NULL, SM_ISCSI_LOGIN, err);
}

/* Every portal of the target when there is multipath, else the one that was named. One that answers is enough. */
static int login_all(struct sm *sm, const struct target *t, struct xerr *err)
{
    struct portal portals[MAX_PORTALS];
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    size_t n = 0, in = 0, tried = 0;

    if (discover(sm, t, portals, &n, err)) return -1;
    for (int all = scsi_multipath(sm); all < 2 && !in && !tried; all++)
        for (size_t i = 0; i < n; i++) {
            if (!streq(portals[i].iqn, t->iqn)) continue;
            if (!all && !streq(portals[i].address, t->address)) continue;
            xerr_clear(&why);
            tried++;
            if (login_portal(sm, &portals[i], &why) == 0) in++;
            if (!all && in) break;
        }
    if (in) return 0;
    if (why.code) return xerr_move(err, &why);
    return sm_fail(err, SM_ISCSI_DISCOVERY, "%s has no target %s", t->address, t->iqn);
}

/* The records of its nodes, which have the password. */
static void forget_nodes(struct sm *sm, const struct target *t)
{
    const char *argv[] = { "iscsiadm", "--mode", "node", "--targetname", t->iqn, "--op", "delete", NULL };
    _cleanup_xerr_ struct xerr none = XERR_INIT;

    sm_run(sm, argv, NULL, SM_ISCSI_LOGOUT, &none);
}

int target_login(struct sm *sm, const struct target *t, const char *user, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;
    const bool had = has_session(sm, t->iqn, NULL);

    /* With multipath a portal that did not answer at the last login may do so now. */
    if ((!had || scsi_multipath(sm)) && login_all(sm, t, &why) && !had) {
        forget_nodes(sm, t);
        return xerr_move(err, &why);
    }
    scsi_rescan("iscsi_tcp");
    scsi_settle(sm, t->iqn);
    if (make_dirs(use_folder(sm, t), 0700) || write_file_atomic(use_path(sm, t, user), "", 0, 0600))
        return sm_fail_errno(err, SM_LOCK, "cannot note the use of %s", t->iqn);
    return 0;
}

void target_logout(struct sm *sm, const struct target *t, const char *user)
{
    const char *leave[] = { "iscsiadm", "--mode", "node", "--targetname", t->iqn, "--logout", NULL };
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;

    unlink(use_path(sm, t, user));
    if (rmdir(use_folder(sm, t)) && errno == ENOTEMPTY) return;
    if (has_session(sm, t->iqn, NULL)) sm_run(sm, leave, NULL, SM_ISCSI_LOGOUT, &ignored);
    forget_nodes(sm, t);
}

/* The kernel asks the target before it says that it has looked, and makes the nodes later. */
void target_list_luns(struct sm *sm, const struct target *t, struct luns *ret_luns)
{
    scsi_rescan("iscsi_tcp");
    scsi_settle(sm, t->iqn);
    scsi_list(sm, ret_luns);
}

int target_fail_luns(struct sm *sm, const struct target *t, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    struct luns luns;

    target_list_luns(sm, t, &luns);
    strbuf_str(&xml, "<?xml version=\"1.0\" ?>\n<iscsi-target>\n");
    for (size_t i = 0; i < luns.n; i++) {
        const struct lun *l = &luns.list[i];
        if (!streq(l->iqn, t->iqn) || scsi_find(&luns, l->scsi_id, t->iqn) != l)
            continue; /* one path of several */
        strbuf_str(&xml, "\t<LUN>\n");
        put(&xml, "vendor", l->vendor);
        put(&xml, "serial", l->serial);
        put(&xml, "LUNid", arena_printf(sm->arena, "%lld", (long long)l->number));
        put(&xml, "size", arena_printf(sm->arena, "%lld", (long long)l->size));
        put(&xml, "SCSIid", l->scsi_id);
        strbuf_str(&xml, "\t</LUN>\n");
    }
    strbuf_str(&xml, "</iscsi-target>\n");
    return sm_fail_choice(err, SM_SCSIID, "The SCSIid parameter is missing or incorrect",
                          arena_strdup(sm->arena, strbuf_cstr(&xml)));
}
