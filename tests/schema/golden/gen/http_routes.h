/* The HTTP endpoints.
 * Made by xapi-gen from schema/: do not edit. */
#ifndef GEN_HTTP_ROUTES_H
#define GEN_HTTP_ROUTES_H

#include "lib/model.h"

enum http_route_id {
    ROUTE_post_root,
    ROUTE_get_thing,
    ROUTE_get_show,
    N_ROUTE_IDS
};

struct http_route_desc {
    const char *method, *path;   /* the longest path that is a prefix of the request's wins */
    const char *name;            /* of the handler: "put_import" */
    enum http_route_id id;
    const char *permission;      /* "http/put_import" */
    bool role_of_call;           /* authentication and role are those of the call inside */
    bool open;                   /* the handler also gets who shows nothing, without rights */
    enum role_id role;           /* ROLE_NONE: no session needed */
    const char *const *queries;  /* known parameters, NULL-terminated */
    const char *doc;
};

enum { N_HTTP_ROUTES = 3 };
extern const struct http_route_desc http_routes[N_HTTP_ROUTES + 1];   /* the last has no path */

#endif
