/* A XenAPI client on xmlrpc-c, as the C SDK is: 64-bit numbers as strings, complete records, results that are
 * checked for their types. Prints TAP. Called by: test-xmlrpc-c.py.  Calls: xmlrpc-c.
 *
 *   xmlrpc-c URL USER PASSWORD */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xmlrpc-c/base.h>
#include <xmlrpc-c/client.h>

static xmlrpc_env env;
static xmlrpc_client *client;
static const char *url;
static int count, failed;
static char code[128];  /* of the last failure, "" when it went well */

static int check(int fact, const char *what)
{
    count++;
    if (!fact) failed++;
    printf("%s %d - %s%s%s\n", fact ? "ok" : "not ok", count, what, *code ? ": " : "", code);
    return fact;
}

/* A fault of the transport or of the encoding ends it. */
static void must(const char *what)
{
    if (!env.fault_occurred) return;
    printf("not ok %d - %s: %s (%d)\n", count + 1, what, env.fault_string, env.fault_code);
    exit(1);
}

/* The member of a struct as a new string; NULL when it is absent or no string. */
static char *text(xmlrpc_value *map, const char *name)
{
    xmlrpc_value *v = NULL;
    const char *s = NULL;
    char *copy = NULL;

    xmlrpc_struct_find_value(&env, map, name, &v);
    must(name);
    if (!v) return NULL;
    if (xmlrpc_value_type(v) == XMLRPC_TYPE_STRING) {
        xmlrpc_read_string(&env, v, &s);
        must(name);
        copy = strdup(s);
        free((void *)(size_t)s);
    }
    xmlrpc_DECREF(v);
    return copy;
}

static int has(xmlrpc_value *map, const char *name, xmlrpc_type type)
{
    xmlrpc_value *v = NULL;

    xmlrpc_struct_find_value(&env, map, name, &v);
    must(name);
    int ok = v && xmlrpc_value_type(v) == type;
    if (v) xmlrpc_DECREF(v);
    return ok;
}

/* The Value of a call, or NULL with `code` set. Takes params. */
static xmlrpc_value *call(const char *method, xmlrpc_value *params)
{
    xmlrpc_value *answer = NULL, *value = NULL;
    xmlrpc_server_info *server = xmlrpc_server_info_new(&env, url);

    must("server");
    xmlrpc_client_call2(&env, client, server, method, params, &answer);
    must(method);
    xmlrpc_server_info_free(server);
    xmlrpc_DECREF(params);
    char *status = text(answer, "Status");
    *code = '\0';
    if (status && strcmp(status, "Success") == 0) {
        xmlrpc_struct_find_value(&env, answer, "Value", &value);
        must(method);
    } else {
        xmlrpc_value *list = NULL, *first = NULL;
        const char *s = NULL;
        xmlrpc_struct_find_value(&env, answer, "ErrorDescription", &list);
        xmlrpc_array_read_item(&env, list, 0, &first);
        xmlrpc_read_string(&env, first, &s);
        must("ErrorDescription");
        snprintf(code, sizeof code, "%s", s);
        free((void *)(size_t)s);
        xmlrpc_DECREF(first);
        xmlrpc_DECREF(list);
    }
    free(status);
    xmlrpc_DECREF(answer);
    return value;
}

/* As call(), the result a string; "" when it failed. */
static char *call_text(const char *method, xmlrpc_value *params)
{
    xmlrpc_value *v = call(method, params);
    const char *s = NULL;

    if (!v) return strdup("");
    xmlrpc_read_string(&env, v, &s);
    must(method);
    char *copy = strdup(s);
    free((void *)(size_t)s);
    xmlrpc_DECREF(v);
    return copy;
}

static void call_void(const char *method, xmlrpc_value *params) { free(call_text(method, params)); }

static xmlrpc_value *args(const char *format, const char *a, const char *b, const char *c)
{
    xmlrpc_value *v = c   ? xmlrpc_build_value(&env, format, a, b, c)
                      : b ? xmlrpc_build_value(&env, format, a, b)
                          : xmlrpc_build_value(&env, format, a);
    must("parameters");
    return v;
}

