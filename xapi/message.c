/* Class message: alerts about objects, with a priority and a text.
 * Called by: the generated thunks (schema/message.xml).  Calls: db/. */
#include "gen/methods.h"
#include "lib/iso8601.h"
#include "xapi/call/call.h"

#include <time.h>

enum {
    NAME_MAX_BYTES = 256,
    BODY_MAX_BYTES = 64 << 10,
    MESSAGES_MAX = 10000,          /* the oldest go first */
    BYTES_MAX = 16 << 20,          /* of all names and bodies together: likewise */
};

/* Class of the object an alert is about, to find its uuid among. -1 = not checked (gone classes). */
static int class_of(enum cls cls)
{
    static const int classes[] = {
        [cls_VM] = CLASS_VM,     [cls_Host] = CLASS_host, [cls_SR] = CLASS_SR,
        [cls_Pool] = CLASS_pool, [cls_VMPP] = CLASS_VMPP, [cls_VMSS] = CLASS_VMSS,
        [cls_PVS_proxy] = CLASS_PVS_proxy, [cls_VDI] = CLASS_VDI, [cls_Certificate] = CLASS_Certificate,
    };
    return classes[cls];
}

static size_t bytes_of(const struct row *m)
{
    return strlen(row_str(m, F_message_name)) + strlen(row_str(m, F_message_body));
}

/* Until there is room for one more of this size. */
static void drop_oldest(struct txn *t, size_t bytes)
{
    size_t count = snap_count(txn_snap(t), CLASS_message);

    /* So few cannot have used it up. */
    if (count < BYTES_MAX / (NAME_MAX_BYTES + BODY_MAX_BYTES)) return;
    for (;;) {
        const struct row *oldest = NULL;
        size_t sum = bytes;
        count = 1;
        SNAP_EACH (txn_snap(t), CLASS_message, m) {
            if (!oldest || row_time(m, F_message_timestamp) < row_time(oldest, F_message_timestamp)) oldest = m;
            sum += bytes_of(m);
            count++;
        }
        if (!oldest || (count <= MESSAGES_MAX && sum <= BYTES_MAX)) return;
        txn_destroy(t, CLASS_message, row_ref_of(oldest));
    }
}

static int check_length(struct call *c, const char *field, const char *text, size_t most, struct xerr *err)
{
    size_t n = strlen(text);

    if (n <= most) return 0;
    return xerr_value_not_supported(err, field, arena_printf(c->arena, "%zu bytes", n),
                                    arena_printf(c->arena, "At most %zu bytes are kept", most));
}

int message_create(struct call *c, const char *name, int64_t priority, enum cls cls, const char *obj_uuid, const char *body,
                   struct ref *ret_result, struct xerr *err)
{
    struct ref message = ref_new();

    if (check_length(c, "name", name, NAME_MAX_BYTES, err) || check_length(c, "body", body, BODY_MAX_BYTES, err)) return -1;
    struct txn *t = db_begin(c->agent->db);
    if (!snap_by_uuid(txn_snap(t), (enum class_id)class_of(cls), obj_uuid)) {
        db_abort(t);
        return xerr_uuid_invalid(err, model.classes[class_of(cls)].name, obj_uuid);
    }
    drop_oldest(t, strlen(name) + strlen(body));
    txn_create(t, CLASS_message, message);
    txn_set_str(t, message, F_message_name, name);
    txn_set_int(t, message, F_message_priority, priority);
    txn_set_enum(t, message, F_message_cls, (int)cls);
    txn_set_str(t, message, F_message_obj_uuid, obj_uuid);
    txn_set_str(t, message, F_message_body, body);
    txn_set_time(t, message, F_message_timestamp, time(NULL));
    if (db_commit(t, err)) return -1;
    *ret_result = message;
    return 0;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* Which messages are wanted. */
struct choice {
    int cls;                 /* -1 = any */
    const char *obj_uuid;    /* NULL = any */
    int64_t since;           /* seconds; messages of that second and later */
    const struct filter *filter;
};

static bool chosen(const struct choice *choice, const struct row *m)
{
    return (choice->cls < 0 || row_enum(m, F_message_cls) == choice->cls) &&
           (!choice->obj_uuid || streq(row_str(m, F_message_obj_uuid), choice->obj_uuid)) &&
           row_time(m, F_message_timestamp) >= choice->since && (!choice->filter || filter_match(choice->filter, m));
}

static int collect(struct call *c, const struct choice *choice, struct value *ret_result)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct value_builder map = value_builder(c->arena);

