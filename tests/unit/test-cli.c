/* The command line over a small fake pool: layout to the letter, filters, selectors, sentences, and which
 * messages a command calls with which arguments. Called by: make check.  Calls: xe/cmd. */
#include "tests/unit/unit.h"

#include "tests/unit/cli-fake.h"

#define UUID1 "11111111-0000-4000-8000-000000000001"
#define UUID2 "11111111-0000-4000-8000-000000000002"
#define TEMPLATE "11111111-0000-4000-8000-000000000003"
#define HOST "11111111-0000-4000-8000-000000000004"
#define SR "11111111-0000-4000-8000-000000000005"
#define VDI "11111111-0000-4000-8000-000000000006"
#define NEW "11111111-0000-4000-8000-000000000008"

static struct fake *fake(void **state)
{
    return *state;
}

static int setup(void **state)
{
    *state = xcalloc(1, sizeof(struct fake));
    return 0;
}

static int teardown(void **state)
{
    fake_free(*state);
    free(*state);
    return 0;
}

/* Runs it; the exit code, standard output, standard error and the calls must be these (NULL: any). */
static void runs(struct fake *f, const char *line, int code, const char *out, const char *err,
                 const char *calls)
{
    int rc = fake_run(f, line);

    if (rc != code) fail_msg("%s: exit %d, expected %d; stderr: %s", line, rc, code, strbuf_cstr(&f->err));
    if (out) assert_string_equal(strbuf_cstr(&f->out), out);
    if (err) assert_string_equal(strbuf_cstr(&f->err), err);
    if (calls) assert_string_equal(strbuf_cstr(&f->calls), calls);
}

/* ---- layout ------------------------------------------------------------------------------------------ */

static void a_list_is_laid_out_as_scripts_expect(void **state)
{
    runs(fake(state), "vm-list", 0,
         "uuid ( RO)           : " UUID1 "\n"
         "     name-label ( RW): app, one\n"
         "    power-state ( RO): running\n\n\n"
         "uuid ( RO)           : " UUID2 "\n"
         "     name-label ( RW): db\\two\n"
         "    power-state ( RO): halted\n\n\n", "", "");
}

static void minimal_is_one_line_with_escapes(void **state)
{
    struct fake *f = fake(state);

    runs(f, "vm-list|--minimal", 0, UUID1 "," UUID2 "\n", "", NULL);
    runs(f, "vm-list|params=name-label|--minimal", 0, "app\\, one,db\\\\two\n", "", NULL);
    runs(f, "vm-list|power-state=paused|--minimal", 0, "\n", "", NULL);
    runs(f, "vm-list|params=no-such-field|--minimal", 0, "\n", "", NULL);
}

static void kinds_of_fields_say_what_may_be_done(void **state)
{
    struct fake *f = fake(state);

    runs(f, "vm-list|params=tags,allowed-operations,other-config,bios-strings,ha-always-run|uuid=" UUID1, 0,
         NULL, "", NULL);
    assert_string_equal(strbuf_cstr(&f->out),
                        "allowed-operations (SRO)            : start; data_sources_op\n"
                        "                  other-config (MRW): owner: eve; tier: gold\n"
                        "    ha-always-run ( RW) [DEPRECATED]: false\n"
                        "                          tags (SRW): x, y\n"
                        "                  bios-strings (MRO): \n\n\n");
}

static void fields_show_other_objects_and_old_spellings(void **state)
{
    struct fake *f = fake(state);

    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=resident-on", 0, HOST "\n", "", "");
    runs(f, "vm-param-get|uuid=" UUID2 "|param-name=resident-on", 0, "<not in database>\n", "", "");
    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=actions-after-reboot", 0, "Restart\n", "", "");
    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=domain-type", 0, "pv-in-pvh\n", "", "");
    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=snapshot-time", 0, "19700101T00:00:00Z\n", "", "");
    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=HVM-shadow-multiplier", 0, "0.500\n", "", "");
    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=hvm", 0, "false\n", "", "");
    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=os-version", 0, "<not in database>\n", "", "");
    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=start-time", 0, "<unknown time>\n", "", "");
    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=memory-target", 0, "2\n", "", NULL);
    runs(f, "vdi-param-get|uuid=" VDI "|param-name=sr-name-label", 0, "Local storage\n", "", "");
    runs(f, "sr-list|params=host", 0, "host ( RO)    : <not in database>\n\n\n", "", "");
}

