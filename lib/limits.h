/* How much of anything strangers may send, ask for or leave behind: the one table, which the code reads and doc/limits.md shows.
 * Called by: everything that takes something in.  Calls: nothing.
 *
 * A row: name, number, its unit ("bytes", "s", or "" for a count), of what, and what becomes of more. What an administrator may set
 * is an option instead (xapi/options.c), and what a format, a protocol or the kernel limits stands where it is parsed. */
#ifndef LIB_LIMITS_H
#define LIB_LIMITS_H

#define LIMITS(X, SECTION)                                                                                                             \
    SECTION("Requests")                                                                                                                \
    X(HTTP_HEAD, 16 << 10, "bytes", "of a request's head", "431")                                                                      \
    X(RPC_BODY, 1 << 20, "bytes", "of a call in XML or JSON", "413")                                                                   \
    X(CLI_BODY, 256 << 10, "bytes", "of a command line sent to /cli", "413")                                                           \
    X(CALL_DEPTH, 64, "", "containers inside each other in a call", "it is malformed: a fault, or error -32700")                       \
    X(CALL_VALUES, 100000, "", "values in a call", "it is malformed: a fault, or error -32700")                                        \
    X(CONNECTIONS, 4096, "", "connections over TCP; a sixteenth more is kept for unix sockets", "503, and closed")                      \
    X(PARKED, 12000, "", "requests that wait for something without a thread", "503")                                                   \
    X(UNFINISHED_BODIES, 128 << 20, "bytes", "of bodies over TCP that are still coming in", "503")                                     \
    X(UNREAD_REPLIES, 64 << 20, "bytes", "of replies that nobody reads on", "who has stood still longest, for 5 s at least, is cut off") \
    X(WAITING_REQUESTS, 128, "", "requests of a client that wait for their turn", "the rest stays unread in its sockets")              \
    X(BLOCKING_CALLS, 256, "", "calls at a time that may take long", "TOO_MANY_PENDING_TASKS")                                         \
    X(BLOCKING_CALLS_SESSION, 64, "", "of these of a session", "TOO_MANY_PENDING_TASKS")                                               \
    X(BLOCKING_CALLS_SR, 48, "", "of these on a storage repository", "TOO_MANY_PENDING_TASKS")                                          \
    X(HTTP_THREADS, 1024, "", "transfers and consoles at a time", "503")                                                               \
    SECTION("Sessions, tasks, events")                                                                                                 \
    X(SESSIONS, 500, "", "sessions of an originator, and of a user", "the least recently used one goes")                               \
    X(USER_NAME, 255, "bytes", "of a user's name", "SESSION_AUTHENTICATION_FAILED")                                                    \
    X(PASSWORD, 4095, "bytes", "of a password", "SESSION_AUTHENTICATION_FAILED, CHANGE_PASSWORD_REJECTED")                             \
    X(PASSWORD_CHECKS, 64, "", "passwords that are checked at a time", "they wait; after 80 s TOO_MANY_PENDING_TASKS")                 \
    X(LOGIN_CACHE, 10000, "", "logins of a directory that are remembered", "the oldest goes")                                          \
    X(FINISHED_TASKS, 10000, "", "tasks that have ended", "the oldest go, seen or not")                                                \
    X(TASKS, 20000, "", "tasks", "TOO_MANY_PENDING_TASKS")                                                                             \
    X(TASK_RESULT, 1 << 20, "bytes", "of a result that a client sets", "VALUE_NOT_SUPPORTED")                                          \
    X(SUBSCRIPTIONS, 10000, "", "classes and objects that an event.from names", "EVENT_SUBSCRIPTION_PARSE_FAILURE")                    \
    X(EVENT_WAIT, 3600, "s", "that an event.from waits", "it answers then")                                                            \
    X(DUMP_SESSIONS, 4, "", "dumps that sessions read at a time", "TOO_MANY_PENDING_TASKS")                                            \
    SECTION("Records")                                                                                                                 \
    X(MESSAGE_NAME, 256, "bytes", "of an alert's name", "VALUE_NOT_SUPPORTED")                                                         \
    X(MESSAGE_BODY, 64 << 10, "bytes", "of an alert's body", "VALUE_NOT_SUPPORTED")                                                    \
    X(MESSAGES, 10000, "", "alerts", "the oldest go")                                                                                  \
    X(MESSAGES_BYTES, 16 << 20, "bytes", "of all alerts together", "the oldest go")                                                    \
    X(BLOBS, 10000, "", "blobs", "OUT_OF_SPACE")                                                                                       \
    X(TRUSTED_CERTIFICATES, 1000, "", "certificates that are trusted", "OUT_OF_SPACE")                                                 \
    X(NVRAM, 4 << 20, "bytes", "of a VM's UEFI variables, unpacked", "INVALID_VALUE")                                                  \
    X(ALARM_RULES, 64, "", "alarms of an object", "the rest is left out, an alert says so")                                            \
    X(ALARM_CONFIG, 64 << 10, "bytes", "of other_config:perfmon", "none of it counts, an alert says so")                               \
    X(RRD_SOURCES, 4096, "", "data sources of an object", "more are not recorded")                                                     \
    X(USER_AGENTS, 128, "", "kinds of clients that are remembered", "the one not seen for longest goes")                               \
    SECTION("Files that come in")                                                                                                      \
    X(XVA_XML, 32 << 20, "bytes", "of the ova.xml of an XVA", "IMPORT_ERROR")                                                          \
    X(XVA_OBJECTS, 4096, "", "VMs, and disks, in an XVA", "IMPORT_ERROR")                                                              \
    X(OVA_TEXT, 8 << 20, "bytes", "of an OVF description or manifest", "IMPORT_ERROR")                                                 \
    X(OVA_FILES, 1024, "", "files that a manifest names", "IMPORT_ERROR")                                                              \
    X(OVA_DISKS, 1024, "", "disks of an OVF", "IMPORT_ERROR")                                                                          \
    X(OVA_VMS, 256, "", "VMs of an OVF", "IMPORT_ERROR")                                                                               \
    X(POOL_DUMP, 256 << 20, "bytes", "of a database dump", "413, IMPORT_ERROR, RESTORE_SCRIPT_FAILED")                              \
    X(RRD_XML, 64 << 20, "bytes", "of metrics that are put back", "413")                                                               \
    X(MESSAGES_XML, 16 << 20, "bytes", "of alerts that are put back", "413")                                                           \
    X(CERTIFICATE, 1 << 20, "bytes", "of a certificate, key or chain", "CERTIFICATE_CORRUPT and its like")                             \
    X(UEFI_CERTIFICATES, 1 << 20, "bytes", "of a pool's UEFI certificates, in base64", "they count as none")                           \
    X(MIGRATION_RECORDS, 32 << 20, "bytes", "of records of a VM that moves here", "INTERNAL_ERROR, the VM stays where it is")          \
    SECTION("Programs and guests")                                                                                                     \
    X(PLUGIN_OUTPUT, 16 << 20, "bytes", "that a plug-in or extension says", "XENAPI_PLUGIN_FAILURE")                                   \
    X(PLUGIN_ARGUMENTS, 128 << 10, "bytes", "of a plug-in's arguments", "VALUE_NOT_SUPPORTED")                                         \
    X(SM_ANSWER, 64 << 20, "bytes", "that a storage driver answers", "SR_BACKEND_FAILURE")                                             \
    X(SM_DIAGNOSTICS, 1 << 20, "bytes", "that it says to its stderr", "the rest is left out")                                          \
    X(GUEST_SCRIPT, 1024, "bytes", "of a script for a guest's agent", "XENAPI_PLUGIN_FAILURE")                                         \
    X(CONSOLE_CLIENTS, 16, "", "that look at a text console of Xen's at a time", "they are cut off")                                   \
    X(CONSOLE_BACKLOG, 1 << 20, "bytes", "of a text console that one of them does not read", "it is cut off")                          \
    X(CRASH_REPORTS, 20, "", "reports of crashes of the agent", "the oldest go")                                                       \
    X(AUDIT_FILE, 64 << 20, "bytes", "of the audit log's newest file", "a new one begins, the oldest of five goes")

#define LIMITS_ENUM(name, number, unit, what, beyond) LIMIT_##name = (number),
#define LIMITS_NO_SECTION(title)
enum limit { LIMITS(LIMITS_ENUM, LIMITS_NO_SECTION) };
#undef LIMITS_ENUM
#undef LIMITS_NO_SECTION

#endif
