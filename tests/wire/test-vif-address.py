#!/usr/bin/env python3
"""The addresses that a guest is to give its cards: told at a start, when the card is plugged and while it is; who may not have them; a
guest whose tools do not know of it."""
from harness import Agent, check, done, fails, wait_until

with Agent(faults=True) as agent:
    s = agent.login()
    network = s.network.create({'name_label': 'n', 'name_description': '', 'MTU': '1500', 'other_config': {}, 'tags': []})
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'g')
    s.VM.provision(vm)
    card = {'VM': vm, 'network': network, 'device': '0', 'MAC': '02:00:00:01:02:03', 'MTU': '0', 'other_config': {},
            'qos_algorithm_type': '', 'qos_algorithm_params': {}}
    vif = s.VIF.create(card)

    def networks():
        ref = s.VM.get_guest_metrics(vm)
        return {} if ref == 'OpaqueRef:NULL' else s.VM_guest_metrics.get_networks(ref)

    def becomes(wanted, what, speaks=False):
        if speaks:
            agent.poke('agent %s on' % s.VM.get_uuid(vm))
        check(wait_until(lambda: networks() == wanted, 60), '%s: %s' % (what, networks()))

    fails('INVALID_CIDR_ADDRESS_SPECIFIED', 'an address without its length', s.VIF.configure_ipv4, vif, 'Static', '10.0.0.2', '')
    fails('INVALID_CIDR_ADDRESS_SPECIFIED', 'none at all', s.VIF.configure_ipv4, vif, 'Static', '', '')
    fails('INVALID_CIDR_ADDRESS_SPECIFIED', 'one of the other family', s.VIF.configure_ipv6, vif, 'Static', '10.0.0.2/8', '')
    fails('INVALID_IP_ADDRESS_SPECIFIED', 'a gateway that is none', s.VIF.configure_ipv4, vif, 'Static', '10.0.0.2/8', 'router')
    check(s.VIF.get_ipv4_configuration_mode(vif) == 'None' and s.VIF.get_ipv4_addresses(vif) == [], 'nothing of that is kept')

    s.VIF.configure_ipv4(vif, 'Static', '10.0.0.2/8', '10.0.0.1')
    r = s.VIF.get_record(vif)
    check((r['ipv4_configuration_mode'], r['ipv4_addresses'], r['ipv4_gateway']) == ('Static', ['10.0.0.2/8'], '10.0.0.1'), 'of a VM that is halted')
    s.VM.start(vm, False, False)
    becomes({'0/ip': '10.0.0.2', '0/ipv4/0': '10.0.0.2'}, 'the guest has it from its start on', True)
    s.VIF.configure_ipv4(vif, 'Static', '10.0.0.3/8', '')
    becomes({'0/ip': '10.0.0.3', '0/ipv4/0': '10.0.0.3'}, 'another while it runs')
    s.VIF.configure_ipv6(vif, 'Static', '2001:db8::3/64', '2001:db8::1')
    becomes({'0/ip': '10.0.0.3', '0/ipv4/0': '10.0.0.3', '0/ipv6/0': '2001:db8::3'}, 'one of each family')
    s.VIF.unplug(vif)
    s.VIF.configure_ipv4(vif, 'Static', '10.0.0.4/8', '')
    s.VIF.plug(vif)
    becomes({'0/ip': '10.0.0.4', '0/ipv4/0': '10.0.0.4', '0/ipv6/0': '2001:db8::3'}, 'told while it was unplugged, given when it is plugged', True)
    s.VIF.configure_ipv4(vif, 'None', '', '')
    s.VIF.configure_ipv6(vif, 'None', '', '')
    becomes({'0/ip': '10.1.2.3', '0/ipv4/0': '10.1.2.3'}, 'the guest is left alone again')
    check(s.VIF.get_ipv4_addresses(vif) == [] and s.VIF.get_ipv6_gateway(vif) == '', 'and so says the record')

    # A card that may have some addresses only is not told others.
    s.VIF.set_ipv4_allowed(vif, ['10.0.0.7'])
    s.VIF.set_ipv6_allowed(vif, ['2001:db8::7'])
    s.VIF.configure_ipv4(vif, 'Static', '10.0.0.8/8', '')
    s.VIF.set_locking_mode(vif, 'locked')
    check(fails('ADDRESS_VIOLATES_LOCKING_CONSTRAINT', 'a locked card', s.VIF.configure_ipv4, vif, 'Static', '10.0.0.9/8', '') == ['10.0.0.9/8'],
          'the address is named')
    fails('ADDRESS_VIOLATES_LOCKING_CONSTRAINT', 'nor one of IPv6', s.VIF.configure_ipv6, vif, 'Static', '2001:db8::8/64', '')
    check(s.VIF.get_ipv4_addresses(vif) == ['10.0.0.8/8'], 'it keeps what it had')
    s.VIF.configure_ipv4(vif, 'Static', '10.0.0.7/8', '')
    s.VIF.configure_ipv6(vif, 'Static', '2001:0DB8::7/64', '')
    becomes({'0/ip': '10.0.0.7', '0/ipv4/0': '10.0.0.7', '0/ipv6/0': '2001:0DB8::7'}, 'one that is allowed, however it is spelled')

    # Killed between the record and the guest: the record counts, at the next start.
    agent.arm('hv.sim.nic-address kill 1')
    try:
        s.VIF.configure_ipv4(vif, 'None', '', '')
    except Exception as e:
        print('# %s' % e)
    agent.process.wait(60)
    agent.start()
    s = agent.login()
    check(s.VIF.get_ipv4_configuration_mode(vif) == 'None', 'an agent that is killed in between has recorded it')
    s.VM.hard_shutdown(vm)
    s.VM.start(vm, False, False)
    becomes({'0/ip': '10.1.2.3', '0/ipv4/0': '10.1.2.3', '0/ipv6/0': '2001:0DB8::7'}, 'and the next start gives it', True)

    agent.poke('agent %s off' % s.VM.get_uuid(vm))
    check(wait_until(lambda: networks() == {}, 60), 'tools that are gone')
    check(fails('VM_LACKS_FEATURE', 'nobody in the guest would do it', s.VIF.configure_ipv4, vif, 'Static', '10.0.0.7/8', '') == [vm], 'the VM is named')
    fails('VM_LACKS_FEATURE', 'nor undo it', s.VIF.configure_ipv6, vif, 'None', '', '')
    check(s.VIF.get_ipv6_configuration_mode(vif) == 'Static', 'the record stays')
    fails('HANDLE_INVALID', 'no card', s.VIF.configure_ipv4, 'OpaqueRef:none', 'None', '', '')
done()