static char *first_of(xmlrpc_value *array)
{
    xmlrpc_value *v = NULL;
    const char *s = NULL;

    if (!array || xmlrpc_array_size(&env, array) < 1) return strdup("");
    xmlrpc_array_read_item(&env, array, 0, &v);
    xmlrpc_read_string(&env, v, &s);
    must("first item");
    char *copy = strdup(s);
    free((void *)(size_t)s);
    xmlrpc_DECREF(v);
    return copy;
}

/* Types as the C SDK wants them: numbers are strings, booleans booleans, maps and sets always there. */
static void look_at_record(const char *session, const char *vm)
{
    xmlrpc_value *r = call("VM.get_record", args("(ss)", session, vm, NULL));
    char *memory, *state;

    if (!check(r && xmlrpc_value_type(r) == XMLRPC_TYPE_STRUCT, "VM.get_record")) return;
    memory = text(r, "memory_static_max");
    state = text(r, "power_state");
    check(memory && atoll(memory) >= 1 << 20, "a 64-bit number is a string");
    check(state && strcmp(state, "Halted") == 0, "an enum is a string");
    check(has(r, "is_a_template", XMLRPC_TYPE_BOOL), "a boolean is one");
    check(has(r, "other_config", XMLRPC_TYPE_STRUCT) && has(r, "platform", XMLRPC_TYPE_STRUCT), "a map is a struct");
    check(has(r, "VBDs", XMLRPC_TYPE_ARRAY) && has(r, "tags", XMLRPC_TYPE_ARRAY), "a set is an array, an empty one too");
    check(has(r, "HVM_shadow_multiplier", XMLRPC_TYPE_DOUBLE), "a float is a double");
    check(has(r, "snapshot_time", XMLRPC_TYPE_DATETIME), "a time is a dateTime");
    check(has(r, "name_description", XMLRPC_TYPE_STRING), "an empty string is a string");
    free(memory);
    free(state);
    xmlrpc_DECREF(r);
}

/* get_all and get_record of a class, as the SDK's tests go through all of them; the number of objects. */
static int every_record(const char *session, const char *cls)
{
    char method[64];
    int n = 0;

    snprintf(method, sizeof method, "%s.get_all", cls);
    xmlrpc_value *all = call(method, args("(s)", session, NULL, NULL));
    if (!all) return -1;
    snprintf(method, sizeof method, "%s.get_record", cls);
    for (; n < (int)xmlrpc_array_size(&env, all); n++) {
        xmlrpc_value *item = NULL;
        const char *ref = NULL;
        xmlrpc_array_read_item(&env, all, (unsigned)n, &item);
        xmlrpc_read_string(&env, item, &ref);
        must(method);
        xmlrpc_value *record = call(method, args("(ss)", session, ref, NULL));
        free((void *)(size_t)ref);
        xmlrpc_DECREF(item);
        if (!record) break;
        xmlrpc_DECREF(record);
    }
    int whole = n == (int)xmlrpc_array_size(&env, all);
    xmlrpc_DECREF(all);
    return whole ? n : -1;
}

static void watch_events(const char *session, const char *vm)
{
    xmlrpc_value *from = xmlrpc_build_value(&env, "(s(s)sd)", session, "vm", "", 5.0);
    xmlrpc_value *r = call("event.from", from);
    char *token = r ? text(r, "token") : NULL;

    check(r && token && has(r, "events", XMLRPC_TYPE_ARRAY), "event.from");
    if (r) xmlrpc_DECREF(r);
    call_void("VM.set_name_description", args("(sss)", session, vm, "seen <&>"));
    r = call("event.from", xmlrpc_build_value(&env, "(s(s)sd)", session, "vm", token ? token : "", 5.0));
    xmlrpc_value *events = NULL, *event = NULL, *snapshot = NULL;
    if (r) xmlrpc_struct_find_value(&env, r, "events", &events);
    if (events && xmlrpc_array_size(&env, events) > 0) xmlrpc_array_read_item(&env, events, 0, &event);
    if (event) xmlrpc_struct_find_value(&env, event, "snapshot", &snapshot);
    char *said = snapshot ? text(snapshot, "name_description") : NULL;
    check(said && strcmp(said, "seen <&>") == 0, "a change comes with its record");
    free(said);
    if (snapshot) xmlrpc_DECREF(snapshot);
    if (event) xmlrpc_DECREF(event);
    if (events) xmlrpc_DECREF(events);
    if (r) xmlrpc_DECREF(r);
    free(token);
}

