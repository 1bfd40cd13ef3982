/* Storage repository "dummy": for tests; images in the state directory, slow and failing as told.
 * Called by: the agent's storage slots, tests.  Calls: dir. */
#include "sm/dir.h"

#include "lib/num.h"

#include <errno.h>
#include <time.h>

static int locate(struct sm *sm, const char **ret_path, struct xerr *err)
{
    if (!*sm->sr_uuid) return sm_fail(err, SM_BAD_REQUEST, "sr_uuid is missing");
    *ret_path = arena_printf(sm->arena, "%s/dummy-%s", sm->state_dir, sm->sr_uuid);
    return 0;
}

/* True when the comma-separated list is empty or names the command. */
static bool concerns(const char *list, const char *command)
{
    size_t n = strlen(command);

    if (!*list) return true;
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, command, n) && (at[n] == ',' || !at[n])) return true;
    }
    return false;
}

static int before(struct sm *sm, struct xerr *err)
{
    int64_t ms = 0, number = 0;

    if (concerns(sm_config(sm, "sleep_commands", ""), sm->command))
        num_parse_int(sm_config(sm, "sleep_ms", "0"), &ms);
    struct timespec left = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };
    while (ms > 0 && nanosleep(&left, &left) && errno == EINTR) {
    }
    if (num_parse_int(sm_config(sm, "fail_code", "0"), &number) && number > 0 &&
        concerns(sm_config(sm, "fail_commands", ""), sm->command))
        return sm_fail(err, (enum sm_error)number, "%s fails as asked", sm->command);
    return 0;
}

static int sr_create(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    if (locate(sm, &path, err)) return -1;
    if (make_dirs(path, 0711)) return sm_fail_errno(err, SM_SR_CREATE, "cannot make %s", path);
    return dir_mark(sm, path, err) ? -1 : dir_sr_update(sm, ret_answer, err);
}

static int sr_delete(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    if (locate(sm, &path, err) || dir_unmark(sm, path, err)) return -1;
    *ret_answer = value_void();
    return rmdir(path) ? sm_fail_errno(err, SM_SR_REMOVE, "cannot remove %s", path) : 0;
}

static int sr_attach(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    const char *path = NULL;

    if (locate(sm, &path, err)) return -1;
    if (make_dirs(path, 0711)) return sm_fail_errno(err, SM_SR_UNAVAILABLE, "cannot make %s", path);
    return dir_sr_update(sm, ret_answer, err);
}

static int sr_probe(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    (void)err;
    *ret_answer = dir_probe_answer(sm, "sleep_ms", sm_config(sm, "sleep_ms", "0"), "", true, 0, 0);
    return 0;
}

static int sr_content_type(struct sm *sm, struct value *ret_answer, struct xerr *err)
{
    (void)sm, (void)err;
    *ret_answer = value_string("");
    return 0;
}

static const struct sm_key configuration[] = {
    { "sleep_ms", "milliseconds that a command takes before it begins" },
    { "sleep_commands", "which commands sleep, separated by commas; none given: all" },
    { "fail_code", "number of the SR_BACKEND_FAILURE that a command answers with" },
    { "fail_commands", "which commands fail, separated by commas; none given: all" },
    { NULL, NULL },
};

static const char *const features[] = { DIR_FEATURES, NULL };

static const char *const formats[] = { "qcow2", "raw", NULL };

static const struct sm_command commands[] = {
    { "sr_create", sr_create, SM_NEEDS_SR },
    { "sr_delete", sr_delete, SM_NEEDS_SR },
    { "sr_probe", sr_probe, 0 },
    { "sr_attach", sr_attach, SM_NEEDS_SR },
    { "sr_detach", dir_vdi_nothing, SM_NEEDS_SR },
    { "sr_content_type", sr_content_type, SM_NEEDS_SR },
    DIR_VDI_COMMANDS,
    { NULL, NULL, 0 },
};

static const struct sm_driver driver = {
    .type = "dummy",
    .name = "Dummy",
    .description = "Slow and failing storage for tests",
    .configuration = configuration,
    .features = features,
    .formats = formats,
    .commands = commands,
    .before = before,
    .locate = locate,
};

int main(int argc, char **argv) { return sm_main(&driver, argc, argv); }
