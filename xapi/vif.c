/* Class VIF: a VM's network cards, each a tap on its network's bridge.
 * Called by: vm_device.c, the generated thunks (schema/vif.xml).  Calls: net/, hv/, db/. */
#include "xapi/vif.h"

#include <ctype.h>
#include <errno.h>

#define LOG_MODULE "vif"
#include "gen/methods.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/net/net.h"
#include "xapi/network.h"
#include "xapi/vif_card.h"
#include "xapi/vm.h"

/* ---- attach, detach -------------------------------------------------------------------------------------------- */

static void release(struct call *c, const struct card *cards, size_t n)
{
    for (size_t i = 0; i < n && !hv_plugs_nics(c->agent->hv); i++) {
        struct xerr err = XERR_INIT;
        if (!net_tap_destroy(c->agent->net, cards[i].tap, &err)) continue;
        _cleanup_free_ char *why = xerr_text(&err);
        log_warn("tap %s stays: %s", cards[i].tap, why);
        xerr_clear(&err);
    }
}

static int attach(struct call *c, const struct card *card, struct hv_nic *ret_nic, struct xerr *err)
{
    const char *bridge = card->settings.bridge ? card->settings.bridge : "";

    if (network_attach(c, card->network, err)) return -1;
    if (!hv_plugs_nics(c->agent->hv) && net_tap_create(c->agent->net, &card->settings, err)) {
        release(c, card, 1);
        return -1;
    }
    *ret_nic = (struct hv_nic){
        .ref = card->vif, .device = card->device, .mac = card->mac, .tap = card->tap, .bridge = bridge, .mtu = card->mtu,
        .rate_kbytes = card->settings.rate_kbytes, .ipv4 = card->ipv4, .ipv6 = card->ipv6,
    };
    return 0;
}

static int cmp_card(const void *a, const void *b)
{
    unsigned x = ((const struct card *)a)->device, y = ((const struct card *)b)->device;

    return x < y ? -1 : x > y;
}

/* Every card of a VM in device order. */
static int describe_all(struct call *c, struct ref vm, struct card **ret_cards, size_t *ret_n, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);

    if (!row) return -1;
    const struct refset *vifs = row_refs(row, F_VM_VIFs);
    struct card *cards = arena_new_array(c->arena, struct card, vifs->n);
    size_t n = 0;
    for (size_t i = 0; i < vifs->n; i++) {
        const struct row *vif = snap_get(s, CLASS_VIF, vifs->refs[i]);
        if (vif && vif_card(c->arena, s, vif, &cards[n], err)) return -1;
        if (vif) n++;
    }
    if (n) qsort(cards, n, sizeof(*cards), cmp_card);
    *ret_cards = cards;
    *ret_n = n;
    return 0;
}

int vif_attach_all(struct call *c, struct ref vm, const struct hv_nic **ret_nics, size_t *ret_n, struct xerr *err)
{
    struct card *cards;
    size_t n, done = 0;

    if (describe_all(c, vm, &cards, &n, err)) return -1;
    struct hv_nic *nics = arena_new_array(c->arena, struct hv_nic, n);
    for (; done < n; done++) {
        if (!attach(c, &cards[done], &nics[done], err)) continue;
        release(c, cards, done);
        return -1;
    }
    *ret_nics = nics;
    *ret_n = n;
    return 0;
}

void vif_detach_all(struct call *c, struct ref vm)
{
    struct xerr err = XERR_INIT;
    struct card *cards;
    size_t n;

    if (!describe_all(c, vm, &cards, &n, &err)) {
        release(c, cards, n);
        return;
    }
    _cleanup_free_ char *why = xerr_text(&err);
    log_warn("network cards of VM %s: %s", REF_STR(vm), why);
    xerr_clear(&err);
}

void vif_set_attached_all(struct txn *t, struct ref vm, bool attached)
{
    const struct row *row = snap_get(txn_snap(t), CLASS_VM, vm);
    size_t n = row ? row_refs(row, F_VM_VIFs)->n : 0;

    for (size_t i = 0; i < n; i++) {
        row = snap_get(txn_snap(t), CLASS_VM, vm);
        struct ref vif = row_refs(row, F_VM_VIFs)->refs[i];
        txn_set_bool(t, vif, F_VIF_currently_attached, attached);
        lifecycle_refresh(t, CLASS_VIF, vif);
    }
}

/* ---- create, destroy ------------------------------------------------------------------------------------------- */

/* "aa:bb:cc:dd:ee:ff", and not a group address. */
static bool mac_valid(const char *mac)
{
    for (int i = 0; i < 17; i++)
        if (i % 3 == 2 ? mac[i] != ':' : !isxdigit((unsigned char)mac[i])) return false;
    return !mac[17] && !(strtoul((char[]){ mac[0], mac[1], '\0' }, NULL, 16) & 1);
}

