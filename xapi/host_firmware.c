/* Class host: what its firmware says of the machine (SMBIOS), which guests may be told, too (VM.copy_bios_strings).
 * Called by: startup, vm_set.c.  Calls: db/. */
#include "xapi/host_firmware.h"

#include <ctype.h>

#include "gen/methods.h"
#include "lib/conf.h"

static const struct {
    const char *key, *file;        /* NULL: the kernel does not tell */
} strings[] = {
    { "bios-vendor", "bios_vendor" },
    { "bios-version", "bios_version" },
    { "system-manufacturer", "sys_vendor" },
    { "system-product-name", "product_name" },
    { "system-version", "product_version" },
    { "system-serial-number", "product_serial" },
    { "enclosure-asset-tag", "chassis_asset_tag" },
    { "baseboard-manufacturer", "board_vendor" },
    { "baseboard-product-name", "board_name" },
    { "baseboard-version", "board_version" },
    { "baseboard-serial-number", "board_serial" },
    { "baseboard-asset-tag", "board_asset_tag" },
    { "baseboard-location-in-chassis", NULL },
};

bool firmware_string_known(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
        if (streq(strings[i].key, key)) return true;
    return false;
}

/* Without spaces at the ends; NULL when nothing is left that a guest could be told. */
static const char *clean(struct arena *a, const char *text)
{
    text += strspn(text, " \t\n");
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1])) n--;
    if (!n || n > FIRMWARE_STRING_MAX) return NULL;
    for (size_t i = 0; i < n; i++)
        if (!isprint((unsigned char)text[i])) return NULL;
    return arena_strndup(a, text, n);
}

int host_firmware_startup(struct call *c, struct xerr *err)
{
    const char *dir = conf_str(c->agent->conf, "firmware-dir");
    struct value_builder said = value_builder(c->arena);

    for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
        _cleanup_free_ char *text = NULL;
        if (!strings[i].file) continue;
        if (read_file(arena_printf(c->arena, "%s/%s", dir, strings[i].file), FIRMWARE_STRING_MAX * 2, &text, NULL)) continue;
        const char *word = clean(c->arena, text);
        if (word) value_put(&said, strings[i].key, value_string(word));
    }
    struct txn *t = db_begin(c->agent->db);
    const struct value map = value_built_map(&said);
    const struct row *host = snap_get(txn_snap(t), CLASS_host, c->agent->host);
    if (!host || value_eq(row_value(host, F_host_bios_strings), &map)) {
        db_abort(t);
        return 0;
    }
    txn_set_value(t, c->agent->host, F_host_bios_strings, &map);
    return db_commit(t, err);
}
