/* Network addresses as texts: are they some.
 * Called by: PIFs, VIFs, xe-reset-networking.  Calls: inet_pton(). */
#ifndef LIB_ADDRESS_H
#define LIB_ADDRESS_H

#include "lib/util.h"

/* "192.0.2.1" or "2001:db8::1". family: AF_INET, AF_INET6. */
bool address_valid(int family, const char *text);
/* "192.0.2.1,2001:db8::1": all of them addresses, of either family; "" is a list of none. */
bool address_list_valid(const char *text);
/* "192.0.2.7/24", "2001:db8::7/64". NULL, or malloc'd in the one spelling that the kernel uses. */
char *address_with_prefix(int family, const char *text);
/* "255.255.255.0" -> 24; -1 when its bits have gaps. */
int address_prefix_of(const char *netmask);

#endif
