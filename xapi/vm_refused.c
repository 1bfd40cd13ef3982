/* Class VM: what hosts of this kind do not do, refused by the names that clients know.
 * Called by: the generated thunks (schema/vm.xml).  Calls: db/. */
#include "gen/methods.h"
#include "xapi/vm.h"

/* The reference asks a plug-in of its host for the address of a virtual machine of its vendor's, which converts. Neither is here: what
 * clients hear is what they hear from a host without that product. An OVA goes to /import. */
int vm_import_convert(struct call *c, const char *type, const char *username, const char *password, struct ref sr,
                      const struct value *remote_config, struct xerr *err)
{
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (!snap_need(s, CLASS_SR, sr, err)) return -1;
    }
    (void)type, (void)username, (void)password, (void)remote_config;
    return xerr_xenapi_missing_plugin(err, "conversion");
}

/* It takes XenServer's tools in a Windows guest that look for a CD and for a key of the host's; the lifecycle table says no
 * before this is asked. */
int vm_sysprep(struct call *c, struct ref self, const char *unattend, double timeout, struct xerr *err)
{
    (void)c, (void)unattend, (void)timeout;
    return xerr_sysprep(err, REF_STR(self), "API_not_enabled");
}

/* Marks what has a newer state to go to; the firmware's own keys are the newest here (VM.set_uefi_mode "user" brings them). */
int vm_update_secureboot_certificates_on_boot(struct call *c, struct ref self, bool mark, struct xerr *err)
{
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        if (!snap_need(s, CLASS_VM, self, err)) return -1;
    }
    if (!mark) return 0;
    return xerr_operation_not_allowed(err, "There is no update for the certificates of this VM");
}
