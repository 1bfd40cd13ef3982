/* Every option of the daemon.
 * Called by: main.c.  Calls: conf. */
#include "xapi/options.h"

static const char *const hypervisors[] = { "libvirt", "sim", "xen", NULL };
static const char *const networks[] = { "bridge", "sim", NULL };
static const char *const accelerators[] = { "auto", "kvm", "tcg", NULL };

const struct conf_option daemon_options[] = {
    { .key = "config", .type = CONF_PATH, .fallback = SYSCONFDIR "/xapi/xapi.conf", .doc = "configuration file: key = value lines",
      .command_line_only = true },
    { .key = "check-config", .type = CONF_BOOL, .fallback = "no", .doc = "check the configuration, print it and exit",
      .command_line_only = true },
    { .key = "check-db", .type = CONF_BOOL, .fallback = "no", .doc = "check every invariant of the database and exit",
      .command_line_only = true },
    { .key = "repair-db", .type = CONF_BOOL, .fallback = "no", .doc = "print what is wrong, then mend it and exit",
      .command_line_only = true },
    { .key = "coverage", .type = CONF_BOOL, .fallback = "no", .doc = "print class, message and whether it has behaviour, and exit",
      .command_line_only = true },
    { .key = "allow-faults", .type = CONF_BOOL, .fallback = "no", .doc = "for tests: arm the fault points of XAPI_FAULT_FD",
      .command_line_only = true },
    { .key = "version", .type = CONF_BOOL, .fallback = "no", .doc = "print the version and exit", .command_line_only = true },
    { .key = "help", .type = CONF_BOOL, .fallback = "no", .doc = "print this and exit", .command_line_only = true },

    { .key = "root", .type = CONF_PATH, .fallback = LOCALSTATEDIR "/lib/xapi", .doc = "state directory; daemons with different roots run side by side" },
    { .key = "socket", .type = CONF_PATH, .fallback = LOCALSTATEDIR "/lib/xcp/xapi", .doc = "unix socket: root needs no password there" },
    { .key = "http", .type = CONF_STRING, .fallback = "[::]:80", .unit = "ADDR:PORT", .doc = "plain HTTP listener; none = off; port 0 picks one" },
    { .key = "https", .type = CONF_STRING, .fallback = "[::]:443", .unit = "ADDR:PORT", .doc = "TLS listener; none = off; port 0 picks one" },
    { .key = "address", .type = CONF_STRING, .fallback = "", .doc = "address that clients reach this host by; empty = the first one found" },
    { .key = "certificate", .type = CONF_PATH, .fallback = "", .doc = "PEM file with key and certificate; empty = ROOT/server.pem, made at first start" },
    { .key = "auth", .type = CONF_STRING, .fallback = "pam", .unit = "pam|file:PATH", .doc = "who may log in over the network" },

    { .key = "hv", .type = CONF_ENUM, .fallback = "libvirt", .choices = hypervisors, .doc = "hypervisor driver" },
    { .key = "hv-uri", .type = CONF_STRING, .fallback = "", .doc = "libvirt connection; empty = a private libvirtd below the root" },
    { .key = "emulator", .type = CONF_PATH, .fallback = "", .doc = "QEMU program; empty = the engine's own choice" },
    { .key = "accel", .type = CONF_ENUM, .fallback = "auto", .choices = accelerators, .doc = "auto = KVM when a bounded self-test passes" },
    { .key = "qemu-user", .type = CONF_STRING, .fallback = "", .doc = "account that QEMU runs as; empty = libvirt-qemu, else root" },
    { .key = "module-dir", .type = CONF_PATH, .fallback = PKGLIBDIR, .doc = "where hypervisor modules (hv_NAME.so) are" },
    { .key = "net", .type = CONF_ENUM, .fallback = "bridge", .choices = networks, .doc = "host network driver" },
    { .key = "sm-dir", .type = CONF_STRING, .fallback = PKGLIBEXECDIR "/sm", .unit = "DIR[:DIR]", .doc = "where storage drivers are" },
    { .key = "sr-mount", .type = CONF_PATH, .fallback = "", .doc = "where repositories are mounted; empty = ROOT/sr-mount" },
    { .key = "helper", .type = CONF_PATH, .fallback = PKGLIBEXECDIR "/xapi-helper", .doc = "program for password checks and other risky work" },
    { .key = "web-dir", .type = CONF_PATH, .fallback = PKGDATADIR "/web", .doc = "static files served at /" },

    { .key = "log", .type = CONF_STRING, .fallback = "stderr", .unit = "stderr|syslog|file:PATH", .doc = "where log lines go", .reloadable = true },
    { .key = "log-level", .type = CONF_STRING, .fallback = "info", .doc = "error, warn, info, debug; or a list: info,db=debug,hv=warn", .reloadable = true },
    { .key = "audit-reads", .type = CONF_BOOL, .fallback = "no", .doc = "audit every successful read too, not one a message" },
    { .key = "stop-timeout", .type = CONF_DURATION, .fallback = "10s", .doc = "how long running requests may take to end on SIGTERM", .reloadable = true },
    { .key = NULL },
};
