/* A VM's first configuration as a disk that cloud-init looks for (its NoCloud source: label "cidata").
 * Called by: vm_power.c.  Calls: lib/iso9660, storage/content, the gates.
 *
 * VM.other_config says what is on it: cloud-init-user-data, cloud-init-meta-data, cloud-init-network-config,
 * cloud-init-vendor-data, each a text or "secret:UUID". Templates may carry them. Without cloud-init-network-config the addresses of
 * VIF.configure_ipv4 and configure_ipv6 are it. The disk is an ordinary VDI with a read-only VBD; before each start it is made, or
 * written anew when its files are others. */
#define LOG_MODULE "vm"
#include "xapi/vm.h"

#include <ctype.h>
#include <openssl/evp.h>

#include "gen/methods.h"
#include "lib/iso9660.h"
#include "lib/log.h"
#include "xapi/storage/content.h"
#include "xapi/unfinished.h"
#include "xapi/vdi.h"

#define MARK "cloud-init"       /* in VBD.other_config: the digest of what its disk holds */
enum { DISK_STEP = 1 << 20, DISK_MAX = 16 << 20, DIGEST_TEXT = 65, NAME_MAX_BYTES = 63 };

static const struct {
    const char *key, *name, *plain;
} kinds[] = {
    { "cloud-init-meta-data", "meta-data", "METADATA" },
    { "cloud-init-user-data", "user-data", "USERDATA" },
    { "cloud-init-network-config", "network-config", "NETCONF" },
    { "cloud-init-vendor-data", "vendor-data", "VENDDATA" },
};

struct drive {
    struct iso_file files[ARRAY_SIZE(kinds)];
    size_t n;
    char digest[DIGEST_TEXT];
    struct ref vbd, vdi, sr;    /* vbd null: there is none yet */
    bool fresh;                 /* it has this content */
    int64_t size;               /* of the disk that is there */
};

/* ---- what is wanted -------------------------------------------------------------------------------------------- */

/* A name that a host may have. */
static const char *host_name(struct call *c, const struct row *vm)
{
    const char *label = row_str(vm, F_VM_name_label);
    char *name = arena_strndup(c->arena, label, strnlen(label, NAME_MAX_BYTES)), *p = name;

    for (; *p; p++) *p = isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '-';
    while (p > name && p[-1] == '-') *--p = '\0';
    while (*name == '-') name++;
    return *name ? name : "vm";
}

static int read_text(struct call *c, const struct snap *s, const char *text, const char **ret, struct xerr *err)
{
    if (!has_prefix(text, "secret:")) {
        *ret = arena_strdup(c->arena, text);
        return 0;
    }
    const struct row *secret = snap_by_uuid(s, CLASS_secret, text + strlen("secret:"));
    if (!secret) return xerr_uuid_invalid(err, "secret", text + strlen("secret:"));
    *ret = arena_strdup(c->arena, row_str(secret, F_secret_value));
    return 0;
}

/* What VIF.configure_ipv4 and configure_ipv6 said of a card. */
struct told { const char *address, *gateway, *any; };

static struct told told(const struct row *vif, bool fixed, field_id addresses, field_id gateway, const char *any)
{
    const struct value *set = row_value(vif, addresses);

    if (!fixed || !set->set.n) return (struct told){ NULL, "", any };
    return (struct told){ set->set.items[0].s, row_str(vif, gateway), any };
}

/* Its part of a network-config in version 2. One without an address for IPv4 asks for one, as it would without all this. */
static bool describe_card(struct strbuf *out, const struct row *vif)
{
    const struct told both[] = {
        told(vif, row_enum(vif, F_VIF_ipv4_configuration_mode) == vif_ipv4_configuration_mode_Static, F_VIF_ipv4_addresses,
             F_VIF_ipv4_gateway, "0.0.0.0/0"),
        told(vif, row_enum(vif, F_VIF_ipv6_configuration_mode) == vif_ipv6_configuration_mode_Static, F_VIF_ipv6_addresses,
             F_VIF_ipv6_gateway, "::/0"),
    };
    const bool any = both[0].address || both[1].address;
    const char *routes = "    routes:\n";

    strbuf_printf(out, "  vif%s:\n    match: {macaddress: \"%s\"}\n    dhcp4: %s\n", row_str(vif, F_VIF_device), row_str(vif, F_VIF_MAC),
                  both[0].address ? "false" : "true");
    if (any) strbuf_str(out, "    addresses:\n");
    for (size_t i = 0; i < ARRAY_SIZE(both); i++)
        if (both[i].address) strbuf_printf(out, "    - \"%s\"\n", both[i].address);
    for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
        if (!*both[i].gateway) continue;
        strbuf_printf(out, "%s    - {to: \"%s\", via: \"%s\"}\n", routes, both[i].any, both[i].gateway);
        routes = "";
    }
    return any;
}

