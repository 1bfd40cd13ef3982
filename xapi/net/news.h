/* What the kernel says of links and addresses while nobody asks.
 * Called by: net.c.  Calls: libnl. */
#ifndef XAPI_NET_NEWS_H
#define XAPI_NET_NEWS_H

#include <stdbool.h>

struct net_news_socket;

/* NULL when the kernel offers none. */
struct net_news_socket *news_open(void);
void news_close(struct net_news_socket *news);
/* Takes what has come since the last time, never waiting. True when it tells of more than guests' cards and of link-local
 * addresses: those come and go with every start of a VM, and nothing that is kept of the host's interfaces depends on them. */
bool news_take(struct net_news_socket *news);

#endif
