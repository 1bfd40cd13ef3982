/* The wish of xe-reset-networking: its options, its checks, its file.
 * Called by: xe_reset_networking.c, network_reset.c.  Calls: conf, address. */
#include "xapi/network_reset_file.h"

#include <ctype.h>
#include <sys/socket.h>

#include "lib/address.h"
#include "lib/num.h"

enum { NAME_MAX_BYTES = 15, TAG_MAX = 4094, MASTER_MAX = 262 };

static const char *const modes[] = { "none", "dhcp", "static", NULL };
static const char *const modes_v6[] = { "none", "dhcp", "autoconf", "static", NULL };

const struct conf_option network_reset_options[] = {
    { .key = "config", .type = CONF_PATH, .fallback = SYSCONFDIR "/xapi/xapi.conf",
      .doc = "the agent's configuration file, which says where its state is", .command_line_only = true },
    { .key = "root", .type = CONF_PATH, .fallback = "", .doc = "the agent's state directory; empty = as configured",
      .command_line_only = true },
    { .key = "cancel", .type = CONF_BOOL, .fallback = "no", .doc = "take back a wish that no agent has come to fulfil",
      .command_line_only = true },
    { .key = "help", .type = CONF_BOOL, .fallback = "no", .doc = "print this and exit", .command_line_only = true },

    { .key = "device", .type = CONF_STRING, .fallback = "", .unit = "NAME",
      .doc = "the card that management is to go over; empty = the one it goes over now" },
    { .key = "mode", .type = CONF_ENUM, .fallback = "dhcp", .choices = modes, .doc = "where its IPv4 address comes from" },
    { .key = "ip", .type = CONF_STRING, .fallback = "", .unit = "ADDRESS", .doc = "with --mode static" },
    { .key = "netmask", .type = CONF_STRING, .fallback = "", .unit = "MASK", .doc = "with --mode static" },
    { .key = "gateway", .type = CONF_STRING, .fallback = "", .unit = "ADDRESS", .doc = "with --mode static" },
    { .key = "mode-v6", .type = CONF_ENUM, .fallback = "none", .choices = modes_v6, .doc = "where its IPv6 address comes from" },
    { .key = "ipv6", .type = CONF_STRING, .fallback = "", .unit = "ADDRESS/BITS", .doc = "with --mode-v6 static" },
    { .key = "gateway-v6", .type = CONF_STRING, .fallback = "", .unit = "ADDRESS", .doc = "with --mode-v6 static" },
    { .key = "dns", .type = CONF_STRING, .fallback = "", .unit = "ADDRESS[,ADDRESS]", .doc = "resolvers" },
    { .key = "vlan", .type = CONF_STRING, .fallback = "", .unit = "TAG", .doc = "management goes over this VLAN of the card" },
    { .key = "master", .type = CONF_STRING, .fallback = "", .unit = "ADDRESS",
      .doc = "of the pool's coordinator, when that has another one now; only for a host that has one" },
    { .key = NULL },
};

char *network_reset_path(const char *root) { return xasprintf("%s/network-reset", root); }

/* ---- checks --------------------------------------------------------------------------------------------------------- */

static const char *wrong_device(const char *name)
{
    if (strlen(name) > NAME_MAX_BYTES || streq(name, ".") || streq(name, "..")) return "is no name of a card";
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p)) return "is no name of a card";
    return NULL;
}

static const char *wrong_tag(const char *text)
{
    int64_t tag;

    return *text && (!num_parse_int(text, &tag) || tag < 0 || tag > TAG_MAX) ? "is no VLAN: 0 to 4094" : NULL;
}

static const char *wrong_master(const char *text)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:%_[]";

    return strlen(text) > MASTER_MAX || strspn(text, good) < strlen(text) ? "is no address of a coordinator" : NULL;
}

static const char *wrong_v4(const char *text) { return *text && !address_valid(AF_INET, text) ? "is no IPv4 address" : NULL; }
static const char *wrong_v6(const char *text) { return *text && !address_valid(AF_INET6, text) ? "is no IPv6 address" : NULL; }
static const char *wrong_list(const char *text) { return address_list_valid(text) ? NULL : "are no addresses"; }

static const char *wrong_netmask(const char *text)
{
    return *text && address_prefix_of(text) < 1 ? "is no netmask" : NULL;
}

static const char *wrong_cidr(const char *text)
{
    _cleanup_free_ char *spelled = *text ? address_with_prefix(AF_INET6, text) : NULL;

    return *text && !spelled ? "is no IPv6 address with a length: 2001:db8::7/64" : NULL;
}

/* Which options mean something only with which mode, and which of them it cannot do without. */
static const struct { const char *key, *mode_key; bool needed; } of_modes[] = {
    { "ip", "mode", true }, { "netmask", "mode", true }, { "gateway", "mode", false },
    { "ipv6", "mode-v6", true }, { "gateway-v6", "mode-v6", false },
};

char *network_reset_wrong(const struct conf *wish)
{
    static const struct { const char *key; const char *(*wrong)(const char *text); } checks[] = {
        { "device", wrong_device }, { "ip", wrong_v4 },         { "netmask", wrong_netmask },
        { "gateway", wrong_v4 },    { "ipv6", wrong_cidr },     { "gateway-v6", wrong_v6 },
        { "dns", wrong_list },      { "vlan", wrong_tag },      { "master", wrong_master },
    };

    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        const char *text = conf_str(wish, checks[i].key), *why = checks[i].wrong(text);
        if (why) return xasprintf("--%s: \"%s\" %s", checks[i].key, text, why);
    }
    for (size_t i = 0; i < ARRAY_SIZE(of_modes); i++) {
        const char *key = of_modes[i].key, *mode = of_modes[i].mode_key;
        bool fixed = streq(conf_str(wish, mode), "static");
        if (!fixed && *conf_str(wish, key)) return xasprintf("--%s goes with --%s static", key, mode);
        if (fixed && of_modes[i].needed && !*conf_str(wish, key)) return xasprintf("--%s static needs --%s", mode, key);
    }
    if (streq(conf_str(wish, "mode"), "none") && streq(conf_str(wish, "mode-v6"), "none"))
        return xstrdup("--mode none leaves no address at all: give --mode-v6");
    return NULL;
}

/* ---- the file ---------------------------------------------------------------------------------------------------------- */

int network_reset_write(const char *root, const struct conf *wish)
{
    _cleanup_free_ char *path = network_reset_path(root);
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;

    for (const struct conf_option *o = network_reset_options; o->key; o++)
        if (!o->command_line_only) strbuf_printf(&text, "%s = %s\n", o->key, conf_str(wish, o->key));
    return write_file_atomic(path, text.ptr, text.len, 0600);
}

struct conf *network_reset_read(const char *root, char **ret_why)
{
    _cleanup_free_ char *path = network_reset_path(root);
    _cleanup_strbuf_ struct strbuf errors = STRBUF_INIT;

    *ret_why = NULL;
    if (access(path, F_OK)) return NULL;
    struct conf *wish = conf_new(network_reset_options);
    *ret_why = conf_load(wish, path, &errors) ? xstrdup(strbuf_cstr(&errors)) : network_reset_wrong(wish);
    if (!*ret_why) return wish;
    conf_free(wish);
    return NULL;
}
