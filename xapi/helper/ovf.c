/* xapi-helper ovf: what a description in the Open Virtualization Format (DMTF DSP0243, versions 1 and 2) says of disks and VMs.
 * Called by: xapi (ova_import.c), tests/fuzz.  Calls: libxml2, lib/json.
 *
 * The answer is an object:
 *   files: [{id, href}]   disks: [{id, file, capacity}]   (capacity: bytes)
 *   vms: [{name, description, os, memory, vcpus, cores, firmware ("bios", "uefi"), secure,
 *          devices: [{kind ("disk", "cd", "nic"), bus ("ide", "sata", "scsi", "virtio", ""), disk, file, network, mac, model}]}]
 * Devices stand in the order of their controllers and places there. Names without a meaning for us are left out. */
#include "xapi/helper/ovf.h"

#include <ctype.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/json.h"
#include "lib/num.h"
#include "xapi/helper/helper.h"

enum { TEXT_MAX = 8 << 20, OBJECTS_MAX = 1024, VMS_MAX = 256 };

/* rasd:ResourceType (CIM_ResourceAllocationSettingData). */
enum { CPU = 3, MEMORY = 4, IDE = 5, SCSI = 6, ETHERNET = 10, CD = 15, DVD = 16, DISK = 17, STORAGE = 20 };

/* ---- the tree -------------------------------------------------------------------------------------------------------- */

/* Names without their prefixes: writers disagree on those. */
static bool is(const xmlNode *n, const char *name)
{
    return n->type == XML_ELEMENT_NODE && streq((const char *)n->name, name);
}

static const xmlNode *child(const xmlNode *n, const char *name)
{
    for (n = n ? n->children : NULL; n; n = n->next)
        if (is(n, name)) return n;
    return NULL;
}

static const char *text_of(struct arena *a, const xmlNode *n)
{
    xmlChar *s = n ? xmlNodeGetContent(n) : NULL;
    char *copy = arena_strdup(a, s ? (const char *)s : "");

    xmlFree(s);
    while (isspace((unsigned char)*copy)) copy++;
    for (size_t len = strlen(copy); len && isspace((unsigned char)copy[len - 1]); len--) copy[len - 1] = '\0';
    return copy;
}

static const char *member(struct arena *a, const xmlNode *n, const char *name) { return text_of(a, child(n, name)); }

static const char *attribute(struct arena *a, const xmlNode *n, const char *name)
{
    for (const xmlAttr *at = n ? n->properties : NULL; at; at = at->next)
        if (streq((const char *)at->name, name)) return text_of(a, (const xmlNode *)at->children);
    return "";
}

/* ---- numbers --------------------------------------------------------------------------------------------------------- */

/* "byte * 2^20", "MegaBytes", "MB", ...: as a power of two; -1 = not understood. */
static int unit_shift(const char *unit)
{
    static const struct { const char *name; int shift; } names[] = {
        { "", 0 }, { "byte", 0 }, { "bytes", 0 }, { "kb", 10 }, { "kilobytes", 10 }, { "mb", 20 }, { "megabytes", 20 }, { "gb", 30 },
        { "gigabytes", 30 }, { "tb", 40 }, { "terabytes", 40 },
    };
    char plain[32];
    size_t n = 0;
    int shift;

    for (; *unit && n < sizeof plain - 1; unit++)
        if (!isspace((unsigned char)*unit)) plain[n++] = (char)tolower((unsigned char)*unit);
    plain[n] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (streq(plain, names[i].name)) return names[i].shift;
    if (sscanf(plain, "byte*2^%2d", &shift) == 1 && shift >= 0 && shift <= 50) return shift;
    return -1;
}

static int64_t amount(const char *number, const char *unit, int fallback_shift)
{
    int shift = *unit ? unit_shift(unit) : fallback_shift;
    int64_t n;

    if (shift < 0 || !num_parse_int(number, &n) || n < 0 || n > INT64_MAX >> shift) return -1;
    return n << shift;
}

