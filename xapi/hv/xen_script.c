/* Scripts that XenServer's tools in a guest run, asked for through xenstore.
 * Called by: xen.c (a driver's verb).  Calls: xen_store, xen_guest.
 *
 * control/batcmd of the domain is the conversation: we write "script" and then "state" READY; the tools say IN PROGRESS, and in the
 * end SUCCESS, TRUNCATED or FAILURE, with "return", "stdout" and "stderr" beside it. All of that is the guest's to write: it may say
 * anything, but no more than xenstored lets it. */
#include "xapi/hv/xen_int.h"

#include "lib/num.h"
#include "lib/utf8.h"

enum { LOOK_MS = 1000 };

#define PLACE "control/batcmd"

/* Nodes of one look. */
struct said {
    struct xst_batch batch;
    size_t feature, state, code, out, err;
};

static void look(struct said *k, int64_t domid)
{
    k->feature = xst_read(&k->batch, XN_P(domid, "control/feature-xs-batcmd"));
    k->state = xst_read(&k->batch, XN_P(domid, PLACE "/state"));
    k->code = xst_read(&k->batch, XN_P(domid, PLACE "/return"));
    k->out = xst_read(&k->batch, XN_P(domid, PLACE "/stdout"));
    k->err = xst_read(&k->batch, XN_P(domid, PLACE "/stderr"));
}

static const char *state_of(const struct said *k)
{
    const char *state = xst_value(&k->batch, k->state);

    return state ? state : "";
}

/* As text that can be written anywhere. */
static const char *text_of(const struct said *k, size_t node, struct arena *a)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    const char *said = xst_value(&k->batch, node);

    if (said) utf8_repair(said, strlen(said), &text);
    return arena_strndup(a, strbuf_cstr(&text), text.len);
}

static int ask(struct xst *store, int64_t domid, const char *script, int64_t deadline_ms, struct hv_failure *f)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;

    xst_rm(&b, XN_P(domid, PLACE));
    xst_watch(&b, XN_P(domid, PLACE "/state"), "state");
    xst_write(&b, XN_P(domid, PLACE "/script"), script);
    xst_write(&b, XN_P(domid, PLACE "/state"), "READY");
    return xst_run(store, &b, deadline_ms, f);
}

/* What was asked, or answered, goes: who has not begun never will. */
static void take_back(struct xst *store, int64_t domid)
{
    _cleanup_batch_ struct xst_batch b = XST_BATCH_INIT;
    struct hv_failure ignored = { .kind = HV_FAIL_NONE };

    xst_rm(&b, XN_P(domid, PLACE));
    xst_run(store, &b, hv_now_ms() + XN_STORE_MS, &ignored);
}

static int understand(const struct said *k, struct arena *a, struct hv_ran *ret_ran, struct hv_failure *f)
{
    const char *code = xst_value(&k->batch, k->code);
    int64_t number;

    if (streq(state_of(k), "FAILURE") || !code || !num_parse_int(code, &number))
        return hv_fail(f, HV_FAIL_GUEST_DEAF, "the guest's tools did not run the script: %s", text_of(k, k->err, a));
    *ret_ran = (struct hv_ran){ .code = number, .out = text_of(k, k->out, a), .err = text_of(k, k->err, a) };
    return 0;
}

static bool is_end(const char *state) { return streq(state, "SUCCESS") || streq(state, "TRUNCATED") || streq(state, "FAILURE"); }

/* 1 = it has ended; 0 = not yet. */
static int judge(struct xst *store, int64_t domid, const struct said *now, bool stop, int64_t deadline_ms, struct hv_failure *f)
{
    const char *state = state_of(now);
    const bool begun = !streq(state, "READY");

    if (is_end(state)) return 1;
    if (!*state) return hv_fail(f, HV_FAIL_GUEST_DEAF, "the guest has ended, or has taken the script away");
    if (!stop && hv_now_ms() < deadline_ms) return 0;
    if (!begun) take_back(store, domid);
    if (stop) return hv_fail(f, HV_FAIL_CANCELLED, "nobody waits for the script any more%s", begun ? "; it runs on in the guest" : "");
    return hv_fail(f, HV_FAIL_TIMEOUT, begun ? "the script runs on in the guest" : "the guest's tools did not begin with the script");
}

static int await_end(struct xst *store, int64_t domid, bool (*stop)(void *arg), void *arg, struct arena *a, int64_t deadline_ms,
                     struct hv_ran *ret_ran, struct hv_failure *f)
{
    int rc;

    do {
        struct said now = { .batch = XST_BATCH_INIT };
        look(&now, domid);
        rc = xst_run(store, &now.batch, hv_now_ms() + XN_STORE_MS, f);
        if (rc == 0) rc = judge(store, domid, &now, stop(arg), deadline_ms, f);
        if (rc > 0) {
            take_back(store, domid);
            rc = understand(&now, a, ret_ran, f);
            xst_batch_free(&now.batch);
            return rc;
        }
        xst_batch_free(&now.batch);
        int64_t until = hv_now_ms() + LOOK_MS;
        if (rc == 0 && xst_wait(store, until < deadline_ms ? until : deadline_ms, f) < 0) rc = -1;
    } while (rc == 0);
    return rc;
}

/* 0 = it may be asked. One at a time: who was asked before may be another agent's, that was killed. */
static int check(const struct said *before, struct hv_failure *f)
{
    const char *state = state_of(before);

    if (!xst_value(&before->batch, before->feature))
        return hv_fail(f, HV_FAIL_GUEST_DEAF, "the guest has no tools that run scripts, or is still booting");
    if (*state && !is_end(state)) return hv_fail(f, HV_FAIL_GUEST_DEAF, "an earlier script has not ended in the guest");
    return 0;
}

int xn_guest_run(void *d, const char *uuid, const char *script, bool (*stop)(void *arg), void *arg, struct arena *arena,
                 int64_t deadline_ms, struct hv_ran *ret_ran, struct hv_failure *f)
{
    struct xn *xn = d;
    struct xn_guest *g = xn_turn_running(xn, uuid, true, deadline_ms, f);
    struct said before = { .batch = XST_BATCH_INIT };
    struct xst *store = NULL;
    int rc = -1;

    if (!g) return -1;
    const int64_t domid = g->domid;
    look(&before, domid);
    if (xn_store(xn, deadline_ms, &store, f) == 0 && xst_run(store, &before.batch, hv_now_ms() + XN_STORE_MS, f) == 0 &&
        check(&before, f) == 0)
        rc = ask(store, domid, script, hv_now_ms() + XN_STORE_MS, f);
    xst_batch_free(&before.batch);
    /* It may take long: others have their turn with the guest meanwhile. */
    xn_turn_end(xn, g);
    if (rc == 0) rc = await_end(store, domid, stop, arg, arena, deadline_ms, ret_ran, f);
    if (store) xn_store_done(xn, store, true);
    return rc;
}
