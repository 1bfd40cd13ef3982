/* GET /: the files of the web directory. OPTIONS: what browsers ask before a cross-origin call.
 * Called by: the route table.  Calls: server.h. */
#ifndef XAPI_HTTP_WEB_H
#define XAPI_HTTP_WEB_H

#include "xapi/http/server.h"

struct web;

/* dir: the directory served, NULL or missing = none (every file is 404). https_port: when not 0, GET /
 * over plain TCP is answered 301 to https on that port. */
struct web *web_new(const char *dir, unsigned https_port);
void web_free(struct web *w);
/* Handler: arg is a struct web. Files are found below the directory only, never through a symbolic link
 * and never with a leading dot; a directory gives its index.html. */
void web_get(struct http_request *req, void *arg);
/* Handler without arg: 200, any origin, the headers the browser asked for and X-Requested-With. */
void web_options(struct http_request *req, void *arg);

#endif
