/* The frame of a storage driver: read the request, lock, run the command, write the answer.
 * Called by: the drivers' main().  Calls: lib/xmlrpc. */
#include "sm/sm.h"

#include "lib/fault.h"
#include "lib/num.h"
#include "lib/strbuf.h"
#include "lib/xmlrpc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { MAX_REQUEST = 4 << 20 };

/* ---- the request --------------------------------------------------------------------------- */

const char *sm_param(const struct sm *sm, const char *key, const char *fallback)
{
    return value_get_str(&sm->request, key, fallback);
}

const struct value *sm_map(const struct sm *sm, const char *key)
{
    static const struct value empty = { .kind = VALUE_MAP };
    const struct value *v = value_get(&sm->request, key);

    return v && v->kind == VALUE_MAP ? v : &empty;
}

const char *sm_config(const struct sm *sm, const char *key, const char *fallback)
{
    return value_get_str(sm_map(sm, "device_config"), key, fallback);
}

const char *sm_arg(const struct sm *sm, size_t i)
{
    const struct value *args = value_get(&sm->request, "args");

    if (!args || args->kind != VALUE_SET || i >= args->set.n || args->set.items[i].kind != VALUE_STRING)
        return "";
    return args->set.items[i].s;
}

int sm_arg_size(const struct sm *sm, size_t i, int64_t *ret_bytes, struct xerr *err)
{
    if (!num_parse_int(sm_arg(sm, i), ret_bytes) || *ret_bytes <= 0)
        return sm_fail(err, SM_VDI_SIZE, "%s: no size: '%s'", sm->command, sm_arg(sm, i));
    return 0;
}

/* ---- errors -------------------------------------------------------------------------------- */

int sm_fail_choice(struct xerr *err, enum sm_error number, const char *text, const char *xml)
{
    char code[40];
    const char *params[] = { "", text, xml };

    snprintf(code, sizeof(code), "SR_BACKEND_FAILURE_%d", (int)number);
    return xerr_set_dynamic(err, code, ARRAY_SIZE(params), params);
}

static int fail_text(struct xerr *err, enum sm_error number, const char *text)
{
    return sm_fail_choice(err, number, text, "");
}

int sm_fail(struct xerr *err, enum sm_error number, const char *fmt, ...)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    va_list ap;

    va_start(ap, fmt);
    strbuf_vprintf(&text, fmt, ap);
    va_end(ap);
    return fail_text(err, number, strbuf_cstr(&text));
}

int sm_fail_errno(struct xerr *err, enum sm_error number, const char *fmt, ...)
{
    _cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
    int why = errno;
    va_list ap;

    va_start(ap, fmt);
    strbuf_vprintf(&text, fmt, ap);
    va_end(ap);
    strbuf_printf(&text, ": %s", strerror(why));
    if (why == ENOSPC || why == EDQUOT) number = SM_NO_SPACE;
    return fail_text(err, number, strbuf_cstr(&text));
}

int sm_fail_missing(const struct sm *sm, struct xerr *err)
{
    const char *params[] = { sm_param(sm, "sr_ref", sm->sr_uuid), sm_param(sm, "vdi_ref", sm->vdi_uuid) };

    return xerr_set(err, "VDI_MISSING", ARRAY_SIZE(params), params);
}

/* ---- the frame ----------------------------------------------------------------------------- */

int sm_step(const char *point)
{
    int e = fault("sm.step");

    if (!e) e = fault(point);
    if (e) errno = e;
    return e ? -1 : 0;
}

static int answer_driver_info(struct sm *sm, struct value *ret_answer)
{
    const struct sm_driver *d = sm->driver;
    struct value_builder info = value_builder(sm->arena), features = info, keys = info, formats = info;

    for (size_t i = 0; d->features[i]; i++) value_push(&features, value_string(d->features[i]));
    for (size_t i = 0; d->formats[i]; i++) value_push(&formats, value_string(d->formats[i]));
    for (size_t i = 0; d->configuration[i].key; i++) {
        struct value_builder pair = value_builder(sm->arena);
        value_put(&pair, "key", value_string(d->configuration[i].key));
        value_put(&pair, "description", value_string(d->configuration[i].text));
        value_push(&keys, value_built_map(&pair));
    }
    value_put(&info, "name", value_string(d->name));
    value_put(&info, "description", value_string(d->description));
    value_put(&info, "vendor", value_string("xapi"));
    value_put(&info, "copyright", value_string("LGPL-2.1-or-later"));
    value_put(&info, "driver_version", value_string("1.0"));
    value_put(&info, "required_api_version", value_string("1.1"));
    value_put(&info, "features", value_built_set(&features));
    value_put(&info, "capabilities", value_built_set(&features));
    value_put(&info, "image_formats", value_built_set(&formats));
    value_put(&info, "configuration", value_built_set(&keys));
    *ret_answer = value_built_map(&info);
    return 0;
}

/* A uuid from outside, in lower case, or "". It becomes part of file names, so nothing else passes. */
static int take_uuid(struct sm *sm, const char *key, const char **ret_uuid, struct xerr *err)
{
    const char *text = sm_param(sm, key, "");
    struct ref bytes;

    *ret_uuid = "";
    if (!*text) return 0;
    if (!uuid_from_text(text, &bytes)) return sm_fail(err, SM_BAD_REQUEST, "%s is no uuid: '%s'", key, text);
    *ret_uuid = uuid_to_text(bytes, arena_alloc(sm->arena, UUID_TEXT));
    return 0;
}