static void expensive_fields_are_not_fetched_by_lists(void **state)
{
    runs(fake(state), "vm-list|params=memory-target|uuid=" UUID1, 0,
         "memory-target ( RO)    : <expensive field>\n\n\n", "", "");
}

/* ---- filters ----------------------------------------------------------------------------------------- */

static void lists_are_filtered_by_field_map_and_set(void **state)
{
    struct fake *f = fake(state);

    runs(f, "vm-list|other-config:owner=bob|--minimal", 0, UUID2 "\n", "", "");
    runs(f, "vm-list|other-config-owner=bob|--minimal", 0, UUID2 "\n", "", "");
    runs(f, "vm-list|tags:contains=y|--minimal", 0, UUID1 "\n", "", "");
    runs(f, "vm-list|name-label=db\\two|power-state=halted|--minimal", 0, UUID2 "\n", "", "");
    runs(f, "template-list|--minimal", 0, TEMPLATE "\n", "", "");
    runs(f, "vm-list|colour=red", 1, "", "Error: Unknown field 'colour'\n", "");
    runs(f, "vm-list|name-label:x=y", 1, "", "Error: Field 'name-label' is not a set or map\n", "");
    runs(f, "vm-list|tags:has=y", 1, "",
         "Error: Invalid syntax for set filtering (should be set-param:contains=key)\n", "");
}

/* ---- param-* ----------------------------------------------------------------------------------------- */

static void one_key_of_a_map_can_be_read(void **state)
{
    struct fake *f = fake(state);

    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=other-config|param-key=tier", 0, "gold\n", "", "");
    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=other-config|param-key=none", 1, "",
         "Error: Key none not found in map\n", "");
    runs(f, "vm-param-get|uuid=" UUID1 "|param-name=none", 1, "",
         "Error code: Missing parameter\nError parameters: none\n", "");
}

static void setting_a_field_reads_the_text_by_its_type(void **state)
{
    struct fake *f = fake(state);

    runs(f, "vm-param-set|uuid=" UUID1 "|name-label=a=b", 0, "", "", "VM.set_name_label(#1, 'a=b')\n");
    runs(f, "vm-param-set|uuid=" UUID1 "|memory-static-max=2GiB", 0, "", "",
         "VM.set_memory_static_max(#1, 2147483648)\n");
    runs(f, "vm-param-set|uuid=" UUID1 "|is-a-template=yes", 0, "", "", "VM.set_is_a_template(#1, true)\n");
    runs(f, "vm-param-set|uuid=" UUID1 "|affinity=" HOST, 0, "", "", "VM.set_affinity(#1, #4)\n");
    runs(f, "vm-param-set|uuid=" UUID1 "|affinity=", 0, "", "", "VM.set_affinity(#1, NULL)\n");
    runs(f, "vm-param-set|uuid=" UUID1 "|actions-after-crash=Preserve", 0, "", "",
         "VM.set_actions_after_crash(#1, 'preserve')\n");
    runs(f, "vm-param-set|uuid=" UUID1 "|order=many", 1, "", "Error: Parameter order must be an integer\n",
         "");
    runs(f, "vm-param-set|uuid=" UUID1 "|power-state=running", 1, "",
         "Error: Field 'power-state' is read-only.\n", "");
    runs(f, "vm-param-set|uuid=" UUID1 "|other-config=x", 1, "",
         "Error: Field 'other-config' is a map or set. use the 'name:key=value' syntax.\n", "");
}

