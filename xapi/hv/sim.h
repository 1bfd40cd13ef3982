/* The simulated hypervisor: guests that are a few bytes in a file. Always built in.
 * Called by: hv.c; tests through files (below).  Calls: lib.
 *
 * Where: DIR = the configured uri when it is an absolute path, else ROOT/hv/sim. Several agents that use one
 * DIR see the same guests. A guest outlives the agent, also a killed one, and is gone after a reboot of the
 * machine, as a real one. DIR/domains    the table of guests, mapped by every agent. Not text; `hv_list()`
 * reads it. DIR/console/   UUID.log: what the guest's text console wrote DIR/poke/      commands from
 * outside: see below
 *
 * Poking. A test writes commands to a file somewhere else and renames it into DIR/poke/ (or writes it there
 * in one go: it is read when the writer closes it). One command a line. The agent removes the file when all
 * was done; when a line is wrong it goes on, and leaves NAME.failed with the reasons. Files found when an
 * agent opens the driver are obeyed first and silently: that is how something happens to a guest while no
 * agent runs. set KEY VALUE        a setting of the table below; stays until it is set again poweroff UUID
 * the guest powers itself off reboot UUID          the guest reboots itself crash UUID           the guest
 * crashes: the domain stays, crashed kill UUID            its process dies: the domain is gone pause UUID |
 * unpause UUID      by hand, behind the agent's back deaf UUID | hear UUID          ignores (obeys again)
 * clean shutdown and reboot requests agent UUID on|off              the guest agent appears, goes clutch UUID
 * | release UUID     refuses (allows again) to let disks, NICs and the CD go balloon UUID BYTES the balloon
 * moves by itself print UUID TEXT...             a line on the text console lose | regain        the
 * hypervisor goes away (every verb fails, event DRIVER_LOST), comes back "all" for a UUID means every guest.
 *
 * Settings (all integers): start_ms stop_ms shutdown_ms reboot_ms suspend_ms resume_ms attach_ms detach_ms
 * pause_ms balloon_ms (how long things take, default 0), clock_rate (guest seconds per 1,000 real ones: 1000;
 * also divides the times above), host_memory_bytes (1 TiB), host_cpus (32), image_bytes (size of a suspend
 * image beyond its head: 0; migrations send as much), save_rate (not 0: suspend and migration write so many
 * bytes a second), agents (1: new guests have a guest agent).
 *
 * Fault points (lib/fault.h): hv.sim.<verb> before anything is done, hv.sim.<verb>.late after it was done but
 * before the answer. */
#ifndef XAPI_HV_SIM_H
#define XAPI_HV_SIM_H

#include "xapi/hv/hv_driver.h"

extern const struct hv_driver hv_sim_driver;

#endif
