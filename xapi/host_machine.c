/* Class host: what it may change on the machine itself: name, clock, time servers, SSH, consoles, processors.
 * Called by: the generated thunks (schema/host.xml), pool_machine.c, jobs/.  Calls: machine, db/.
 *
 * The machine first, then the record: a record never says what the machine has refused. */
#include "xapi/host_machine.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>

#define LOG_MODULE "host"
#include "gen/methods.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/num.h"
#include "xapi/host.h"
#include "xapi/machine.h"

static const char *number(struct call *c, int64_t n) { return arena_printf(c->arena, "%lld", (long long)n); }

/* ---- names ----------------------------------------------------------------------------------------------------- */

/* RFC 1123: letters, digits and hyphens in labels of at most 63, `max` bytes in all. NULL = a good name. */
static const char *wrong_name(const char *name, size_t max)
{
    size_t label = 0;

    if (!*name) return "the name is empty";
    if (strlen(name) > max) return max == 64 ? "the name is longer than 64 characters" : "the name is too long";
    for (const char *p = name; *p; p++) {
        if (*p == '.') {
            if (!label || p[-1] == '-') return "a label is empty or ends in a hyphen";
            label = 0;
            continue;
        }
        if (!isalnum((unsigned char)*p) && *p != '-')
            return "the name may hold letters, digits, hyphens and dots only";
        if (*p == '-' && !label) return "a label begins with a hyphen";
        if (++label > 63) return "a label is longer than 63 characters";
    }
    return label && name[strlen(name) - 1] != '-' ? NULL : "the name ends in a dot or a hyphen";
}

int host_set_hostname_live(struct call *c, struct ref host, const char *hostname, struct xerr *err)
{
    enum { LINUX_MAX = 64 };
    const char *wrong = wrong_name(hostname, LINUX_MAX);

    if (host_need_self(c, host, err)) return -1;
    if (wrong) return xerr_host_name_invalid(err, wrong);
    if (MACHINE(c, NULL, err, "hostname", hostname)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_str(t, host, F_host_hostname, hostname);
    txn_map_put_str(t, host, F_host_software_version, "hostname", hostname);
    return db_commit(t, err);
}

/* ---- time servers ------------------------------------------------------------------------------------------------ */

enum { NTP_SERVERS_MAX = 16 };

static bool good_server(const char *text)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET6, text, address) == 1 || !wrong_name(text, 253);
}

static int check_servers(struct call *c, const struct value *servers, struct xerr *err)
{
    if (servers->set.n > NTP_SERVERS_MAX)
        return xerr_invalid_ntp_config(err, arena_printf(c->arena, "more than %d servers", NTP_SERVERS_MAX));
    for (size_t i = 0; i < servers->set.n; i++)
        if (!good_server(servers->set.items[i].s))
            return xerr_invalid_ntp_config(err, arena_printf(c->arena, "%s is neither a name nor an address",
                                                             servers->set.items[i].s));
    return 0;
}

/* The mode with the servers that go with it. Errors: INVALID_NTP_CONFIG [reason]; as machine_tell(). */
static int apply_ntp(struct call *c, int mode, const struct value *servers, struct xerr *err)
{
    const char *words[NTP_SERVERS_MAX + 3] = { "ntp", enum_desc_host_ntp_mode.values[mode] };

    if (mode == host_ntp_mode_Custom && !servers->set.n)
        return xerr_invalid_ntp_config(err, "the mode Custom needs servers: host.set_ntp_custom_servers");
    for (size_t i = 0; mode == host_ntp_mode_Custom && i < servers->set.n; i++)
        words[i + 2] = servers->set.items[i].s;
    return machine_tell(c, words, NULL, err);
}

static int read_ntp(struct call *c, struct ref host, int *ret_mode, struct value *ret_servers, struct xerr *err)
{
    if (host_need_self(c, host, err)) return -1;
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_host, host, err);

    if (!row) return -1;
    *ret_mode = row_enum(row, F_host_ntp_mode);
    *ret_servers = value_copy(c->arena, row_value(row, F_host_ntp_custom_servers));
    return 0;
}

