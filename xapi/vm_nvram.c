/* Class VM: the UEFI variables of a guest, kept in its record between its starts; secure boot.
 * Called by: the generated thunks (schema/vm.xml), vm_power.c, vm_snapshot.c.  Calls: hv/, db/, zlib.
 *
 * VM.NVRAM's key OVMF-variables holds what the firmware of QEMU hosts keeps in its second flash: packed by zlib, in base64. It is
 * the record's from one end of the guest to its next start, so that snapshots, copies and exports carry it. ("EFI-variables", the
 * reference's, is another program's format and is left alone.) */
#define LOG_MODULE "vm"
#include "xapi/vm.h"

#include <endian.h>
#include <zlib.h>

#include "gen/methods.h"
#include "lib/base64.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "xapi/call/lifecycle.h"
#include "xapi/vtpm.h"

#define KEY "OVMF-variables"

static bool is_uefi(const struct row *vm)
{
    return vm_domain_type(vm) == domain_type_hvm && streq(row_map_str(vm, F_VM_HVM_boot_params, "firmware", "bios"), "uefi");
}

/* ---- record and bytes ------------------------------------------------------------------------------------------ */

int vm_unpack(struct call *c, const char *what, const char *text, unsigned char **ret, size_t *ret_len, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf packed = STRBUF_INIT;
    uLongf n = LIMIT_NVRAM;
    unsigned char *out = arena_alloc(c->arena, LIMIT_NVRAM);

    if (!base64_decode(text, strlen(text), &packed) || uncompress(out, &n, (const unsigned char *)strbuf_cstr(&packed), packed.len) != Z_OK)
        return xerr_invalid_value(err, what, "not what a firmware left");
    *ret = out;
    *ret_len = n;
    return 0;
}

const char *vm_pack(struct call *c, const void *bytes, size_t len)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    uLongf n = compressBound(len);
    unsigned char *out = arena_alloc(c->arena, n);

    if (compress2(out, &n, bytes, len, 6) != Z_OK) abort();      /* there is room */
    base64_encode(out, n, &text);
    return arena_strdup(c->arena, strbuf_cstr(&text));
}

int vm_nvram_describe(struct call *c, const struct row *vm, struct hv_vm *ret_vm, struct xerr *err)
{
    const char *text = row_map_str(vm, F_VM_NVRAM, KEY, NULL);
    unsigned char *bytes;
    size_t len;

    if (!text || !is_uefi(vm)) return 0;
    if (vm_unpack(c, "NVRAM:" KEY, text, &bytes, &len, err)) return -1;
    ret_vm->nvram = bytes;
    ret_vm->nvram_len = len;
    return 0;
}

static int write_key(struct call *c, struct ref vm, const char *text, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_map_put_str(t, vm, F_VM_NVRAM, KEY, text);
    return db_commit(t, err);
}

static void save_variables(struct call *c, struct ref vm)
{
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    const char *uuid, *old;
    const void *bytes;
    size_t len = 0;

    if (!hv_can(c->agent->hv, HV_CAN_NVRAM)) return;
    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_get(s, CLASS_VM, vm);
        if (!row || !is_uefi(row)) return;
        uuid = arena_strdup(c->arena, row_uuid(row));
        old = arena_strdup(c->arena, row_map_str(row, F_VM_NVRAM, KEY, ""));
    }
    int rc = hv_get_nvram(c->agent->hv, hv_id(uuid, vm), c->arena, &bytes, &len, &err);
    if (!rc && len) {
        const char *now = vm_pack(c, bytes, len);
        if (!streq(now, old)) rc = write_key(c, vm, now, &err);
    }
    if (rc) log_warn("the UEFI variables of VM %s stay as they were: %s", uuid, err.code);
}

void vm_nvram_save(struct call *c, struct ref vm)
{
    save_variables(c, vm);
    vtpm_save(c, vm);
}

/* ---- what the firmware's flash holds ---------------------------------------------------------------------------- */

/* EDK II's variable store (MdeModulePkg/Include/Guid/VariableFormat.h), packed as it lies there. */
struct volume_head {
    unsigned char zeros[16], file_system[16];
    uint64_t length;
    char signature[4];
    uint32_t attributes;
    uint16_t head_length, sum;
} __attribute__((packed));
struct store_head {
    unsigned char kind[16];
    uint32_t size;
    uint8_t format, state;
    uint16_t reserved;
    uint32_t more;
} __attribute__((packed));
struct variable_head {
    uint16_t start;
    uint8_t state, reserved;
    uint32_t attributes;
    uint64_t count;
    unsigned char time[16];
    uint32_t key, name_size, data_size;
    unsigned char vendor[16];
} __attribute__((packed));
enum { VARIABLE_START = 0x55aa, ADDED = 0x3f, DELETED_MASK = 0xfd };

