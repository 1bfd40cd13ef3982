/* xe: the command line. A thin client: it knows its own few switches, the daemon knows the commands.
 * Called by: people and their scripts.  Calls: client. */
#include "xe/client.h"
#include "xe/thin.h"

#include "lib/catalog.h"
#include "lib/num.h"
#include "lib/strbuf.h"

#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define DEFAULT_SOCKET "/var/lib/xcp/xapi"

/* Text owned here; what a later source says replaces what an earlier one said. */
struct options {
    char *server, *socket, *username, *password, *password_file, *traceparent;
    int port;
    int advice;                        /* 0, 1; -1: where standard error is a terminal */
    const struct catalog *words;       /* of the user's language */
    bool nossl, xmlrpc, debug, debug_on_fail, help, version;
    char **rest;                       /* for the server, in the order it gets them */
    size_t n_rest;
};

/* What the signal handler and the debug log need; everything else travels in arguments. */
static struct terminal terminal;
static bool debug_now;
static struct strbuf debug_kept;

static void on_signal(int signal_number)
{
    terminal_signal(&terminal, signal_number);
}

static void on_debug(const char *line)
{
    if (debug_now)
        fprintf(stderr, "%s\n", line);
    else
        strbuf_printf(&debug_kept, "%s\n", line);
}

static void complain(const struct options *o, const char *fmt, ...) _printf_(2, 3);
static void complain(const struct options *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(stderr, catalog_text(o->words, fmt), ap);
    va_end(ap);
}

static void usage(const struct options *o, const char *argv0)
{
    complain(o,
            "Usage: %s <cmd> [-s server] [-p port] ([-u username] [-pw password] or [-pwf <password file>])"
            " [--socket path] [--nossl] [--xmlrpc] [--advice] [--debug] [--debug-on-fail] [--traceparent traceparent]"
            " <other arguments>\n"
            "\nA full list of commands can be obtained by running \n\t%s help -s <server> -p <port>\n",
            argv0, argv0);
}

/* ---- options ----------------------------------------------------------------------------------------- */

static void set_text(char **option, const char *value)
{
    free(*option);
    *option = xstrdup(value);
}

static int set_port(struct options *o, const char *value)
{
    int64_t port;

    if (!num_parse_int(value, &port) || port < 0 || port > 65535) {
        complain(o, "Port number must be an integer (0-65535)\n");
        return -1;
    }
    o->port = (int)port;
    return 1;
}

/* 1 when the key is one of xe's own, 0 when it is not, -1 when its value is wrong. */
static int set_option(struct options *o, const char *key, const char *value)
{
    const struct { const char *key; char **text; } texts[] = {
        { "server", &o->server }, { "username", &o->username }, { "password", &o->password },
        { "passwordfile", &o->password_file }, { "traceparent", &o->traceparent },
    };
    const struct { const char *key; bool *flag; } flags[] = {
        { "nossl", &o->nossl }, { "xmlrpc", &o->xmlrpc }, { "debug", &o->debug },
        { "debugonfail", &o->debug_on_fail },
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (!streq(key, texts[i].key)) continue;
        set_text(texts[i].text, value);
        return 1;
    }
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        if (!streq(key, flags[i].key)) continue;
        *flags[i].flag = streq(value, "true");
        return 1;
    }
    if (streq(key, "advice")) {
        o->advice = streq(value, "true");
        return 1;
    }
    return streq(key, "port") ? set_port(o, value) : 0;
}

static void add_rest(struct options *o, const char *arg)
{
    o->rest = xrealloc(o->rest, (o->n_rest + 1) * sizeof *o->rest);
    o->rest[o->n_rest++] = xstrdup(arg);
}

static int one_argument(struct options *o, const char *arg)
{
    const char *eq = strchr(arg, '=');
    _cleanup_free_ char *key = eq ? xstrndup(arg, (size_t)(eq - arg)) : NULL;
    int rc = eq ? set_option(o, key, eq + 1) : 0;

    if (rc == 0) add_rest(o, arg);
    return rc < 0 ? -1 : 0;
}

