/* Class message: alerts about objects, with a priority and a text.
 * Called by: the generated thunks (schema/message.xml).  Calls: db/. */
#include "xapi/message.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <time.h>

#include "gen/methods.h"
#include "lib/iso8601.h"
#include "lib/limits.h"
#include "lib/num.h"
#include "lib/xmlrpc.h"

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
    if (count < LIMIT_MESSAGES_BYTES / (LIMIT_MESSAGE_NAME + LIMIT_MESSAGE_BODY)) return;
    for (;;) {
        const struct row *oldest = NULL;
        size_t sum = bytes;
        count = 1;
        SNAP_EACH (txn_snap(t), CLASS_message, m) {
            if (!oldest || row_time(m, F_message_timestamp) < row_time(oldest, F_message_timestamp)) oldest = m;
            sum += bytes_of(m);
            count++;
        }
        if (!oldest || (count <= LIMIT_MESSAGES && sum <= LIMIT_MESSAGES_BYTES)) return;
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

    if (check_length(c, "name", name, LIMIT_MESSAGE_NAME, err) || check_length(c, "body", body, LIMIT_MESSAGE_BODY, err)) return -1;
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

/* ---- as a document ---------------------------------------------------------------------------------------------- */

static void put_element(struct strbuf *out, const char *name, const char *text)
{
    strbuf_printf(out, "<%s>", name);
    xmlrpc_encode_text(text, strlen(text), out);
    strbuf_printf(out, "</%s>", name);
}

void messages_write(struct call *c, enum cls cls, const char *obj_uuid, struct strbuf *out)
{
    const struct choice choice = { .cls = (int)cls, .obj_uuid = obj_uuid, .since = INT64_MIN };
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);

    strbuf_str(out, "<messages>");
    SNAP_EACH (s, CLASS_message, m) {
        char date[ISO8601_TEXT];
        if (!chosen(&choice, m)) continue;
        iso8601_text(row_time(m, F_message_timestamp), date);
        strbuf_str(out, "<message>");
        put_element(out, "ref", REF_STR(row_ref_of(m)));
        put_element(out, "name", row_str(m, F_message_name));
        strbuf_printf(out, "<priority>%lld</priority>", (long long)row_int(m, F_message_priority));
        put_element(out, "cls", enum_desc_cls.values[cls]);
        put_element(out, "obj_uuid", obj_uuid);
        put_element(out, "timestamp", date);
        put_element(out, "uuid", row_uuid(m));
        put_element(out, "body", row_str(m, F_message_body));
        strbuf_str(out, "</message>");
    }
    strbuf_str(out, "</messages>");
}

/* The text of one element of a <message>, from the arena; NULL when there is none. */
static const char *element(struct call *c, const xmlNode *message, const char *name)
{
    for (const xmlNode *n = message->children; n; n = n->next) {
        if (n->type != XML_ELEMENT_NODE || !streq((const char *)n->name, name)) continue;
        xmlChar *text = xmlNodeGetContent(n);
        const char *copy = arena_strdup(c->arena, text ? (const char *)text : "");
        xmlFree(text);
        return copy;
    }
    return NULL;
}

static int add_message(struct call *c, struct txn *t, const xmlNode *node, enum cls cls, const char *obj_uuid,
                       struct xerr *err)
{
    const char *name = element(c, node, "name"), *priority = element(c, node, "priority");
    const char *date = element(c, node, "timestamp"), *uuid = element(c, node, "uuid"), *body = element(c, node, "body");
    struct ref bytes, message = ref_new();
    int64_t level, at;

    if (!name || !priority || !num_parse_int(priority, &level)) return xerr_import_error(err, "a message without name or priority");
    if (!date || !iso8601_parse(date, &at)) return xerr_import_error(err, "a message without a date");
    if (uuid && !uuid_from_text(uuid, &bytes)) return xerr_import_error(err, "a message whose uuid is none");
    if (uuid && snap_by_uuid(txn_snap(t), CLASS_message, uuid)) return 0;
    if (!body) body = "";
    if (check_length(c, "name", name, LIMIT_MESSAGE_NAME, err) || check_length(c, "body", body, LIMIT_MESSAGE_BODY, err)) return -1;
    drop_oldest(t, strlen(name) + strlen(body));
    txn_create(t, CLASS_message, message);
    if (uuid) txn_set_str(t, message, F_message_uuid, uuid);
    txn_set_str(t, message, F_message_name, name);
    txn_set_int(t, message, F_message_priority, level);
    txn_set_enum(t, message, F_message_cls, (int)cls);
    txn_set_str(t, message, F_message_obj_uuid, obj_uuid);
    txn_set_str(t, message, F_message_body, body);
    txn_set_time(t, message, F_message_timestamp, at);
    return 0;
}

enum { DOCUMENT_MAX = 1000 };   /* the writer lock is held meanwhile */

static int add_all(struct call *c, const xmlNode *root, enum cls cls, const char *obj_uuid, struct xerr *err)
{
    struct txn *t = db_begin(c->agent->db);
    size_t n = 0;
    int rc = 0;

    if (!snap_by_uuid(txn_snap(t), (enum class_id)class_of(cls), obj_uuid))
        rc = xerr_uuid_invalid(err, model.classes[class_of(cls)].name, obj_uuid);
    for (const xmlNode *node = root->children; node && !rc; node = node->next) {
        if (node->type != XML_ELEMENT_NODE || !streq((const char *)node->name, "message")) continue;
        rc = ++n > DOCUMENT_MAX ? xerr_import_error(err, "too many messages") : add_message(c, t, node, cls, obj_uuid, err);
    }
    if (!rc) return db_commit(t, err);
    db_abort(t);
    return -1;
}

int messages_read(struct call *c, enum cls cls, const char *obj_uuid, const char *xml, size_t len, struct xerr *err)
{
    xmlDoc *doc = xmlReadMemory(xml, (int)len, NULL, "UTF-8", XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    int rc;

    if (!root || !streq((const char *)root->name, "messages")) rc = xerr_import_error(err, "the body is no list of messages");
    else if (doc->intSubset) rc = xerr_import_error(err, "the body has a DTD");
    else rc = add_all(c, root, cls, obj_uuid, err);
    if (doc) xmlFreeDoc(doc);
    return rc;
}
