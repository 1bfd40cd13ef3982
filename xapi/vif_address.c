/* Class VIF: the addresses that a guest is to give its cards.
 * Called by: the generated thunks (schema/vif.xml).  Calls: vif_card.c, hv/, db/.
 *
 * The hypervisor hands them to the guest's tools, where it can: at a start, when the card is plugged, and while it is. cloud-init reads
 * them at a start, from the disk that vm_cloudinit.c makes. */
#include <arpa/inet.h>
#include <stdio.h>

#include "gen/methods.h"
#include "lib/address.h"
#include "xapi/vif.h"
#include "xapi/vif_card.h"

struct guest_address {
    int family, mode, fixed;             /* fixed: the mode that has an address */
    const char *address, *gateway;
    field_id mode_field, addresses_field, gateway_field, allowed_field;
};

static bool is_allowed(const struct row *vif, const struct guest_address *g)
{
    const struct value *allowed = row_value(vif, g->allowed_field);
    unsigned char wanted[sizeof(struct in6_addr)] = { 0 };
    char text[INET6_ADDRSTRLEN];

    snprintf(text, sizeof text, "%.*s", (int)strcspn(g->address, "/"), g->address);
    inet_pton(g->family, text, wanted);
    for (size_t i = 0; i < allowed->set.n; i++) {
        unsigned char one[sizeof wanted] = { 0 };
        if (inet_pton(g->family, allowed->set.items[i].s, one) == 1 && !memcmp(one, wanted, sizeof wanted)) return true;
    }
    return false;
}

static int check_address(const struct row *vif, const struct card *card, const struct guest_address *g, struct xerr *err)
{
    _cleanup_free_ char *spelled = address_with_prefix(g->family, g->address);

    if (!spelled) return xerr_invalid_cidr_address_specified(err, "address");
    if (card->settings.lock && !is_allowed(vif, g)) return xerr_address_violates_locking_constraint(err, g->address);
    if (*g->gateway && !address_valid(g->family, g->gateway)) return xerr_invalid_ip_address_specified(err, "gateway");
    return 0;
}

/* One that does not run takes what it is told when it starts. */
static int check_tools(const struct snap *s, const struct row *vm, struct xerr *err)
{
    const struct row *metrics = snap_get(s, CLASS_VM_guest_metrics, row_ref(vm, F_VM_guest_metrics));
    const char *says = metrics ? row_map_str(metrics, F_VM_guest_metrics_other, "feature-static-ip-setting", "") : "";

    if (row_enum(vm, F_VM_power_state) == vm_power_state_Halted || streq(says, "1")) return 0;
    return xerr_vm_lacks_feature(err, REF_STR(row_ref_of(vm)));
}

static int check(struct call *c, struct ref self, const struct guest_address *g, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *vif = snap_need(s, CLASS_VIF, self, err), *vm = vif ? snap_need(s, CLASS_VM, row_ref(vif, F_VIF_VM), err) : NULL;
    struct card card;

    if (!vm || vif_card(c->arena, s, vif, &card, err)) return -1;
    return (g->mode == g->fixed && check_address(vif, &card, g, err)) || check_tools(s, vm, err) ? -1 : 0;
}

static int tell_guest(struct call *c, struct ref self, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *vif = snap_need(s, CLASS_VIF, self, err);
    struct card card;

    if (!vif || vif_card(c->arena, s, vif, &card, err)) return -1;
    if (!card.attached) return 0;
    const struct hv_nic nic = { .ref = self, .device = card.device, .mac = card.mac, .ipv4 = card.ipv4, .ipv6 = card.ipv6 };
    return hv_nic_address(c->agent->hv, hv_id(card.vm_uuid, card.vm), &nic, err);
}

static int configure(struct call *c, struct ref vif, const struct guest_address *g, struct xerr *err)
{
    const bool fixed = g->mode == g->fixed;
    const struct value one[] = { value_string(g->address) };
    const struct value set = value_set(one, fixed ? 1 : 0);

    if (check(c, vif, g, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    txn_set_enum(t, vif, g->mode_field, g->mode);
    txn_set_value(t, vif, g->addresses_field, &set);
    txn_set_str(t, vif, g->gateway_field, fixed ? g->gateway : "");
    return db_commit(t, err) ? -1 : tell_guest(c, vif, err);
}

int vif_configure_ipv4(struct call *c, struct ref self, enum vif_ipv4_configuration_mode mode, const char *address,
                       const char *gateway, struct xerr *err)
{
    const struct guest_address g = { AF_INET, (int)mode, vif_ipv4_configuration_mode_Static, address, gateway,
                                     F_VIF_ipv4_configuration_mode, F_VIF_ipv4_addresses, F_VIF_ipv4_gateway, F_VIF_ipv4_allowed };
    return configure(c, self, &g, err);
}

int vif_configure_ipv6(struct call *c, struct ref self, enum vif_ipv6_configuration_mode mode, const char *address,
                       const char *gateway, struct xerr *err)
{
    const struct guest_address g = { AF_INET6, (int)mode, vif_ipv6_configuration_mode_Static, address, gateway,
                                     F_VIF_ipv6_configuration_mode, F_VIF_ipv6_addresses, F_VIF_ipv6_gateway, F_VIF_ipv6_allowed };
    return configure(c, self, &g, err);
}
