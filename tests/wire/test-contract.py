#!/usr/bin/env python3
"""What clients rely on and no other test states: paths and cookies, parameters and answers of every endpoint, the rules of
uploads, constants in records."""
import base64
import http.client
import json
import os
import re
import socket
import subprocess
import urllib.parse
import xml.etree.ElementTree as ET

from harness import BUILD, PASSWORD, SOURCE, Agent, Failure, check, done, fails, unwrap, wait_until

MIB, PIB = 1 << 20, 1 << 50
GONE = 'OpaqueRef:00000000-0000-4000-8000-00000000dead'


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('localhost', timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(agent, method, path, body=None, headers=None, unix=False):
    """(status, headers in lower case, body)"""
    c = Unix(agent.socket) if unix else http.client.HTTPConnection('127.0.0.1', agent.http_port, timeout=30)
    c.request(method, path, body, headers or {})
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, {k.lower(): v for k, v in r.getheaders()}, text


def raw(agent, text):
    """Everything the server says to these bytes until it closes."""
    s = socket.create_connection(('127.0.0.1', agent.http_port), 30)
    s.sendall(text)
    s.shutdown(socket.SHUT_WR)
    got = b''
    while True:
        piece = s.recv(65536)
        if not piece:
            s.close()
            return got
        got += piece


class World:
    def __init__(self, agent):
        self.agent, self.s = agent, agent.login()
        s = self.s
        self.pool, self.host = s.pool.get_all()[0], s.host.get_all()[0]
        self.sr = s.pool.get_default_SR(self.pool)
        self.vdi = s.VDI.create({'name_label': 'disk', 'SR': self.sr, 'virtual_size': str(4 * MIB), 'type': 'user'})
        self.vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'machine')
        s.VM.provision(self.vm)
        s.VM.start(self.vm, False, False)
        self.halted = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'halted')
        s.VM.provision(self.halted)

    def url(self, path, **query):
        return '%s?%s' % (path, urllib.parse.urlencode(dict(session_id=self.s._ref, **query)))

    def get(self, path, headers=None, **query):
        return ask(self.agent, 'GET', self.url(path, **query), headers=headers)

    def put(self, path, body=b'', **query):
        return ask(self.agent, 'PUT', self.url(path, **query), body)

    def task(self):
        return self.s.task.create('task of a test', '')

    def outcome(self, task):
        """(status, error_info) of a task once it has ended."""
        wait_until(lambda: self.s.task.get_status(task) not in ('pending', 'cancelling'))
        return self.s.task.get_status(task), self.s.task.get_error_info(task)


# ---- A1, A11: requests ----

def paths(w):
    """The longest prefix decides, as strings go: with a slash behind, and the names that consoles ask for."""
    for path in ('/export_raw_vdi', '/export_raw_vdi/'):
        check(len(w.get(path, vdi=w.s.VDI.get_uuid(w.vdi), format='raw')[2]) == 4 * MIB, 'GET %s' % path)
    for path in ('/export', '/export/'):
        check(b'ova.xml' in w.get(path, uuid=w.s.VM.get_uuid(w.halted))[2][:512], 'GET %s' % path)
    for path in ('/import', '/import/', '/import_raw_vdi', '/import_raw_vdi/'):
        check(w.put(path, vdi=w.vdi)[0] == 200, 'an empty PUT %s' % path)
    wait_until(lambda: w.get('/vm_rrd', uuid=w.s.VM.get_uuid(w.vm))[0] == 200)    # measured every five seconds
    for path, query in (('/host_rrd', {}), ('/host_rrds', {}), ('/vm_rrd', {'uuid': w.s.VM.get_uuid(w.vm)}),
                        ('/vm_rrds', {'uuid': w.s.VM.get_uuid(w.vm)})):
        status, headers, body = w.get(path, **query)
        check(status == 200 and b'<rrd>' in body[:200], 'GET %s' % path)
        check(headers.get('access-control-allow-origin') == '*', 'which pages of other hosts may read')
    check(w.get('/rrd_updates', start='0')[1].get('access-control-allow-origin') == '*', 'so may they read /rrd_updates')


