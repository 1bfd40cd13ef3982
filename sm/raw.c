/* Repositories whose disks are devices as they are.
 * Called by: iscsi.c, udev.c.  Calls: sm. */
#include "sm/raw.h"

void raw_put_disk(struct sm *sm, struct value_builder *b, const struct raw_disk *d)
{
    struct value_builder config = value_builder(sm->arena);

    if (d->uuid) value_put(b, "uuid", value_string(d->uuid));
    value_put(b, "location", value_string(d->location));
    value_put(b, "name_label", value_string(d->name_label));
    if (d->name_description) value_put(b, "name_description", value_string(d->name_description));
    value_put(b, "virtual_size", value_int(d->size));
    value_put(b, "physical_utilisation", value_int(d->size));
    value_put(b, "read_only", value_bool(d->read_only));
    value_put(b, "format", value_string("raw"));
    for (size_t i = 0; d->sm_config && i < d->sm_config->map.n; i++)
        value_put(&config, d->sm_config->map.members[i].key, d->sm_config->map.members[i].value);
    value_put(&config, "type", value_string("raw"));
    value_put(b, "sm_config", value_built_map(&config));
}

void raw_put_space(struct value_builder *b, int64_t sum)
{
    value_put(b, "sr_physical_size", value_int(sum));
    value_put(b, "sr_physical_utilisation", value_int(sum));
}

int raw_answer_path(struct sm *sm, const char *path, struct value *ret_answer)
{
    struct value_builder b = value_builder(sm->arena);

    value_put(&b, "params", value_string(path));
    value_put(&b, "format", value_string("raw"));
    *ret_answer = value_built_map(&b);
    return 0;
}

int raw_answer_probe(struct sm *sm, struct value *ret_answer)
{
    struct value_builder b = value_builder(sm->arena), results = b, one = b;

    value_put(&one, "configuration", value_copy(sm->arena, sm_map(sm, "device_config")));
    value_put(&one, "complete", value_bool(true));
    value_push(&results, value_built_map(&one));
    value_put(&b, "xml", value_string("<?xml version=\"1.0\" ?>\n<SRlist>\n</SRlist>\n"));
    value_put(&b, "results", value_built_set(&results));
    *ret_answer = value_built_map(&b);
    return 0;
}

int raw_nothing(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    (void)sm, (void)err;
    *ret_answer = value_void();
    return 0;
}

int raw_sr_content_type(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    (void)sm, (void)err;
    *ret_answer = value_string("");
    return 0;
}

const char *const raw_features[] = { "SR_PROBE",   "SR_SCAN",       "SR_UPDATE",  "VDI_ATTACH",
                                     "VDI_DETACH", "VDI_INTRODUCE", "VDI_UPDATE", NULL };
const char *const raw_formats[] = { "raw", NULL };
