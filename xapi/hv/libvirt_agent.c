/* Programs that a guest's own agent runs for us (QEMU's: guest-exec).
 * Called by: hv.c through the vtable.  Calls: libvirt through jobs. */
#include <libvirt/libvirt-qemu.h>
#include <time.h>

#include "lib/base64.h"
#include "lib/json.h"
#include "lib/utf8.h"
#include "xapi/hv/libvirt_int.h"

enum { ANSWER_S = 10, LOOK_MS = 100, LOOK_SELDOM_MS = 1000 };

static int run_command(struct lv_job *job)
{
    virDomainPtr dom = lv_job_domain(job);

    if (!dom) return -1;
    job->out = virDomainQemuAgentCommand(dom, job->xml, ANSWER_S, 0);
    job->free_out = free;
    if (!job->out) lv_job_fail_domain(job, dom, HV_FAIL_GUEST_DEAF);
    virDomainFree(dom);
    return job->out ? 0 : -1;
}

/* One command to the agent; what it returns, from the arena. */
static int command(struct lv *lv, const char *uuid, const char *name, struct value arguments, int64_t deadline_ms, struct arena *a,
                   const struct value **ret, struct hv_failure *f)
{
    _cleanup_job_ struct lv_job *job = lv_job_new(lv, uuid, run_command);
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    struct value_builder b = value_builder(a);
    struct value *answer = arena_alloc(a, sizeof(*answer));
    const char *why;

    value_put_new(&b, "execute", value_string(name));
    value_put_new(&b, "arguments", arguments);
    const struct value all = value_built_map(&b);
    json_encode_value(&all, &text);
    job->xml = xstrdup(strbuf_cstr(&text));
    if (lv_job_run(job, deadline_ms, f) < 0) return -1;
    if (json_decode(job->out, strlen(job->out), a, answer, &why))
        return hv_fail(f, HV_FAIL_GUEST_DEAF, "the guest's agent answers %s with no JSON: %s", name, why);
    *ret = answer->kind == VALUE_MAP ? value_get(answer, "return") : NULL;
    if (!*ret || (*ret)->kind != VALUE_MAP) return hv_fail(f, HV_FAIL_GUEST_DEAF, "the guest's agent answers %s with no result", name);
    return 0;
}

static int64_t number_of(const struct value *map, const char *key, int64_t fallback)
{
    const struct value *v = value_get(map, key);

    return v && v->kind == VALUE_INT ? v->i : fallback;
}

static bool is_true(const struct value *map, const char *key)
{
    const struct value *v = value_get(map, key);

    return v && v->kind == VALUE_BOOL && v->b;
}

/* Bytes in base64, as text that can be written anywhere. */
static const char *text_of(const struct value *map, const char *key, struct arena *a)
{
    _cleanup_strbuf_ struct strbuf bytes = STRBUF_INIT, text = STRBUF_INIT;
    const char *coded = value_get_str(map, key, "");

    if (!base64_decode(coded, strlen(coded), &bytes)) return "";
    for (size_t i = 0; i < bytes.len; i++)
        if (!bytes.ptr[i]) bytes.ptr[i] = ' ';
    utf8_repair(strbuf_cstr(&bytes), bytes.len, &text);
    return arena_strndup(a, strbuf_cstr(&text), text.len);
}

static struct value program(const char *script, struct arena *a)
{
    const struct value words[] = { value_string("-c"), value_string(script) };
    struct value_builder b = value_builder(a), arg = value_builder(a);

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) value_push(&arg, words[i]);
    value_put_new(&b, "path", value_string("/bin/sh"));
    value_put_new(&b, "arg", value_built_set(&arg));
    value_put_new(&b, "capture-output", value_bool(true));
    return value_built_map(&b);
}

static void nap(int ms) { nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL); }

/* The agent does not tell when a program ends, it has to be asked. */
int lv_guest_run(void *d, const char *uuid, const char *script, bool (*stop)(void *arg), void *arg, struct arena *arena,
                 int64_t deadline_ms, struct hv_ran *ret_ran, struct hv_failure *f)
{
    struct value_builder who = value_builder(arena);
    const struct value *said;
    int look_ms = LOOK_MS;

    if (command(d, uuid, "guest-exec", program(script, arena), deadline_ms, arena, &said, f)) return -1;
    value_put_new(&who, "pid", value_int(number_of(said, "pid", -1)));
    const struct value pid = value_built_map(&who);
    do {
        if (stop(arg)) return hv_fail(f, HV_FAIL_CANCELLED, "nobody waits for the script any more; it runs on in the guest");
        if (hv_now_ms() + look_ms >= deadline_ms) return hv_fail(f, HV_FAIL_TIMEOUT, "the script runs on in the guest");
        nap(look_ms);
        if (look_ms < LOOK_SELDOM_MS) look_ms += LOOK_MS;
        if (command(d, uuid, "guest-exec-status", pid, deadline_ms, arena, &said, f)) return -1;
    } while (!is_true(said, "exited"));
    const int64_t signal = number_of(said, "signal", 0);
    *ret_ran = (struct hv_ran){
        .code = signal ? 128 + signal : number_of(said, "exitcode", 0),
        .out = text_of(said, "out-data", arena),
        .err = text_of(said, "err-data", arena),
    };
    return 0;
}