static int64_t number(struct arena *a, const xmlNode *n, const char *name, int64_t fallback)
{
    int64_t v;

    return num_parse_int(member(a, n, name), &v) ? v : fallback;
}

/* ---- a VM ------------------------------------------------------------------------------------------------------------ */

struct item {
    const xmlNode *node;
    int type, order, under;      /* under: the order of its controller, its own without one */
    int64_t id, parent, place;
};

struct machine {
    struct item items[OBJECTS_MAX];
    size_t n;
};

/* Of several configurations the default one counts. */
static const char *configuration(struct arena *a, const xmlNode *envelope)
{
    const xmlNode *section = child(envelope, "DeploymentOptionSection");
    const char *first = "";

    for (const xmlNode *n = section ? section->children : NULL; n; n = n->next) {
        if (!is(n, "Configuration")) continue;
        if (streq(attribute(a, n, "default"), "true")) return attribute(a, n, "id");
        if (!*first) first = attribute(a, n, "id");
    }
    return first;
}

static bool has_word(const char *list, const char *word)
{
    for (size_t n; *list; list += n + (list[n] != '\0')) {
        n = strcspn(list, " \t\n");
        if (n && n == strlen(word) && memcmp(list, word, n) == 0) return true;
    }
    return false;
}

static void read_items(struct arena *a, const xmlNode *hardware, const char *wanted, struct machine *m)
{
    for (const xmlNode *n = hardware ? hardware->children : NULL; n && m->n < OBJECTS_MAX; n = n->next) {
        if (!is(n, "Item") && !is(n, "StorageItem") && !is(n, "EthernetPortItem")) continue;
        const char *only = attribute(a, n, "configuration");
        if (*only && !has_word(only, wanted)) continue;
        m->items[m->n] = (struct item){ .node = n, .type = (int)number(a, n, "ResourceType", 0), .order = (int)m->n,
                                        .id = number(a, n, "InstanceID", -1), .parent = number(a, n, "Parent", -1),
                                        .place = number(a, n, "AddressOnParent", 0) };
        m->n++;
    }
}

static const struct item *controller(const struct machine *m, const struct item *i)
{
    for (size_t j = 0; i->parent >= 0 && j < m->n; j++)
        if (m->items[j].id == i->parent && &m->items[j] != i) return &m->items[j];
    return NULL;
}

static bool contains(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (; *text; text++)
        if (strncasecmp(text, word, n) == 0) return true;
    return false;
}

static const char *bus(struct arena *a, const struct item *c)
{
    if (!c) return "";
    const char *sub = member(a, c->node, "ResourceSubType");
    if (contains(sub, "virtio")) return "virtio";
    return c->type == IDE ? "ide" : c->type == SCSI ? "scsi" : c->type == STORAGE ? "sata" : "";
}

/* "ovf:/disk/vmdisk1" is a disk, "ovf:/file/file2" a file. */
static void put_medium(struct arena *a, struct value_builder *b, const xmlNode *item)
{
    const char *host = member(a, item, "HostResource"), *slash = strrchr(host, '/');

    value_put(b, "disk", value_string(strstr(host, "/disk/") ? slash + 1 : ""));
    value_put(b, "file", value_string(strstr(host, "/file/") ? slash + 1 : ""));
}

static int by_controller(const void *x, const void *y)
{
    const struct item *i = x, *j = y;

    if (i->under != j->under) return i->under < j->under ? -1 : 1;
    if (i->place != j->place) return i->place < j->place ? -1 : 1;
    return i->order < j->order ? -1 : i->order > j->order;
}

static struct value devices(struct arena *a, const struct machine *m)
{
    struct item *sorted = arena_new_array(a, struct item, m->n + 1);
    struct value_builder all = value_builder(a);

