#!/usr/bin/env python3
"""No message and no HTTP endpoint gets around the check of roles: what runs behind the gates is called from the gates only, and
what the schema lets in without a session is a short list."""
import os
import re
import sys
import xml.etree.ElementTree

SOURCE = os.environ.get('XAPI_SOURCE') or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# A pattern, the files that may hold it, why.
ONLY_IN = [
    (r'->thunk\s*\(', {'xapi/rpc/dispatch.c'}, 'class functions run behind dispatch'),
    (r'\bfields_call\s*\(', {'xapi/rpc/dispatch.c', 'xapi/rpc/fields.c', 'xapi/rpc/fields.h'}, 'accessors run behind dispatch'),
    (r'\brbac_check\s*\(', {'xapi/rpc/dispatch.c', 'xapi/rpc/rbac.c', 'xapi/rpc/rbac.h'}, 'dispatch asks for every message'),
    (r'\brbac_check_role\s*\(', {'xapi/http/http_auth.c', 'xapi/rpc/rbac.c', 'xapi/rpc/rbac.h'}, 'the role is the schema\'s'),
    (r'\bhttp_server_routes?\s*\(', {'xapi/http/server.c', 'xapi/http/server.h', 'xapi/http/routes.c'}, 'endpoints are in the schema'),
    (r'\bhttp_authenticate\s*\(', {'xapi/http/http_auth.c', 'xapi/http/http_auth.h', 'xapi/http/routes.c'}, 'one gate for all'),
    (r'"http/[a-z_]+"', set(), 'an endpoint\'s permission is the schema\'s'),
    (r'\.is_root\s*=', {'xapi/call/call.c', 'xapi/http/http_auth.c', 'xapi/rpc/dispatch.c'}, 'who is root is decided in few places'),
    (r'->is_root\s*=[^=]', {'xapi/call/call.c', 'xapi/http/http_auth.c', 'xapi/http/nbd_server.c', 'xapi/session.c'}, 'who is root is decided in few places'),
]
# Everybody may send these: they are how one gets a session.
OPEN_MESSAGES = {'session.login_with_password', 'session.slave_local_login_with_password', 'session.slave_login',
                 'session.slave_local_login'}
# Nobody's session is asked for, or the call inside is.
OPEN_ROUTES = {'get_root', 'options_any', 'options_json', 'options_jsonrpc', 'options_root', 'post_RPC2', 'post_cli', 'post_json',
               'post_jsonrpc', 'post_root'}
# The handler itself lets some of what it has be seen by all.
HALF_OPEN_ROUTES = {'get_blob'}

count = bad = 0


def check(mistakes, what):
    global count, bad
    count += 1
    bad += bool(mistakes)
    print('\n'.join('# ' + m for m in mistakes))
    print('%s %d - %s' % ('not ok' if mistakes else 'ok', count, what))


def sources():
    for folder, _, files in os.walk(os.path.join(SOURCE, 'xapi')):
        for name in files:
            if name.endswith(('.c', '.h')):
                path = os.path.join(folder, name)
                yield os.path.relpath(path, SOURCE), re.sub(r'/\*.*?\*/', '', open(path).read(), flags=re.S)


texts = dict(sources())
for pattern, allowed, why in ONLY_IN:
    check(['%s: %s' % (path, m.group(0)) for path, text in texts.items() if path not in allowed for m in re.finditer(pattern, text)],
          'only where it belongs: %s (%s)' % (pattern, why))

schema = os.path.join(SOURCE, 'schema')
roots = [xml.etree.ElementTree.parse(os.path.join(schema, n)).getroot() for n in sorted(os.listdir(schema)) if n.endswith('.xml')]
messages = [(c.get('name') + '.' + m.get('name'), m) for c in roots if c.tag == 'class' for m in c.iter('message')]
routes = [r for c in roots if c.tag == 'http' for r in c.iter('route')]
check([n for n, m in messages if not m.get('role')], '%d messages: each has a least role' % len(messages))
check([n for n, m in messages if m.get('role') == 'none'], 'no message is for everybody who is logged in, whatever his roles')
check(sorted({n for n, m in messages if m.get('session') == 'no'} ^ OPEN_MESSAGES), 'messages without a session: those that give one')
check(sorted({r.get('name') for r in routes if r.get('role') in ('none', 'call')} ^ OPEN_ROUTES), 'endpoints without a role')
check(sorted({r.get('name') for r in routes if r.get('open') == 'yes'} ^ HALF_OPEN_ROUTES), 'endpoints whose handler decides')
print('1..%d' % count)
sys.exit(1 if bad else 0)
