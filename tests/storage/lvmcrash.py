#!/usr/bin/python3
"""Ends a driver of volumes by kill -9 at every step of every operation, in a machine of the rig, and looks at what is left.

Called by: test-lvm-crash.py. Calls: the driver lvm as the agent's slot would (smcall.py), nbdkit, qemu-io, LVM.

After each kill, the next scan must find every disk as a model has it, the disk that was being made or removed there or
gone, and nothing else in the group. What disks hold is read from the device itself, by a reader of VHD and qcow2 that
shares nothing with ours. Prints a line "ok WHAT" or "not ok WHAT" for each operation in the end, and what was wrong at once.

lvmcrash.py DEVICE SECONDS [FORMAT...]: every operation once, then by chance until the time is up, each ended at one of its steps.
"""
import mmap
import os
import random
import struct
import subprocess
import sys
import time
import uuid

import smcall

MIB = 1 << 20
EXTENT = 4 * MIB
SIZE = 8 * MIB
LIB = '/usr/local'
DRIVER = LIB + '/libexec/xapi/sm/lvm'
PREFIX = {'vhd': 'VHD-', 'qcow2': 'QCOW2-', 'raw': 'LV-'}

device, began, seconds = sys.argv[1], time.monotonic(), int(sys.argv[2])
sr, pool = str(uuid.uuid4()), str(uuid.uuid4())
group = 'VG_XenStorage-' + sr
seed = int(os.environ.get('LVM_SEED') or 7)
rng = random.Random(seed)
failures = 0


def say(good, what):
    global failures
    failures += not good
    print('%s %s' % ('ok' if good else 'not ok', what), flush=True)


def call(command, *words, fault=None):
    return smcall.call(DRIVER, command, 'sr_uuid=' + sr, 'pool_uuid=' + pool, 'config.device=' + device, *words, fault=fault)


def must(command, *words):
    got = call(command, *words)
    if 'error' in got or 'exit' in got:
        raise SystemExit('not ok %s %s: %s' % (command, words, got))
    return got


# ---- an independent look at the device -----------------------------------------------------------

def read_at(at, n):
    """Past the page cache: volumes were written through devices of their own."""
    first, last = at // 4096 * 4096, (at + n + 4095) // 4096 * 4096
    fd = os.open(device, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, last - first) as page:
            if os.preadv(fd, [page], first) != last - first:
                raise OSError('short read')
            return page[at - first:at - first + n]
    finally:
        os.close(fd)


class Volume:
    def __init__(self, name, tags):
        self.name, self.tags, self.runs, self.size, self.data = name, tags, [], 0, None

    def read(self, at, n):
        out = b''
        for start, length, where in sorted(self.runs):
            if at + len(out) < start + length and len(out) < n and at + len(out) >= start:
                here = at + len(out)
                out += read_at(where + here - start, min(n - len(out), start + length - here))
        return out + bytes(n - len(out))


def volumes():
    out = subprocess.run(['lvm', 'pvs', '--segments', '--noheadings', '--separator', '|', '--units', 'b', '--nosuffix', '-o',
                          'pe_start,pvseg_start,pvseg_size,lv_name,lv_tags,seg_start_pe', '--devices', device, device],
                         stdout=subprocess.PIPE, check=True, text=True).stdout
    found = {}
    for line in out.splitlines():
        start, pe, count, name, tags, at = line.strip().split('|')
        if name:
            v = found.setdefault(name, Volume(name, tags.split(',')))
            v.runs.append((int(at) * EXTENT, int(count) * EXTENT, int(start) + int(pe) * EXTENT))
            v.size += int(count) * EXTENT
    return found