def request_heads(w):
    ref = w.s._ref
    for cookie in ('session_id=%s; x=y' % ref, 'x=y&session_id=%s' % ref, 'session_id=%s' % urllib.parse.quote(ref, safe='')):
        check(ask(w.agent, 'GET', '/host_rrd', headers={'Cookie': cookie})[0] == 200, 'the session as a cookie: %s' % cookie[:24])
    task = w.task()
    w.get('/export_metadata', headers={'task-id': task}, uuid=w.s.VM.get_uuid(w.halted))
    check(w.outcome(task)[0] == 'success', 'a task named by the header task-id')
    task = w.task()
    w.get('/export_metadata', headers={'Cookie': 'task_id=' + task}, uuid=w.s.VM.get_uuid(w.halted), task_id=GONE)
    check(w.outcome(task)[0] == 'success', 'or by a cookie, which wins')
    parent = w.task()
    body = ('<methodCall><methodName>Async.VM.set_name_description</methodName><params><param><value>%s</value></param>'
            '<param><value>%s</value></param><param><value>x</value></param></params></methodCall>' % (ref, w.halted))
    ask(w.agent, 'POST', '/', body, {'subtask-of': parent, 'originator': 'test', 'baggage': 'a=b',
                                     'traceparent': '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'})
    check(len(w.s.task.get_subtasks(parent)) == 1, 'the header subtask-of names the parent')
    old = raw(w.agent, ('POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body)).encode())
    check(old.startswith(b'HTTP/1.0 200 ') and b'hunked' not in old, 'HTTP/1.0 without a User-Agent, answered in one piece')
    check(ask(w.agent, 'GET', '/export?uuid=' + w.s.VM.get_uuid(w.halted), unix=True)[0] == 200, 'the unix socket needs no session')
    check(ask(w.agent, 'GET', '/export?session_id=%s&uuid=%s' % (GONE, w.s.VM.get_uuid(w.halted)), unix=True)[0] == 200,
          'and one that has ended does not matter there')


# ---- A7: tasks ----

def async_names(w):
    """Async is there for every class but five."""
    names = unwrap_list(w)
    check(not [n for n in names if re.match(r'Async\.(session|event|task|data_source|blob)\.', n)], 'five classes are never in the background')
    messages = [n for n in names if re.fullmatch(r'(VM|host|pool|VDI|SR|message|secret|console|VMSS)\.(?!get_|set_|add_|remove_)\w+', n)]
    check(len(messages) > 200 and all('Async.' + n in names for n in messages), 'all %d others of nine classes are' % len(messages))
    fails('MESSAGE_METHOD_UNKNOWN', 'a blob is not made in the background', w.s.Async.blob.create, 'x', False)


def unwrap_list(w):
    return set(w.s._proxy.system.listMethods())


def handlers_end_tasks(w):
    """Whatever goes wrong, the task of a transfer ends."""
    uuid = w.s.VM.get_uuid(w.halted)
    for what, method, path, query in (
            ('an unknown machine', 'GET', '/export', {'uuid': 'none'}),
            ('an unknown disk', 'GET', '/export_raw_vdi', {'vdi': 'none'}),
            ('an unknown repository', 'PUT', '/import', {'sr_id': GONE}),
            ('an unknown repository', 'PUT', '/import_raw_vdi', {'sr_uuid': 'none'}),
            ('an unknown machine', 'GET', '/export_metadata', {'uuid': 'none'}),
            ('an unknown machine', 'GET', '/vm_rrd', {'uuid': 'none'}),
            ('an unknown machine', 'GET', '/vncsnapshot', {'uuid': 'none'}),
            ('no start', 'GET', '/rrd_updates', {}),
            ('an unknown machine', 'GET', '/console', {'uuid': 'none'}),
            ('no such blob', 'GET', '/blob', {'uuid': 'none'}),
            ('no such blob', 'PUT', '/blob', {'uuid': 'none'}),
            ('no update', 'PUT', '/pool_patch_upload', {}),
            ('no plug-in', 'GET', '/services', {})):
        task = w.task()
        status = ask(w.agent, method, w.url(path, task_id=task, **query), b'something' if method == 'PUT' else None)[0]
        check(w.outcome(task)[0] == 'failure', '%s %s, %s (%d): the task fails' % (method, path, what, status))
    task = w.task()
    check(w.get('/host_rrd', task_id=task)[0] == 200 and w.outcome(task)[0] == 'success', 'metrics end a task as well')
    for method, path in (('GET', '/export?uuid=' + uuid), ('PUT', '/import'), ('PUT', '/import_raw_vdi?vdi=' + w.vdi), ('GET', '/rrd_updates?start=0')):
        task = w.task()
        status = ask(w.agent, method, '%s%stask_id=%s' % (path, '&' if '?' in path else '?', task), b'x' if method == 'PUT' else None)[0]
        check(status == 401 and w.outcome(task) == ('failure', ['SESSION_INVALID', '']), '%s %s without a session: 401, the task fails' % (method, path[:12]))
    task = w.task()
    s = socket.create_connection(('127.0.0.1', w.agent.http_port), 30)
    s.sendall(('PUT %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n' % (w.url('/import_raw_vdi', vdi=w.vdi, task_id=task), 4 * MIB)).encode() + b'x' * 1000)
    s.close()
    check(w.outcome(task)[0] == 'failure', 'a client that goes: the task fails')


# ---- A9: endpoints ----

def exports(w):
    uuid = w.s.VM.get_uuid(w.halted)
    answer = raw(w.agent, ('GET %s HTTP/1.1\r\n\r\n' % w.url('/export', uuid=uuid)).encode())
    head = answer.split(b'\r\n\r\n')[0].decode().lower()
    check(re.match(r'http/1\.[01] 200 ', head) and 'content-length' not in head and 'chunked' not in head, 'an export ends by closing')
    check('content-type: application/octet-stream' in head and 'content-disposition: attachment; filename="export.xva"' in head, 'is a file')
    check(re.search(r'task-id: opaqueref:[0-9a-f-]{36}', head), 'and names its task')
    for kind, magic in (('true', b'\x1f\x8b'), ('gzip', b'\x1f\x8b'), ('zstd', b'\x28\xb5\x2f\xfd'), ('false', b'ova.xml'), ('none', b'ova.xml')):
        check(w.get('/export', ref=w.halted, use_compression=kind)[2].startswith(magic), 'use_compression=%s' % kind)
    status, headers, body = w.get('/export_metadata', all='true')
    check(status == 200 and int(headers['content-length']) == len(body), 'all records, with their length')
    for kind, mime in (('raw', 'application/octet-stream'), ('vhd', 'application/vhd'), ('qcow2', 'application/x-qemu-disk'), ('tar', 'application/x-tar')):
        status, headers, body = w.get('/export_raw_vdi', vdi=w.vdi, format=kind)
        check(status == 200 and headers['content-type'] == mime and
              headers['content-disposition'].endswith('filename="%s.%s"' % (w.s.VDI.get_uuid(w.vdi), kind)), 'a disk as %s' % kind)
    check(w.put('/import_raw_vdi', b'x', vdi=w.vdi, format='none')[0] == 404, 'a format that nobody knows: 404')


def metrics(w):
    kinds = ((None, '', False), ('application/json', '', True), ('*/*', '', True), ('text/xml', '', False), (None, '&json=false', True),
             (None, '&json=true', True))
    for accept, more, is_json in kinds:
        status, headers, body = ask(w.agent, 'GET', w.url('/rrd_updates', start='0', host='true') + more,
                                    headers={'Accept': accept} if accept else {})
        check(status == 200 and body.startswith(b'{' if is_json else b'<'), 'metrics for Accept %s%s: %s' % (accept, more, 'JSON' if is_json else 'XML'))
    data = json.loads(w.get('/rrd_updates', start='0', host='true', json='true')[2])
    check(all(isinstance(data['meta'][k], str) for k in ('start', 'step', 'end', 'rows', 'columns')), 'numbers of the JSON are texts')
    check(all(isinstance(v, str) for row in data['data'] for v in row['values']), 'values, too')
    tree = ET.fromstring(w.get('/host_rrd')[2])
    check(tree.find('version').text == '0003' and tree.find('step').text == '5', 'the full archives have a version and a step')
    ends = [rra.find('pdp_per_row').text for rra in tree.findall('rra')]
    check(ends == ['1', '12', '720', '17280'], 'and four resolutions: %s' % ends)


# ---- A10: uploads ----

def probes(w):
    """What comes before an upload, empty or announcing a petabyte: 200 at once, and nothing happens."""
    before = (w.s.VDI.get_all(), w.s.VM.get_all(), w.s.VDI.get_record(w.vdi)['virtual_size'])
    for path, query in (('/import', {}), ('/import', {'sr_id': w.sr}), ('/import_raw_vdi', {'vdi': w.vdi, 'format': 'raw'}),
                        ('/import_raw_vdi', {'vdi': w.vdi, 'format': 'vhd'}), ('/pool/xmldbdump', {}), ('/pool/xmldbdump', {'dry_run': 'true'}),
                        ('/host_restore', {}), ('/import_metadata', {}), ('/pool_patch_upload', {}), ('/pool_patch_upload', {'sr_id': w.sr})):
        for length in (0, PIB):
            s = socket.create_connection(('127.0.0.1', w.agent.http_port), 10)
            s.sendall(('PUT %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n' % (w.url(path, **query), length)).encode())
            got = s.recv(100)
            s.close()
            check(got.startswith(b'HTTP/1.1 200 '), 'PUT %s %s of %d bytes, nothing sent: 200' % (path, ' '.join(query), length))
    check((w.s.VDI.get_all(), w.s.VM.get_all(), w.s.VDI.get_record(w.vdi)['virtual_size']) == before, 'none of them made or changed anything')
    task = w.task()
    check(raw(w.agent, ('PUT %s HTTP/1.1\r\nContent-Length: %d\r\n\r\nupdate' % (w.url('/pool_patch_upload', task_id=task), PIB)).encode())
          .startswith(b'HTTP/1.1 200 ') and w.outcome(task) == ('failure', ['NOT_IMPLEMENTED', 'http/put_pool_patch_upload']),
          'an update of unknown length: its task fails')


def locations(w):
    for vm in (w.vm, w.s.VM.get_all_records_where('field "is_control_domain" = "true"').popitem()[0]):
        for console in w.s.VM.get_consoles(vm):
            url = urllib.parse.urlparse(w.s.console.get_location(console))
            check((url.scheme, url.path, url.query) == ('https', '/console', 'ref=' + console) and
                  url.hostname == w.s.host.get_address(w.host), 'a console has an absolute address with a query')


# ---- E: constants ----

RESTRICTIONS = """restrict_vlan restrict_qos restrict_pool_attached_storage restrict_netapp restrict_equalogic restrict_pooling
restrict_marathon restrict_email_alerting restrict_historical_performance restrict_wlb restrict_rbac restrict_dmc restrict_checkpoint
restrict_cpu_masking restrict_connection platform_filter regular_nag_dialog restrict_vmpr restrict_vmss restrict_intellicache
restrict_gpu restrict_dr restrict_vif_locking restrict_storage_xen_motion restrict_vgpu restrict_integrated_gpu_passthrough
restrict_vss restrict_guest_agent_auto_update restrict_pci_device_for_auto_update restrict_xen_motion restrict_guest_ip_setting
restrict_ad restrict_nested_virt restrict_live_patching restrict_set_vcpus_number_live restrict_pvs_proxy restrict_igmp_snooping
restrict_rpu restrict_pool_size restrict_cbt restrict_usb_passthrough restrict_network_sriov restrict_corosync
restrict_cluster_address restrict_zstd_export restrict_pool_secret_rotation restrict_certificate_verification restrict_updates
restrict_internal_repo_access restrict_vtpm restrict_vm_groups restrict_vm_start restrict_vm_appliance_start restrict_cifs
restrict_hotfix_apply restrict_batch_hotfix_apply restrict_health_check restrict_management_on_vlan restrict_read_caching
restrict_ssl_legacy_switch restrict_vswitch_controller restrict_xcm restrict_export_resource_data""".split()


def licences(w):
    for what, have in (('host.license_params', w.s.host.get_license_params(w.host)), ('pool.restrictions', w.s.pool.get_restrictions(w.pool))):
        missing = [k for k in RESTRICTIONS + ['enable_xha'] if k not in have]
        check(not missing, '%s has every key%s' % (what, ': not ' + ' '.join(missing) if missing else ''))
        bad = [k for k in RESTRICTIONS if have.get(k) == 'true'] + (['enable_xha'] if have.get('enable_xha') == 'false' else [])
        check(not bad, 'and takes no function away%s' % bad)
    params = w.s.host.get_license_params(w.host)
    missing = [k for k in ('expiry', 'sku_type', 'version', 'productcode', 'serialnumber', 'sockets', 'address1', 'name', 'company', 'grace',
                           'license_type') if k not in params]
    check(not missing, 'the licence has its other keys%s' % missing)


def host_record(w):
    r = w.s.host.get_record(w.host)
    version, cpu = r['software_version'], r['cpu_info']
    missing = [k for k in ('product_version', 'product_version_text', 'product_version_text_short', 'product_brand', 'platform_name',
                           'platform_version', 'xapi', 'build_number', 'hostname', 'date', 'db_schema', 'linux', 'network_backend',
                           'xencenter_min', 'xencenter_max') if not version.get(k)]
    check(not missing and '' not in version.values(), 'software_version: %s' % (missing or 'every key, none empty'))
    check(version['network_backend'] in ('bridge', 'openvswitch') and re.fullmatch(r'\d+\.\d+\.\d+', version['platform_version']), 'its values')
    missing = [k for k in ('cpu_count', 'socket_count', 'threads_per_core', 'nr_nodes', 'vendor', 'speed', 'modelname', 'family', 'model', 'stepping',
                           'flags', 'features_pv', 'features_hvm', 'features_hvm_host', 'features_pv_host') if k not in cpu]
    check(not missing, 'cpu_info: %s' % (missing or 'every key'))
    check((r['API_version_major'], r['API_version_minor'], r['API_version_vendor']) == ('2', '23', 'XenSource'), 'the version of the API')
    check(any(c.startswith('hvm-3.0') for c in r['capabilities']) and any(c.startswith('xen-3.0-x86_64') for c in r['capabilities']), 'capabilities')
    check({'pygrub', 'eliloader'} <= set(r['supported_bootloaders']), 'boot loaders')
    check(r['edition'] and set(r['license_server']) == {'address', 'port'} and r['chipset_info'].get('iommu') in ('true', 'false'),
          'edition, licence server, chipset')
    for key in ('agent_start_time', 'boot_time'):
        check(float(r['other_config'][key]) > 1e9, 'other_config:%s is a time' % key)
    check(r['other_config'].get('iscsi_iqn', '').startswith('iqn.'), 'other_config:iscsi_iqn')


def role_records(w):
    records = w.s.role.get_all_records()
    by_name = {r['name_label']: r for r in records.values()}
    for name in ('http/put_import', 'http/connect_console', 'http/connect_console/host_console', 'vm.start', 'host.call_plugin'):
        check(name in by_name and by_name[name]['subroles'] == [], 'the permission %s is a role without others' % name)
    hidden = [r['name_label'] for r in records.values() if r['subroles'] and r['is_internal']]
    check(hidden == ['client-cert'], 'what is internal is marked: %s' % hidden)


def templates(w):
    s = w.s
    records = s.VM.get_all_records_where('field "is_default_template" = "true"')
    published = [l.rstrip('\n').split('\t') for l in open(os.path.join(SOURCE, 'schema', 'templates.tsv'))] \
        if os.path.exists(os.path.join(SOURCE, 'schema', 'templates.tsv')) else []
    check(len(records) > 20 and all(r['other_config'].get('default_template') == 'true' and r['is_a_template'] for r in records.values()),
          '%d default templates %s' % (len(records), 'as published' if published else 'marked in both ways'))
    r = s.VM.get_record(s.VM.get_by_name_label('Other install media')[0])
    check((r['actions_after_shutdown'], r['actions_after_reboot'], r['actions_after_crash']) == ('destroy', 'restart', 'restart'), 'actions')
    check(set(r['platform']) >= {'nx', 'acpi', 'apic', 'pae', 'hpet'}, 'platform: %s' % r['platform'])
    check(r['memory_static_max'] == r['memory_dynamic_max'] == r['memory_dynamic_min'], 'memory')
    check(r['HVM_boot_policy'] == 'BIOS order' and 'order' in r['HVM_boot_params'] and 'install-methods' in r['other_config'], 'boots')
    tree = ET.fromstring(r['recommendations'])
    fields = {e.get('field') for e in tree.findall('restriction') if e.get('field')} | {e.get('property') for e in tree.findall('restriction')}
    check(fields >= {'memory-static-max', 'vcpus-min', 'vcpus-max', 'has-vendor-device', 'allow-gpu-passthrough', 'allow-vgpu', 'allow-network-sriov',
                     'supports-bios', 'supports-uefi', 'supports-secure-boot'}, 'recommendations: %s' % fields)
    linux = next(r for r in records.values() if r['name_label'].startswith('Debian Bookworm'))
    disks = ET.fromstring(linux['other_config']['disks'])
    check(disks.tag == 'provision' and set(disks[0].attrib) == {'device', 'size', 'sr', 'bootable', 'type'}, 'the disks that it asks for')
    check(linux['other_config'].get('linux_template') == 'true', 'a Linux template says so')


def members(w):
    """What clients read of their session, and the order of who one is."""
    s = w.s
    r = s.session.get_record(s._ref)
    check(set(r) >= {'uuid', 'this_host', 'is_local_superuser', 'subject', 'auth_user_sid', 'auth_user_name', 'rbac_permissions', 'pool', 'last_active'},
          'the fields of a session')
    for version in ('', '1.0', 'nonsense'):
        check(unwrap(s._proxy.session.login_with_password('root', '', version, 'x')).startswith('OpaqueRef:'), 'version %r is a hint' % version)
    basic = {'Authorization': 'Basic ' + base64.b64encode(('root:' + PASSWORD).encode()).decode()}
    count = len(open(os.path.join(w.agent.root, 'audit.log')).read())
    check(ask(w.agent, 'GET', '/host_rrd?session_id=' + GONE, headers=basic)[0] == 401, 'a session that is named is the one that counts')
    check(len(open(os.path.join(w.agent.root, 'audit.log')).read()) > count, 'refusals are in the audit log')


PARTS = (paths, request_heads, async_names, handlers_end_tasks, exports, metrics, probes, locations, licences, host_record, role_records,
         templates, members)

if __name__ == '__main__':
    with Agent() as agent:
        world = World(agent)
        for part in PARTS:
            part(world)
    done()
