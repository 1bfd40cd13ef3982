/* Descriptions in the Open Virtualization Format over arbitrary bytes: the answer is an object of the shape that the importer
 * reads, in bounds; or there is a reason.
 * Called by: libFuzzer, AFL++, replay.c.  Calls: xapi/helper/ovf. */
#include "tests/fuzz/fuzz.h"

#include "lib/json.h"
#include "xapi/helper/ovf.h"

static const struct value *need(const struct value *v, const char *key, enum value_kind kind)
{
    const struct value *m = value_get(v, key);

    MUST(m && m->kind == kind);
    return m;
}

static void check_device(const struct value *d)
{
    static const char *const kinds[] = { "disk", "cd", "nic" }, *const texts[] = { "bus", "disk", "file", "network", "mac", "model" };
    const char *kind = need(d, "kind", VALUE_STRING)->s;
    bool known = false;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) known |= streq(kind, kinds[i]);
    MUST(known);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) need(d, texts[i], VALUE_STRING);
}

static void check_vm(const struct value *vm)
{
    const struct value *devices = need(vm, "devices", VALUE_SET);
    const char *firmware = need(vm, "firmware", VALUE_STRING)->s;

    MUST(streq(firmware, "bios") || streq(firmware, "uefi"));
    MUST(need(vm, "memory", VALUE_INT)->i >= -1);
    need(vm, "name", VALUE_STRING);
    need(vm, "vcpus", VALUE_INT);
    need(vm, "secure", VALUE_BOOL);
    MUST(devices->set.n <= 1024);
    for (size_t i = 0; i < devices->set.n; i++) check_device(&devices->set.items[i]);
}

static void check_answer(const struct value *v)
{
    const struct value *files = need(v, "files", VALUE_SET), *disks = need(v, "disks", VALUE_SET), *vms = need(v, "vms", VALUE_SET);

    fuzz_check_value(v, 0);
    MUST(files->set.n <= 1024 && disks->set.n <= 1024 && vms->set.n <= 256);
    for (size_t i = 0; i < files->set.n; i++) need(&files->set.items[i], "href", VALUE_STRING);
    for (size_t i = 0; i < disks->set.n; i++) MUST(need(&disks->set.items[i], "capacity", VALUE_INT)->i >= -1);
    for (size_t i = 0; i < vms->set.n; i++) check_vm(&vms->set.items[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    const char *why = ovf_describe((const char *)data, size, &out), *error = NULL;
    struct arena *a = arena_new();
    struct value v;

    if (why) MUST(*why && !out.len);
    else {
        MUST(!json_decode(out.ptr, out.len, a, &v, &error));
        check_answer(&v);
    }
    arena_free(a);
    return 0;
}
