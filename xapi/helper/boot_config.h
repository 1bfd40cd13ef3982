/* Boot loaders' configuration files, as found on guests' disks: which kernel, ramdisk and arguments boot.
 * Called by: bootloader.c, its unit test and fuzz target.  Calls: lib.
 *
 * The files are hostile: any bytes, bounded in size by the caller. Nothing here opens a file. */
#ifndef HELPER_BOOT_CONFIG_H
#define HELPER_BOOT_CONFIG_H

#include "lib/arena.h"

enum { BOOT_MAX_ENTRIES = 256, BOOT_MAX_RAMDISKS = 4, BOOT_MAX_ARGS = 4095 };

struct boot_entry {
    const char *title, *id;          /* "" = none; the title of one inside submenus is "Outer>Inner" */
    const char *kernel;              /* absolute path on the file system of the configuration; "" = boots no Linux */
    const char *ramdisks[BOOT_MAX_RAMDISKS];
    size_t n_ramdisks;
    const char *args;
    size_t top, nested;              /* its number in the menu, and in the submenu that has this number */
};

struct boot_config {
    struct boot_entry *entries;
    size_t n, cap;
    const char *wanted;              /* number, title or id of the default; "" = not said */
    bool blscfg;                     /* entries are files of their own */
};

enum boot_syntax { BOOT_GRUB2, BOOT_GRUB1, BOOT_EXTLINUX };

/* Reads a whole file of this syntax. environment: text of grubenv, "" = there is none. Everything is from the arena. */
void boot_parse(enum boot_syntax syntax, const char *text, size_t len, const char *environment, struct arena *a,
                struct boot_config *ret);
/* Adds the entry of a file of the Boot Loader Specification. */
void boot_parse_bls(const char *text, size_t len, const char *environment, const char *id, struct arena *a,
                    struct boot_config *config);
/* The entry that boots: `wish` (number, title or id; "" = the default), NULL when there is none with a kernel. */
const struct boot_entry *boot_choose(const struct boot_config *config, const char *wish);
/* The value of a variable in grubenv, NULL = it is not there. */
const char *boot_environment(const char *environment, const char *name, struct arena *a);

#endif