def vhd(all_volumes, v):
    footer = v.read(0, 512)
    assert footer[:8] == b'conectix', v.name
    size, kind = struct.unpack('>Q', footer[48:56])[0], struct.unpack('>I', footer[60:64])[0]
    header = v.read(512, 1024)
    table_at, entries = struct.unpack('>Q', header[16:24])[0], struct.unpack('>I', header[28:32])[0]
    out = bytearray(size)
    if kind == 4:
        parent = header[64:576].decode('utf-16-be').split('\0')[0].rpartition('/')[2]
        lower = content(all_volumes, all_volumes[parent[len(group.replace('-', '--')) + 1:].replace('--', '-')
                                                 if parent not in all_volumes else parent])
        out[:len(lower)] = lower[:size]
    for n, at in enumerate(struct.unpack('>%dI' % entries, v.read(table_at, entries * 4))):
        if at == 0xffffffff:
            continue
        bits, data = v.read(at * 512, 512), v.read(at * 512 + 512, 2 * MIB)
        for s in range(4096):
            if bits[s // 8] & 0x80 >> s % 8 and n * 2 * MIB + s * 512 < size:
                out[n * 2 * MIB + s * 512:n * 2 * MIB + s * 512 + 512] = data[s * 512:s * 512 + 512]
    return out


def qcow2(all_volumes, v):
    head = v.read(0, 104)
    assert head[:4] == b'QFI\xfb', v.name
    name_at, name_len, bits, size = struct.unpack('>QIIQ', head[8:32])
    entries, table_at = struct.unpack('>IQ', head[36:48])
    cluster, out = 1 << bits, bytearray(size)
    if name_at:
        lower = content(all_volumes, all_volumes[v.read(name_at, name_len).decode().rpartition('/')[2]])
        out[:len(lower)] = lower[:size]
    mask = (1 << 56) - 512
    for i, l2 in enumerate(struct.unpack('>%dQ' % entries, v.read(table_at, entries * 8))):
        if not l2 & mask:
            continue
        for k, entry in enumerate(struct.unpack('>%dQ' % (cluster // 8), v.read(l2 & mask, cluster))):
            at = (i * (cluster // 8) + k) * cluster
            if at >= size or not (entry & mask or entry & 1):
                continue
            data = bytes(cluster) if entry & 1 else v.read(entry & mask, cluster)
            out[at:at + cluster] = data[:size - at]
    return out


def content(all_volumes, v):
    if v.data is None:
        kind = v.name.partition('-')[0]
        v.data = vhd(all_volumes, v) if kind == 'VHD' else qcow2(all_volumes, v) if kind == 'QCOW2' else v.read(0, v.size)
    return v.data


# ---- the model -----------------------------------------------------------------------------------

model = {}      # uuid -> bytes


def write(vdi, at, data):
    """As a guest: through what the agent would let it have."""
    got = must('vdi_attach', 'vdi_uuid=' + vdi, 'args=true')
    with open('/root/piece', 'wb') as f:
        f.write(data)
    io = 'write -s /root/piece %d %d' % (at, len(data))
    if got['format'] == 'vhd':
        argv = ['nbdkit', '-U', '-', LIB + '/lib/xapi/nbdkit-vhd.so', 'image=' + got['params'], '--run',
                'qemu-io -f raw -c "%s" -c flush "$uri"' % io]
    else:
        argv = ['qemu-io', '-f', got['format'], '-c', io, '-c', 'flush', got['params']]
    ran = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode or 'fail' in ran.stdout:
        raise SystemExit('not ok writing: ' + ran.stdout)
    must('vdi_detach', 'vdi_uuid=' + vdi)
    now = bytearray(model[vdi])
    now[at:at + len(data)] = data
    model[vdi] = bytes(now)


def scribble(vdi):
    write(vdi, rng.randrange(100) * 65536 + 4096, rng.randbytes(80 << 10))


def create(fmt):
    got = must('vdi_create', 'args=%d,a name' % SIZE, 'smconfig.image-format=' + fmt)
    model[got['uuid']] = bytes(SIZE)
    if fmt == 'raw':    # whatever lay there
        write(got['uuid'], 0, bytes(SIZE))
    return got['uuid']


def snapshot(vdi):
    got = must('vdi_snapshot', 'vdi_uuid=' + vdi)
    model[got['uuid']] = model[vdi]
    return got['uuid']


def delete(vdi):
    must('vdi_delete', 'vdi_uuid=' + vdi)
    del model[vdi]


def plan(leaf):
    got = must('sr_gc_plan', 'attached_list=')
    for top in sorted({k.split('.')[1] for k in got if k.startswith('merges.') and k != 'merges.n'}):
        m = {f: got['merges.%s.%s' % (top, f)] for f in ('top', 'base', 'format', 'top_path', 'base_path', 'leaf', 'stamp')}
        if (m['leaf'] == 'True') == leaf:
            return m
    return None


def merge(m):
    must('sr_gc_prepare', 'args=%s,%s' % (m['top'], m['base']))
    subprocess.run([LIB + '/libexec/xapi/sm/image-merge', m['format'], m['top_path'], m['base_path']], check=True,
                   stdout=subprocess.DEVNULL)


def settle():
    """Every merge there is."""
    while True:
        m = plan(False) or plan(True)
        if not m:
            return
        merge(m)
        must('sr_gc_finish', 'args=%s,%s,%s' % (m['top'], m['base'], m['stamp']))


# ---- what must be so after a kill and a scan -----------------------------------------------------

def wrong(may=(), gone=()):
    """Why not all is well, '' = it is. may: disks that may be there or not, or have this content by now: {uuid: content}, None
    = any."""
    got = call('sr_scan')
    if 'error' in got or 'exit' in got:
        return 'scan: %s' % got
    found = {k.split('.')[1]: k for k in got if k.startswith('vdis.') and k.endswith('.managed') and got[k] == 'True'}
    hidden = {k.split('.')[1] for k in got if k.startswith('vdis.') and k.endswith('.managed') and got[k] != 'True'}
    lost = [u for u in model if u not in found and u not in gone]
    more = [u for u in found if u not in model and u not in may]
    if lost or more:
        return 'lost %s, more %s' % (lost, more)
    for u in list(model):
        if u not in found:
            del model[u]
    for u in found:
        model.setdefault(u, may[u] if u in may else None)
        if got.get('vdis.%s.broken' % u):
            return '%s: %s' % (u, got['vdis.%s.broken' % u])
    all_volumes = volumes()
    names = {n.partition('-')[2]: n for n in all_volumes if n != 'MGT'}
    if set(names) != set(found) | hidden or len(names) + 1 != len(all_volumes):
        return 'volumes %s, disks %s, bases %s' % (sorted(all_volumes), sorted(found), sorted(hidden))
    for u, data in list(model.items()):
        is_now = content(all_volumes, all_volumes[names[u]])
        if u in may and may[u] in (None, bytes(is_now)):
            model[u] = bytes(is_now)
        elif bytes(is_now) != data:
            at = next((i for i in range(min(len(data), len(is_now))) if data[i] != is_now[i]), -1)
            return '%s (%s): other content at %d, %d and %d bytes' % (u, names[u], at, len(is_now), len(data))
    parents = {got[k] for k in got if k.endswith('.vhd-parent')}
    if hidden - parents:
        return 'bases that nothing stands on: %s' % sorted(hidden - parents)
    links = os.listdir('/dev/' + group) if os.path.isdir('/dev/' + group) else []
    if links != ['MGT']:
        return 'active: %s' % links
    return ''


class Operation:
    """prepare() makes what the operation needs and returns (words of the call, {uuid: content} that may come of it, uuids that
    may go)."""

    def __init__(self, what, prepare):
        self.what, self.prepare = what, prepare
        self.steps, self.runs, self.killed, self.bad = 12, 0, set(), []     # steps: at most as many

    def run(self):
        self.runs += 1
        step = 1 + rng.randrange(self.steps)
        args, may, gone = self.prepare()
        got = call(*args, fault='sm.step kill %d' % step)
        why = str(got) if 'error' in got else wrong(may, gone)
        if 'exit' in got:
            self.killed.add(step)
        elif step <= self.steps:
            self.steps = max(step - 1, max(self.killed, default=1))
        if why:
            self.bad.append('step %d: %s' % (step, why))
            print('%s: %s' % (self.what, self.bad[-1]), flush=True)

    def tell(self):
        say(not self.bad, '%s: %d times, killed at steps %s of %d%s' % (self.what, self.runs, sorted(self.killed), self.steps,
                                                                       ': ' + '; '.join(self.bad[:4]) if self.bad else ''))


def operations(fmt):
    main = create(fmt)
    scribble(main)
    state = {}

    def making():
        fewer()
        u = str(uuid.uuid4())
        return ('vdi_create', 'vdi_uuid=' + u, 'args=%d,a name' % SIZE, 'smconfig.image-format=' + fmt), {u: bytes(SIZE) if fmt != 'raw' else None}, ()

    def removing():
        u = create(fmt)
        return ('vdi_delete', 'vdi_uuid=' + u), {}, (u,)

    def growing():
        if not state.get('grown') in model:
            state['grown'] = create(fmt)
            scribble(state['grown'])
        u = state['grown']
        size = len(model[u]) + 4 * MIB
        return ('vdi_resize', 'vdi_uuid=' + u, 'args=%d' % size), {u: model[u].ljust(size, b'\0')}, ()

    def roomier():
        """The volume of a disk that somebody has; the image grows behind it, here never."""
        if not state.get('room') in model or state['asked'] > 64 * MIB:
            if state.get('room') in model:
                delete(state['room'])
            state['room'], state['asked'] = create(fmt), SIZE
            scribble(state['room'])
        state['asked'] += 8 * MIB
        return ('vdi_resize_online', 'vdi_uuid=' + state['room'], 'args=%d' % state['asked']), {}, ()

    def fewer():
        """A chain is not to grow with the number of kills."""
        if len(model) > 5:
            for u in [u for u in model if u not in (main, state.get('grown'), state.get('room'))]:
                delete(u)
            settle()
        scribble(main)

    def freezing():
        fewer()
        u = str(uuid.uuid4())
        return ('vdi_snapshot', 'vdi_uuid=' + main, 'new_uuid=' + u), {u: model[main]}, ()

    def inner():
        """main, b on B2 on B1: B2 goes into B1."""
        fewer()
        a = snapshot(main)
        scribble(main)
        snapshot(main)
        scribble(main)
        delete(a)
        m = plan(False)
        merge(m)
        return ('sr_gc_finish', 'args=%s,%s,%s' % (m['top'], m['base'], m['stamp'])), {}, ()

    def leaf():
        fewer()
        a = snapshot(main)
        scribble(main)
        delete(a)
        m = plan(True)
        merge(m)
        return ('sr_gc_finish', 'args=%s,%s,%s' % (m['top'], m['base'], m['stamp'])), {}, ()

    every = [('create', making), ('destroy', removing), ('snapshot', freezing)]
    if fmt != 'raw':
        every += [('room to grow', roomier)] if fmt == 'qcow2' else []
        every += [('resize', growing), ('inner merge', inner), ('merge of a disk', leaf)]
    return [Operation(fmt + ': ' + what, prepare) for what, prepare in every]


must('sr_create', 'args=0')
must('sr_attach')
names = sys.argv[3:] or list(PREFIX)
for n, name in enumerate(names):
    share, todo = began + seconds * (n + 1) / len(names), operations(name)
    for o in todo:
        o.run()
    while time.monotonic() < share and not any(o.bad for o in todo):
        rng.choice(todo).run()
    for o in todo:
        o.tell()
    for u in list(model):
        delete(u)
    settle()
got = wrong()
say(not got and set(volumes()) == {'MGT'}, 'destroyed, nothing is left: %s' % got)
sys.exit(failures != 0)
