/* Class VDI: where a disk can be read over NBD.
 * Called by: the generated thunks (schema/vdi.xml).  Calls: network.h, db/. */
#include "xapi/vdi.h"

#include "gen/methods.h"
#include "lib/clock.h"
#include "lib/tls.h"
#include "xapi/network.h"

enum { MAX_ADDRESSES = 256, PATIENCE_MS = 4000, POLL_MS = 20 };

static bool only_nbd(struct call *c, const char *vdi_uuid)
{
    const struct storage_attachment *list;
    _cleanup_arena_ struct arena *a = arena_new();
    size_t n = storage_attachments(c->agent->storage, NULL, vdi_uuid, a, &list), nbd = 0;

    while (nbd < n && has_prefix(list[nbd].owner, VDI_NBD_OWNER)) nbd++;
    return n && nbd == n;
}

void vdi_await_nbd(struct call *c, const char *vdi_uuid)
{
    const int64_t until_ns = clock_deadline_ns(PATIENCE_MS);

    while (only_nbd(c, vdi_uuid) && !call_cancelled(c) && clock_poll_ms(until_ns, POLL_MS)) usleep(POLL_MS * 1000);
}

/* "host.example" of "CN=host.example": what clients compare the certificate with. */
static int subject_of(struct call *c, const char *pem, const char **ret_subject, struct xerr *err)
{
    struct tls_certificate cert;

    if (tls_read_certificate(pem, &cert, err)) return -1;
    const char *name = strstr(cert.subject, "CN=");
    name = name ? name + 3 : cert.subject;
    *ret_subject = arena_strndup(c->arena, name, strcspn(name, ",/+"));
    tls_certificate_clear(&cert);
    return 0;
}

static int check(struct call *c, struct ref vdi, const char **ret_uuid, bool *ret_here, struct xerr *err)
{
    _cleanup_snap_ struct snap *s = db_snap(c->agent->db);
    const struct row *row = snap_need(s, CLASS_VDI, vdi, err);
    const struct row *sr = row ? snap_get(s, CLASS_SR, row_ref(row, F_VDI_SR)) : NULL;

    if (!row) return -1;
    if (row_enum(row, F_VDI_type) == vdi_type_cbt_metadata)
        return xerr_vdi_incompatible_type(err, REF_STR(vdi), "cbt_metadata");
    *ret_uuid = arena_strdup(c->arena, row_uuid(row));
    const struct refset *pbds = sr ? row_refs(sr, F_SR_PBDs) : NULL;
    for (size_t i = 0; pbds && i < pbds->n; i++) {
        const struct row *pbd = snap_get(s, CLASS_PBD, pbds->refs[i]);
        *ret_here |= pbd && row_bool(pbd, F_PBD_currently_attached) && ref_eq(row_ref(pbd, F_PBD_host), c->agent->host);
    }
    return 0;
}

/* Nothing where no network serves NBD or nobody has the repository: that is no error. */
int vdi_get_nbd_info(struct call *c, struct ref self, struct value *ret_result, struct xerr *err)
{
    struct value_builder list = value_builder(c->arena);
    const char *addresses[MAX_ADDRESSES], *uuid = "", *pem = NULL, *subject = NULL;
    const int port = atomic_load(&c->agent->nbd_port);
    bool here = false;

    if (check(c, self, &uuid, &here, err)) return -1;
    size_t n = here && port ? network_nbd_addresses(c->agent, c->arena, addresses, MAX_ADDRESSES) : 0;
    if (n && (host_get_server_certificate(c, c->agent->host, &pem, err) || subject_of(c, pem, &subject, err))) return -1;
    const char *name = arena_printf(c->arena, "/%s?session_id=%s", uuid, REF_STR(c->handle));
    for (size_t i = 0; i < n; i++) {
        struct value_builder one = value_builder(c->arena);
        value_put(&one, "exportname", value_string(name));
        value_put(&one, "address", value_string(addresses[i]));
        value_put(&one, "port", value_int(port));
        value_put(&one, "cert", value_string(pem));
        value_put(&one, "subject", value_string(subject));
        value_push(&list, value_built_map(&one));
    }
    *ret_result = value_built_set(&list);
    return 0;
}
