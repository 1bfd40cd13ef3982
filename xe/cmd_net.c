/* Commands for network interfaces, VLANs and tunnels.
 * Called by: commands.c.  Calls: cmd_call. */
#include "xe/commands.h"

#include <sys/random.h>

/* A MAC address that is locally administered and names one card. */
static const char *random_mac(struct cmd *c)
{
    unsigned char b[6] = { 0 };

    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b) return "";   /* the agent makes one for "" too */
    b[0] = (unsigned char)((b[0] | 2) & ~1);
    return arena_printf(c->arena, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
}

int cmd_vif_create(struct cmd *c, struct xerr *err)
{
    const char *mac = cmd_get_or(c, "mac", "");
    struct value_builder b = value_builder(c->arena);
    struct ref vm, network, vif;
    struct value mtu;

    if (cmd_need_ref(c, "vm-uuid", CLASS_VM, &vm, err) < 0) return -1;
    if (cmd_need_ref(c, "network-uuid", CLASS_network, &network, err) < 0) return -1;
    if (cmd_call(c, "network.get_MTU", CMD_ARGS(value_ref(network)), &mtu, err) < 0) return -1;
    value_put(&b, "VM", value_ref(vm));
    value_put(&b, "network", value_ref(network));
    value_put(&b, "device", value_string(cmd_need(c, "device")));
    value_put(&b, "MAC", value_string(streq(mac, "random") ? random_mac(c) : mac));
    value_put(&b, "MTU", mtu);
    value_put(&b, "other_config", value_map(NULL, 0));
    value_put(&b, "qos_algorithm_type", value_string(""));
    value_put(&b, "qos_algorithm_params", value_map(NULL, 0));
    value_put(&b, "locking_mode", value_string("network_default"));
    if (cmd_call_ref(c, "VIF.create", CMD_ARGS(value_built_map(&b)), &vif, err) < 0) return -1;
    return cmd_print_uuid(c, CLASS_VIF, vif, err);
}

static int configure_ip(struct cmd *c, const char *method, struct xerr *err)
{
    const struct method_desc *m = model_method(method);
    const char *address = cmd_get_or(c, "address", "");
    struct value mode;
    struct ref vif;

    if (cmd_need_ref(c, "uuid", CLASS_VIF, &vif, err) < 0) return -1;
    if (cmd_value_parse(c, "mode", cmd_need(c, "mode"), m->params[1].type, false, &mode, err) < 0) return -1;
    if (streq(mode.s, "Static") && !*address) return cmd_fail(err, "Required parameter not found: address");
    return cmd_do(
        c, method,
        CMD_ARGS(value_ref(vif), mode, value_string(address), value_string(cmd_get_or(c, "gateway", ""))),
        err);
}

int cmd_vif_configure_ipv4(struct cmd *c, struct xerr *err)
{
    return configure_ip(c, "VIF.configure_ipv4", err);
}

int cmd_vif_configure_ipv6(struct cmd *c, struct xerr *err)
{
    return configure_ip(c, "VIF.configure_ipv6", err);
}

int cmd_vlan_create(struct cmd *c, struct xerr *err)
{
    struct ref network, pif, vlan;
    int64_t tag;

    if (cmd_need_ref(c, "network-uuid", CLASS_network, &network, err) < 0) return -1;
    if (cmd_need_ref(c, "pif-uuid", CLASS_PIF, &pif, err) < 0) return -1;
    if (cmd_parse_int("vlan", cmd_need(c, "vlan"), &tag, err) < 0) return -1;
    if (cmd_call_ref(c, "VLAN.create", CMD_ARGS(value_ref(pif), value_int(tag), value_ref(network)), &vlan,
                     err) < 0)
        return -1;
    if (cmd_call_ref(c, "VLAN.get_untagged_PIF", CMD_ARGS(value_ref(vlan)), &pif, err) < 0) return -1;
    return cmd_print_uuid(c, CLASS_PIF, pif, err);
}

/* Takes the uuid of the VLAN, or of its interface as vlan-create prints it. */
int cmd_vlan_destroy(struct cmd *c, struct xerr *err)
{
    _cleanup_xerr_ struct xerr ignored = XERR_INIT;
    const char *uuid = cmd_need(c, "uuid");
    struct ref vlan, pif;

    if (cmd_by_uuid(c, CLASS_VLAN, uuid, &vlan, err) == 0)
        return cmd_do(c, "VLAN.destroy", CMD_ARGS(value_ref(vlan)), err);
    if (cmd_by_uuid(c, CLASS_PIF, uuid, &pif, &ignored) < 0) return -1;
    xerr_clear(err);
    return cmd_do(c, "PIF.destroy", CMD_ARGS(value_ref(pif)), err);
}

int cmd_tunnel_create(struct cmd *c, struct xerr *err)
{
    const struct method_desc *m = model_method("tunnel.create");
    struct ref network, pif, tunnel;
    struct value protocol;

    if (cmd_need_ref(c, "network-uuid", CLASS_network, &network, err) < 0) return -1;
    if (cmd_need_ref(c, "pif-uuid", CLASS_PIF, &pif, err) < 0) return -1;
    if (cmd_value_parse(c, "protocol", cmd_get_or(c, "protocol", "gre"), m->params[2].type, false, &protocol,
                        err) < 0)
        return -1;
    if (cmd_call_ref(c, "tunnel.create", CMD_ARGS(value_ref(pif), value_ref(network), protocol), &tunnel,
                     err) < 0)
        return -1;
    if (cmd_call_ref(c, "tunnel.get_access_PIF", CMD_ARGS(value_ref(tunnel)), &pif, err) < 0) return -1;
    return cmd_print_uuid(c, CLASS_PIF, pif, err);
}
