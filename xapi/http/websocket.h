/* WebSocket (RFC 6455), server side: the handshake, and a relay between binary frames and a raw byte stream.
 * Called by: console.c.  Calls: stream, OpenSSL. */
#ifndef XAPI_HTTP_WEBSOCKET_H
#define XAPI_HTTP_WEBSOCKET_H

#include "xapi/http/server.h"

/* True when the request asks for a WebSocket of version 13 with a usable key. */
bool websocket_wanted(const struct http_request *req);
/* Header lines of the 101 answer, in the request's arena: accept key, and "binary" when the client offers that protocol. */
const char *websocket_headers(struct http_request *req);
/* Bytes both ways until either side ends: payload of the client's frames to raw, raw's bytes as binary frames to the
 * client. Pings are answered. idle_ms as in stream_relay(). 0, or -1 + errno (EPROTO: the client broke the protocol). */
int websocket_relay(struct stream *client, struct stream *raw, int idle_ms);

#endif