    for (size_t i = 0; i < m->n; i++) {
        const struct item *c = controller(m, &m->items[i]);
        sorted[i] = m->items[i];
        sorted[i].under = c ? c->order : sorted[i].order;
    }
    qsort(sorted, m->n, sizeof *sorted, by_controller);
    for (size_t i = 0; i < m->n; i++) {
        const struct item *d = &sorted[i];
        const bool cd = d->type == CD || d->type == DVD, nic = d->type == ETHERNET;
        if (!cd && !nic && d->type != DISK) continue;
        struct value_builder b = value_builder(a);
        value_put(&b, "kind", value_string(cd ? "cd" : nic ? "nic" : "disk"));
        value_put(&b, "bus", value_string(bus(a, controller(m, d))));
        put_medium(a, &b, d->node);
        value_put(&b, "network", value_string(nic ? member(a, d->node, "Connection") : ""));
        value_put(&b, "mac", value_string(nic ? member(a, d->node, "Address") : ""));
        value_put(&b, "model", value_string(nic ? member(a, d->node, "ResourceSubType") : ""));
        value_push(&all, value_built_map(&b));
    }
    return value_built_set(&all);
}

/* VMware's own settings, below the hardware: <vmw:Config key= value=>. */
static const char *vmware(struct arena *a, const xmlNode *hardware, const char *key)
{
    for (const xmlNode *n = hardware ? hardware->children : NULL; n; n = n->next)
        if ((is(n, "Config") || is(n, "ExtraConfig")) && streq(attribute(a, n, "key"), key)) return attribute(a, n, "value");
    return "";
}

/* VirtualBox': <vbox:Machine><Hardware><Firmware type="EFI"/>. */
static const char *virtualbox_firmware(struct arena *a, const xmlNode *system)
{
    return attribute(a, child(child(child(system, "Machine"), "Hardware"), "Firmware"), "type");
}

static struct value machine(struct arena *a, const xmlNode *system, const char *wanted)
{
    struct machine *m = arena_zalloc(a, sizeof *m);
    const xmlNode *hardware = child(system, "VirtualHardwareSection"), *os = child(system, "OperatingSystemSection");
    struct value_builder b = value_builder(a);
    int64_t memory = 0, vcpus = 1, cores = 0;

    read_items(a, hardware, wanted, m);
    for (size_t i = 0; i < m->n; i++) {
        const xmlNode *n = m->items[i].node;
        if (m->items[i].type == MEMORY) memory = amount(member(a, n, "VirtualQuantity"), member(a, n, "AllocationUnits"), 20);
        if (m->items[i].type == CPU) vcpus = number(a, n, "VirtualQuantity", -1);
        if (m->items[i].type == CPU) cores = number(a, n, "CoresPerSocket", 0);
    }
    const char *name = member(a, system, "Name"), *type = attribute(a, os, "osType");
    value_put(&b, "name", value_string(*name ? name : attribute(a, system, "id")));
    value_put(&b, "description", value_string(member(a, child(system, "AnnotationSection"), "Annotation")));
    value_put(&b, "os", value_string(*type ? type : member(a, os, "Description")));
    value_put(&b, "memory", value_int(memory));
    value_put(&b, "vcpus", value_int(vcpus));
    value_put(&b, "cores", value_int(cores));
    const char *firmware = vmware(a, hardware, "firmware");
    const bool uefi = streq(firmware, "efi") || has_prefix(virtualbox_firmware(a, system), "EFI");
    value_put(&b, "firmware", value_string(uefi ? "uefi" : "bios"));
    value_put(&b, "secure", value_bool(streq(vmware(a, hardware, "bootOptions.efiSecureBootEnabled"), "true")));
    value_put(&b, "devices", devices(a, m));
    return value_built_map(&b);
}

/* Collections hold systems and collections. */
static void find_machines(struct arena *a, const xmlNode *n, const char *wanted, struct value_builder *vms, unsigned depth)
{
    for (n = n->children; n && depth; n = n->next) {
        if (is(n, "VirtualSystem") && vms->n < VMS_MAX) value_push(vms, machine(a, n, wanted));
        if (is(n, "VirtualSystemCollection")) find_machines(a, n, wanted, vms, depth - 1);
    }
}

