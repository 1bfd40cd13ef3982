/* A VM's card as the host's network has it: locks, limits, offloads, from the records.
 * Called by: vif.c, vif_lock.c, startup, main.c.  Calls: net/, hv/, db/. */
#include "xapi/vif_card.h"

#define LOG_MODULE "vif"
#include "lib/log.h"
#include "xapi/network.h"

/* ---- from the records ---------------------------------------------------------------------------------------------------------- */

static const char *const *texts_of(struct arena *a, const struct value *set, size_t *ret_n)
{
    const char **out = arena_new_array(a, const char *, set->set.n);

    for (size_t i = 0; i < set->set.n; i++) out[i] = arena_strdup(a, set->set.items[i].s);
    *ret_n = set->set.n;
    return out;
}

static const struct net_lock *lock_of(struct arena *a, const struct row *vif)
{
    struct net_lock *lock = arena_zalloc(a, sizeof(*lock));

    lock->mac = arena_strdup(a, row_str(vif, F_VIF_MAC));
    lock->ipv4 = texts_of(a, row_value(vif, F_VIF_ipv4_allowed), &lock->n_ipv4);
    lock->ipv6 = texts_of(a, row_value(vif, F_VIF_ipv6_allowed), &lock->n_ipv6);
    return lock;
}

static int cmp_tag(const void *a, const void *b) { return *(const uint16_t *)a - *(const uint16_t *)b; }

static void add_trunks(struct arena *a, const struct row *vif, struct net_tap *card)
{
    const struct value *set = row_value(vif, F_VIF_trunks);
    uint16_t *tags = arena_new_array(a, uint16_t, set->set.n);

    for (size_t i = 0; i < set->set.n; i++) tags[i] = (uint16_t)set->set.items[i].i;
    if (set->set.n) qsort(tags, set->set.n, sizeof(*tags), cmp_tag);
    card->trunks = tags;
    card->n_trunks = set->set.n;
}

static bool is_on(const char *text) { return streq(text, "on") || streq(text, "true"); }

/* other_config: ethtool-tx = on. */
static void add_offloads(struct arena *a, const struct row *vif, struct net_tap *card)
{
    static const char *const names[] = { "rx", "tx", "sg", "tso", "ufo", "gso", "gro" };
    struct net_setting *settings = arena_new_array(a, struct net_setting, ARRAY_SIZE(names));

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *key = arena_printf(a, "ethtool-%s", names[i]), *value = row_map_str(vif, F_VIF_other_config, key, "");
        if (*value) settings[card->n_settings++] = (struct net_setting){ names[i], is_on(value) };
    }
    card->settings = settings;
}

static enum vif_locking_mode mode_of(const struct row *vif, const struct row *network)
{
    enum vif_locking_mode mode = (enum vif_locking_mode)row_enum(vif, F_VIF_locking_mode);

    if (mode != vif_locking_mode_network_default) return mode;
    return row_enum(network, F_network_default_locking_mode) == network_default_locking_mode_disabled ? vif_locking_mode_disabled
                                                                                                      : vif_locking_mode_unlocked;
}

static struct hv_nic_address address_of(struct arena *a, const struct row *vif, bool fixed, field_id addresses, field_id gateway)
{
    const struct value *set = row_value(vif, addresses);

    if (!fixed || !set->set.n) return (struct hv_nic_address){ .fixed = false };
    return (struct hv_nic_address){ true, arena_strdup(a, set->set.items[0].s), arena_strdup(a, row_str(vif, gateway)) };
}

int vif_card(struct arena *a, const struct snap *s, const struct row *vif, struct card *ret_card, struct xerr *err)
{
    const struct row *vm = snap_need(s, CLASS_VM, row_ref(vif, F_VIF_VM), err);
    const struct row *network = vm ? snap_need(s, CLASS_network, row_ref(vif, F_VIF_network), err) : NULL;

    if (!network) return -1;
    bool limited = streq(row_str(vif, F_VIF_qos_algorithm_type), "ratelimit");
    enum vif_locking_mode mode = mode_of(vif, network);
    struct card card = {
        .vif = row_ref_of(vif),
        .vm = row_ref_of(vm),
        .network = row_ref_of(network),
        .vm_uuid = arena_strdup(a, row_uuid(vm)),
        .mac = arena_strdup(a, row_str(vif, F_VIF_MAC)),
        .bridge = arena_strdup(a, row_str(network, F_network_bridge)),
        .domid = row_int(vm, F_VM_domid),
        .device = (unsigned)atoi(row_str(vif, F_VIF_device)),
        .network_mtu = (unsigned)row_int(network, F_network_MTU),
        .attached = row_bool(vif, F_VIF_currently_attached),
        .ipv4 = address_of(a, vif, row_enum(vif, F_VIF_ipv4_configuration_mode) == vif_ipv4_configuration_mode_Static,
                           F_VIF_ipv4_addresses, F_VIF_ipv4_gateway),
        .ipv6 = address_of(a, vif, row_enum(vif, F_VIF_ipv6_configuration_mode) == vif_ipv6_configuration_mode_Static,
                           F_VIF_ipv6_addresses, F_VIF_ipv6_gateway),
    };
    card.mtu = row_int(vif, F_VIF_MTU) > 0 ? (unsigned)row_int(vif, F_VIF_MTU) : card.network_mtu;
    card.tap = arena_printf(a, "vif%.8s.%u", card.vm_uuid, card.device);
    card.settings = (struct net_tap){
        .name = card.tap,
        .bridge = mode == vif_locking_mode_disabled ? NULL : card.bridge,
        .mtu = card.mtu,
        .owner_uid = -1,
        .up = true,
        .rate_kbytes = limited ? atoll(row_map_str(vif, F_VIF_qos_algorithm_params, "kbps", "0")) : 0,
        .promiscuous = is_on(row_map_str(vif, F_VIF_other_config, "promiscuous", "off")),
        .lock = mode == vif_locking_mode_locked ? lock_of(a, vif) : NULL,
    };
    add_offloads(a, vif, &card.settings);
    add_trunks(a, vif, &card.settings);
    *ret_card = card;
    return 0;
}

