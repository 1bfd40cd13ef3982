/* From normalized arguments to a class function and back. Class functions are weak here: linking
 * one gives its message behaviour; their files must be linked as objects, not from an archive.
 * Made by xapi-gen from schema/: do not edit. */
#include "gen/methods.h"

#include "gen/errors.h"

static int bits_of(const struct enum_desc *e, const struct value *set, uint64_t *ret_bits)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < set->set.n; i++) {
        int index = enum_index(e, set->set.items[i].s);
        if (index < 0) return -1;
        bits |= (uint64_t)1 << index;
    }
    *ret_bits = bits;
    return 0;
}

#pragma weak thing_add_tags
int thunk_thing_add_tags(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_add_tags(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_add_tags) return xerr_not_implemented(err, "Thing.add_tags");
    if (thing_add_tags(c, args[0].ref, args[1].s, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_add_to_other_config
int thunk_thing_add_to_other_config(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_add_to_other_config(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_add_to_other_config) return xerr_not_implemented(err, "Thing.add_to_other_config");
    if (thing_add_to_other_config(c, args[0].ref, args[1].s, args[2].s, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_create
int thunk_thing_create(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_create(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_create) return xerr_not_implemented(err, "Thing.create");
    struct ref result;
    if (thing_create(c, &args[0], &result, err)) return -1;
    *ret_result = value_ref(result);
    return 0;
}

#pragma weak thing_destroy
int thunk_thing_destroy(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_destroy(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_destroy) return xerr_not_implemented(err, "Thing.destroy");
    if (thing_destroy(c, args[0].ref, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_register
int thunk_thing_register(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_register(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_register) return xerr_not_implemented(err, "Thing.register");
    enum thing_state result;
    if (thing_register(c, args[0].s, &args[1], &result, err)) return -1;
    *ret_result = value_string(enum_desc_thing_state.values[result]);
    return 0;
}

#pragma weak thing_remove_from_other_config
int thunk_thing_remove_from_other_config(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_remove_from_other_config(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_remove_from_other_config) return xerr_not_implemented(err, "Thing.remove_from_other_config");
    if (thing_remove_from_other_config(c, args[0].ref, args[1].s, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_remove_tags
int thunk_thing_remove_tags(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_remove_tags(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_remove_tags) return xerr_not_implemented(err, "Thing.remove_tags");
    if (thing_remove_tags(c, args[0].ref, args[1].s, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_set_code
int thunk_thing_set_code(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_set_code(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_set_code) return xerr_not_implemented(err, "Thing.set_code");
    if (thing_set_code(c, args[0].ref, args[1].s, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_set_good
int thunk_thing_set_good(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_set_good(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_set_good) return xerr_not_implemented(err, "Thing.set_good");
    if (thing_set_good(c, args[0].ref, args[1].b, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_set_name_label
int thunk_thing_set_name_label(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_set_name_label(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_set_name_label) return xerr_not_implemented(err, "Thing.set_name_label");
    if (thing_set_name_label(c, args[0].ref, args[1].s, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_set_other_config
int thunk_thing_set_other_config(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_set_other_config(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_set_other_config) return xerr_not_implemented(err, "Thing.set_other_config");
    if (thing_set_other_config(c, args[0].ref, &args[1], err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_set_ratio
int thunk_thing_set_ratio(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_set_ratio(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_set_ratio) return xerr_not_implemented(err, "Thing.set_ratio");
    if (thing_set_ratio(c, args[0].ref, args[1].d, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_set_size
int thunk_thing_set_size(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_set_size(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_set_size) return xerr_not_implemented(err, "Thing.set_size");
    if (thing_set_size(c, args[0].ref, args[1].i, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_set_tags
int thunk_thing_set_tags(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_set_tags(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_set_tags) return xerr_not_implemented(err, "Thing.set_tags");
    if (thing_set_tags(c, args[0].ref, &args[1], err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_start
int thunk_thing_start(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_start(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_start) return xerr_not_implemented(err, "Thing.start");
    int a2 = enum_index(&enum_desc_thing_state, args[2].s);
    if (a2 < 0) return xerr_field_type_error(err, "state");
    uint64_t a3;
    if (bits_of(&enum_desc_thing_state, &args[3], &a3)) return xerr_field_type_error(err, "set");
    if (thing_start(c, args[0].ref, args[1].b, (enum thing_state)a2, a3, err)) return -1;
    *ret_result = value_void();
    return 0;
}

#pragma weak thing_when
int thunk_thing_when(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_thing_when(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!thing_when) return xerr_not_implemented(err, "Thing.when");
    int64_t result;
    if (thing_when(c, args[0].ref, &result, err)) return -1;
    *ret_result = (struct value){ .kind = VALUE_LOCALTIME, .i = result };
    return 0;
}

#pragma weak event_from
int thunk_event_from(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err);
int thunk_event_from(struct call *c, const struct value *args, struct value *ret_result, struct xerr *err)
{
    if (!event_from) return xerr_not_implemented(err, "event.from");
    struct value result;
    if (event_from(c, &args[0], &result, err)) return -1;
    *ret_result = result;
    return 0;
}
