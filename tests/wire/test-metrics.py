#!/usr/bin/env python3
"""Metrics of hosts, VMs and repositories: names, both formats, order, one source at a time, restarts, OpenMetrics."""
import base64
import http.client
import json
import math
import os
import re
import time
import xml.etree.ElementTree as ET

from harness import PASSWORD, USER, Agent, check, done, fails, wait_until

BASIC = {'Authorization': 'Basic ' + base64.b64encode((USER + ':' + PASSWORD).encode()).decode()}
MIB = 1 << 20


def get(agent, path, headers=None, login=True):
    c = http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=60)
    c.request('GET', path, None, dict(BASIC if login else {}, **(headers or {})))
    r = c.getresponse()
    return r.status, r.read().decode(), r.headers


def updates(agent, query):
    """The JSON answer as {legend: [(t, value), newest first]} and its meta."""
    status, text, _ = get(agent, '/rrd_updates?json=true&' + query)
    assert status == 200, text
    answer = json.loads(text)
    columns = {name: [(int(row['t']), float(row['values'][i])) for row in answer['data']]
               for i, name in enumerate(answer['meta']['legend'])}
    return answer['meta'], columns


def known(columns, name):
    return [v for _, v in columns.get(name, []) if not math.isnan(v)]


def make_vm(s, name):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    s.VM.provision(vm)
    vdi = s.VDI.create({'name_label': name, 'name_description': '', 'SR': sr, 'virtual_size': str(64 * MIB), 'type': 'user',
                        'sharable': False, 'read_only': False, 'other_config': {}})
    s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                  'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VIF.create({'VM': vm, 'network': s.network.get_all()[0], 'device': '0', 'MAC': '', 'MTU': '1500', 'other_config': {},
                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    return vm, sr