/* From the VM's mac_seed and the device, so that a VM made anew from the same seed has the same address. */
static const char *mac_from_seed(struct arena *a, const char *seed, unsigned device)
{
    const char *text = arena_printf(a, "%s/%u", seed, device);
    uint64_t h = UINT64_C(14695981039346656037);

    for (const char *p = text; *p; p++) h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
    return arena_printf(a, "%02x:%02x:%02x:%02x:%02x:%02x", (unsigned)(h >> 40 & 0xfc) | 2, (unsigned)(h >> 32 & 0xff),
                        (unsigned)(h >> 24 & 0xff), (unsigned)(h >> 16 & 0xff), (unsigned)(h >> 8 & 0xff), (unsigned)(h & 0xff));
}

/* The number of a new card: the one asked for, or the first free, as many as its guest takes. */
static int choose_device(struct call *c, const struct snap *s, const struct row *vm, const char *wish, unsigned *ret_device,
                         struct xerr *err)
{
    const unsigned most = vm_max_nics(vm);
    bool used[VM_MAX_NICS] = { false };
    const struct refset *vifs = row_refs(vm, F_VM_VIFs);
    char *end;

    for (size_t i = 0; i < vifs->n; i++) {
        const struct row *vif = snap_get(s, CLASS_VIF, vifs->refs[i]);
        unsigned long number = vif ? strtoul(row_str(vif, F_VIF_device), NULL, 10) : VM_MAX_NICS;
        if (number < VM_MAX_NICS) used[number] = true;
    }
    if (!*wish || streq(wish, "autodetect")) {
        for (unsigned i = 0; i < most; i++) {
            if (used[i]) continue;
            *ret_device = i;
            return 0;
        }
        return xerr_invalid_device(err, "all in use");
    }
    errno = 0;
    unsigned long number = strtoul(wish, &end, 10);
    if (*end || errno || !isdigit((unsigned char)*wish) || number >= most) return xerr_invalid_device(err, wish);
    if (used[number]) return xerr_device_already_exists(err, arena_strdup(c->arena, wish));
    *ret_device = (unsigned)number;
    return 0;
}

static int create_in(struct call *c, struct txn *t, const struct value *record, struct ref vif, struct xerr *err)
{
    const struct class_desc *cls = &model.classes[CLASS_VIF];
    const struct value *vm_ref = value_get(record, "VM"), *network_ref = value_get(record, "network");
    const struct row *vm = snap_need(txn_snap(t), CLASS_VM, vm_ref ? vm_ref->ref : REF_NULL, err);
    const char *mac = value_get_str(record, "MAC", "");
    const struct value *trunks = value_get(record, "trunks");
    unsigned device = 0;

    if (!vm || !snap_need(txn_snap(t), CLASS_network, network_ref ? network_ref->ref : REF_NULL, err)) return -1;
    if (row_enum(vm, F_VM_power_state) == vm_power_state_Suspended)
        return lifecycle_bad_power_state(vm, 1u << vm_power_state_Halted | 1u << vm_power_state_Running, err);
    if (choose_device(c, txn_snap(t), vm, value_get_str(record, "device", ""), &device, err)) return -1;
    bool automatic = !*mac;
    if (automatic) mac = mac_from_seed(c->arena, row_map_str(vm, F_VM_other_config, "mac_seed", row_uuid(vm)), device);
    if (!mac_valid(mac)) return xerr_mac_invalid(err, mac);
    if (trunks && vif_check_trunks(txn_snap(t), network_ref->ref, trunks, err)) return -1;

    txn_create(t, CLASS_VIF, vif);
    for (unsigned i = 0; i < cls->n_fields; i++) {
        const struct value *v = value_get(record, cls->fields[i].name);
        if (v && cls->fields[i].qualifier != QUAL_RO_RUNTIME) txn_set_field(t, vif, cls->fields[i].id, v);
    }
    const struct value algorithms[] = { value_string("ratelimit") };
    const struct value supported = value_set(algorithms, 1);
    txn_set_str(t, vif, F_VIF_device, arena_printf(c->arena, "%u", device));
    txn_set_str(t, vif, F_VIF_MAC, mac);
    txn_set_bool(t, vif, F_VIF_MAC_autogenerated, automatic);
    txn_set_bool(t, vif, F_VIF_currently_attached, false);
    txn_set_value(t, vif, F_VIF_qos_supported_algorithms, &supported);
    lifecycle_refresh(t, CLASS_VIF, vif);
    return 0;
}

int vif_create(struct call *c, const struct value *record, struct ref *ret_result, struct xerr *err)
{
    struct ref vif = ref_new();
    struct txn *t = db_begin(c->agent->db);

    if (create_in(c, t, record, vif, err)) {
        db_abort(t);
        return -1;
    }
    if (db_commit(t, err)) return -1;
    *ret_result = vif;
    return 0;
}

int vif_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    const struct row *vif = snap_need(txn_snap(t), CLASS_VIF, self, err);

    if (!vif || row_bool(vif, F_VIF_currently_attached)) {
        db_abort(t);
        return vif ? xerr_operation_not_allowed(err, "The VIF is attached to a running VM: unplug it first") : -1;
    }
    struct ref metrics = row_ref(vif, F_VIF_metrics);
    if (snap_get(txn_snap(t), CLASS_VIF_metrics, metrics)) txn_destroy(t, CLASS_VIF_metrics, metrics);
    txn_destroy(t, CLASS_VIF, self);
    return db_commit(t, err);
}

