/* A constructor per XenAPI error, and the table of codes.
 * Made by xapi-gen from schema/: do not edit. */
#include "gen/errors.h"

int xerr_anything(struct xerr *err, size_t n, const char *const *params)
{
    return xerr_set(err, "ANYTHING", n, params);
}

int xerr_field_type_error(struct xerr *err, const char *field)
{
    const char *const params[] = { field };
    return xerr_set(err, "FIELD_TYPE_ERROR", 1, params);
}

int xerr_free(struct xerr *err)
{
    return xerr_set(err, "FREE", 0, NULL);
}

int xerr_not_implemented(struct xerr *err, const char *function)
{
    const char *const params[] = { function };
    return xerr_set(err, "NOT_IMPLEMENTED", 1, params);
}

int xerr_thing_bad_state(struct xerr *err, const char *thing, const char *actual_state)
{
    const char *const params[] = { thing, actual_state };
    return xerr_set(err, "THING_BAD_STATE", 2, params);
}

static const char *const params_FIELD_TYPE_ERROR[] = { "field", NULL };
static const char *const params_NOT_IMPLEMENTED[] = { "function", NULL };
static const char *const params_THING_BAD_STATE[] = { "thing", "actual state", NULL };

const struct error_desc error_descs[] = {
    { "ANYTHING", 0, NULL, "Any parameters." },
    { "FIELD_TYPE_ERROR", 1, params_FIELD_TYPE_ERROR, "Wrong type." },
    { "FREE", 0, NULL, "Says whatever it likes." },
    { "NOT_IMPLEMENTED", 1, params_NOT_IMPLEMENTED, "Nobody wrote it." },
    { "THING_BAD_STATE", 2, params_THING_BAD_STATE, "It is in the wrong state." },
    { NULL, 0, NULL, NULL },
};
