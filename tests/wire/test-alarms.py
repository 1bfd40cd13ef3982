#!/usr/bin/env python3
"""Alarms on metrics: other_config:perfmon of VMs, hosts and SRs, as XenCenter writes it, becomes messages ALARM, as XO Lite and
XenCenter read them. (tests/unit/test-alarms.c: when; here: whose, and what they say.)"""
import re
import xml.etree.ElementTree as ET

from harness import Agent, check, done, wait_until


def variable(name, level, period=5, inhibit=3600, more=''):
    return ('<variable><name value="%s"/><alarm_trigger_level value="%s"/><alarm_trigger_period value="%s"/>'
            '<alarm_auto_inhibit_period value="%s"/>%s</variable>' % (name, level, period, inhibit, more))


def config(*variables):
    return '<config>%s</config>' % ''.join(variables)


def alarms(s, cls, uuid):
    return [m for m in s.message.get(cls, uuid, '19700101T00:00:00Z').values() if m['name'] == 'ALARM']


def name_of(message):
    """As XenCenter and XO Lite take it apart."""
    value, body = re.match(r'value: (-?[0-9.]+)\nconfig:\n(<variable>.*)', message['body'], re.S).groups()
    root = ET.fromstring(body)
    return root.find('name').get('value'), float(value), float(root.find('alarm_trigger_level').get('value')), root


def guest(s, name, perfmon):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.add_to_other_config(vm, 'perfmon', perfmon)
    s.VM.start(vm, False, False)
    return vm, s.VM.get_uuid(vm)


with Agent() as agent:
    s = agent.login()
    host, sr = s.host.get_all()[0], s.pool.get_default_SR(s.pool.get_all()[0])
    dom0 = s.VM.get_all_records_where('field "is_control_domain" = "true"')
    dom0 = next(iter(dom0))
    loud, loud_uuid = guest(s, 'loud', config(variable('memory', '1', inhibit=0, more='<rrd_regex value="memory"/><alarm_priority value="5"/>')))
    once, once_uuid = guest(s, 'once', '<?xml version="1.0"?>\n' + config(variable('memory', '1', more='<rrd_regex value="memory"/>'),
                                                                        variable('cpu_usage', '1.5')))
    wrong, wrong_uuid = guest(s, 'wrong', '<config><variable><name value="cpu_usage"/></variable>')
    s.host.add_to_other_config(host, 'perfmon', config(variable('memory_free_kib', '1e15')))
    s.SR.add_to_other_config(sr, 'perfmon', config(variable('sr_io_throughput_total_per_host', '1000', more='<alarm_trigger_sense value="low"/>'),
                                                   variable('physical_utilisation', '-1')))
    s.VM.add_to_other_config(dom0, 'perfmon', config(variable('mem_usage', '0'), variable('fs_usage', '0')))

    check(wait_until(lambda: len(alarms(s, 'VM', loud_uuid)) > 1, 60), 'what is bad all the time is said again and again when nothing forbids it')
    m = alarms(s, 'VM', loud_uuid)[0]
    check((m['priority'], m['cls'], m['obj_uuid']) == ('5', 'VM', loud_uuid), 'with its priority, about its VM')
    check(re.fullmatch(r'value: [0-9]+\.[0-9]{6}\nconfig:\n<variable>\n\t<name value="memory"/>\n\t<alarm_trigger_level value="1"/>\n'
                       r'\t<alarm_trigger_period value="5"/>\n\t<alarm_auto_inhibit_period value="0"/>\n\t<rrd_regex value="memory"/>\n'
                       r'\t<alarm_priority value="5"/>\n</variable>\n', m['body']), 'the text: %r' % m['body'])
    name, value, level, _ = name_of(m)
    check((name, level) == ('memory', 1.0) and value == float(s.VM.get_memory_static_max(loud)), 'value and rule can be read from it: %s' % value)
    check(len(alarms(s, 'VM', once_uuid)) == 1 and alarms(s, 'VM', once_uuid)[0]['priority'] == '3',
          'once within the inhibiting period, and nothing of what is well')
    check(alarms(s, 'VM', wrong_uuid) == [] and 'perfmon of %s' % wrong_uuid in agent.tail(5000), 'a configuration that is none is told in the log')

    uuid, sr_uuid = s.host.get_uuid(host), s.SR.get_uuid(sr)
    check(wait_until(lambda: len(alarms(s, 'Host', uuid)) == 2, 30), 'of the host: two')
    of_host = {name_of(m)[0]: name_of(m) for m in alarms(s, 'Host', uuid)}
    check(of_host['memory_free_kib'][1] > 0, 'its own, when there is less memory than that')
    moved = of_host['sr_io_throughput_total_' + sr_uuid[:8]]
    check(moved[1] == 0.0 and moved[3].find('configured_on').attrib == {'class': 'SR', 'uuid': sr_uuid}, "and the SR's about its hosts, which names it")
    check(wait_until(lambda: [name_of(m)[0] for m in alarms(s, 'SR', sr_uuid)] == ['physical_utilisation'], 30), 'of the SR: how full it is')
    check(wait_until(lambda: sorted(name_of(m)[0] for m in alarms(s, 'VM', s.VM.get_uuid(dom0))) == ['fs_usage', 'mem_usage'], 30),
          'of the control domain: its memory and its file system')
    check(all(0 < name_of(m)[1] <= 2 for m in alarms(s, 'VM', s.VM.get_uuid(dom0))), 'as shares')

    s.VM.remove_from_other_config(loud, 'perfmon')
    before = None

    def quiet():
        global before
        now, then = len(alarms(s, 'VM', loud_uuid)), before
        before = now
        return now == then
    check(wait_until(quiet, 60, 7), 'without the rule there is silence')
done()