int host_set_ntp_mode(struct call *c, struct ref self, enum host_ntp_mode value, struct xerr *err)
{
    struct value servers;
    int mode;

    if (read_ntp(c, self, &mode, &servers, err) || apply_ntp(c, (int)value, &servers, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_enum(t, self, F_host_ntp_mode, (int)value);
    return db_commit(t, err);
}

int host_set_ntp_custom_servers(struct call *c, struct ref self, const struct value *value, struct xerr *err)
{
    struct value servers;
    int mode;

    if (check_servers(c, value, err) || read_ntp(c, self, &mode, &servers, err)) return -1;
    if (mode == host_ntp_mode_Custom && apply_ntp(c, mode, value, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_value(t, self, F_host_ntp_custom_servers, value);
    return db_commit(t, err);
}

/* The machine says SERVER <tab> STATE a line. */
int host_get_ntp_servers_status(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    struct value_builder map = value_builder(c->arena);
    struct value servers;
    const char *text;
    int mode;

    if (read_ntp(c, self, &mode, &servers, err)) return -1;
    if (mode == host_ntp_mode_Disabled) text = "";
    else if (MACHINE(c, &text, err, "ntp-servers")) return -1;
    char *rest = arena_strdup(c->arena, text);
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *tab = strchr(line, '\t');
        if (!tab) continue;
        *tab = '\0';
        value_put(&map, line, value_string(tab + 1));
    }
    *ret_result = value_built_map(&map);
    return 0;
}

int host_get_ntp_synchronized(struct call *c, struct ref self, bool *ret_result, struct xerr *err)
{
    struct timex state = { .modes = 0 };

    if (host_need_self(c, self, err)) return -1;
    if (adjtimex(&state) < 0)
        return xerr_internal(err, "cannot ask the kernel for the clock's state: %s", strerror(errno));
    *ret_result = !(state.status & STA_UNSYNC);
    return 0;
}

int host_set_servertime(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    struct value servers;
    int mode;

    if (read_ntp(c, self, &mode, &servers, err)) return -1;
    if (mode != host_ntp_mode_Disabled) return xerr_not_allowed_when_ntp_is_enabled(err, REF_STR(self));
    if (value < 0) return xerr_invalid_value(err, "value", number(c, value));
    return machine_need(c, err) || MACHINE(c, NULL, err, "clock", number(c, value)) ? -1 : 0;
}

/* ---- time zones -------------------------------------------------------------------------------------------------- */

enum { ZONES_MAX = 2000 };

static bool is_zone(int folder, const char *name)
{
    _cleanup_close_ int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char magic[4];

    return fd >= 0 && read(fd, magic, 4) == 4 && memcmp(magic, "TZif", 4) == 0;
}

/* Every file of the tz database below the folder; names that begin with a small letter are copies of the whole
 * (posix, right, localtime). */
static void add_zones(struct call *c, int at, const char *name, const char *prefix, int depth, struct value_builder *out)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir && fd >= 0) close(fd);
    for (const struct dirent *e; dir && out->n < ZONES_MAX && (e = readdir(dir));) {
        struct stat st;
        if (!isupper((unsigned char)e->d_name[0]) || fstatat(fd, e->d_name, &st, 0)) continue;
        const char *zone = arena_printf(c->arena, "%s%s", prefix, e->d_name);
        if (S_ISDIR(st.st_mode)) {
            if (depth) add_zones(c, fd, e->d_name, arena_printf(c->arena, "%s/", zone), depth - 1, out);
        } else if (is_zone(fd, e->d_name) || S_ISLNK(st.st_mode)) {
            value_push(out, value_string(zone));
        }
    }
    if (dir) closedir(dir);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct value *)a)->s, ((const struct value *)b)->s);
}

/* "UTC" is there without a database too. */
static struct value list_zones(struct call *c)
{
    struct value_builder names = value_builder(c->arena);

    add_zones(c, AT_FDCWD, conf_str(c->agent->conf, "zoneinfo-dir"), "", 2, &names);
    struct value set = value_built_set(&names);
    if (!value_has(&set, "UTC")) {
        value_push(&names, value_string("UTC"));
        set = value_built_set(&names);
    }
    struct value *sorted = arena_new_array(c->arena, struct value, set.set.n);
    memcpy(sorted, set.set.items, set.set.n * sizeof(*sorted));
    qsort(sorted, set.set.n, sizeof(*sorted), by_text);
    return value_set(sorted, set.set.n);
}

int host_list_timezones(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    *ret_result = list_zones(c);
    return 0;
}

int host_set_timezone(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    const struct value zones = list_zones(c);
    if (!value_has(&zones, value)) return xerr_invalid_value(err, "timezone", value);
    if (MACHINE(c, NULL, err, "timezone", value)) return -1;
    tzset();
    struct txn *t = db_begin(c->agent->db);
    txn_set_str(t, self, F_host_timezone, value);
    return db_commit(t, err);
}

/* ---- SSH --------------------------------------------------------------------------------------------------------- */

enum { SSH_TIMEOUT_MAX_S = 172800, CONSOLE_TIMEOUT_MAX_S = INT32_MAX };

/* SSH by hand ends the automatic mode, which would undo it. */
static int record_ssh(struct call *c, struct ref host, bool on, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_host, host);
    int64_t timeout = row ? row_int(row, F_host_ssh_enabled_timeout) : 0;

    txn_set_bool(t, host, F_host_ssh_enabled, on);
    txn_set_bool(t, host, F_host_ssh_auto_mode, false);
    txn_set_time(t, host, F_host_ssh_expiry, on && timeout ? time(NULL) + timeout : 0);
    return db_commit(t, err);
}

