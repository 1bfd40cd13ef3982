#!/usr/bin/env python3
"""The TPM of a VM: one at most, its contents are a secret that goes with snapshots, copies and files; operations that the
hypervisor's driver does not have are not among a VM's allowed ones."""
import base64
import io
import tarfile
import urllib.parse
import urllib.request
import xmlrpc.client
import zlib

from harness import Agent, check, done, fails


def contents(text):
    return base64.b64encode(zlib.compress(text)).decode()


def make_vm(s, name):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], name)
    s.VM.provision(vm)
    s.VM.set_domain_type(vm, 'hvm')
    return vm


def held(s, vm):
    return [s.VTPM.get_contents(t) for t in s.VM.get_VTPMs(vm)]


def export(port, s, vm):
    query = urllib.parse.urlencode({'session_id': s._ref, 'ref': vm})
    return urllib.request.urlopen('http://127.0.0.1:%d/export?%s' % (port, query), timeout=60).read()


def load(port, s, xva, restore=False):
    """The VM that a file becomes, or the error."""
    task = s.task.create('import', '')
    query = urllib.parse.urlencode({'session_id': s._ref, 'task_id': task, 'restore': str(restore).lower()})
    put = urllib.request.Request('http://127.0.0.1:%d/import?%s' % (port, query), data=xva, method='PUT')
    try:
        urllib.request.urlopen(put, timeout=60).read()
    except (OSError, urllib.error.HTTPError):
        pass
    record = s.task.get_record(task)
    if record['status'] != 'success':
        return record['error_info']
    return xmlrpc.client.loads('<params><param>%s</param></params>' % record['result'])[0][0][0]


def changed(xva, change):
    """The file with objects that `change` has been at."""
    ova = xmlrpc.client.loads('<params><param>%s</param></params>' % tarfile.open(fileobj=io.BytesIO(xva)).extractfile('ova.xml').read().decode())[0][0]
    change(ova['objects'])
    text = xmlrpc.client.dumps((ova,)).split('<param>')[1].split('</param>')[0].strip().encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo('ova.xml')
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return out.getvalue()


def life(s):
    vm = make_vm(s, 'one')
    check('create_vtpm' in s.VM.get_allowed_operations(vm), 'a VM may get a TPM')
    tpm = s.VTPM.create(vm, False)
    record = s.VTPM.get_record(tpm)
    check((record['VM'], record['is_unique'], record['is_protected'], record['persistence_backend'], record['allowed_operations'])
          == (vm, False, False, 'xapi', ['destroy']), 'its record')
    check('create_vtpm' not in s.VM.get_allowed_operations(vm), 'a second one is not allowed')
    check(fails('VTPM_MAX_AMOUNT_REACHED', 'and refused', s.VTPM.create, vm, False) == ['1'], 'one is the most')
    check(held(s, vm) == [''], 'it is empty before the first start')
    s.VTPM.set_contents(tpm, contents(b'first'))
    check(held(s, vm) == [contents(b'first')], 'contents are kept')
    fails('INVALID_VALUE', 'contents that are none', s.VTPM.set_contents, tpm, 'nonsense')
    secret = s.secret.get_by_uuid(s.VTPM.get_uuid(tpm))
    check(s.secret.get_value(secret) == contents(b'first') and contents(b'first') not in str(s.VTPM.get_record(tpm)),
          'they are a secret, and not in the record')
    s.VM.start(vm, False, False)
    check(s.VTPM.get_allowed_operations(tpm) == [], 'of a VM that runs it stays')
    fails('VM_BAD_POWER_STATE', 'and is not taken away', s.VTPM.destroy, tpm)
    fails('VM_BAD_POWER_STATE', 'nor given', s.VTPM.create, vm, False)
    s.VM.hard_shutdown(vm)
    check(s.VTPM.get_allowed_operations(tpm) == ['destroy'] and held(s, vm) == [contents(b'first')], 'afterwards it is as it was')

    snapshot = s.VM.snapshot(vm, 'then')
    s.VTPM.set_contents(s.VM.get_VTPMs(vm)[0], contents(b'second'))
    check(held(s, snapshot) == [contents(b'first')], 'a snapshot has those of its moment')
    copy, clone = s.VM.copy(vm, 'copy', 'OpaqueRef:NULL'), s.VM.clone(snapshot, 'clone')
    check((held(s, copy), held(s, clone)) == ([contents(b'second')], [contents(b'first')]), 'a copy and a clone have one of their own')
    s.VM.revert(snapshot)
    check(held(s, vm) == [contents(b'first')] and len(s.VM.get_VTPMs(vm)) == 1, 'a revert brings back those of the snapshot')
    before = len(s.secret.get_all())
    s.VM.destroy(copy)
    check(len(s.secret.get_all()) == before - 1 and len(s.VTPM.get_all()) == 3, 'a VM that goes takes its TPM along')
    s.VTPM.destroy(s.VM.get_VTPMs(clone)[0])
    check(len(s.secret.get_all()) == before - 2 and held(s, clone) == [], 'and so does its destruction')

    only = make_vm(s, 'only')
    s.VTPM.set_contents(s.VTPM.create(only, True), contents(b'unique'))
    snap = s.VM.snapshot(only, 'of it')
    check(held(s, snap) == [contents(b'unique')] and held(s, s.VM.clone(only, 'other')) == [], 'one of a kind is in a snapshot, never in a clone')

    pv = make_vm(s, 'pv')
    s.VM.set_domain_type(pv, 'pv')
    fails('OPERATION_NOT_ALLOWED', 'a paravirtual guest has none', s.VTPM.create, pv, False)
    return vm, only


def files(s, port, vm, only):
    xva = export(port, s, vm)
    check(held(s, load(port, s, xva)) == [contents(b'first')], 'a file brings the TPM along')
    check(held(s, load(port, s, export(port, s, only))) == [], 'one of a kind not, when the VM becomes another')
    xva = export(port, s, only)
    for snapshot in s.VM.get_snapshots(only):
        s.VM.destroy(snapshot)
    s.VM.destroy(only)
    check(held(s, load(port, s, xva, True)) == [contents(b'unique')], 'and stays when the VM stays itself')

    def spoil(objects):
        next(o for o in objects if o['class'] == 'VTPM')['contents'] = 'nonsense'

    def double(objects):
        objects.append(dict(next(o for o in objects if o['class'] == 'VTPM'), id='Ref:900'))

    xva, before = export(port, s, vm), (len(s.VM.get_all()), len(s.secret.get_all()), len(s.VTPM.get_all()))
    for change, what in ((spoil, 'contents that are none'), (double, 'two TPMs')):
        error = load(port, s, changed(xva, change))
        check(error[0] == 'IMPORT_ERROR', 'a file with %s is refused: %s' % (what, error))
    check((len(s.VM.get_all()), len(s.secret.get_all()), len(s.VTPM.get_all())) == before, 'nothing of it stays')


def driver(s):
    """What the simulator lacks, the host says."""
    lacks = s.host.get_software_version(s.host.get_all()[0])['hypervisor_lacks'].split()
    check('hv.sim.disk-mirror' in lacks and 'hv.sim.migrate-send' not in lacks, 'the host says what its driver lacks: %s' % lacks)


with Agent() as agent:
    s = agent.login()
    vm, only = life(s)
    files(s, agent.http_port, vm, only)
    driver(s)
done()
