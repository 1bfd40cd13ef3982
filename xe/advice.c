/* What to do after an error.
 * Called by: cmd.c, tests/unit/test-advice.c.  Calls: nothing. */
#include "xe/advice.h"

#include <strings.h>

#define ROW(code_, text_, ...) { .code = code_, .text = text_, .commands = { __VA_ARGS__ } }
#define ROW_FOR(code_, param_, value_, text_, ...) \
    { .code = code_, .param = param_, .value = value_, .text = text_, .commands = { __VA_ARGS__ } }

const struct advice advice_table[] = {
    /* ---- power ---- */
    ROW_FOR("VM_BAD_POWER_STATE", 3, "halted", "The VM is halted.", "vm-start uuid=%1"),
    ROW_FOR("VM_BAD_POWER_STATE", 3, "suspended", "The VM is suspended.", "vm-resume uuid=%1"),
    ROW_FOR("VM_BAD_POWER_STATE", 3, "paused", "The VM is paused.", "vm-unpause uuid=%1"),
    ROW_FOR("VM_BAD_POWER_STATE", 3, "running", "The VM is running.", "vm-shutdown uuid=%1",
        "vm-suspend uuid=%1"),
    ROW("VM_BAD_POWER_STATE", "See what state the VM is in.", "vm-param-get uuid=%1 param-name=power-state"),
    ROW("VM_CRASHED", "The guest crashed. Its last words may stand on its console.",
        "vm-param-get uuid=%1 param-name=power-state", "vm-start uuid=%1"),
    ROW("VM_HALTED", "The guest shut itself down meanwhile.", "vm-start uuid=%1"),
    ROW("VM_REBOOTED", "The guest rebooted meanwhile: try again.",
        "vm-param-get uuid=%1 param-name=power-state"),
    ROW("VM_SHUTDOWN_TIMEOUT", "The guest did not shut down in time. It can be forced; what it has not "
        "written is lost.",
        "vm-console uuid=%1", "vm-shutdown uuid=%1 --force"),
    ROW("VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT",
        "The guest does not answer requests to shut down. It can be forced; what it has not written is lost.",
        "vm-console uuid=%1", "vm-shutdown uuid=%1 --force"),
    ROW("VM_MISSING_PV_DRIVERS",
        "The guest's tools do not run. Install or start them, or force what needs no help.",
        "vm-param-get uuid=%1 param-name=PV-drivers-version", "vm-shutdown uuid=%1 --force"),
    ROW("VM_LACKS_FEATURE", "The guest's tools do not offer this. See what they do offer.",
        "vm-param-get uuid=%1 param-name=PV-drivers-version", "vm-param-get uuid=%1 param-name=other"),
    ROW("VM_NO_SUSPEND_SR", "There is no storage for the image of a suspended VM. Name one.",
        "sr-list params=uuid,name-label,physical-size", "vm-param-set uuid=%1 suspend-SR-uuid=<sr uuid>"),
    ROW("VMS_FAILED_TO_COOPERATE", "Some guests did not do as they were told. See what they do.",
        "vm-list params=uuid,name-label,power-state"),
    ROW("VM_UNSAFE_BOOT", "The VM may still be running elsewhere, or its state is not known for sure.",
        "vm-list uuid=%1 params=uuid,power-state,resident-on"),

    /* ---- where a VM can run ---- */
    ROW("HOST_NOT_ENOUGH_FREE_MEMORY",
        "The host has not enough free memory. Shut another VM down, or give this one less.",
        "host-list params=uuid,name-label,memory-free",
        "vm-list power-state=running params=uuid,name-label,memory-actual"),
    ROW("HOST_NOT_ENOUGH_PCPUS", "The VM wants more processors than the host has.",
        "host-list params=uuid,cpu_info",
        "vm-list params=uuid,name-label,VCPUs-max"),
    ROW("NO_HOSTS_AVAILABLE", "No host can run this VM. See which hosts there are, and whether they are "
        "enabled.",
        "host-list params=uuid,name-label,enabled,memory-free"),
    ROW("VM_REQUIRES_SR", "The host does not see storage that the VM's disks are on. Attach it there.",
        "pbd-list sr-uuid=%2 params=uuid,host-uuid,currently-attached", "pbd-plug uuid=<pbd uuid>"),
    ROW("VM_REQUIRES_NETWORK", "The host has no interface on a network that the VM needs.",
        "pif-list network-uuid=%2 params=uuid,host-uuid,currently-attached", "vif-list vm-uuid=%1"),
    ROW("VM_REQUIRES_VDI", "The VM needs a disk that is not there.", "vdi-list uuid=%2",
        "vbd-list vm-uuid=%1"),
    ROW("VM_INCOMPATIBLE_WITH_THIS_HOST", "The VM uses processor features that this host does not have.",
        "host-get-cpu-features uuid=%2"),
    ROW("VM_IS_IMMOBILE", "Something ties the VM to its host: a device of the host's, or a processor "
        "feature.",
        "vm-param-get uuid=%1 param-name=other-config"),
    ROW("VM_HAS_PCI_ATTACHED", "A device of the host is passed through to the VM. Shut it down instead.",
        "vm-param-get uuid=%1 param-name=other-config", "vm-shutdown uuid=%1"),
    ROW("VM_NO_VCPUS", "The VM has no processor. Give it one.",
        "vm-param-set uuid=%1 VCPUs-max=1 VCPUs-at-startup=1"),
    ROW("VM_HVM_REQUIRED", "This needs a VM of another kind of virtualization.",
        "vm-param-get uuid=%1 param-name=domain-type"),
    ROW("HOST_DISABLED", "The host takes no new VMs until it is enabled.", "host-enable uuid=%1"),
    ROW("HOST_DISABLED_INDEFINITELY", "The host takes no new VMs until it is enabled.",
        "host-enable uuid=%1"),
    ROW("HOST_DISABLED_UNTIL_REBOOT", "The host takes no new VMs before its next reboot.",
        "host-evacuate uuid=%1", "host-reboot uuid=%1"),
    ROW("HOST_NOT_DISABLED", "The host must be disabled first.", "host-list params=uuid,name-label,enabled",
        "host-disable uuid=<host uuid>"),
    ROW("HOST_HAS_RESIDENT_VMS", "VMs still run on the host. Move them away first.",
        "vm-list resident-on=%1 params=uuid,name-label", "host-evacuate uuid=%1"),
    ROW("CANNOT_EVACUATE_HOST", "Some VMs cannot leave the host. See which, and why.",
        "host-get-vms-which-prevent-evacuation uuid=<host uuid>"),
    ROW("HOST_OFFLINE", "The host does not answer. See which hosts do.",
        "host-list params=uuid,name-label,host-metrics-live"),
    ROW("HOST_NOT_LIVE", "The host does not answer. See which hosts do.",
        "host-list params=uuid,name-label,host-metrics-live"),
    ROW("CANNOT_CONTACT_HOST", "The host does not answer. See which hosts do.",
        "host-list params=uuid,name-label,host-metrics-live"),
    ROW("HOST_STILL_BOOTING", "The server has just started: try again in a moment.",
        "host-list params=enabled"),
    ROW("HOST_IS_SLAVE", "This host is a member of a pool. Ask its coordinator.", "-s %1 %0"),
    ROW("HOST_IN_EMERGENCY_MODE", "The host has lost its coordinator. Tell it where that is, or make it one.",
        "host-is-in-emergency-mode", "pool-emergency-reset-master master-address=<address>",
        "pool-emergency-transition-to-master"),

    /* ---- names ---- */
    ROW("HANDLE_INVALID", "The object is gone, or of another class. See what there is.", "%c-list"),
    ROW("UUID_INVALID", "There is no such object. See what there is.", "%c-list"),
    ROW("DUPLICATE_VM", "A VM with this identity is there already. Import without --preserve, or see that "
        "one.",
        "vm-list uuid=%1"),
    ROW("MAP_DUPLICATE_KEY", "The map has this key already. Take it away first, or set it with param-set.",
        "%c-param-remove uuid=%3 param-name=<field> param-key=%4"),
    ROW("ROLE_NOT_FOUND", "There is no such role. See which there are.", "role-list"),
    ROW("SUBJECT_ALREADY_EXISTS", "The user or group was added before.", "subject-list"),

    /* ---- who may ---- */
    ROW("SESSION_AUTHENTICATION_FAILED",
        "Say who you are: -u and -pw, or -pwf with a file of two lines; ~/.xe keeps them for later. Root "
        "needs no password "
        "on the server's own machine.",
        "-u <username> -pwf <file> %0"),
    ROW("SESSION_INVALID", "The session has ended: it expired, or somebody logged it out. Run the command "
        "again.", "%0"),
    ROW("RBAC_PERMISSION_DENIED", "Your role does not allow this. See the roles, and who has which.",
        "subject-list",
        "role-list"),
    ROW("USER_IS_NOT_LOCAL_SUPERUSER", "Only root on the server may do this.", "-u root -pwf <file> %0"),

    /* ---- what is under way ---- */
    ROW("OTHER_OPERATION_IN_PROGRESS", "Something else is done to the object. Wait for it, or cancel it.",
        "task-list params=uuid,name-label,status,progress", "task-cancel uuid=%4"),
    ROW("TOO_MANY_PENDING_TASKS", "The server has too much to do. Wait, or cancel something.",
        "task-list params=uuid,name-label,status,progress", "task-cancel uuid=<task uuid>"),
    ROW("TOO_MANY_STORAGE_MIGRATES", "Too many disks are being moved. Wait for one of them.",
        "task-list params=uuid,name-label,status,progress"),
    ROW("OPERATION_BLOCKED", "Somebody has blocked this operation on the object, in its field "
        "blocked-operations.",
        "vm-list uuid=%1 params=name-label,blocked-operations"),
    ROW("VM_IS_PROTECTED", "The VM is protected by high availability.",
        "vm-param-get uuid=%1 param-name=ha-restart-priority",
        "vm-param-set uuid=%1 ha-restart-priority="),
    ROW("VM_IS_TEMPLATE", "This is a template: make a VM of it first.",
        "vm-install template=%1 new-name-label=<name>"),
    ROW("PROVISION_ONLY_ALLOWED_ON_TEMPLATE", "Only a template can be provisioned: install a VM from one.",
        "template-list",
        "vm-install template=<name> new-name-label=<name>"),
    ROW("REVERT_ONLY_ALLOWED_ON_SNAPSHOT", "Only a snapshot can be gone back to. See which there are.",
        "snapshot-list"),
    ROW("VM_CANNOT_DELETE_DEFAULT_TEMPLATE",
        "Templates that come with the product stay. Make one of your own.",
        "vm-clone uuid=%1 new-name-label=<name>"),

    /* ---- memory and processors ---- */
    ROW("MEMORY_CONSTRAINT_VIOLATION", "The limits do not go together. Give all four at once.",
        "vm-list params=uuid,memory-static-min,memory-dynamic-min,memory-dynamic-max,memory-static-max",
        "vm-memory-limits-set uuid=<vm uuid> static-min=<n> dynamic-min=<n> dynamic-max=<n> static-max=<n>"),
    ROW("MEMORY_CONSTRAINT_VIOLATION_ORDER",
        "The limits must rise: static-min, dynamic-min, dynamic-max, static-max.",
        "vm-memory-limits-set uuid=<vm uuid> static-min=<n> dynamic-min=<n> dynamic-max=<n> static-max=<n>"),

    /* ---- storage ---- */
    ROW("SR_FULL", "The storage repository is full. See what takes the room, and what deleted snapshots "
        "have left.",
        "sr-list params=uuid,name-label,physical-size,physical-utilisation",
        "vdi-list params=uuid,name-label,sr-uuid,physical-utilisation",
        "sr-gc-status uuid=<sr uuid>"),
    ROW("SR_SOURCE_SPACE_INSUFFICIENT", "The storage repository has not enough room for this.",
        "sr-list params=uuid,name-label,physical-size,physical-utilisation"),
    ROW("SR_NOT_EMPTY", "There are disks on the storage repository. Forget it with all that is on it, or "
        "delete them first.",
        "vdi-list params=uuid,name-label,sr-uuid", "sr-forget uuid=<sr uuid>"),
    ROW("SR_HAS_PBD", "The storage repository is attached to hosts. Detach it there first.",
        "pbd-list sr-uuid=%1",
        "pbd-unplug uuid=<pbd uuid>", "pbd-destroy uuid=<pbd uuid>"),
    ROW("SR_HAS_NO_PBDS", "No host knows how to reach the storage repository. Tell one.",
        "pbd-create sr-uuid=%1 host-uuid=<host uuid> device-config:<key>=<value>",
        "pbd-plug uuid=<pbd uuid>"),
    ROW("SR_NOT_ATTACHED", "The storage repository is not attached to the host.", "pbd-list sr-uuid=%1",
        "pbd-plug uuid=<pbd uuid>"),
    ROW("SR_ATTACHED", "The storage repository is attached to hosts. Detach it there first.",
        "pbd-list params=uuid,sr-name-label,currently-attached", "pbd-unplug uuid=<pbd uuid>"),
    ROW("SR_UNKNOWN_DRIVER", "There is no such type of storage. See which there are.",
        "sm-list params=type,name-label"),
    ROW("SR_UUID_EXISTS", "A storage repository with this uuid is there already.", "sr-list uuid=%1"),
    ROW("SR_INDESTRUCTIBLE", "The storage repository is kept on purpose, by its other-config.",
        "sr-list params=uuid,name-label,other-config"),
    ROW("SR_OPERATION_NOT_SUPPORTED", "This type of storage cannot do that. See what the types can do.",
        "sm-list params=type,features"),
    ROW("DEFAULT_SR_NOT_FOUND", "The pool's default storage repository is not there any more. Choose "
        "another.", "sr-list",
        "pool-param-set uuid=<pool uuid> default-SR=<sr uuid>"),
    ROW("PBD_EXISTS", "The host knows the storage repository already.", "pbd-list uuid=%3",
        "pbd-plug uuid=%3"),
    ROW("VDI_IN_USE", "The disk is in use. See by which VM.",
        "vbd-list vdi-uuid=%1 params=uuid,vm-name-label,currently-attached", "vbd-unplug uuid=<vbd uuid>"),
    ROW("VDI_READONLY", "The disk can only be read.", "vdi-param-get uuid=%1 param-name=read-only"),
    ROW("VDI_MISSING", "The disk is not where it was. Look at the storage repository anew.",
        "sr-scan uuid=%1"),
    ROW("VDI_NOT_AVAILABLE", "The disk cannot be reached now. Look at the storage repository anew.",
        "vdi-list uuid=%1 params=uuid,sr-uuid,missing", "sr-scan uuid=<sr uuid>"),
    ROW("VDI_TOO_SMALL", "The disk must be larger.", "vdi-param-get uuid=%1 param-name=virtual-size",
        "vdi-resize uuid=%1 disk-size=%2"),
    ROW("VDI_CBT_ENABLED", "Changed blocks of the disk are tracked. Stop that first.",
        "vdi-disable-cbt uuid=%1"),
    ROW("VDI_NO_CBT_METADATA", "Changed blocks of the disk were not tracked. They are from now on, if you "
        "say so.",
        "vdi-enable-cbt uuid=%1"),
    ROW("VDI_IO_ERROR", "Reading or writing the disk failed. Is there room, and is the storage attached?",
        "sr-list params=uuid,name-label,physical-size,physical-utilisation",
        "pbd-list params=uuid,sr-uuid,currently-attached"),
    ROW("IMPORT_ERROR_SOME_CHECKSUMS_FAILED",
        "The file is damaged. Get it again; --force imports it as it is.",
        "vm-import filename=<file> --force"),
    ROW("IMPORT_INCOMPATIBLE_VERSION", "The file comes from another product, or a later version of it.",
        "host-list params=software-version"),

    /* ---- devices ---- */
    ROW("DEVICE_ALREADY_EXISTS", "The VM has a device with this number. See which are taken.",
        "vbd-list params=vm-name-label,userdevice",
        "vif-list params=vm-name-label,device"),
    ROW("INVALID_DEVICE", "The VM takes no such device. See which are free.",
        "vm-list params=uuid,name-label,allowed-VBD-devices,allowed-VIF-devices"),
    ROW("DEVICE_ALREADY_ATTACHED", "The device is plugged in already.", "vbd-list uuid=%1",
        "vif-list uuid=%1"),
    ROW("DEVICE_ALREADY_DETACHED", "The device is not plugged in.", "vbd-list uuid=%1", "vif-list uuid=%1"),
    ROW("DEVICE_DETACH_REJECTED", "The guest does not let the device go. Unmount it there, or force it.",
        "vbd-unplug uuid=%2 --force"),
    ROW("DEVICE_DETACH_TIMEOUT",
        "The guest did not let the device go in time. Unmount it there, then try again.",
        "vbd-list uuid=%2"),
    ROW("VBD_IS_EMPTY", "There is no CD in the drive.", "cd-list params=uuid,name-label",
        "vbd-insert uuid=%1 vdi-uuid=<vdi uuid>"),
    ROW("VBD_NOT_EMPTY", "There is a CD in the drive.", "vbd-eject uuid=%1"),
    ROW("VBD_NOT_REMOVABLE_MEDIA", "Only CDs are inserted and ejected. A disk is plugged and unplugged.",
        "vbd-unplug uuid=%1"),
    ROW("VM_NO_EMPTY_CD_VBD", "The VM has no empty CD drive. Eject a CD, or add a drive.",
        "vm-cd-eject uuid=%1",
        "vm-cd-add uuid=%1 cd-name=<name> device=<number>"),

    /* ---- networks ---- */
    ROW("NETWORK_CONTAINS_VIF", "VMs still have interfaces on the network.",
        "vif-list network-uuid=<network uuid>",
        "vif-move uuid=<vif uuid> network-uuid=<network uuid>"),
    ROW("NETWORK_CONTAINS_PIF", "Hosts still have interfaces on the network.",
        "pif-list network-uuid=<network uuid>"),
    ROW("MAC_INVALID", "Six pairs of hexadecimal digits are needed, for a single card; without one an "
        "address is made up.",
        "vif-create vm-uuid=<vm uuid> network-uuid=<network uuid> device=<number>"),
    ROW("PIF_IS_MANAGEMENT_INTERFACE",
        "The server is reached through this interface. Move that to another first.",
        "pif-list management=false",
        "host-management-reconfigure pif-uuid=<pif uuid>"),
    ROW("PIF_VLAN_EXISTS", "The interface carries this VLAN already.", "vlan-list"),
    ROW("VLAN_TAG_INVALID", "A VLAN has a number from 0 to 4094.",
        "vlan-create pif-uuid=<pif uuid> network-uuid=<network uuid> vlan=<number>"),
    ROW("PIF_ALREADY_BONDED", "The interface belongs to a bond.", "bond-list"),
    ROW("INTERFACE_HAS_NO_IP", "The interface has no address. Give it one.",
        "pif-list params=uuid,device,IP", "pif-reconfigure-ip uuid=<pif uuid> mode=dhcp"),

    /* ---- high availability ---- */
    ROW("HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN",
        "The pool could not restart all its protected VMs any more. Plan for fewer failures.",
        "pool-ha-compute-max-host-failures-to-tolerate",
        "pool-param-set uuid=<pool uuid> ha-host-failures-to-tolerate=<n>"),
    ROW("HA_IS_ENABLED", "Not while high availability is on.", "pool-ha-disable"),
    ROW("HA_NOT_ENABLED", "High availability is not on.", "pool-ha-enable heartbeat-sr-uuids=<sr uuid>"),

    /* ---- the rest ---- */
    ROW("XENAPI_MISSING_PLUGIN", "The host has no such plug-in: look into its folder of plug-ins.",
        "help host-call-plugin"),
    ROW("MESSAGE_METHOD_UNKNOWN", "The server is older than this command, or of another make.",
        "host-list params=software-version,API-version-major,API-version-minor"),
    ROW("NOT_IMPLEMENTED", "This server does not do that.", "help --all"),
    ROW("CERTIFICATE_DOES_NOT_EXIST", "No certificate has this name.", "certificate-list"),
    ROW("TLS_CONNECTION_FAILED", "The other side does not speak TLS, or its certificate is not trusted.",
        "certificate-list"),
    { .code = NULL },
};

const struct advice *advice_find(const char *code, const char *const *params, size_t n)
{
    for (const struct advice *a = advice_table; a->code; a++) {
        if (!streq(a->code, code)) continue;
        if (!a->param || (a->param <= n && strcasecmp(params[a->param - 1], a->value) == 0)) return a;
    }
    return NULL;
}