/* ---- plug, unplug, move ----------------------------------------------------------------------------------------- */

static int describe_one(struct call *c, struct ref vif, struct card *ret_card, struct ref *ret_vm, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VIF, vif, err);

    if (!row) return -1;
    *ret_vm = row_ref(row, F_VIF_VM);
    return vif_card(c->arena, s, row, ret_card, err);
}

static int set_attached(struct call *c, struct ref vif, bool attached, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_set_bool(t, vif, F_VIF_currently_attached, attached);
    lifecycle_refresh(t, CLASS_VIF, vif);
    return db_commit(t, err);
}

int vif_plug(struct call *c, struct ref self, struct xerr *err)
{
    struct card card;
    struct hv_nic nic;
    struct ref vm;

    if (describe_one(c, self, &card, &vm, err) || attach(c, &card, &nic, err)) return -1;
    if (hv_nic_attach(c->agent->hv, hv_id(card.vm_uuid, vm), &nic, err)) {
        release(c, &card, 1);
        return -1;
    }
    return set_attached(c, self, true, err);
}

/* One that has it no more, because an unplugging was cut off, is as well. */
static int take_from_guest(struct call *c, const struct card *card, const struct hv_nic *nic, struct xerr *err)
{
    _cleanup_xerr_ struct xerr why = XERR_INIT;

    if (!hv_nic_detach(c->agent->hv, hv_id(card->vm_uuid, card->vm), nic, 0, &why) || xerr_is(&why, "DEVICE_ALREADY_DETACHED")) return 0;
    return xerr_move(err, &why);
}

int vif_unplug(struct call *c, struct ref self, struct xerr *err)
{
    struct card card;
    struct ref vm;

    if (describe_one(c, self, &card, &vm, err)) return -1;
    const struct hv_nic nic = { .ref = self, .device = card.device, .mac = card.mac, .tap = card.tap, .bridge = card.bridge };
    if (take_from_guest(c, &card, &nic, err)) return -1;
    release(c, &card, 1);
    return set_attached(c, self, false, err);
}

int vif_unplug_force(struct call *c, struct ref self, struct xerr *err)
{
    return vif_unplug(c, self, err);
}

/* ---- after a commit that failed, or the end of an agent ----------------------------------------------------------- */

static bool has_interface(const struct host_links *links, const char *name)
{
    for (size_t i = 0; i < links->n; i++)
        if (streq(links->list[i].name, name)) return true;
    return false;
}

static int settle_one(struct call *c, const struct card *card, bool there, bool runs, struct xerr *err)
{
    const bool engine = hv_plugs_nics(c->agent->hv);
    const struct hv_nic nic = { .ref = card->vif, .device = card->device, .mac = card->mac, .tap = card->tap, .bridge = card->bridge };

    /* An engine's own interface comes and goes with the guest: that it is not there says nothing. */
    if (there == card->attached || (engine && !there)) return 0;
    if (runs && take_from_guest(c, card, &nic, err)) return -1;
    log_info("card %s of VM %s: %s", card->tap, card->vm_uuid, there ? "its plugging was cut off" : "its unplugging was cut off");
    if (card->attached) return set_attached(c, card->vif, false, err);
    return engine ? 0 : net_tap_destroy(c->agent->net, card->tap, err);
}

int vif_settle_all(struct call *c, struct ref vm, bool runs, const struct host_links *links, struct xerr *err)
{
    struct card *cards;
    size_t n;

    if (describe_all(c, vm, &cards, &n, err)) return -1;
    for (size_t i = 0; i < n; i++) {
        const char *name = cards[i].tap;
        if (hv_plugs_nics(c->agent->hv)) name = arena_printf(c->arena, "vif%d.%u", (int)cards[i].domid, cards[i].device);
        if (settle_one(c, &cards[i], has_interface(links, name), runs, err)) return -1;
    }
    return 0;
}

static int check_move(struct call *c, struct ref vif, struct ref network, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VIF, vif, err);

    return row ? vif_check_trunks(s, network, row_value(row, F_VIF_trunks), err) : -1;
}

/* To another network, also while the VM runs: the card changes its bridge and the guest sees nothing. */
int vif_move(struct call *c, struct ref self, struct ref network, struct xerr *err)
{
    struct card card;
    struct ref vm;

    if (describe_one(c, self, &card, &vm, err) || check_move(c, self, network, err)) return -1;
    if (card.attached && network_attach(c, network, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_ref(t, self, F_VIF_network, network);
    if (db_commit(t, err)) return -1;
    if (!card.attached || describe_one(c, self, &card, &vm, err)) return card.attached ? -1 : 0;
    if (!hv_plugs_nics(c->agent->hv)) return vif_card_apply(c, self, err);
    const struct hv_nic nic = {
        .ref = card.vif, .device = card.device, .mac = card.mac, .mtu = card.mtu,
        .bridge = card.settings.bridge ? card.settings.bridge : "",
    };
    return hv_nic_move(c->agent->hv, hv_id(card.vm_uuid, vm), &nic, err) ? -1 : vif_card_apply(c, self, err);
}