static void maps_and_sets_change_by_member(void **state)
{
    struct fake *f = fake(state);

    runs(f, "vm-param-set|uuid=" UUID1 "|other-config:new=1", 0, "", "",
         "VM.add_to_other_config(#1, 'new', '1')\n");
    runs(f, "vm-param-set|uuid=" UUID1 "|other-config:tier=lead", 0, "", "",
         "VM.remove_from_other_config(#1, 'tier')\nVM.add_to_other_config(#1, 'tier', 'lead')\n");
    runs(f, "vm-param-set|uuid=" UUID1 "|bios-strings:bios-vendor=a|bios-strings:bios-version=b", 0, "", "",
         "VM.set_bios_strings(#1, {bios-vendor='a' bios-version='b'})\n");
    runs(f, "vm-param-add|uuid=" UUID1 "|param-name=tags|param-key=z", 0, "", "", "VM.add_tags(#1, 'z')\n");
    runs(f, "vm-param-add|uuid=" UUID1 "|param-name=other-config|a=1|b=2", 0, "", "",
         "VM.add_to_other_config(#1, 'a', '1')\nVM.add_to_other_config(#1, 'b', '2')\n");
    runs(f, "vm-param-remove|uuid=" UUID1 "|param-name=tags|param-key=x", 0, "", "",
         "VM.remove_tags(#1, 'x')\n");
    runs(f, "vm-param-remove|uuid=" UUID1 "|param-name=tags|param-key=q", 1, "",
         "Error: Key q is not in the set\n", "");
    runs(f, "vm-param-remove|uuid=" UUID1 "|param-name=other-config|param-key=q", 1, "",
         "Error: Key q is not in map\n", "");
    runs(f, "vm-param-add|uuid=" UUID1 "|param-name=name-label|param-key=q", 1, "",
         "Error: Can only add to parameters of type Set or Map\n", "");
    runs(f, "vm-param-set|uuid=" UUID1 "|VCPUs-params:speed=1", 1, "",
         "Error: Failed to add parameter 'speed': expecting 'weight','cap' or 'mask'\n", "");
    runs(f, "vm-param-clear|uuid=" UUID1 "|param-name=tags", 0, "", "",
         "VM.remove_tags(#1, 'x')\nVM.remove_tags(#1, 'y')\n");
    runs(f, "vm-param-clear|uuid=" UUID1 "|param-name=other-config", 0, "", "",
         "VM.set_other_config(#1, {})\n");
    runs(f, "vm-param-clear|uuid=" UUID1 "|param-name=name-description", 0, "", "",
         "VM.set_name_description(#1, '')\n");
    runs(f, "vm-param-clear|uuid=" UUID1 "|param-name=power-state", 1, "",
         "Error: Can only clear RW parameters\n", "");
}

/* ---- selectors --------------------------------------------------------------------------------------- */

static void a_vm_is_named_by_name_uuid_or_filter(void **state)
{
    struct fake *f = fake(state);

    runs(f, "vm-start|vm=app, one", 0, "", "", "VM.start(#1, false, false)\n");
    runs(f, "vm-start|vm=" UUID2 "|paused=true", 0, "", "", "VM.start(#2, true, false)\n");
    runs(f, "vm-start|uuid=" UUID2 "|--force", 0, "", "", "VM.start(#2, false, true)\n");
    runs(f, "vm-start|power-state=halted|on=north", 0, "", "", "VM.start_on(#2, #4, false, false)\n");
    runs(f, "vm-start|vm=Debian", 1, "", "Error: No matching VMs found\n", "");
    runs(f, "vm-start", 1, "",
         "Error: Multiple matches VMs found. --multiple required to complete the operation\n", "");
    runs(f, "vm-start|--multiple", 0, "", "", "VM.start(#1, false, false)\nVM.start(#2, false, false)\n");
    runs(f, "vm-copy|new-name-label=n|--multiple", 1, "",
         "Error: Multiple matches VMs found. Operation can only be performed on one VM at a time\n", "");
    runs(f, "host-disable|host=south", 1, "", "Error: No matching hosts found\n", "");
    runs(f, "host-disable|host=north", 0, "", "", "host.disable(#4, true)\n");
    runs(f, "vm-start|vm=app, one|on=south", 1, "", "Error: Host south not found\n", "");
}

static void with_multiple_the_others_go_on(void **state)
{
    struct fake *f = fake(state);

    f->fail = "VM.clean_shutdown";
    f->code = "VM_BAD_POWER_STATE";
    f->param = "only the first";
    runs(f, "vm-shutdown|--multiple", 1, NULL, "", "VM.clean_shutdown(#2)\n");
    assert_non_null(strstr(strbuf_cstr(&f->out), "operation failed on " UUID1 ": "));
    assert_null(strstr(strbuf_cstr(&f->out), UUID2));
}

/* ---- commands ---------------------------------------------------------------------------------------- */