/* The live variable of that name (ASCII), of any vendor; NULL = there is none. Everything in the flash is the guest's word. */
static struct variable_head *find_variable(unsigned char *flash, size_t len, const char *name)
{
    const size_t name_len = 2 * strlen(name) + 2;
    struct volume_head v;

    if (len < sizeof v) return NULL;
    memcpy(&v, flash, sizeof v);
    if (memcmp(v.signature, "_FVH", 4) != 0) return NULL;
    size_t at = le16toh(v.head_length) + sizeof(struct store_head);
    while (at + sizeof(struct variable_head) <= len) {
        struct variable_head h;
        memcpy(&h, flash + at, sizeof h);
        const size_t names = le32toh(h.name_size), data = le32toh(h.data_size), room = len - at - sizeof h;
        if (le16toh(h.start) != VARIABLE_START || names > room || data > room - names) return NULL;
        const unsigned char *wide = flash + at + sizeof h;
        bool same = h.state == ADDED && names == name_len && data;
        for (size_t i = 0; same && i < names; i++) same = wide[i] == (i % 2 ? 0 : (unsigned char)name[i / 2]);
        if (same) return (struct variable_head *)(void *)(flash + at);
        at += (sizeof h + names + data + 3) & ~(size_t)3;
    }
    return NULL;
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

int vm_get_secureboot_readiness(struct call *c, struct ref self, enum vm_secureboot_readiness *ret_result, struct xerr *err)
{
    const char *text;
    unsigned char *flash;
    size_t len;

    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, self, err);
        if (!row) return -1;
        *ret_result = is_uefi(row) ? vm_secureboot_readiness_disabled : vm_secureboot_readiness_not_supported;
        if (!is_uefi(row) || !streq(row_map_str(row, F_VM_platform, "secureboot", "false"), "true")) return 0;
        text = arena_strdup(c->arena, row_map_str(row, F_VM_NVRAM, KEY, ""));
    }
    *ret_result = vm_secureboot_readiness_first_boot;
    if (!*text) return 0;
    if (vm_unpack(c, "NVRAM:" KEY, text, &flash, &len, err)) return -1;
    const bool pk = find_variable(flash, len, "PK"), kek = find_variable(flash, len, "KEK"), db = find_variable(flash, len, "db");
    if (!pk) *ret_result = vm_secureboot_readiness_setup_mode;
    else if (!kek || !db) *ret_result = vm_secureboot_readiness_certs_incomplete;
    else *ret_result = find_variable(flash, len, "dbx") ? vm_secureboot_readiness_ready : vm_secureboot_readiness_ready_no_dbx;
    return 0;
}

/* Setup mode is a firmware without a platform key; user mode is what it comes with: variables that are made anew, keys enrolled. */
int vm_set_uefi_mode(struct call *c, struct ref self, enum vm_uefi_mode mode, const char **ret_result, struct xerr *err)
{
    const char *text;
    unsigned char *flash;
    size_t len;

    {
        _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
        const struct row *row = snap_need(s, CLASS_VM, self, err);
        if (!row) return -1;
        if (!is_uefi(row)) return xerr_operation_not_allowed(err, "This VM does not boot by UEFI");
        if (row_enum(row, F_VM_power_state) != vm_power_state_Halted)
            return lifecycle_bad_power_state(row, 1u << vm_power_state_Halted, err);
        text = arena_strdup(c->arena, row_map_str(row, F_VM_NVRAM, KEY, ""));
    }
    if (mode == vm_uefi_mode_user) {
        struct txn *t = db_begin(c->agent->db);
        txn_map_remove(t, self, F_VM_NVRAM, KEY);
        *ret_result = "The firmware's own variables and keys are used from the next start on.";
        return db_commit(t, err);
    }
    if (!*text) return xerr_operation_not_allowed(err, "The firmware has no variables before the first boot");
    if (vm_unpack(c, "NVRAM:" KEY, text, &flash, &len, err)) return -1;
    struct variable_head *pk = find_variable(flash, len, "PK");
    *ret_result = pk ? "The platform key is removed." : "There was no platform key.";
    if (!pk) return 0;
    pk->state &= DELETED_MASK;
    return write_key(c, self, vm_pack(c, flash, len), err);
}
