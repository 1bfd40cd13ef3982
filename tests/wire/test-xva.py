#!/usr/bin/env python3
"""VMs as files: GET /export, PUT /import: round trips, foreign files, broken files, clients that leave."""
import gzip
import hashlib
import http.server
import io
import os
import random
import socket
import tarfile
import threading
import uuid
import xmlrpc.client

from harness import Agent, Failure, check, done, wait_until

MIB = 1 << 20
SIZE = 5 * MIB + 4096
UNKNOWN = 1 << 50


def make_content(seed):
    """The first and the last MiB are zero, one in the middle too."""
    rnd, out = random.Random(seed), bytearray(SIZE)
    out[MIB + 100:2 * MIB + 300000] = rnd.randbytes(MIB + 299900)
    out[4 * MIB:4 * MIB + 10] = b'0123456789'
    return bytes(out)


def request(agent, s, method, path, query, length=None):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(agent.socket)
    head = '%s %s?%s&session_id=%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n' % (method, path, query, s._ref)
    sock.sendall((head + ('content-length: %d\r\n' % length if length is not None else '') + '\r\n').encode())
    return sock


def read_all(sock):
    data = b''
    while True:
        piece = sock.recv(1 << 20)
        if not piece:
            return data
        data += piece


def download(agent, s, query, path='/export'):
    head, body = read_all(request(agent, s, 'GET', path, query)).split(b'\r\n\r\n', 1)
    return int(head.split()[1]), head.decode().lower(), body


def upload(agent, s, data, query='', length=None, path='/import'):
    """Status, and the task's outcome: (status, result or error)."""
    task = s.task.create('import', '')
    sock = request(agent, s, 'PUT', path, query + '&task_id=' + task, len(data) if length is None else length)
    head = b''
    while b'\r\n\r\n' not in head:
        head += sock.recv(65536)
    status = int(head.split()[1])
    if status == 200:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            read_all(sock)
        except OSError:
            pass
    sock.close()
    wait_until(lambda: s.task.get_status(task) != 'pending')
    r = s.task.get_record(task)
    if r['status'] != 'success':
        return status, (r['status'], r['error_info'])
    return status, ('success', xmlrpc.client.loads('<params><param>%s</param></params>' % r['result'])[0][0] if r['result'] else '')