    SNAP_EACH (s, CLASS_message, m) {
        if (!chosen(choice, m)) continue;
        struct value record = row_record(m, c->arena);
        value_put_new(&map, arena_strdup(c->arena, REF_STR(row_ref_of(m))), value_copy(c->arena, &record));
    }
    *ret_result = value_built_map(&map);
    return 0;
}

int message_get_all_records(struct call *c, struct value *ret_result, struct xerr *err)
{
    (void)err;
    return collect(c, &(struct choice){ .cls = -1, .since = INT64_MIN }, ret_result);
}

int message_get_all_records_where(struct call *c, const char *expr, struct value *ret_result, struct xerr *err)
{
    struct choice choice = { .cls = -1, .since = INT64_MIN };

    if (filter_parse(expr, &model.classes[CLASS_message], c->arena, &choice.filter, err)) return -1;
    return collect(c, &choice, ret_result);
}

int message_get_since(struct call *c, int64_t since, struct value *ret_result, struct xerr *err)
{
    (void)err;
    return collect(c, &(struct choice){ .cls = -1, .since = since }, ret_result);
}

int message_get(struct call *c, enum cls cls, const char *obj_uuid, int64_t since, struct value *ret_result, struct xerr *err)
{
    (void)err;
    return collect(c, &(struct choice){ .cls = (int)cls, .obj_uuid = obj_uuid, .since = since }, ret_result);
}

int message_get_all(struct call *c, struct value *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    struct value_builder set = value_builder(c->arena);

    (void)err;
    SNAP_EACH (s, CLASS_message, m) value_push(&set, value_ref(row_ref_of(m)));
    *ret_result = value_built_set(&set);
    return 0;
}

int message_get_by_uuid(struct call *c, const char *uuid, struct ref *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *m = snap_by_uuid(s, CLASS_message, uuid);

    if (!m) return xerr_uuid_invalid(err, "message", uuid);
    *ret_result = row_ref_of(m);
    return 0;
}

int message_get_record(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *m = snap_need(s, CLASS_message, self, err);

    if (!m) return -1;
    struct value record = row_record(m, c->arena);
    *ret_result = value_copy(c->arena, &record);
    return 0;
}

/* ---- forgetting ------------------------------------------------------------------------------------------------- */

int message_destroy(struct call *c, struct ref self, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    txn_destroy(t, CLASS_message, self);
    return db_commit(t, err);
}

int message_destroy_many(struct call *c, const struct value *messages, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);

    for (size_t i = 0; i < messages->set.n; i++) txn_destroy(t, CLASS_message, messages->set.items[i].ref);
    return db_commit(t, err);
}

/* filters: "before" and "after" as dates, "priority" as a number; none = every message. */
int message_destroy_all(struct call *c, const struct value *filters, struct xerr *err)
{
    int64_t before = INT64_MAX, after = INT64_MIN;
    const char *text, *priority = value_get_str(filters, "priority", NULL);

    if ((text = value_get_str(filters, "before", NULL)) && !iso8601_parse(text, &before))
        return xerr_invalid_value(err, "before", text);
    if ((text = value_get_str(filters, "after", NULL)) && !iso8601_parse(text, &after))
        return xerr_invalid_value(err, "after", text);

    struct txn *t = db_begin(c->agent->db);
    SNAP_EACH (txn_snap(t), CLASS_message, m) {
        int64_t at = row_time(m, F_message_timestamp);
        bool match = at < before && at > after && (!priority || atoll(priority) == row_int(m, F_message_priority));
        if (match) txn_destroy(t, CLASS_message, row_ref_of(m));
    }
    return db_commit(t, err);
}
