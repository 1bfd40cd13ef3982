/* The roles of xapi-helper. Each reads its request from stdin, prints one line and returns the exit status.
 * Called by: helper.c.  Calls: nothing. */
#ifndef HELPER_HELPER_H
#define HELPER_HELPER_H

/* Request: user NUL password NUL. Answer: "ok", or why not. */
int helper_pam(void);
/* The same request; sets the password. */
int helper_pam_password(void);
/* Copies kernel and ramdisk off a guest's disk. Descriptors: 3 the disk (file, block device, or a connection to an NBD
 * server's default export), 4 the kernel's file, 5 the ramdisk's. Request: lines of KEY=VALUE, all of them optional:
 * kernel, ramdisk (paths on the disk), args (instead of the menu's), entry (number, title or id instead of the default).
 * Answer: "ok kernel ARGS" or "ok ramdisk ARGS" (a ramdisk was written too), or why not. */
int helper_bootloader(void);
/* A description of VMs in the Open Virtualization Format, on stdin. Answer: one line of JSON (ovf.c says which), or why not. */
int helper_ovf(void);
/* A disk image on stdin. Answer: the frames of lib/disk_frame.h. */
int helper_import_disk(void);

#endif