/* ---- files and disks ------------------------------------------------------------------------------------------------- */

static struct value files(struct arena *a, const xmlNode *envelope)
{
    const xmlNode *refs = child(envelope, "References");
    struct value_builder all = value_builder(a);

    for (const xmlNode *n = refs ? refs->children : NULL; n && all.n < OBJECTS_MAX; n = n->next) {
        struct value_builder b = value_builder(a);
        if (!is(n, "File")) continue;
        value_put(&b, "id", value_string(attribute(a, n, "id")));
        value_put(&b, "href", value_string(attribute(a, n, "href")));
        value_put(&b, "chunked", value_bool(*attribute(a, n, "chunkSize") != '\0'));
        value_push(&all, value_built_map(&b));
    }
    return value_built_set(&all);
}

static struct value disks(struct arena *a, const xmlNode *envelope)
{
    const xmlNode *section = child(envelope, "DiskSection");
    struct value_builder all = value_builder(a);

    if (!section) section = child(envelope, "SharedDiskSection");
    for (const xmlNode *n = section ? section->children : NULL; n && all.n < OBJECTS_MAX; n = n->next) {
        struct value_builder b = value_builder(a);
        if (!is(n, "Disk")) continue;
        value_put(&b, "id", value_string(attribute(a, n, "diskId")));
        value_put(&b, "file", value_string(attribute(a, n, "fileRef")));
        value_put(&b, "stands_on", value_string(attribute(a, n, "parentRef")));
        value_put(&b, "capacity", value_int(amount(attribute(a, n, "capacity"), attribute(a, n, "capacityAllocationUnits"), 0)));
        value_push(&all, value_built_map(&b));
    }
    return value_built_set(&all);
}

/* ---- the document ---------------------------------------------------------------------------------------------------- */

static void be_silent(void *arg, const char *msg, ...) { (void)arg; (void)msg; }

static char *read_input(size_t *ret_n)
{
    char *text = xmalloc(TEXT_MAX + 1);
    size_t n = 0;
    ssize_t got;

    while (n <= TEXT_MAX && (got = read(STDIN_FILENO, text + n, TEXT_MAX + 1 - n)) > 0) n += (size_t)got;
    *ret_n = n;
    return text;
}

static const char *answer(struct arena *a, const xmlNode *envelope, struct strbuf *out)
{
    struct value_builder all = value_builder(a), vms = value_builder(a);

    if (!envelope || !is(envelope, "Envelope")) return "the description is no OVF envelope";
    find_machines(a, envelope, configuration(a, envelope), &vms, 8);
    value_put(&all, "files", files(a, envelope));
    value_put(&all, "disks", disks(a, envelope));
    value_put(&all, "vms", value_built_set(&vms));
    const struct value v = value_built_map(&all);
    json_encode_value(&v, out);
    return NULL;
}

const char *ovf_describe(const char *text, size_t n, struct strbuf *out)
{
    if (n > TEXT_MAX) return "the description is too large";
    xmlSetGenericErrorFunc(NULL, be_silent);
    /* No network, no entities but the five; without XML_PARSE_HUGE libxml2 keeps its own limits. */
    xmlDocPtr doc = xmlReadMemory(text, (int)n, NULL, NULL, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (!doc) return "the description is no XML";
    struct arena *a = arena_new();
    const char *why = doc->intSubset ? "the description has a document type of its own" : answer(a, xmlDocGetRootElement(doc), out);
    arena_free(a);
    xmlFreeDoc(doc);
    return why;
}

int helper_ovf(void)
{
    _cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
    size_t n;
    _cleanup_free_ char *text = read_input(&n);
    const char *why = ovf_describe(text, n, &out);

    puts(why ? why : strbuf_cstr(&out));
    return why ? 1 : 0;
}
