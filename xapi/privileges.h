/* What the daemon may do of what root may.
 * Called by: main.  Calls: the kernel. */
#ifndef XAPI_PRIVILEGES_H
#define XAPI_PRIVILEGES_H

/* Gives up every capability that the daemon's own code has no use for: those of this thread, and of all that it starts from now on.
 * Programs that it runs as root (drivers, libvirtd, plug-ins) have theirs as ever, since the kernel gives them anew at exec. For an
 * agent that is not root's nothing changes. 0, or -1 with errno set. */
int privileges_drop(void);

#endif
