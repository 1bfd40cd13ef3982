/* Lookups in the generated tables of the data model.
 * Called by: db/, rpc/, xe/.  Calls: gen's `model`. */
#include "lib/model.h"

#include <strings.h>

const struct class_desc *model_class(const char *name)
{
    for (unsigned i = 1; i < model.n_classes; i++)
        if (streq(model.classes[i].name, name)) return &model.classes[i];
    return NULL;
}

const struct class_desc *model_class_nocase(const char *name)
{
    for (unsigned i = 1; i < model.n_classes; i++)
        if (!strcasecmp(model.classes[i].name, name)) return &model.classes[i];
    return NULL;
}

static int method_cmp(const void *key, const void *m)
{
    return strcmp(key, ((const struct method_desc *)m)->name);
}

const struct method_desc *model_method(const char *name)
{
    return bsearch(name, model.methods, model.n_methods, sizeof(*model.methods), method_cmp);
}

static int error_cmp(const void *key, const void *e)
{
    return strcmp(key, ((const struct error_desc *)e)->code);
}

const struct error_desc *model_error(const char *code)
{
    return bsearch(code, model.errors, model.n_errors, sizeof(*model.errors), error_cmp);
}

const struct field_desc *model_field(field_id f)
{
    return &model.classes[field_class(f)].fields[field_index(f)];
}

const struct field_desc *model_field_by_name(const struct class_desc *cls, const char *name)
{
    for (unsigned i = 0; i < cls->n_fields; i++)
        if (streq(cls->fields[i].name, name) || streq(cls->fields[i].long_name, name)) return &cls->fields[i];
    return NULL;
}

int enum_index(const struct enum_desc *e, const char *text)
{
    for (unsigned i = 0; i < e->n; i++)
        if (streq(e->values[i], text)) return (int)i;
    return -1;
}