def make_vm(agent, s, sr):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'to go')
    s.VM.provision(vm)
    s.VM.add_to_other_config(vm, 'folder', '/a & b')
    vdi = s.VDI.create({'name_label': 'system', 'name_description': 'of it', 'SR': sr, 'virtual_size': str(SIZE), 'type': 'system',
                        'sharable': False, 'read_only': False, 'other_config': {}})
    s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                  'other_config': {'owner': ''}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VBD.create({'VM': vm, 'VDI': 'OpaqueRef:NULL', 'userdevice': '3', 'bootable': False, 'mode': 'RO', 'type': 'CD', 'empty': True,
                  'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    s.VIF.create({'VM': vm, 'network': s.network.get_all()[0], 'device': '0', 'MAC': '', 'MTU': '1500', 'other_config': {},
                  'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    sock = request(agent, s, 'PUT', '/import_raw_vdi', 'vdi=' + vdi, SIZE)
    sock.recv(4096)
    sock.sendall(make_content(1))
    read_all(sock)
    return vm, vdi


def disk_of(s, vm):
    for vbd in s.VM.get_VBDs(vm):
        if s.VBD.get_type(vbd) == 'Disk':
            return s.VBD.get_VDI(vbd)
    return None


def content_of(agent, s, vm):
    return download(agent, s, 'vdi=' + disk_of(s, vm), '/export_raw_vdi')[2]


def look_inside(xva):
    tar = tarfile.open(fileobj=io.BytesIO(xva))
    names = tar.getnames()
    check(names[0] == 'ova.xml', 'ova.xml comes first')
    ova = xmlrpc.client.loads('<params><param>%s</param></params>' % tar.extractfile('ova.xml').read().decode())[0][0]
    check(ova['version']['export_vsn'] == 2 and ova['version']['xapi_major'] == 1, 'version 2, from a low version')
    kinds = [o['class'] for o in ova['objects']]
    check(kinds == ['SR', 'VDI', 'VM_metrics', 'VM', 'network', 'VBD', 'VBD', 'VIF'], 'what belongs to it: %s' % kinds)
    by_class = {o['class']: o for o in ova['objects']}
    check(by_class['VIF']['snapshot']['VM'] == by_class['VM']['id'].strip() and by_class['VM']['id'].startswith('Ref:'), 'references are the file\'s')
    disk = by_class['VDI']['id']
    blocks = [n.split('/')[1] for n in names[1:]]
    check(all(n.startswith(disk + '/') for n in names[1:]) and blocks == [b + e for b in ('00000000', '00000001', '00000002', '00000004', '00000005')
                                                                        for e in ('', '.xxhash')], 'zero blocks are left out, the first and last not: %s' % blocks)
    check(tar.extractfile(disk + '/00000005').read() == bytes(4096), 'the last one is short')
    return names, disk


def round_trip(agent, s, vm):
    status, head, xva = download(agent, s, 'ref=' + vm)
    check(status == 200 and 'content-length' not in head and 'export.xva' in head and 'task-id:' in head, 'export: %d' % status)
    look_inside(xva)
    status, (state, vms) = upload(agent, s, xva)
    check(status == 200 and state == 'success' and len(vms) == 1, 'import: %s %s' % (state, vms))
    new = vms[0]
    a, b = s.VM.get_record(vm), s.VM.get_record(new)
    check(b['name_label'] == 'to go' and b['power_state'] == 'Halted' and b['memory_static_max'] == a['memory_static_max'], 'the same VM')
    check(b['uuid'] != a['uuid'] and b['other_config']['folder'] == '/a & b', 'under another uuid')
    check(b['other_config']['import_task'].startswith('OpaqueRef:'), 'that says which import made it')
    check(sorted(s.VBD.get_type(v) for v in b['VBDs']) == ['CD', 'Disk'] and disk_of(s, new) != disk_of(s, vm), 'with devices of its own')
    check(content_of(agent, s, new) == make_content(1), 'the disk has the same content')
    check(s.VDI.get_name_label(disk_of(s, new)) == 'system' and s.VDI.get_type(disk_of(s, new)) == 'system', 'and name')
    check(s.VIF.get_MAC(b['VIFs'][0]) != s.VIF.get_MAC(a['VIFs'][0]), 'the card has another address')
    check(s.VIF.get_network(b['VIFs'][0]) == s.VIF.get_network(a['VIFs'][0]), 'on the same network')
    s.VM.start(new, False, False)
    status = download(agent, s, 'ref=' + new)
    check(status[0] == 400 and b'VM_BAD_POWER_STATE' in status[2], 'a running VM is not exported')
    s.VM.hard_shutdown(new)
    return xva


def packed(agent, s, vm, xva):
    for wish, magic in (('true', b'\x1f\x8b'), ('zstd', b'\x28\xb5\x2f\xfd')):
        body = download(agent, s, 'uuid=%s&use_compression=%s' % (s.VM.get_uuid(vm), wish))[2]
        check(body[:len(magic)] == magic and len(body) < len(xva), 'use_compression=%s' % wish)
        status, (state, vms) = upload(agent, s, body, length=UNKNOWN)
        check(state == 'success' and content_of(agent, s, vms[0]) == make_content(1), 'is found out and unpacked: %s' % state)
        before = len(s.VM.get_all()), len(s.VDI.get_all())
        check(upload(agent, s, body[:len(body) // 2])[1][1][:1] == ['IMPORT_ERROR_PREMATURE_EOF'], 'half of it is an error')
        check((len(s.VM.get_all()), len(s.VDI.get_all())) == before, 'and leaves nothing')


def restored(agent, s, vm, xva):
    check(upload(agent, s, xva, 'restore=true')[1][1] == ['DUPLICATE_VM', vm], 'restore while it is there: DUPLICATE_VM')
    old, mac = s.VM.get_uuid(vm), s.VIF.get_MAC(s.VM.get_VIFs(vm)[0])
    s.VM.destroy(vm)
    vms = upload(agent, s, xva, 'restore=true')[1][1]
    check(s.VM.get_uuid(vms[0]) == old and s.VIF.get_MAC(s.VM.get_VIFs(vms[0])[0]) == mac, 'afterwards: same uuid, same address')


def retar(xva, change):
    """The archive with every member put through change(name, data) -> list of (name, data)."""
    out, old = io.BytesIO(), tarfile.open(fileobj=io.BytesIO(xva))
    with tarfile.open(fileobj=out, mode='w', format=tarfile.USTAR_FORMAT) as new:
        for member in old.getmembers():
            for name, data in change(member.name, old.extractfile(member).read()):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
    return out.getvalue()


def relink(xva, kind):
    """With a member that leads to itself in the place of a block."""
    out, old = io.BytesIO(), tarfile.open(fileobj=io.BytesIO(xva))
    with tarfile.open(fileobj=out, mode='w', format=tarfile.USTAR_FORMAT) as new:
        for member in old.getmembers():
            data = old.extractfile(member).read()
            if member.name.endswith('/00000001'):
                member.type, member.linkname, member.size = kind, member.name, 0
            new.addfile(member, io.BytesIO(data))
    return out.getvalue()


def foreign(agent, s, xva):
    """As Xen Orchestra writes them: numbers, padded last block, keep-alives, lower-case leftovers."""
    def change(name, data):
        if name == 'ova.xml':
            text = data.decode().replace('<name>userdevice</name><value>0</value>', '<name>userdevice</name><value><int>0</int></value>')
            return [(name, text.replace('<name>VBDs</name>', '<name>vbds</name>').encode())]
        if name.endswith('/00000005'):
            return [(name, data.ljust(MIB, b'\0'))]
        if name.endswith('/00000005.xxhash'):
            padded = tarfile.open(fileobj=io.BytesIO(xva)).extractfile(name[:-7]).read().ljust(MIB, b'\0')
            return [(name[:-7] + '.checksum', hashlib.sha1(padded).hexdigest().encode())]
        if name.endswith('/00000001'):
            return [(name[:-1] + '1', b''), (name + '.xxhash', b'EF46DB3751D8E999'), (name, data)]
        return [(name, data)]
    status, (state, vms) = upload(agent, s, retar(xva, change), length=UNKNOWN)
    check(state == 'success' and content_of(agent, s, vms[0]) == make_content(1), 'a file of another tool: %s %s' % (state, vms))


def broken(agent, s, xva):
    vms, vdis = len(s.VM.get_all()), len(s.VDI.get_all())
    flip = lambda name, data: [(name, data[:-1] + b'\xff' if name.endswith('/00000004') else data)]
    for what, data, code in (
            ('a changed byte', retar(xva, flip), 'IMPORT_ERROR_SOME_CHECKSUMS_FAILED'),
            ('a wrong SHA-1', retar(xva, lambda n, d: [(n.replace('.xxhash', '.checksum'), b'0' * 40 if n.endswith('.xxhash') else d)]),
             'IMPORT_ERROR_SOME_CHECKSUMS_FAILED'),
            ('a short checksum', retar(xva, lambda n, d: [(n, d[:5] if n.endswith('.xxhash') else d)]), 'IMPORT_ERROR_SOME_CHECKSUMS_FAILED'),
            ('a strange file', retar(xva, lambda n, d: [(n, d)] if n == 'ova.xml' else [('etc/passwd', d)]), 'IMPORT_ERROR_UNEXPECTED_FILE'),
            ('no ova.xml', retar(xva, lambda n, d: [] if n == 'ova.xml' else [(n, d)]), 'IMPORT_ERROR_UNEXPECTED_FILE'),
            ('broken XML', retar(xva, lambda n, d: [(n, d[:500])] if n == 'ova.xml' else [(n, d)]), 'IMPORT_ERROR'),
            ('no last block', retar(xva, lambda n, d: [] if '/00000005' in n else [(n, d)]), 'IMPORT_ERROR_PREMATURE_EOF'),
            ('a block beyond the end', retar(xva, lambda n, d: [(n.replace('/00000005', '/00000009'), d)]), 'IMPORT_ERROR'),
            ('a block twice', retar(xva, lambda n, d: [(n, d), (n, d)] if n.endswith('/00000002') else [(n, d)]), 'IMPORT_ERROR'),
            ('blocks that go back', retar(xva, lambda n, d: [(n.replace('/00000004', '/00000001'), d)]), 'IMPORT_ERROR'),
            ('a link to itself', relink(xva, tarfile.SYMTYPE), 'IMPORT_ERROR'),
            ('a hard link to itself', relink(xva, tarfile.LNKTYPE), 'IMPORT_ERROR'),
            ('no tar', b'this is no tar at all' * 100, 'IMPORT_ERROR'),
            ('a cut file', xva[:len(xva) // 2], 'IMPORT_ERROR_PREMATURE_EOF'),
            ('nothing', b'', '')):
        result = upload(agent, s, data, length=UNKNOWN if what == 'a cut file' else None)[1][1]
        check(not code or result[:1] == [code] or (code == 'IMPORT_ERROR' and result[0].startswith(code)), '%s: %s' % (what, result))
    check((len(s.VM.get_all()), len(s.VDI.get_all())) == (vms, vdis), 'none of them left anything')


def probes(agent, s):
    vms = len(s.VM.get_all())
    for length in (0, UNKNOWN):
        sock = request(agent, s, 'PUT', '/import', 'restore=true', length)
        check(b' 200 ' in sock.recv(4096)[:20], 'a probe of length %d: 200 at once' % length)
        sock.close()
    iso = [r for r, x in s.SR.get_all_records().items() if x['content_type'] == 'iso'][0]
    check(upload(agent, s, b'', 'sr_id=' + iso)[0] == 400, 'a repository of ISO images: 400')
    check(download(agent, s, 'ref=OpaqueRef:' + str(uuid.uuid4()))[0] == 404, 'an unknown VM: 404')
    check(len(s.VM.get_all()) == vms, 'nothing happened')


def from_the_web(agent, s, sr, vm, xva):
    """VM.import: the server fetches the file itself."""
    files = {'/plain.xva': xva, '/packed.xva': gzip.compress(xva, 1), '/cut.xva': xva[:len(xva) // 2], '/empty.xva': b'',
             '/cut.gz': gzip.compress(xva, 1)[:100000]}

    class Web(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = files.get(self.path.split('?')[0])
            self.send_response(404 if data is None else 200)
            self.send_header('Content-Length', str(len(data or b'')))
            self.end_headers()
            try:
                self.wfile.write(data or b'')
            except OSError:
                pass

        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = 'http://127.0.0.1:%d' % server.server_port
    wanted = content_of(agent, s, vm)
    for name in ('/plain.xva?token=hush-hush', '/packed.xva'):
        made = getattr(s.VM, 'import')(url + name, sr, False, False)
        check(len(made) == 1 and content_of(agent, s, made[0]) == wanted, 'a VM from the web: ' + name)
        disk = disk_of(s, made[0])
        s.VM.destroy(made[0])
        s.VDI.destroy(disk)
    left = len(s.VM.get_all()), len(s.VDI.get_all())

    def refused(code, what, *args):
        try:
            getattr(s.VM, 'import')(*args)
            check(False, what + ': succeeded')
        except Failure as e:
            check(e.details[0] == code, '%s: %s' % (what, e.details))
    refused('IMPORT_ERROR_PREMATURE_EOF', 'a file that is cut', url + '/cut.xva', sr, False, False)
    refused('IMPORT_ERROR_PREMATURE_EOF', 'a packed file that is cut', url + '/cut.gz', sr, False, False)
    refused('IMPORT_ERROR_PREMATURE_EOF', 'an empty file', url + '/empty.xva', sr, False, False)
    refused('IMPORT_ERROR', 'a file that is not there', url + '/none', sr, False, False)
    refused('INVALID_VALUE', 'another scheme', 'file:///etc/passwd', sr, False, False)
    refused('INVALID_VALUE', 'a line break', url + '/x\r\nHost: y', sr, False, False)
    refused('HANDLE_INVALID', 'no repository', url + '/plain.xva', 'OpaqueRef:NULL', False, False)
    refused('DUPLICATE_VM', 'restored twice', url + '/plain.xva', sr, True, False)
    check((len(s.VM.get_all()), len(s.VDI.get_all())) == left, 'none of them left anything')
    with open(os.path.join(agent.root, 'audit.log')) as f:
        check('hush-hush' not in f.read(), 'the address is not in the audit log')
    server.shutdown()


def circles(agent, s, tar):
    """A VM and its snapshot whose relations never end."""
    def change(**fields):
        def one(name, data):
            whole = xmlrpc.client.loads('<params><param>%s</param></params>' % data.decode())[0][0]
            vms = {o['snapshot']['name_label']: o for o in whole['objects'] if o['class'] == 'VM'}
            for field, (of, to) in fields.items():
                vms[of]['snapshot'][field] = vms[to]['id']
            text = xmlrpc.client.dumps((whole,))
            return [(name, text[text.index('<value>'):text.rindex('</value>') + 8].encode())]
        return retar(tar, one)
    vms, vdis = len(s.VM.get_all()), len(s.VDI.get_all())
    snap, vm = 'its snapshot', 'records'
    for what, fields in (('a VM that is its own parent', {'parent': (vm, vm)}), ('a snapshot of itself', {'snapshot_of': (snap, snap)}),
                         ('two that are parents of each other', {'parent': (snap, vm)})):
        for dry in ('true', 'false'):
            outcome = upload(agent, s, change(**fields), 'force=true&dry_run=' + dry, path='/import_metadata')[1]
            check(outcome[0] == 'failure' and outcome[1][0] == 'IMPORT_ERROR', '%s: %s' % (what, outcome))
    check(upload(agent, s, change(), 'dry_run=true', path='/import_metadata')[1][0] == 'success', 'the same without a circle is one to import')
    check((len(s.VM.get_all()), len(s.VDI.get_all())) == (vms, vdis), 'of circles nothing is left')


def metadata(agent, s, sr):
    """Records without disks: out, the VM forgotten, and back onto the same disks, snapshots too."""
    vm, vdi = make_vm(agent, s, sr)
    s.VM.set_name_label(vm, 'records')
    snapshot = s.VM.snapshot(vm, 'its snapshot', [])
    frozen = disk_of(s, snapshot)
    before = s.VM.get_record(vm)
    mac = s.VIF.get_MAC(before['VIFs'][0])
    status, head, tar = download(agent, s, 'uuid=' + before['uuid'], '/export_metadata')
    check(status == 200 and 'content-length: %d' % len(tar) in head, 'records with their length')
    names = tarfile.open(fileobj=io.BytesIO(tar)).getnames()
    check(names == ['ova.xml'], 'ova.xml and nothing else: %s' % names)

    def kinds(data):
        ova = tarfile.open(fileobj=io.BytesIO(data)).extractfile('ova.xml').read().decode()
        objects = xmlrpc.client.loads('<params><param>%s</param></params>' % ova)[0][0]['objects']
        return [(o['class'], o['snapshot'].get('name_label')) for o in objects]
    check(('VM', 'its snapshot') in kinds(tar), 'with the snapshot')
    plain = download(agent, s, 'export_snapshots=false&excluded_device_types=vif,vbd&uuid=' + before['uuid'], '/export_metadata')[2]
    check({c for c, _ in kinds(plain)} == {'VM', 'VM_metrics'}, 'without snapshots and devices: %s' % kinds(plain))
    everything = kinds(download(agent, s, 'all=true', '/export_metadata')[2])
    check(('VM', 'records') in everything and any(n and n.startswith('Control domain') for _, n in everything), 'all VMs')
    check(not any(n and n.startswith('Control domain') for _, n in kinds(download(agent, s, 'all=true&include_dom0=false',
                                                                                  '/export_metadata')[2])), 'but not dom0')
    check(download(agent, s, 'uuid=none', '/export_metadata')[0] == 404, 'of an unknown VM: 404')

    def back(query):
        return upload(agent, s, tar, query, path='/import_metadata')[1]
    count = len(s.VM.get_all())
    check(back('restore=true&dry_run=true') == ('failure', ['DUPLICATE_VM', vm]), 'a dry run says what is in the way')
    check(back('dry_run=true')[0] == 'success' and len(s.VM.get_all()) == count, 'or that nothing is, and makes nothing')
    circles(agent, s, tar)
    s.VM.destroy(snapshot)
    s.VM.destroy(vm)
    outcome, made = back('restore=true')
    check(outcome == 'success' and len(made) == 2, 'back: %s' % (made,))
    again = s.VM.get_by_uuid(before['uuid'])
    check(disk_of(s, again) == vdi and s.VIF.get_MAC(s.VM.get_VIFs(again)[0]) == mac, 'on the same disk, with the same MAC')
    snap = next(r for r in made if r != again)
    check(s.VM.get_is_a_snapshot(snap) and s.VM.get_snapshot_of(snap) == again and disk_of(s, snap) == frozen, 'its snapshot is one')
    check(str(s.VM.get_snapshot_time(snap)) > '2020', 'of that time')
    s.VM.start(again, False, False)
    s.VM.hard_shutdown(again)
    for ref in (snap, again):
        s.VM.destroy(ref)
    s.VDI.destroy(frozen)
    other = s.VDI.create({'name_label': 'another', 'SR': sr, 'virtual_size': str(MIB), 'type': 'user'})
    uuids = s.VDI.get_uuid(vdi), s.VDI.get_uuid(other)
    vms = len(s.VM.get_all())
    outcome, why = back('restore=true')
    check(outcome == 'failure' and why[0] == 'IMPORT_ERROR_FAILED_TO_FIND_OBJECT', 'a disk that is gone: %s' % why)
    check(len(s.VM.get_all()) == vms and s.VDI.get_uuid(vdi) == uuids[0], 'leaves no VM, and the disks that are there alone')
    outcome, made = back('force=true&vdi:%s=%s' % uuids)
    moved = [r for r in made if not s.VM.get_is_a_snapshot(r)]
    check(outcome == 'success' and [disk_of(s, r) for r in moved] == [other], 'by force, on another disk')
    check(s.VM.get_uuid(moved[0]) != before['uuid'], 'as a new VM')
    for ref in made:
        s.VM.destroy(ref)
    s.VDI.destroy(other)
    s.VDI.destroy(vdi)


with Agent() as agent:
    s = agent.login()
    sr = s.pool.get_default_SR(s.pool.get_all()[0])
    vm, vdi = make_vm(agent, s, sr)
    xva = round_trip(agent, s, vm)
    packed(agent, s, vm, xva)
    foreign(agent, s, xva)
    broken(agent, s, xva)
    from_the_web(agent, s, sr, vm, xva)
    probes(agent, s)
    restored(agent, s, vm, xva)
    metadata(agent, s, sr)
    check(os.listdir(os.path.join(agent.root, 'storage', 'attached')) == ['boot-id'], 'nothing stays attached')
done()
