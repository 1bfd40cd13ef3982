#!/usr/bin/env python3
"""Management over a bond whose change would take it away: dissolved onto a card without a cable, told to insist on a partner that there is
not, or made that way. The call fails and all is as it was; an agent that is killed before it knows begins with what was. Open vSwitch, whose
bonds need no kernel module; which interface has the way is the same code for both."""
import os

from harness import Agent, check, done, fails, own_network, wait_until
from switch import Switch
from world import World, addresses, pings, run

own_network()
far = World()
away = far.run
for i in (0, 1):
    far.cable('eth%d' % i, 'wire%d' % i)
away('ip', 'link', 'add', 'far', 'type', 'bridge')
for wire in ('wire0', 'wire1'):
    away('ip', 'link', 'set', wire, 'master', 'far')
away('ip', 'addr', 'add', '198.51.100.1/24', 'dev', 'far')
away('ip', 'link', 'set', 'far', 'up')
run('ip', 'addr', 'add', '198.51.100.7/24', 'dev', 'eth0')
run('ip', 'route', 'add', 'default', 'via', '198.51.100.1')
STRICT = {'lacp-fallback-ab': 'false', 'lacp-time': 'fast'}


def records(s):
    """Without what the cables say."""
    out = {cls: getattr(s, cls).get_all_records() for cls in ('PIF', 'Bond', 'VLAN')}
    for r in out['Bond'].values():
        del r['links_up']
    return out


def differing(one, other):
    return [(cls, ref, f, rows.get(f), other[cls].get(ref, {}).get(f)) for cls in one for ref, rows in one[cls].items() for f in rows
            if rows.get(f) != other[cls].get(ref, {}).get(f)] + [(cls, ref) for cls in other for ref in other[cls] if ref not in one[cls]]


def answers(s):
    """Both ways; a bond may first have to see which of its cards has a cable."""
    return wait_until(lambda: pings('198.51.100.1') and far.reaches('198.51.100.7'), 60)


def switch_says(here):
    return sorted(here.vsctl('list-br').split()), sorted(here.vsctl('-f', 'csv', '--columns=name,tag,bond_mode,lacp,other_config', 'list', 'port').split('\n'))


with Switch() as here:
    os.environ['OVS_RUNDIR'] = here.dir
    with Agent(net='openvswitch') as agent:
        s = agent.login()
        pif = {r['device']: ref for ref, r in s.PIF.get_all_records().items()}
        eth0, eth1 = pif['eth0'], pif['eth1']
        bonded, five = (s.network.create({'name_label': n, 'name_description': '', 'MTU': '1500', 'other_config': {}}) for n in ('bonded', 'five'))
        s.PIF.plug(eth0)
        check(answers(s), 'management is reached')
        s.VLAN.create(eth0, '5', five)

        def refused(what, change, *args):
            """Now, and when the agent is killed before it knows that nothing answers."""
            global s
            before, there = records(s), switch_says(here)
            why = fails('PIF_CONFIGURATION_ERROR', what, change(s), *args)
            check('198.51.100.1 does not answer' in why[1], '%s: why: %s' % (what, why[1]))
            check(not differing(before, records(s)), '%s: the records are as before: %s' % (what, differing(before, records(s))[:4]))
            check(answers(s) and switch_says(here) == there, '%s: management is reached' % what)
            child = os.fork()
            if not child:
                try:
                    change(agent.login())(*args)
                finally:
                    os._exit(0)
            check(wait_until(lambda: differing(before, records(s))), '%s: it is being proven' % what)
            agent.kill()
            os.waitpid(child, 0)
            agent.start()
            s = agent.login()
            check(not differing(before, records(s)), '%s, killed meanwhile: the records are as before: %s' % (what, differing(before, records(s))[:4]))
            check(answers(s) and switch_says(here) == there, '%s, killed meanwhile: management is reached' % what)

        refused('a bond that insists on a partner', lambda s: s.Bond.create, bonded, [eth0, eth1], '', 'lacp', STRICT)

        bond = s.Bond.create(bonded, [eth0, eth1], '', 'lacp', {'lacp-time': 'fast'})
        master = s.Bond.get_master(bond)
        s.PIF.add_to_other_config(master, 'bond-updelay', '0')
        s.PIF.plug(master)
        check(s.PIF.get_management(master) and answers(s), 'one that does without has management')
        refused('a property that insists on a partner', lambda s: s.Bond.set_property, bond, 'lacp-fallback-ab', 'false')
        s.Bond.set_mode(bond, 'active-backup')
        check(s.Bond.get_mode(bond) == 'active-backup' and answers(s), 'another mode that leads somewhere')

        away('ip', 'link', 'set', 'wire0', 'down')
        check(wait_until(lambda: s.Bond.get_links_up(bond) == '1', 30) and answers(s), 'the cable of the first card is pulled')
        refused('dissolved onto it', lambda s: s.Bond.destroy, bond)
        away('ip', 'link', 'set', 'wire0', 'up')
        check(wait_until(lambda: s.Bond.get_links_up(bond) == '2', 30), 'put back')
        s.Bond.destroy(bond)
        check(s.PIF.get_management(eth0) and addresses('xenbr0') == ['198.51.100.7/24'] and answers(s), 'dissolved onto a card that leads somewhere')

        # What nobody reaches anyway may be changed: else one that the other end refuses would be for ever.
        bond = s.Bond.create(bonded, [eth0, eth1], '', 'active-backup', {})
        for wire in ('wire0', 'wire1'):
            away('ip', 'link', 'set', wire, 'down')
        s.Bond.destroy(bond)
        check(s.Bond.get_all() == [] and s.PIF.get_management(eth0), 'with no cable at all it is dissolved, too')
far.close()
done()
