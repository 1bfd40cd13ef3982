#!/usr/bin/env python3
"""Debian's xva-img, which knows SHA-1 only, reads what we write (checksums=sha1), and what it writes is read back."""
import os
import random
import subprocess
import tarfile
import tempfile

from harness import PASSWORD, USER, Agent, check, done, wait_until

MIB = 1 << 20
BLOCKS = 7


def make_content(seed):
    """With a hole in the middle, and the last MiB full of zeros."""
    r, out = random.Random(seed), bytearray(BLOCKS * MIB)
    for block in (0, 1, 4, 5):
        out[block * MIB:(block + 1) * MIB] = r.randbytes(MIB)
    return bytes(out)


def curl(agent, path, *options):
    return subprocess.run(['curl', '-skf', '-m', '60', '-u', '%s:%s' % (USER, PASSWORD), *options,
                           'https://127.0.0.1:%d%s' % (agent.https_port, path)], capture_output=True, check=True).stdout


def put(agent, s, path, content):
    task = s.task.create('put', '')
    with open('body', 'wb') as f:
        f.write(content)
    curl(agent, path + '&task_id=' + task, '-T', 'body')
    wait_until(lambda: s.task.get_status(task) != 'pending', 60)
    return s.task.get_status(task), s.task.get_error_info(task)


def make_vm(agent, s):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'to go')
    s.VM.provision(vm)
    vdi = s.VDI.create({'name_label': 'disk', 'name_description': '', 'SR': s.pool.get_default_SR(s.pool.get_all()[0]),
                        'virtual_size': str(BLOCKS * MIB), 'type': 'user', 'sharable': False, 'read_only': False, 'other_config': {}})
    s.VBD.create({'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                  'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    check(put(agent, s, '/import_raw_vdi?vdi=' + vdi, make_content(1))[0] == 'success', 'a disk with content')
    return vm


def xva_img(*words):
    ran = subprocess.run(['xva-img', *words], capture_output=True, text=True)
    if ran.returncode:
        print('# xva-img %s: %s' % (' '.join(words), ran.stderr.strip()))
    return ran.returncode == 0


os.chdir(tempfile.mkdtemp())
with Agent() as agent:
    s = agent.login()
    vm = make_vm(agent, s)
    with open('ours.xva', 'wb') as f:
        f.write(curl(agent, '/export?checksums=sha1&ref=' + vm))
    with tarfile.open('ours.xva') as tar:
        tar.extractall('files')
    disk, = [name for name in os.listdir('files') if name.startswith('Ref:')]
    check(xva_img('disk-export', 'files/' + disk, 'disk.raw'), 'xva-img takes a disk out of our file')
    with open('disk.raw', 'rb') as f:
        check(f.read() == make_content(1), 'byte for byte')

    for name in os.listdir('files/' + disk):
        os.unlink('files/%s/%s' % (disk, name))
    with open('new.raw', 'wb') as f:
        f.write(make_content(2))
    check(xva_img('disk-import', 'files/' + disk, 'new.raw') and xva_img('package', 'theirs.xva', 'files/ova.xml', 'files/' + disk),
          'it puts another into a file')
    before = set(s.VM.get_all())
    with open('theirs.xva', 'rb') as f:
        outcome = put(agent, s, '/import?', f.read())
    check(outcome[0] == 'success', 'which is imported: %s' % (outcome,))
    new, = set(s.VM.get_all()) - before
    vdi = s.VBD.get_VDI(s.VM.get_VBDs(new)[0])
    check(curl(agent, '/export_raw_vdi?vdi=' + vdi) == make_content(2), 'byte for byte')
done()