static int all_arguments(struct options *o, char **args, size_t n)
{
    static const struct { const char *arg, *key; bool value;
    } switches[] = {
        { "-s", "server", true },
        { "-h", "server", true },
        { "-p", "port", true },
        { "-u", "username", true },
        { "-pw", "password", true },
        { "-pwf", "passwordfile", true },
        { "--traceparent", "traceparent", true },
        { "--nossl", "nossl", false },
        { "--xmlrpc", "xmlrpc", false },
        { "--advice", "advice", false },
        { "--debug", "debug", false },
        { "--debug-on-fail", "debugonfail", false },
    };

    for (size_t i = 0; i < n; i++) {
        size_t k = 0;

        if (streq(args[i], "--help") || streq(args[i], "-help")) {
            o->help = true;
            continue;
        }
        if (streq(args[i], "--socket") && i + 1 < n) {
            set_text(&o->socket, args[++i]);
            continue;
        }
        while (k < ARRAY_SIZE(switches) && !streq(args[i], switches[k].arg)) k++;
        if (k < ARRAY_SIZE(switches) && (!switches[k].value || i + 1 < n)) {
            if (set_option(o, switches[k].key, switches[k].value ? args[++i] : "true") < 0) return -1;
        } else if (one_argument(o, args[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ~/.xe: lines of key=value. */
static int read_rc(struct options *o)
{
    const char *home = getenv("HOME");
    _cleanup_free_ char *path = home ? xasprintf("%s/.xe", home) : NULL;
    _cleanup_free_ char *text = NULL;
    char *rest, *line;

    if (!path || read_file(path, 1 << 20, &text, NULL) < 0) return 0;
    rest = text;
    while ((line = strsep(&rest, "\n"))) {
        size_t n;

        line += strspn(line, " \t");
        n = strlen(line);
        while (n && strchr(" \t\r", line[n - 1])) line[--n] = '\0';
        if (!n || line[0] == '#' || !strchr(line, '=')) continue;
        if (one_argument(o, line) < 0) return -1;
    }
    return 0;
}

/* XE_EXTRA_ARGS: arguments between commas; a backslash takes the meaning off the next character. */
static int read_environment(struct options *o)
{
    const char *p = getenv("XE_EXTRA_ARGS");
    char **args = NULL;
    size_t n = 0;
    int rc;

    if (!p) return 0;
    while (*p) {
        _cleanup_strbuf_ struct strbuf one = STRBUF_INIT;

        while (*p && *p != ',') {
            if (*p == '\\' && p[1]) p++;
            strbuf_char(&one, *p++);
        }
        if (*p) p++;
        if (!one.len) continue;
        args = xrealloc(args, (n + 1) * sizeof *args);
        args[n++] = strbuf_take(&one);
    }
    rc = all_arguments(o, args, n);
    for (size_t i = 0; i < n; i++) free(args[i]);
    free(args);
    return rc;
}

static int read_password_file(struct options *o)
{
    _cleanup_free_ char *text = NULL;
    char *rest, *user, *password;

    if (read_file(o->password_file, 1 << 16, &text, NULL) < 0) {
        complain(o, "Error opening password file '%s': %s\n", o->password_file, strerror(errno));
        return -1;
    }
    rest = text;
    user = strsep(&rest, "\n");
    password = rest && *rest ? strsep(&rest, "\n") : NULL;
    if (!password) {
        complain(o,
                "Error: password file format: expecting username on the first line, password on the second"
                " line\n");
        return -1;
    }
    user[strcspn(user, "\r")] = '\0';
    password[strcspn(password, "\r")] = '\0';
    set_text(&o->username, user);
    set_text(&o->password, password);
    return 0;
}

/* What the server gets: the command line first, so that its command name leads; then the environment's, then
 * the file's. */
static int read_options(struct options *o, int argc, char **argv)
{
    struct options env = { .rest = NULL }, rc = { .rest = NULL };
    const char *socket_path = getenv("XAPI_SOCKET"), *traceparent = getenv("TRACEPARENT");

    o->server = xstrdup("127.0.0.1");
    o->username = xstrdup("root");
    o->password = xstrdup("null");
    if (socket_path) set_text(&o->socket, socket_path);
    if (traceparent) set_text(&o->traceparent, traceparent);
    if (read_rc(o) < 0) return -1;
    rc.rest = take_ptr(o->rest);
    rc.n_rest = o->n_rest;
    o->n_rest = 0;
    if (read_environment(o) < 0) return -1;
    env.rest = take_ptr(o->rest);
    env.n_rest = o->n_rest;
    o->n_rest = 0;
    if (all_arguments(o, argv + 1, (size_t)(argc - 1)) < 0) return -1;
    if (o->n_rest) {
        for (size_t i = 0; i < env.n_rest; i++) add_rest(o, env.rest[i]);
        for (size_t i = 0; i < rc.n_rest; i++) add_rest(o, rc.rest[i]);
    }
    for (size_t i = 0; i < env.n_rest; i++) free(env.rest[i]);
    for (size_t i = 0; i < rc.n_rest; i++) free(rc.rest[i]);
    free(env.rest);
    free(rc.rest);
    return o->password_file ? read_password_file(o) : 0;
}

static void free_options(struct options *o)
{
    for (size_t i = 0; i < o->n_rest; i++) free(o->rest[i]);
    free(o->rest);
    free(o->server);
    free(o->socket);
    free(o->username);
    free(o->password);
    free(o->password_file);
    free(o->traceparent);
}

/* A terminal is redrawn by the server, which must know its size. NULL when the argument is another. */
static char *watch_argument(const char *arg)
{
    struct winsize size;

    if (!streq(arg, "--watch") && !streq(arg, "--watch=true") && !streq(arg, "watch=true")) return NULL;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
        return xstrdup("watch=true");
    return xasprintf("watch=%ux%u", (unsigned)size.ws_row, (unsigned)size.ws_col);
}

/* What may stand at the end of a line: another program knows, which has the tables. Only when it is not there. */
static int complete(char **words, size_t n)
{
    _cleanup_free_ char *program = conn_program("xe-complete");
    char self[4096];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    char **argv = xcalloc(n + 3, sizeof *argv);

    self[len > 0 ? len : 0] = '\0';
    argv[0] = program;
    argv[1] = self;
    memcpy(argv + 2, words, n * sizeof *argv);
    execv(program, argv);
    fprintf(stderr, "Error: %s: %s\n", program, strerror(errno));
    free(argv);
    return 1;
}

/* ---- main -------------------------------------------------------------------------------------------- */

static int run(struct options *o, const char *language)
{
    size_t n = o->n_rest, n_files = 0;
    const char **files = xcalloc(n + 1, sizeof *files);
    const char **args = xcalloc(n + 2, sizeof *args);
    _cleanup_free_ char *username = xasprintf("username=%s", o->username);
    _cleanup_free_ char *password = xasprintf("password=%s", o->password);
    struct client_config cfg = {
        .target = { .server = o->server, .port = o->port, .tls = !o->nossl, .xmlrpc = o->xmlrpc,
                    .words = o->words },
        .traceparent = o->traceparent, .args = args, .n_args = n + 2, .files = files,
        .debug = o->debug || o->debug_on_fail ? on_debug : NULL, .term = &terminal,
        .language = o->words ? language : NULL,
        .advice = o->advice < 0 ? isatty(STDERR_FILENO) : o->advice,
    };
    int rc;

    for (size_t i = 0; i < n; i++) {
        char *watch = watch_argument(o->rest[i]);
        const char *eq;

        if (watch) {
            free(o->rest[i]);
            o->rest[i] = watch;
            cfg.watching = true;
        }
        args[i] = o->rest[i];
        eq = strchr(args[i], '=');
        if (eq && eq[1]) files[n_files++] = client_absolute(eq + 1);
    }
    args[n] = username;
    args[n + 1] = password;
    cfg.n_files = n_files;
    /* Somebody who names a port means that port. */
    if (streq(o->server, "127.0.0.1") && !o->port) {
        cfg.target.socket = o->socket ? o->socket : DEFAULT_SOCKET;
        cfg.target.socket_only = o->socket;
    }
    rc = client_run(&cfg);
    for (size_t i = 0; i < n_files; i++) free((void *)(uintptr_t)files[i]);
    free(files);
    free(args);
    return rc;
}

/* The catalog of the user's language. Then libc, too, says in it what is wrong with a file, where the system can. */
static struct catalog *open_words(char ret_language[CATALOG_LANGUAGE])
{
    _cleanup_free_ char *folder = NULL;
    struct catalog *words;

    if (!catalog_wanted(ret_language)) return NULL;
    folder = catalog_folder();
    words = catalog_open(folder, ret_language, "xe");
    if (words && setlocale(LC_CTYPE, "")) setlocale(LC_MESSAGES, "");
    return words;
}

int main(int argc, char **argv)
{
    char language[CATALOG_LANGUAGE] = "";
    _cleanup_catalog_ struct catalog *words = open_words(language);
    struct options o = { .advice = -1, .words = words };
    const struct sigaction ending = { .sa_handler = on_signal };
    const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT };
    const char *name = argc > 0 ? argv[0] : "xe";
    int rc = 1;

    if (argc > 2 && streq(argv[1], "--complete")) return complete(argv + 2, (size_t)argc - 2);
    signal(SIGPIPE, SIG_IGN);
    terminal_init(&terminal);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) sigaction(signals[i], &ending, NULL);
    for (int i = 1; i < argc; i++) {
        if (!streq(argv[i], "-version")) continue;
        printf("ThinCLI protocol: %d.%d\n", THIN_MAJOR, THIN_MINOR);
        return 0;
    }
    if (argc < 1 || read_options(&o, argc, argv) < 0) {
        free_options(&o);
        return 1;
    }
    if (o.help || !o.n_rest) {
        usage(&o, name);
        rc = 0;
    } else {
        debug_now = o.debug;
        rc = run(&o, language);
        if (rc && o.debug_on_fail && !o.debug)
            complain(&o, "\nDebug info:\n\n%s", strbuf_cstr(&debug_kept));
    }
    strbuf_free(&debug_kept);
    free_options(&o);
    return rc;
}