static int by_device(const void *a, const void *b)
{
    long x = strtol(row_str(*(const struct row *const *)a, F_VIF_device), NULL, 10),
         y = strtol(row_str(*(const struct row *const *)b, F_VIF_device), NULL, 10);

    return x < y ? -1 : x > y;
}

/* The same text for the same cards; NULL when none was told anything. */
static const char *addresses(struct call *c, const struct snap *s, const struct row *vm)
{
    const struct refset *vifs = row_refs(vm, F_VM_VIFs);
    const struct row **cards = arena_new_array(c->arena, const struct row *, vifs->n);
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    bool any = false;
    size_t n = 0;

    for (size_t i = 0; i < vifs->n; i++)
        if ((cards[n] = snap_get(s, CLASS_VIF, vifs->refs[i]))) n++;
    if (n) qsort(cards, n, sizeof(*cards), by_device);
    strbuf_str(&out, "version: 2\nethernets:\n");
    for (size_t i = 0; i < n; i++) any |= describe_card(&out, cards[i]);
    return any ? arena_strdup(c->arena, strbuf_cstr(&out)) : NULL;
}

static int read_files(struct call *c, const struct snap *s, const struct row *vm, struct drive *d, struct xerr *err)
{
    const char *text = "";
    bool any = false;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) any |= row_map_str(vm, F_VM_other_config, kinds[i].key, NULL) != NULL;
    for (size_t i = 0; any && i < ARRAY_SIZE(kinds); i++) {
        const char *said = row_map_str(vm, F_VM_other_config, kinds[i].key, NULL);
        if (!said && streq(kinds[i].name, "network-config")) said = addresses(c, s, vm);
        /* Without these two there is no such source for cloud-init. */
        if (!said && i > 1) continue;
        if (!said && i == 1) said = "#cloud-config\n";
        if (!said) said = arena_printf(c->arena, "instance-id: %s\nlocal-hostname: %s\n", row_uuid(vm), host_name(c, vm));
        if (read_text(c, s, said, &text, err)) return -1;
        d->files[d->n++] = (struct iso_file){ kinds[i].name, kinds[i].plain, text, strlen(text) };
    }
    return 0;
}

/* The disk that an earlier start made; and where a new one belongs: beside the VM's first disk, else in the default SR. */
static void find_disk(struct call *c, const struct snap *s, const struct row *vm, struct drive *d)
{
    const struct refset *vbds = row_refs(vm, F_VM_VBDs);
    const struct row *pool = snap_get(s, CLASS_pool, c->agent->pool);
    int64_t first = INT64_MAX;

    d->sr = pool ? row_ref(pool, F_pool_default_SR) : REF_NULL;
    for (size_t i = 0; i < vbds->n; i++) {
        const struct row *vbd = snap_get(s, CLASS_VBD, vbds->refs[i]);
        const struct row *vdi = vbd ? snap_get(s, CLASS_VDI, row_ref(vbd, F_VBD_VDI)) : NULL;
        if (!vdi || row_enum(vbd, F_VBD_type) != vbd_type_Disk) continue;
        const char *mark = row_map_str(vbd, F_VBD_other_config, MARK, NULL);
        if (mark) {
            d->vbd = row_ref_of(vbd);
            d->vdi = row_ref_of(vdi);
            d->size = row_int(vdi, F_VDI_virtual_size);
            d->fresh = streq(mark, d->digest);
        } else if (strtoll(row_str(vbd, F_VBD_userdevice), NULL, 10) < first) {
            first = strtoll(row_str(vbd, F_VBD_userdevice), NULL, 10);
            d->sr = row_ref(vdi, F_VDI_SR);
        }
    }
}

static void digest(const struct strbuf *image, char ret[DIGEST_TEXT])
{
    unsigned char raw[32];

    if (EVP_Digest(image->ptr, image->len, raw, NULL, EVP_sha256(), NULL) != 1) abort();
    for (size_t i = 0; i < sizeof raw; i++) snprintf(ret + 2 * i, 3, "%02x", raw[i]);
}