static void plans_read_arguments_by_their_types(void **state)
{
    struct fake *f = fake(state);
    char text[512];

    runs(f, "vdi-create|sr-uuid=" SR "|name-label=d|virtual-size=1MiB|sm-config:a=b|type=System", 0, NEW "\n",
         "",
         "VDI.create({SR=#5 name_label='d' virtual_size=1048576 type='system' sharable=false "
         "sm_config={a='b'} tags=[]})\n");
    runs(f, "vdi-create|sr-uuid=" SR "|name-label=d|virtual-size=big", 1, "",
         "Error: Failed to parse field 'virtual-size': expecting an integer (possibly with suffix)\n", "");
    runs(f, "vdi-create|sr-uuid=" SR "|name-label=d|virtual-size=1 PiB", 1, "",
         "Error: Failed to parse field 'virtual-size': Unknown suffix: 'PiB' (try KiB, MiB, GiB or TiB)\n",
         "");
    runs(f, "vdi-destroy|uuid=" VDI, 0, "", "", "VDI.destroy(#6)\n");
    runs(f, "network-create|name-label=n", 0, NEW "\n", "",
         "network.create({name_label='n' name_description='' MTU=1500 bridge='' managed=true})\n");
    runs(f, "vm-memory-target-set|vm=app, one|target=1GiB", 0, "", "",
         "VM.set_memory_dynamic_range(#1, 1073741824, 1073741824)\n");
    runs(f, "vm-compute-maximum-memory|vm=app, one|total=1GiB", 0, "42\n", "", NULL);
    runs(f, "host-data-source-query|data-source=loadavg", 0, "1.500000\n", "", NULL);
    runs(f, "pool-sync-database", 0, "", "", "pool.sync_database()\n");
    runs(f, "vm-reset-powerstate|vm=app, one", 1, "",
         "Error: This operation is dangerous and may cause data loss. This operation must be forced (use "
         "--force).\n",
         "");
    runs(f, "vm-reset-powerstate|vm=app, one|--force", 0, "", "", "VM.power_state_reset(#1)\n");
    runs(f, "vm-reboot|vm=app, one|force=true", 0, "", "", "VM.hard_reboot(#1)\n");
    snprintf(text, sizeof text, "%s\ntype: Bond\nuuid: " UUID1 "\n", model_error("UUID_INVALID")->doc);
    runs(f, "bond-set-mode|uuid=" UUID1 "|mode=lacp", 1, "", text, "");
}

static void installing_clones_and_provisions(void **state)
{
    struct fake *f = fake(state);

    runs(f, "vm-install|template=Debian|new-name-label=guest", 0, NEW "\n", "",
         "VM.clone(#3, 'guest')\n"
         "VM.set_name_description(#8, 'Installed via xe CLI')\n"
         "VM.set_suspend_SR(#8, NULL)\n"
         "VM.set_has_vendor_device(#8, false)\n"
         "VM.provision(#8)\n");
    runs(f, "vm-install|template=" TEMPLATE "|new-name-label=guest|sr-name-label=Local storage", 0, NEW "\n",
         "", NULL);
    assert_non_null(strstr(strbuf_cstr(&f->calls), "VM.copy(#3, 'guest', #5)\nVM.set_name"));
    runs(f, "vm-install|template=Ubuntu|new-name-label=guest", 1, "", "Error: No templates matched\n", "");
    runs(f, "vm-install|template-uuid=" UUID1 "|new-name-label=g", 1, "",
         "Error: Can only install from templates\n", "");
    f->fail = "VM.provision";
    f->code = "SR_FULL";
    runs(f, "vm-install|template=Debian|new-name-label=guest", 1, "", NULL, NULL);
    assert_non_null(strstr(strbuf_cstr(&f->calls), "VM.destroy(#8)\n"));   /* nothing half made stays */
}

static void uninstalling_asks_first(void **state)
{
    struct fake *f = fake(state);
    static const char question[] = "The following items are about to be destroyed\nVM : " UUID2 " (db\\two)\n"
                                   "Type 'yes' to continue\n";
    char text[256];

    f->answer = "no";
    snprintf(text, sizeof text, "%sAborted (you typed: 'no')\n", question);
    runs(f, "vm-uninstall|uuid=" UUID2, 0, text, "", "");
    f->answer = " Yes ";
    snprintf(text, sizeof text, "%sAll objects destroyed\n", question);
    runs(f, "vm-uninstall|uuid=" UUID2, 0, text, "", "VM.destroy(#2)\n");
    f->answer = NULL;
    runs(f, "vm-uninstall|uuid=" UUID2, 1, question, "", "");
    runs(f, "vm-uninstall|uuid=" UUID1 "|--force", 0, NULL, "", "VM.hard_shutdown(#1)\nVM.destroy(#1)\n");
}

