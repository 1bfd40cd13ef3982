/* The HTTP endpoints.
 * Made by xapi-gen from schema/: do not edit. */
#include "gen/http_routes.h"

static const char *const queries_0[] = { NULL };
static const char *const queries_1[] = { "ref", NULL };
static const char *const queries_2[] = { NULL };

const struct http_route_desc http_routes[N_HTTP_ROUTES + 1] = {
    { "POST", "/", "post_root", ROUTE_post_root, "http/post_root",
      .role_of_call = true, .open = false, .role = ROLE_NONE, .queries = queries_0,
      .doc = "Calls." },
    { "GET", "/thing", "get_thing", ROUTE_get_thing, "http/see_thing",
      .role_of_call = false, .open = false, .role = ROLE_READ_ONLY, .queries = queries_1,
      .doc = "A thing." },
    { "GET", "/show", "get_show", ROUTE_get_show, "http/get_show",
      .role_of_call = false, .open = true, .role = ROLE_READ_ONLY, .queries = queries_2,
      .doc = "A thing for everybody." },
    { .path = NULL },
};