/* ---- the disk -------------------------------------------------------------------------------------------------- */

static int write_disk(struct call *c, struct ref vdi, const struct strbuf *image, struct xerr *err)
{
    const char *owner = arena_printf(c->arena, "cloud-init-%s", c->task->uuid);
    struct storage_disk disk;
    struct content *k = NULL;

    if (vdi_attach(c, vdi, owner, true, &disk, err)) return -1;
    int rc = content_open(c->agent->storage, &disk, &k, err);
    for (size_t at = 0; !rc && at < image->len; at += DISK_STEP) {
        size_t n = image->len - at < DISK_STEP ? image->len - at : DISK_STEP;
        rc = content_write(k, image->ptr + at, n, (int64_t)at, false, err);
    }
    if (!rc) rc = content_flush(k, err);
    content_close(k);
    vm_undo_attach(c, vdi, owner);
    return rc;
}

static int make_vbd(struct call *c, struct ref vm, struct drive *d, struct xerr *err)
{
    struct value_builder b = value_builder(c->arena);
    const struct member marks[] = { { MARK, value_string("") } };
    struct value made;

    value_put(&b, "VM", value_ref(vm));
    value_put(&b, "VDI", value_ref(d->vdi));
    value_put(&b, "userdevice", value_string("autodetect"));
    value_put(&b, "type", value_string("Disk"));
    value_put(&b, "mode", value_string("RO"));
    value_put(&b, "bootable", value_bool(false));
    value_put(&b, "empty", value_bool(false));
    value_put(&b, "unpluggable", value_bool(true));
    value_put(&b, "other_config", value_map(marks, 1));
    value_put(&b, "qos_algorithm_type", value_string(""));
    value_put(&b, "qos_algorithm_params", value_map(NULL, 0));
    if (call_message(c, "VBD.create", ARGS(value_built_map(&b)), &made, err)) return -1;
    d->vbd = made.ref;
    return 0;
}

static int make_disk(struct call *c, struct ref vm, int64_t size, struct drive *d, struct xerr *err)
{
    const struct vdi_new what = { .sr = d->sr, .name_label = "cloud-init", .virtual_size = size, .type = vdi_type_user,
                                  .name_description = "First configuration of the VM: made from its other_config at each start" };

    if (ref_is_null(d->sr)) return xerr_default_sr_not_found(err, REF_STR(d->sr));
    c->unfinished = arena_strdup(c->arena, REF_STR(vm));
    int rc = vdi_create_internal(c, &what, &d->vdi, err);
    c->unfinished = NULL;
    if (rc) return -1;
    if (!make_vbd(c, vm, d, err)) return 0;
    vm_undo_vdi(c, d->vdi);
    return -1;
}

/* An old disk that has become too small goes. */
static int drop_disk(struct call *c, const struct drive *d, struct xerr *err)
{
    if (call_message(c, "VBD.destroy", ARGS(value_ref(d->vbd)), NULL, err)) return -1;
    return call_message(c, "VDI.destroy", ARGS(value_ref(d->vdi)), NULL, err);
}

static int need_disk(struct call *c, struct ref vm, const struct strbuf *image, struct drive *d, struct xerr *err)
{
    const int64_t size = ((int64_t)image->len + DISK_STEP - 1) / DISK_STEP * DISK_STEP;

    if (d->fresh) return 0;
    if (!ref_is_null(d->vbd) && d->size < size) {
        if (drop_disk(c, d, err)) return -1;
        d->vbd = REF_NULL;
    }
    if (ref_is_null(d->vbd) && make_disk(c, vm, size, d, err)) return -1;
    if (write_disk(c, d->vdi, image, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_map_put_str(t, d->vbd, F_VBD_other_config, MARK, d->digest);
    unfinished_end(t, CLASS_VDI, d->vdi);
    return db_commit(t, err);
}

int vm_cloud_init(struct call *c, struct ref vm, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf image = STRBUF_INIT;
    struct drive d = { .vbd = REF_NULL };

    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, vm, err);
        if (!row || read_files(c, s, row, &d, err)) return -1;
        if (!d.n) return 0;
        iso_write("cidata", d.files, d.n, &image);
        digest(&image, d.digest);
        find_disk(c, s, row, &d);
    }
    if (image.len > DISK_MAX) return xerr_value_not_supported(err, "other_config", "cloud-init", "at most 16 MiB");
    return need_disk(c, vm, &image, &d, err);
}