with Agent() as agent:
    s = agent.login()
    host_ref = s.host.get_all()[0]
    host = s.host.get_uuid(host_ref)
    vm, sr_ref = make_vm(s, 'measured')
    uuid, sr = s.VM.get_uuid(vm), s.SR.get_uuid(sr_ref)
    s.VM.start(vm, False, False)
    memory = 'AVERAGE:vm:%s:memory' % uuid
    start = int(time.time()) - 60
    query = 'start=%d&cf=AVERAGE&host=true&interval=5&sr_uuid=%s' % (start, sr)
    cpu = 'AVERAGE:host:%s:cpu_avg' % host
    check(wait_until(lambda: len(known(updates(agent, query)[1], memory)) >= 2 and len(known(updates(agent, query)[1], cpu)) >= 2,
                     60), 'a VM that runs is measured every five seconds')

    meta, columns = updates(agent, query)
    check(meta['step'] == '5' and int(meta['columns']) == len(columns), 'the step is the interval')
    for n in ('cpu0', 'cpu_avg', 'loadavg', 'memory_total_kib', 'memory_free_kib', 'running_vcpus', 'pif_eth0_rx', 'pif_eth0_tx',
              'pif_aggr_rx', 'pif_aggr_tx', 'iops_read_' + sr[:8], 'io_throughput_total_' + sr[:8]):
        check('AVERAGE:host:%s:%s' % (host, n) in columns, 'host: ' + n)
    for n in ('cpu0', 'cpu_usage', 'memory', 'memory_target', 'vif_0_rx', 'vif_0_tx', 'vbd_xvda_read', 'vbd_xvda_write',
              'vbd_xvda_iops_total'):
        check('AVERAGE:vm:%s:%s' % (uuid, n) in columns, 'VM: ' + n)
    check('AVERAGE:sr:%s:physical_utilisation' % sr in columns, 'an SR that is asked for')
    check(all(re.match(r'AVERAGE:(host|vm|sr):[0-9a-f-]{36}:\w+$', n) for n in columns), 'every legend is cf:class:uuid:name')
    times = [t for t, _ in columns[memory]]
    check(times == list(range(int(meta['end']), int(meta['start']) - 1, -5)), 'newest row first, one every step')
    check(len(times) == int(meta['rows']) and min(times) > start, 'as many as said, after the start')
    check(known(columns, memory)[0] == float(s.VM_metrics.get_memory_actual(s.VM.get_metrics(vm))), 'the VM has its memory')
    total = known(columns, 'AVERAGE:host:%s:memory_total_kib' % host)[0] * 1024
    check(abs(total / float(s.host_metrics.get_memory_total(s.host.get_metrics(host_ref))) - 1) < 1e-6, 'and the host its own')
    check(all(0 <= v <= 1 for v in known(columns, cpu)), 'a CPU is used between not and wholly')

    for interval in (60, 3600, 86400):
        check(updates(agent, 'start=-60&interval=%d' % interval)[0]['step'] == str(interval), 'interval %d' % interval)
    check(updates(agent, 'start=-8000&interval=5')[0]['step'] == '3600', 'what reaches back to the start is coarser')
    meta, columns = updates(agent, 'start=-60')
    check(columns and all(n.startswith('AVERAGE:vm:') for n in columns), 'only VMs when nothing else is asked for')
    check(not updates(agent, 'start=-60&vm_uuid=' + host)[1], 'no such VM: no column')
    check(not updates(agent, 'start=-60&cf=MAX')[1], 'no archive of maxima unless it is wanted')
    check(updates(agent, 'start=%d' % (int(time.time()) + 1000))[1][memory] == [], 'no row of the future')
    for bad in ('', 'start=x', 'start=-60&cf=LAST', 'start=-60&interval=x', 'start=nan'):
        check(get(agent, '/rrd_updates?' + bad)[0] == 400, 'refused: "%s"' % bad)

    # Which format.
    for accept, parameter, json_wanted in ((None, '', False), (None, '&json=true', True), (None, '&json=false', True),
                                           ('*/*', '', True), ('application/json', '', True), ('text/xml', '&json=true', False),
                                           ('application/xml;q=0.9, */*;q=0.1', '', False), ('text/html', '', False),
                                           ('text/xml;q=0.2,application/json;q=0.8', '', True)):
        _, text, headers = get(agent, '/rrd_updates?start=-60' + parameter, {'Accept': accept} if accept else None)
        check((text[0] == '{') == json_wanted and headers['Access-Control-Allow-Origin'] == '*' and
              headers['Content-Type'] == ('application/json' if json_wanted else 'text/xml'), 'Accept %s %s' % (accept, parameter))

    # XML, as a reader that relies on the order of elements.
    xml = ET.fromstring(get(agent, '/rrd_updates?' + query)[1])
    meta_names = [e.tag for e in xml.find('meta')]
    check(meta_names == ['start', 'step', 'end', 'rows', 'columns', 'legend'], 'xport meta: %s' % meta_names)
    legend = [e.text for e in xml.find('meta/legend')]
    rows = xml.findall('data/row')
    check(memory in legend and rows and all(r[0].tag == 't' and len(r) == len(legend) + 1 for r in rows), 'a v for every entry')
    for path in ('/host_rrd', '/host_rrds', '/vm_rrd?uuid=' + uuid, '/vm_rrds?uuid=' + uuid, '/sr_rrd?uuid=' + sr):
        rrd = ET.fromstring(get(agent, path)[1])
        tags = [e.tag for e in rrd]
        n = len(rrd.findall('ds'))
        check(tags == ['version', 'step', 'lastupdate'] + ['ds'] * n + ['rra'] * 4 and n > 0, path + ': elements in order')
        check(abs(int(rrd.find('lastupdate').text) - time.time()) < 30, 'the last update is a whole number')
        ds = [e.tag for e in rrd.find('ds')]
        check(ds == ['name', 'type', 'minimal_heartbeat', 'min', 'max', 'last_ds', 'value', 'unknown_sec'], 'ds in order')
        rras = rrd.findall('rra')
        check(all([e.tag for e in a] == ['cf', 'pdp_per_row', 'params', 'cdp_prep', 'database'] for a in rras), 'rra in order')
        check([(a.find('pdp_per_row').text, len(a.findall('database/row'))) for a in rras] ==
              [('1', 120), ('12', 120), ('720', 168), ('17280', 366)], 'four archives')
        check(all(len(r) == n for a in rras for r in a.findall('database/row')), 'every row is whole')
    rrd = json.loads(get(agent, '/vm_rrd?json&uuid=' + uuid)[1])
    at = [d['name'] for d in rrd['ds']].index('memory')
    check(len(rrd['rra']) == 4 and float(rrd['rra'][0]['database'][-1][at]) == known(columns, memory)[0], 'JSON: oldest row first')

    check(get(agent, '/vm_rrd')[0] == 400 and get(agent, '/vm_rrd?uuid=' + host)[0] == 404, 'no uuid, no such VM')
    for path in ('/rrd_updates?start=-60', '/host_rrd', '/vm_rrd?uuid=' + uuid, '/metrics'):
        check(get(agent, path, login=False)[0] == 401, '%s is not for strangers' % path)

    # OpenMetrics.
    status, text, headers = get(agent, '/metrics')
    lines = text.split('\n')
    check(status == 200 and headers['Content-Type'].startswith('application/openmetrics-text') and lines[-2:] == ['# EOF', ''],
          'OpenMetrics end with their end')
    check(any(l.startswith('xapi_vm_vif_rx{uuid="%s",device="0"} ' % uuid) for l in lines), 'a VIF is a label')
    families = [l.split()[2] for l in lines if l.startswith('# TYPE ')]
    check(len(families) == len(set(families)), 'every family once')
    pattern = re.compile(r'\w+\{uuid="[0-9a-f-]{36}"(,\w+="[^"]*")?\} -?[0-9.]+$')
    odd = [l for l in lines[:-2] if not l.startswith('# ') and not pattern.match(l)]
    check(not odd, 'every other line is a sample: %s' % odd[:3])

    # One source at a time.
    for cls, ref, name, wanted in ((s.host, host_ref, 'memory_total_kib', total / 1024), (s.VM, vm, 'memory', known(columns, memory)[0]),
                                   (s.SR, sr_ref, 'physical_size', float(s.SR.get_physical_size(sr_ref))), (s.SR, sr_ref, 'health', 0)):
        sources = {d['name_label']: d for d in cls.get_data_sources(ref)}
        check(sorted(sources[name]) == sorted(['name_label', 'name_description', 'enabled', 'standard', 'units', 'min', 'max', 'value'])
              and sources[name]['enabled'] and sources[name]['name_description'], 'a data source of %s' % name)
        check(abs(cls.query_data_source(ref, name) - wanted) <= 1e-6 * wanted, 'its value')
        fails('INVALID_VALUE', 'no such source', cls.query_data_source, ref, 'nonsense')
        fails('INVALID_VALUE', 'nor history of it', cls.forget_data_source_archives, ref, 'nonsense')
        fails('HANDLE_INVALID', 'no such object', cls.get_data_sources, 'OpaqueRef:' + uuid)
        cls.forget_data_source_archives(ref, name)
        check(not [d for d in cls.get_data_sources(ref) if d['name_label'] == name][0]['enabled'], 'forgotten')
        check(not [n for n in updates(agent, query)[1] if n.endswith(':%s' % name)], 'and shown no more')
        cls.record_data_source(ref, name)
        check([d for d in cls.get_data_sources(ref) if d['name_label'] == name][0]['enabled'], 'recorded again')
    check(not known(updates(agent, query)[1], memory)[3:], 'without its history')

    # What was measured outlives the agent, by stop and by start.
    check(wait_until(lambda: known(updates(agent, query)[1], memory), 30), 'one more row')
    before = {t: v for t, v in updates(agent, query)[1][cpu] if not math.isnan(v)}
    check(agent.stop() == 0, 'the agent stops')
    check(os.path.exists(os.path.join(agent.root, 'rrd', 'host-' + host)), 'its metrics are in a file')
    agent.start()
    s = agent.login()
    check(wait_until(lambda: cpu in updates(agent, query)[1], 30), 'after a restart')
    after = dict(updates(agent, query)[1][cpu])
    check(len(before) >= 2 and all(after.get(t) == v for t, v in before.items()), 'the rows from before are there')

    # A VM that does not run is nowhere but in the archive; one that is gone is gone.
    s.VM.hard_shutdown(vm)
    check(get(agent, '/vm_rrd?uuid=' + uuid)[0] == 200, 'a halted VM has its archives')
    check(wait_until(lambda: math.isnan(s.VM.query_data_source(vm, 'memory')), 30), 'but no value of now')
    check(agent.stop() == 0, 'the agent stops')
    agent.options.append('--rrd-min-max=yes')
    agent.start()
    s = agent.login()
    s.VM.destroy(vm)
    agent.kill()
    agent.start()
    check(wait_until(lambda: not os.path.exists(os.path.join(agent.root, 'rrd', 'vm-' + uuid)), 30), 'a destroyed VM has no file')
    check(wait_until(lambda: 'MAX:host:%s:loadavg' % host in updates(agent, 'start=-60&host=true')[1], 30), 'maxima when wanted')
done()
