/* Class VM: how many devices its kind of guest takes, and which places are free.
 * Called by: the generated thunks (schema/vm.xml), vif.c.  Calls: db/, libxml2. */
#include <errno.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdlib.h>

#include "gen/methods.h"
#include "xapi/vbd.h"
#include "xapi/vm.h"

/* max of <restriction property="..." max="..."/>; most where there is none that is a number. */
static unsigned restriction(xmlNode *root, const char *property, unsigned most)
{
    for (xmlNode *node = root ? root->children : NULL; node; node = node->next) {
        if (node->type != XML_ELEMENT_NODE || !xmlStrEqual(node->name, (const xmlChar *)"restriction")) continue;
        xmlChar *name = xmlGetProp(node, (const xmlChar *)"property"), *max = xmlGetProp(node, (const xmlChar *)"max");
        const bool found = name && max && xmlStrEqual(name, (const xmlChar *)property);
        char *end = NULL;
        errno = 0;
        const unsigned long number = found ? strtoul((const char *)max, &end, 10) : 0;
        const bool good = found && *max && !*end && !errno;
        xmlFree(name);
        xmlFree(max);
        if (good) return number < most ? (unsigned)number : most;
    }
    return most;
}

/* Anybody may write the field: what is no XML, or brings entities along, limits nothing. */
static unsigned limit(const struct row *vm, const char *property, unsigned most)
{
    const char *xml = row_str(vm, F_VM_recommendations);

    if (!*xml) return most;
    xmlDoc *doc = xmlReadMemory(xml, (int)strlen(xml), NULL, "UTF-8", XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    const unsigned n = doc && !doc->intSubset ? restriction(xmlDocGetRootElement(doc), property, most) : most;
    xmlFreeDoc(doc);
    return n;
}

unsigned vm_max_nics(const struct row *vm) { return limit(vm, "number-of-vifs", VM_MAX_NICS); }

struct places {
    field_id set, device;
    enum class_id cls;
    const char *property;
    unsigned most;
};

static int free_places(struct call *c, struct ref vm, const struct places *p, struct value *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VM, vm, err);
    struct value_builder names = value_builder(c->arena);
    bool used[VM_MAX_DISKS + 1] = { false };

    if (!row) return -1;
    const unsigned n = limit(row, p->property, p->most);
    const struct refset *devices = row_refs(row, p->set);
    for (size_t i = 0; i < devices->n; i++) {
        const struct row *r = snap_get(s, p->cls, devices->refs[i]);
        int number = r ? vbd_device_number(row_str(r, p->device)) : -1;
        if (number >= 0 && (unsigned)number < n) used[number] = true;
    }
    for (unsigned i = 0; i < n; i++)
        if (!used[i]) value_push(&names, value_string(arena_printf(c->arena, "%u", i)));
    *ret_result = value_built_set(&names);
    return 0;
}

int vm_get_allowed_VBD_devices(struct call *c, struct ref vm, struct value *ret_result, struct xerr *err)
{
    static const struct places p = { F_VM_VBDs, F_VBD_userdevice, CLASS_VBD, "number-of-vbds", VM_MAX_DISKS };

    return free_places(c, vm, &p, ret_result, err);
}

int vm_get_allowed_VIF_devices(struct call *c, struct ref vm, struct value *ret_result, struct xerr *err)
{
    static const struct places p = { F_VM_VIFs, F_VIF_device, CLASS_VIF, "number-of-vifs", VM_MAX_NICS };

    return free_places(c, vm, &p, ret_result, err);
}