/* Why the machine refused stands in the log; the error has room for the host only. */
static int switch_ssh(struct call *c, struct ref host, bool on, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    if (host_need_self(c, host, err)) return -1;
    if (!MACHINE(c, NULL, &why, "ssh-auto", "off") && !MACHINE(c, NULL, &why, "ssh", on ? "on" : "off"))
        return record_ssh(c, host, on, err);
    if (xerr_is(&why, "TASK_CANCELLED")) return xerr_move(err, &why);
    _cleanup_free_ char *text = xerr_text(&why);
    log_error("SSH: %s", text);
    return on ? xerr_enable_ssh_failed(err, REF_STR(host)) : xerr_disable_ssh_failed(err, REF_STR(host));
}

int host_enable_ssh(struct call *c, struct ref self, struct xerr *err) { return switch_ssh(c, self, true, err); }
int host_disable_ssh(struct call *c, struct ref self, struct xerr *err) { return switch_ssh(c, self, false, err); }

int host_set_ssh_enabled_timeout(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    if (value < 0 || value > SSH_TIMEOUT_MAX_S) return xerr_invalid_value(err, "ssh_enabled_timeout", number(c, value));
    struct txn *t = db_begin(c->agent->db);
    const struct row *row = snap_get(txn_snap(t), CLASS_host, self);
    bool on = row && row_bool(row, F_host_ssh_enabled);
    txn_set_int(t, self, F_host_ssh_enabled_timeout, value);
    txn_set_time(t, self, F_host_ssh_expiry, on && value ? time(NULL) + value : 0);
    return db_commit(t, err);
}

/* While the agent is well SSH is closed; xapi.service opens it when the agent ends. */
int host_set_ssh_auto_mode(struct call *c, struct ref self, bool value, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    if (MACHINE(c, NULL, err, "ssh-auto", value ? "on" : "off")) return -1;
    if (value && MACHINE(c, NULL, err, "agent-started")) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_bool(t, self, F_host_ssh_auto_mode, value);
    if (value) {
        txn_set_bool(t, self, F_host_ssh_enabled, false);
        txn_set_time(t, self, F_host_ssh_expiry, 0);
    }
    return db_commit(t, err);
}

void host_close_expired_ssh(struct agent *agent)
{
    struct ref host = REF_NULL;
    {
        _cleanup_snap_ struct snap *s = db_snap(agent->db);
        const struct row *row = snap_get(s, CLASS_host, agent->host);
        int64_t expiry = row && row_bool(row, F_host_ssh_enabled) ? row_time(row, F_host_ssh_expiry) : 0;
        if (expiry && expiry <= time(NULL)) host = agent->host;
    }
    if (ref_is_null(host)) return;
    struct call *c = call_new_internal(agent, "SSH time-out");
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    if (!switch_ssh(c, host, false, &err)) log_info("SSH is closed again: its time is over");
    call_free_internal(c);
}

int host_set_console_idle_timeout(struct call *c, struct ref self, int64_t value, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    if (value < 0 || value > CONSOLE_TIMEOUT_MAX_S) return xerr_invalid_value(err, "console_timeout", number(c, value));
    if (MACHINE(c, NULL, err, "console-timeout", number(c, value))) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_int(t, self, F_host_console_idle_timeout, value);
    return db_commit(t, err);
}

/* ---- processors -------------------------------------------------------------------------------------------------- */

/* "" = no limit, "N", or "N,M" with the sub-state of Xen. */
static bool good_cstate(const char *text)
{
    int64_t n;
    const char *comma = strchr(text, ',');
    _cleanup_free_ char *first = xstrndup(text, comma ? (size_t)(comma - text) : strlen(text));

    if (!*text) return true;
    if (!num_parse_int(first, &n) || n < 0 || n > 255) return false;
    return !comma || (num_parse_int(comma + 1, &n) && n >= 0 && n <= 255);
}

int host_set_max_cstate(struct call *c, struct ref self, const char *value, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    if (!good_cstate(value)) return xerr_invalid_value(err, "max_cstate", value);
    if (MACHINE(c, NULL, err, "cstate", value)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_str(t, self, F_host_max_cstate, value);
    return db_commit(t, err);
}

int host_get_sched_gran(struct call *c, struct ref self, enum host_sched_gran *ret_result, struct xerr *err)
{
    const char *text;

    if (host_need_self(c, self, err) || MACHINE(c, &text, err, "sched-gran")) return -1;
    *ret_result = has_prefix(text, "core")     ? host_sched_gran_core
                  : has_prefix(text, "socket") ? host_sched_gran_socket
                                               : host_sched_gran_cpu;
    return 0;
}

int host_set_sched_gran(struct call *c, struct ref self, enum host_sched_gran value, struct xerr *err)
{
    if (host_need_self(c, self, err)) return -1;
    if (value != host_sched_gran_cpu && machine_need(c, err)) return -1;
    return MACHINE(c, NULL, err, "sched-gran", enum_desc_host_sched_gran.values[value]);
}
