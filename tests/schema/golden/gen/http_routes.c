/* The HTTP endpoints.
 * Made by xapi-gen from schema/: do not edit. */
#include "gen/http_routes.h"

static const char *const queries_0[] = { NULL };
static const char *const queries_1[] = { "ref", NULL };

const struct http_route_desc http_routes[N_HTTP_ROUTES + 1] = {
    { "POST", "/", "post_root", ROUTE_post_root, "http/post_root", true, ROLE_NONE, queries_0,
      "Calls." },
    { "GET", "/thing", "get_thing", ROUTE_get_thing, "http/see_thing", false, ROLE_READ_ONLY, queries_1,
      "A thing." },
    { .path = NULL },
};