/* ---- onto the host's network ----------------------------------------------------------------------------------------------------- */

int vif_card_apply(struct call *c, struct ref vif, struct xerr *err)
{
    struct card card;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VIF, vif, err);
        if (!row || vif_card(c->arena, s, row, &card, err)) return -1;
    }
    if (!card.attached) return 0;
    if (hv_plugs_nics(c->agent->hv)) {
        card.settings.name = arena_printf(c->arena, "vif%d.%u", (int)card.domid, card.device);
        card.settings.engine_limits = true;
    }
    return net_vif_plug(c->agent->net, &card.settings, err);
}

/* The VIF behind an interface: by the address and the bridge that it was made with. */
static const struct row *find_vif(const struct snap *s, const struct hv_plugged *what)
{
    SNAP_EACH (s, CLASS_VIF, vif) {
        const struct row *vm = snap_get(s, CLASS_VM, row_ref(vif, F_VIF_VM));
        const struct row *network = snap_get(s, CLASS_network, row_ref(vif, F_VIF_network));
        if (!vm || !network || row_bool(vm, F_VM_is_a_template) || !what->mac || !streq(row_str(vif, F_VIF_MAC), what->mac)) continue;
        if (streq(row_str(network, F_network_bridge), what->bridge)) return vif;
    }
    return NULL;
}

int vif_card_plugged(struct agent *agent, const struct hv_plugged *what, struct xerr *err)
{
    _cleanup_arena_ struct arena *a = arena_new();
    struct net_tap tap = { .bridge = *what->bridge ? what->bridge : NULL, .mtu = what->mtu, .owner_uid = -1, .up = true };
    {
        _cleanup_snap_ struct snap *s = db_snap(agent->db);
        const struct row *vif = find_vif(s, what);
        struct card card;
        if (vif && vif_card(a, s, vif, &card, err)) return -1;
        if (vif) tap = card.settings;
    }
    tap.name = what->interface;
    tap.engine_limits = !what->tap;
    return what->tap ? net_tap_create(agent->net, &tap, err) : net_vif_plug(agent->net, &tap, err);
}

/* ---- after a start ------------------------------------------------------------------------------------------------------------------ */

int vif_cards_startup(struct call *c, struct xerr *err)
{
    struct card *cards;
    const char **keep;
    size_t n = 0;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        cards = arena_new_array(c->arena, struct card, snap_count(s, CLASS_VIF));
        SNAP_EACH (s, CLASS_VIF, vif) {
            struct xerr dangling = XERR_INIT;
            if (!row_bool(vif, F_VIF_currently_attached)) continue;
            if (!vif_card(c->arena, s, vif, &cards[n], &dangling)) n++;
            xerr_clear(&dangling);
        }
    }
    keep = arena_new_array(c->arena, const char *, 2 * n);
    for (size_t i = 0; i < n; i++) {
        bool engine = hv_plugs_nics(c->agent->hv);
        keep[2 * i] = engine ? arena_printf(c->arena, "vif%d.%u", (int)cards[i].domid, cards[i].device) : cards[i].tap;
        keep[2 * i + 1] = arena_printf(c->arena, "vif%d.%u-emu", (int)cards[i].domid, cards[i].device);
    }
    if (net_sweep(c->agent->net, keep, 2 * n, err)) return -1;
    for (size_t i = 0; i < n; i++) {
        struct xerr why = XERR_INIT;
        /* Another driver, or a reset, may have taken the bridge that it was on. */
        if (!network_attach(c, cards[i].network, &why) && !vif_card_apply(c, cards[i].vif, &why)) continue;
        _cleanup_free_ char *text = xerr_text(&why);
        log_warn("card %s: %s", keep[2 * i], text);
        xerr_clear(&why);
    }
    return 0;
}
