/* Storage repository "lvmohba": disk images in logical volumes on a LUN of a Fibre Channel or SAS adapter.
 * Called by: the agent's storage slots.  Calls: scsi, lvhd. */
#include "lib/strbuf.h"
#include "lib/xmlrpc.h"
#include "sm/lvhd.h"
#include "sm/scsi.h"

/* Adapters of local disks, which are no shared storage. */
static bool is_hba(const struct lun *l)
{
    static const char *const others[] = { "ata",       "pata",        "sata",       "ahci",
                                          "iscsi_tcp", "usb-storage", "virtio_scsi" };

    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        if (has_prefix(l->hba, others[i])) return false;
    return *l->hba && !*l->iqn;
}

static void put(struct strbuf *xml, const char *element, const char *text)
{
    strbuf_printf(xml, "\t\t<%s>\n\t\t\t", element);
    xmlrpc_encode_text(text, strlen(text), xml);
    strbuf_printf(xml, "\n\t\t</%s>\n", element);
}

static void put_number(struct strbuf *xml, const char *element, int64_t n)
{
    strbuf_printf(xml, "\t\t<%s>\n\t\t\t%lld\n\t\t</%s>\n", element, (long long)n, element);
}

static void put_disk(struct sm *sm, struct strbuf *xml, const struct luns *luns, const struct lun *l)
{
    int64_t paths = 0;

    for (size_t i = 0; i < luns->n; i++) paths += streq(luns->list[i].scsi_id, l->scsi_id);
    strbuf_str(xml, "\t<BlockDevice>\n");
    put(xml, "path", scsi_path(sm, l));
    put_number(xml, "numpaths", paths);
    put(xml, "SCSIid", l->scsi_id);
    put(xml, "vendor", l->vendor);
    put(xml, "serial", l->serial);
    put_number(xml, "size", l->size);
    put_number(xml, "adapter", l->host);
    put_number(xml, "channel", l->channel);
    put_number(xml, "id", l->id);
    put_number(xml, "lun", l->number);
    put(xml, "hba", l->hba);
    strbuf_str(xml, "\t</BlockDevice>\n");
}

/* SCSIID with what there is to choose from. */
static int fail_disks(struct sm *sm, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    struct luns luns;
    int shown = -1;

    scsi_rescan(NULL);
    scsi_list(sm, &luns);
    strbuf_str(&xml, "<?xml version=\"1.0\" ?>\n<Devlist>\n");
    for (size_t i = 0; i < luns.n; i++)
        if (is_hba(&luns.list[i]) && *luns.list[i].scsi_id &&
            scsi_find(&luns, luns.list[i].scsi_id, "") == &luns.list[i])
            put_disk(sm, &xml, &luns, &luns.list[i]);
    for (size_t i = 0; i < luns.n; i++) {
        if (!is_hba(&luns.list[i]) || luns.list[i].host == shown) continue;
        shown = luns.list[i].host;
        strbuf_str(&xml, "\t<Adapter>\n");
        put(&xml, "host", arena_printf(sm->arena, "host%d", shown));
        put(&xml, "name", luns.list[i].hba);
        put(&xml, "manufacturer", luns.list[i].hba);
        put_number(&xml, "id", shown);
        strbuf_str(&xml, "\t</Adapter>\n");
    }
    strbuf_str(&xml, "</Devlist>\n");
    return sm_fail_choice(err, SM_SCSIID, "The SCSIid parameter is missing or incorrect",
                          arena_strdup(sm->arena, strbuf_cstr(&xml)));
}

static int devices(struct sm *sm, const char *const **ret_devices, struct xerr *err)
{
    return *sm_config(sm, "SCSIid", "") ? scsi_devices(sm, "", is_hba, ret_devices, err) : fail_disks(sm, err);
}

/* The disk is there, as one map of all its paths where there is multipath. */
static int find_disk(struct sm *sm, struct xerr *err)
{
    const char *scsi_id = sm_config(sm, "SCSIid", "");

    if (!*scsi_id) return fail_disks(sm, err);
    scsi_rescan(NULL);
    scsi_settle(sm, "");
    return scsi_await(sm, scsi_id, "", SM_NO_DEVICE, err) || scsi_map(sm, scsi_id, "", err) ? -1 : 0;
}

static int sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return find_disk(sm, err) ? -1 : lvhd_sr_create(sm, ret_answer, err);
}

static int sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return find_disk(sm, err) ? -1 : lvhd_sr_attach(sm, ret_answer, err);
}

static int sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    return find_disk(sm, err) ? -1 : lvhd_sr_probe(sm, ret_answer, err);
}

static int sr_detach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    if (lvhd_sr_detach(sm, ret_answer, err)) return -1;
    scsi_unmap(sm, sm_config(sm, "SCSIid", ""));
    return 0;
}

static const struct sm_key configuration[] = {
    { "SCSIid", "which LUN; without it a probe lists them" },
    LVHD_KEYS,
};

LVHD_MAIN("lvmohba", "LVM over Fibre Channel or SAS",
          "Disk images as VHD, qcow2 or bare in logical volumes on a LUN of a host bus adapter", devices,
          sr_create, lvhd_sr_delete, sr_attach, sr_detach, sr_probe)
