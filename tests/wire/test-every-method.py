#!/usr/bin/env python3
"""Every message of the model, called with nothing, with plausible and with hostile arguments: each is answered, each failure has
a code, the agent lives on, and no operation is left behind.

What would change the machine itself (its name, its power, its agent) or ask another machine is left out."""
import os
import re

from harness import Agent, check, done
from messages import LEFT_OUT, generate, published, value


def main(agent):
    s = agent.login()
    template = s.VM.get_by_name_label('Other install media')[0]
    vm = s.VM.clone(template, 'victim')
    s.VM.provision(vm)
    doc = os.path.join(agent.root, 'facts')
    os.mkdir(doc)
    made, mistakes = generate(doc)
    if not check(made, 'the generator tells the facts' + mistakes):
        return
    messages = published(doc)
    refs = {}
    for cls in {m.cls for m in messages}:
        try:
            refs[cls.lower()] = s.call(cls + '.get_all')
        except Exception:
            pass
    refs['vm'] = [vm]
    names = {m.name: m.params for m in messages}
    served = {n for n in s._proxy.system.listMethods() if not n.startswith('Async.') and n != 'system.listMethods'}
    check(set(names) <= served, 'every published message is listed: %s' % sorted(set(names) - served)[:5])
    strange, internal, count = [], [], 0
    for how in (0, 1, 2):
        # What destroys comes last, so that there is something to look at.
        for name in sorted(names, key=lambda n: ('destroy' in n or 'forget' in n, n)):
            if LEFT_OUT.match(name):
                continue
            params = names[name]
            args = [value(p, refs, how) for p in params]
            if params and params[0] == 'session ref':
                args[0] = s._ref
            answer = getattr(s._proxy, name)(*args)
            count += 1
            if answer['Status'] == 'Success':
                continue
            code = answer['ErrorDescription'][0]
            if not re.fullmatch(r'[A-Z][A-Z0-9_]+', code):
                strange.append((name, code))
            if code == 'INTERNAL_ERROR':
                internal.append((name, answer['ErrorDescription'][1:]))
    check(count > 4000, '%d calls were answered' % count)
    check(not strange, 'every failure has a code: %s' % strange[:5])
    check(not internal, 'no failure is an internal error: %s' % internal[:12])
    busy = []
    for cls in ('VM', 'VDI', 'SR', 'VBD', 'VIF', 'host', 'pool'):
        for ref, r in s.call(cls + '.get_all_records').items():
            if r['current_operations']:
                busy.append((cls, ref, r['current_operations']))
    check(not busy, 'no operation is left behind: %s' % busy[:3])
    check(s.pool.get_all() and s.host.get_all(), 'the agent lives on')


with Agent() as agent:
    main(agent)
done()
