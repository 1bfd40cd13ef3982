/* Network addresses as texts.
 * Called by: PIFs, VIFs, xe-reset-networking.  Calls: inet_pton(). */
#include "lib/address.h"

#include <arpa/inet.h>

bool address_valid(int family, const char *text)
{
    unsigned char raw[16];

    return inet_pton(family, text, raw) == 1;
}

bool address_list_valid(const char *text)
{
    while (*text) {
        size_t n = strcspn(text, ",");
        _cleanup_free_ char *one = xstrndup(text, n);
        if (!address_valid(AF_INET, one) && !address_valid(AF_INET6, one)) return false;
        text += n + (text[n] == ',');
    }
    return true;
}

char *address_with_prefix(int family, const char *text)
{
    enum { DIGITS_MAX = 3 };
    const char *slash = strchr(text, '/');
    int bits = 0, most = family == AF_INET ? 32 : 128;
    unsigned char raw[16];
    char spelled[INET6_ADDRSTRLEN];

    if (!slash) return NULL;
    _cleanup_free_ char *address = xstrndup(text, (size_t)(slash - text));
    size_t digits = strspn(slash + 1, "0123456789");
    if (digits >= 1 && digits <= DIGITS_MAX && !slash[1 + digits]) bits = atoi(slash + 1);
    if (bits < 1 || bits > most || inet_pton(family, address, raw) != 1) return NULL;
    return xasprintf("%s/%d", inet_ntop(family, raw, spelled, sizeof(spelled)), bits);
}

int address_prefix_of(const char *netmask)
{
    struct in_addr mask;

    if (inet_pton(AF_INET, netmask, &mask) != 1) return -1;
    uint32_t bits = ntohl(mask.s_addr), host = ~bits;
    return host & (host + 1) ? -1 : __builtin_popcount(bits);
}