/* One process works on an SR at a time. The descriptor is inherited by programs that the driver runs, so
 * that the lock is held until the last of them has gone, even when the driver itself is killed. */
static int take_lock(struct sm *sm, struct xerr *err)
{
    const char *path = arena_printf(sm->arena, "%s/lock-%s", sm->state_dir, sm->sr_uuid);

    if (make_dirs(sm->state_dir, 0700)) return sm_fail_errno(err, SM_LOCK, "cannot make %s", sm->state_dir);
    sm->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (sm->lock_fd < 0) return sm_fail_errno(err, SM_LOCK, "cannot open %s", path);
    while (flock(sm->lock_fd, LOCK_EX))
        if (errno != EINTR) return sm_fail_errno(err, SM_LOCK, "cannot lock %s", path);
    return 0;
}

static int run_command(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const struct sm_command *cmd = sm->driver->commands;

    if (take_uuid(sm, "sr_uuid", &sm->sr_uuid, err) || take_uuid(sm, "vdi_uuid", &sm->vdi_uuid, err))
        return -1;
    sm->vdi_location = sm_param(sm, "vdi_location", "");
    if (streq(sm->command, "sr_get_driver_info")) return answer_driver_info(sm, ret_answer);
    while (cmd->name && !streq(cmd->name, sm->command)) cmd++;
    if (!cmd->name)
        return sm_fail(err, SM_UNIMPLEMENTED, "driver %s has no command %s", sm->driver->type, sm->command);
    if (cmd->needs && !*sm->sr_uuid)
        return sm_fail(err, SM_BAD_REQUEST, "%s: sr_uuid is missing", sm->command);
    if (cmd->needs & SM_NEEDS_VDI && !*sm->vdi_uuid && !*sm->vdi_location)
        return sm_fail(err, SM_BAD_REQUEST, "%s: vdi_uuid is missing", sm->command);
    if (cmd->needs && take_lock(sm, err)) return -1;
    if (sm->driver->before && sm->driver->before(sm, err)) return -1;
    return cmd->fn(sm, ret_answer, err);
}

static int read_stdin(struct strbuf *text)
{
    for (;;) {
        strbuf_reserve(text, 1 << 16);
        ssize_t n = read(STDIN_FILENO, text->ptr + text->len, 1 << 16);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) return 0;
        text->len += (size_t)n;
        text->ptr[text->len] = '\0';
        if (text->len > MAX_REQUEST) {
            errno = EFBIG;
            return -1;
        }
    }
}

static int read_request(struct sm *sm, int argc, char **argv, struct strbuf *text, struct xerr *err)
{
    struct value params;
    const char *why = NULL, *method = NULL;

    if (argc > 1) {
        strbuf_str(text, argv[1]);
    } else if (read_stdin(text)) {
        return sm_fail_errno(err, SM_BAD_REQUEST, "cannot read the request");
    }
    if (xmlrpc_decode_call(strbuf_cstr(text), text->len, sm->arena, &method, &params, &why))
        return sm_fail(err, SM_BAD_REQUEST, "unreadable request: %s", why);
    if (params.kind != VALUE_SET || params.set.n != 1 || params.set.items[0].kind != VALUE_MAP)
        return sm_fail(err, SM_BAD_REQUEST, "the request is not one struct");
    sm->request = params.set.items[0];
    sm->command = method;
    return 0;
}

static int write_all(const char *p, size_t n)
{
    while (n) {
        ssize_t put = write(STDOUT_FILENO, p, n);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return -1;
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

static const char *env_dir(const char *name, const char *fallback)
{
    const char *s = getenv(name);

    return s && *s == '/' ? s : fallback;
}

int sm_main(const struct sm_driver *driver, int argc, char **argv)
{
    _cleanup_arena_ struct arena *arena = arena_new();
    _cleanup_strbuf_ struct strbuf request = STRBUF_INIT, answer = STRBUF_INIT;
    _cleanup_xerr_ struct xerr err = XERR_INIT;
    struct value result = value_void();
    struct sm sm = {
        .arena = arena,
        .driver = driver,
        .command = "",
        .sr_uuid = "",
        .vdi_uuid = "",
        .vdi_location = "",
        .state_dir = env_dir("XAPI_SM_STATE_DIR", "/run/xapi/sm"),
        .mount_dir = env_dir("XAPI_SM_MOUNT_DIR", "/run/sr-mount"),
        .lock_fd = -1,
        .dir_fd = -1,
    };
    const char *why = NULL;

    umask(0077);
    signal(SIGPIPE, SIG_IGN); /* an agent that has gone must not stop us half-way */
    if (fault_start(true, &why))
        sm_fail(&err, SM_GENERAL, "%s", why); /* the agent never hands the variable on */
    else if (read_request(&sm, argc, argv, &request, &err) == 0)
        run_command(&sm, &result, &err);
    if (err.code)
        xmlrpc_encode_failure(&err, &answer);
    else
        xmlrpc_encode_success(&result, &answer);
    strbuf_char(&answer, '\n');
    return write_all(answer.ptr, answer.len) ? 1 : 0;
}
