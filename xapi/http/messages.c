/* The alerts of one object over HTTP, as <messages><message>...: for backups, and for a VM that comes from another pool.
 * Called by: the route table.  Calls: message.h, transfer. */
#include "xapi/http/messages.h"

#include "lib/limits.h"
#include "xapi/http/transfer.h"
#include "xapi/message.h"

/* ?uuid= and ?cls=, as message.get has them. */
static int read_owner(const struct http_request *req, enum cls *ret_cls, const char **ret_uuid, struct xerr *err)
{
    const char *cls = http_query(&req->head, "cls"), *uuid = http_query(&req->head, "uuid");
    int i = cls ? enum_index(&enum_desc_cls, cls) : (int)cls_VM;

    if (i < 0) return xerr_invalid_value(err, "cls", cls);
    if (!uuid) return xerr_invalid_value(err, "uuid", "");
    *ret_cls = (enum cls)i;
    *ret_uuid = uuid;
    return 0;
}

void get_messages(struct http_request *req, struct call *c, struct xerr *err)
{
    struct strbuf xml = STRBUF_INIT;
    const char *uuid;
    enum cls cls;

    if (read_owner(req, &cls, &uuid, err)) {
        transfer_refuse(req, 400, err);
        return;
    }
    messages_write(c, cls, uuid, &xml);
    struct http_reply reply = { .status = 200, .content_type = "text/xml", .body = &xml };
    http_reply(req, &reply);
}

/* 1. 200, for which clients wait; 2. the document; 3. its alerts are the object's too. */
void put_messages(struct http_request *req, struct call *c, struct xerr *err)
{
    _cleanup_strbuf_ struct strbuf xml = STRBUF_INIT;
    const char *uuid;
    enum cls cls;

    if (read_owner(req, &cls, &uuid, err)) {
        transfer_refuse(req, 400, err);
        return;
    }
    if (transfer_begin_upload(req, err) || transfer_receive(req, c, LIMIT_MESSAGES_XML, &xml, err) || !xml.len) return;
    messages_read(c, cls, uuid, strbuf_cstr(&xml), xml.len, err);
}