static char *make_vm(const char *session)
{
    xmlrpc_value *found = call("VM.get_by_name_label", args("(ss)", session, "Other install media", NULL));
    char *template = first_of(found);

    check(*template, "the template by its exact name");
    if (found) xmlrpc_DECREF(found);
    char *vm = call_text("VM.clone", args("(sss)", session, template, "made in C <&>"));
    check(*vm, "VM.clone");
    call_void("VM.provision", args("(ss)", session, vm, NULL));
    check(!*code, "VM.provision");
    free(template);
    return vm;
}

static void run_vm(const char *session, const char *vm)
{
    char *state;

    call_void("VM.start", xmlrpc_build_value(&env, "(ssbb)", session, vm, 0, 0));
    check(!*code, "VM.start");
    state = call_text("VM.get_power_state", args("(ss)", session, vm, NULL));
    check(strcmp(state, "Running") == 0, "it runs");
    free(state);
    call_void("VM.start", xmlrpc_build_value(&env, "(ssbb)", session, vm, 0, 0));
    check(strcmp(code, "VM_BAD_POWER_STATE") == 0, "a second start fails by name");
    call_void("VM.set_memory_dynamic_range", xmlrpc_build_value(&env, "(ssii)", session, vm, 1, 2));
    check(*code, "numbers may come as <int>, and bad ones are refused");
    call_void("VM.hard_shutdown", args("(ss)", session, vm, NULL));
    check(!*code, "VM.hard_shutdown");
}

int main(int argc, char **argv)
{
    static const char *const classes[] = { "host", "pool", "VM", "network", "PIF", "SR", "PBD", "VDI", "SM", "console",
                                           "role", "subject", "task", "message", "blob", "Bond", "VLAN", NULL };
    if (argc != 4) return 2;
    url = argv[1];
    xmlrpc_env_init(&env);
    xmlrpc_client_setup_global_const(&env);
    xmlrpc_limit_set(XMLRPC_XML_SIZE_LIMIT_ID, 64 << 20);
    xmlrpc_client_create(&env, XMLRPC_CLIENT_NO_FLAGS, "test", "1", NULL, 0, &client);
    must("client");
    call_void("session.login_with_password", args("(sss)", argv[2], "wrong", "1.3"));
    check(strcmp(code, "SESSION_AUTHENTICATION_FAILED") == 0, "a wrong password");
    char *session = call_text("session.login_with_password", args("(sss)", argv[2], argv[3], "1.3"));
    check(strncmp(session, "OpaqueRef:", 10) == 0, "a login");
    char *host = call_text("session.get_this_host", args("(ss)", session, session, NULL));
    check(strncmp(host, "OpaqueRef:", 10) == 0, "session.get_this_host with the session twice");
    for (int i = 0; classes[i]; i++) {
        int n = every_record(session, classes[i]);
        char what[96];
        snprintf(what, sizeof what, "%d records of %s, one by one", n, classes[i]);
        check(n >= 0, what);
    }
    char *vm = make_vm(session);
    look_at_record(session, vm);
    watch_events(session, vm);
    run_vm(session, vm);
    call_void("VM.destroy", args("(ss)", session, vm, NULL));
    check(!*code, "VM.destroy");
    call_void("VM.get_uuid", args("(ss)", session, vm, NULL));
    check(strcmp(code, "HANDLE_INVALID") == 0, "then it is gone");
    call_void("session.logout", args("(s)", session, NULL, NULL));
    call_void("VM.get_all", args("(s)", session, NULL, NULL));
    check(strcmp(code, "SESSION_INVALID") == 0, "and so is the session");
    free(vm);
    free(host);
    free(session);
    xmlrpc_client_destroy(client);
    xmlrpc_client_teardown_global_const();
    printf("1..%d\n", count);
    return failed ? 1 : 0;
}