static void waiting_ends_when_an_object_is_as_wished(void **state)
{
    struct fake *f = fake(state);

    runs(f, "event-wait|class=vm|name-label=app, one|power-state=running", 0, "", "", "");
    runs(f, "event-wait|class=vm|uuid=" UUID1 "|power-state=/=halted", 0, "", "", "");
    runs(f, "event-wait|class=vm|uuid=" UUID1 "|power-state=halted", 1, "", "",
         ""); /* until the client goes */
    runs(f, "event-wait|class=vm|nothing=1", 1, "", "Error: key missing: nothing\n", "");
    runs(f, "event-wait|class=weather", 1, "",
         "Error: Cli listening for class 'weather' not currently implemented\n", "");
}

static void files_of_the_client_become_arguments(void **state)
{
    struct fake *f = fake(state);

    runs(f, "host-call-plugin|host-uuid=" HOST "|plugin=p|fn=f|args:a=1|args:b:file=script", 0, "result\n",
         "", "host.call_plugin(#4, 'p', 'f', {a='1' b='content of script'})\n");
    runs(f, "pool-install-ca-certificate|filename=missing", 1, "", "Failed to read certificate\n", "");
    runs(f, "vdi-export|uuid=" VDI "|filename=/tmp/x y|format=vhd", 1, "", NULL,
         NULL); /* the client broke off */
    assert_non_null(strstr(strbuf_cstr(&f->calls), "GET '/tmp/x y' /export_raw_vdi?vdi=OpaqueRef:"));
    assert_non_null(
        strstr(strbuf_cstr(&f->calls), "&format=vhd&session_id=OpaqueRef:session&task_id=OpaqueRef:"));
    assert_non_null(strstr(strbuf_cstr(&f->calls), "task.destroy(#8)\n"));
}

/* ---- mistakes ---------------------------------------------------------------------------------------- */

static void mistakes_get_the_sentences_people_know(void **state)
{
    static const char usage[] = "For usage run: 'xe help'\n";
    struct fake *f = fake(state);
    char text[128];

    snprintf(text, sizeof text, "Unknown command: vm-frobnicate\n%s", usage);
    runs(f, "vm-frobnicate", 1, "", text, "");
    snprintf(text, sizeof text, "Required parameter not found: uuid\n%s", usage);
    runs(f, "vdi-destroy", 1, "", text, "");
    snprintf(text, sizeof text, "Syntax error: command name is missing\n%s", usage);
    runs(f, "uuid=1", 1, "", text, "");
    runs(f, "", 1, "", text, "");
    snprintf(text, sizeof text, "Syntax error: Unknown switch: -q\n%s", usage);
    runs(f, "vm-list|-q|x", 1, "", text, "");
    snprintf(text, sizeof text, "Authentication failed\n%s", usage);
    runs(f, "vm-list|username=root|password=wrong", 1, "", text, "");
    snprintf(text, sizeof text, "Username/password must be specified\n%s", usage);
    runs(f, "vm-list|password=wrong", 1, "", text, "");
    assert_int_equal(f->logins, 2);    /* mistakes that can be seen before are not told by the server */
}

static void errors_of_the_api_are_sentences_with_names(void **state)
{
    struct fake *f = fake(state);
    char text[512], param[REF_TEXT];

    f->fail = "VM.start";
    f->code = "SR_FULL";
    snprintf(text, sizeof text, "%s\n", model_error("SR_FULL")->doc);
    runs(f, "vm-start|vm=app, one", 1, "", NULL, "");
    assert_true(has_prefix(strbuf_cstr(&f->err), text));
    f->code = "VM_IS_TEMPLATE";
    f->param = ref_text(FAKE_REF(FAKE_TEMPLATE), param);
    snprintf(text, sizeof text, "%s\nvm: " TEMPLATE " (Debian)\n", model_error("VM_IS_TEMPLATE")->doc);
    runs(f, "vm-start|vm=app, one", 1, "", text, "");
    f->code = "DRIVER_SAYS_NO";
    f->param = "because";
    runs(f, "vm-start|vm=app, one", 1, "", "Error code: DRIVER_SAYS_NO\nError parameters: because\n", "");
}

/* ---- help -------------------------------------------------------------------------------------------- */

static void help_keeps_what_completion_reads(void **state)
{
    struct fake *f = fake(state);

    runs(f, "help|vm-start", 0, NULL, "", "");
    assert_true(has_prefix(strbuf_cstr(&f->out),
                           "command name            : vm-start\n        reqd params     : \n        "
                           "optional params : force, on, paused, <vm-selectors>\n"));
    runs(f, "help|vdi-destroy", 0, NULL, "", "");
    assert_non_null(strstr(strbuf_cstr(&f->out), "\n        reqd params     : uuid\n"));
    runs(f, "help|nothing", 0, "Unknown command 'nothing'\n", "", "");
    runs(f, "help|--minimal", 0, NULL, "", "");
    assert_non_null(strstr(strbuf_cstr(&f->out), ",vm-start,"));
    assert_null(strstr(strbuf_cstr(&f->out), "bond-create"));
    runs(f, "help|--all|--minimal", 0, NULL, "", "");
    assert_non_null(strstr(strbuf_cstr(&f->out), ",bond-create,"));
    assert_non_null(strstr(strbuf_cstr(&f->out), ",vm-param-set,"));
    assert_null(strstr(strbuf_cstr(&f->out), "vbd-pause"));    /* hidden */
    assert_int_equal(f->logins, 0);
    runs(f, "help", 0, NULL, "", "");
    assert_non_null(strstr(strbuf_cstr(&f->out), "\nCommon command list\n"));
}

/* ---- the table --------------------------------------------------------------------------------------- */

static void the_table_is_sorted_and_names_messages_that_exist(void **state _unused_)
{
    _cleanup_arena_ struct arena *a = arena_new();

    for (size_t i = 0; i < n_commands; i++) {
        const struct command *cmd = &commands[i];
        const char *method = cmd->plan ? cmd_plan_method(cmd->plan, a) : cmd->uses;

        if (i) assert_true(strcmp(commands[i - 1].name, cmd->name) < 0);
        assert_ptr_equal(command_find(cmd->name), cmd);
        assert_false(cmd->plan && cmd->run);
        assert_true(cmd->help && *cmd->help);
        if (method && !model_method(method)) fail_msg("%s: no message %s", cmd->name, method);
    }
    assert_null(command_find("vm-"));
}

/* Every plan runs with something for each parameter: it gives as many arguments as the message takes. */
static void every_plan_fits_its_message(void **state)
{
    struct fake *f = fake(state);

    for (size_t i = 0; i < n_commands; i++) {
        const struct command *cmd = &commands[i];
        _cleanup_strbuf_ struct strbuf line = STRBUF_INIT;
        char *rest, *name, *copy;

        if (!cmd->plan) continue;
        strbuf_printf(&line, "%s|--force", cmd->name);
        rest = copy = xstrdup(cmd->required);
        while (*copy && (name = strsep(&rest, ","))) strbuf_printf(&line, "|%s=%s", name, UUID1);
        (void)fake_run(f, line.ptr);
        if (strstr(strbuf_cstr(&f->err), "METHOD_UNKNOWN")) fail_msg("%s", cmd->name);
        free(copy);
    }
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
UNIT_MAIN(T(a_list_is_laid_out_as_scripts_expect), T(minimal_is_one_line_with_escapes),
          T(kinds_of_fields_say_what_may_be_done), T(fields_show_other_objects_and_old_spellings),
          T(expensive_fields_are_not_fetched_by_lists), T(lists_are_filtered_by_field_map_and_set),
          T(one_key_of_a_map_can_be_read), T(setting_a_field_reads_the_text_by_its_type),
          T(maps_and_sets_change_by_member), T(a_vm_is_named_by_name_uuid_or_filter),
          T(with_multiple_the_others_go_on), T(plans_read_arguments_by_their_types),
          T(installing_clones_and_provisions), T(uninstalling_asks_first),
          T(waiting_ends_when_an_object_is_as_wished), T(files_of_the_client_become_arguments),
          T(mistakes_get_the_sentences_people_know), T(errors_of_the_api_are_sentences_with_names),
          T(help_keeps_what_completion_reads), T(the_table_is_sorted_and_names_messages_that_exist),
          T(every_plan_fits_its_message))
