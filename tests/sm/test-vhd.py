#!/usr/bin/env python3
"""VHD images served by the nbdkit plugin: alone they agree with qemu-img, in chains with an independent model; what is
damaged is refused."""
import os
import random
import shutil
import struct
import subprocess
import tempfile

from harness import BUILD, check, done
from vhdmodel import BLOCK, Image

work = tempfile.mkdtemp(prefix='vhd-')
plugin = next(p for p in (os.path.join(BUILD, '.libs/nbdkit-vhd.so'), os.path.join(BUILD, 'nbdkit-vhd.so')) if os.path.exists(p))


def sh(*argv):
    return subprocess.run(argv, capture_output=True, text=True, timeout=100)


def serve(path, command, *options):
    """Runs a shell command with $uri of the served image; its result."""
    return sh('nbdkit', '-U', '-', *options, plugin, 'image=' + path, '--run', command)


def content(path):
    out = os.path.join(work, 'out.raw')
    got = serve(path, 'qemu-img convert -f raw -O raw "$uri" ' + out, '-r')
    if got.returncode:
        return got.stderr
    with open(out, 'rb') as f:
        return f.read()


def here(name):
    return os.path.join(work, name)


def scribble(image, rng, writes):
    for _ in range(writes):
        n = rng.choice([1, 3, 17, 400, 4096])
        at = rng.randrange(max(1, image.size // 512 - n))
        image.write(at * 512, rng.randbytes(n * 512))


rng = random.Random(7)
SIZE = 9 * BLOCK + 3 * 512

# Alone: QEMU's own images read the same, and what we write QEMU reads.
for kind in 'fixed', 'dynamic':
    p = here(kind + '.vhd')
    sh('qemu-img', 'create', '-q', '-f', 'vpc', '-o', 'subformat=%s,force_size=on' % kind, p, '24M')
    sh('qemu-io', '-f', 'vpc', '-c', 'write -P 5 1M 3M', '-c', 'write -P 6 9000k 512', p)
    got = serve(p, 'qemu-img compare -f raw -F vpc "$uri" ' + p, '-r')
    check(got.returncode == 0, 'QEMU\'s %s image reads as QEMU reads it %s' % (kind, got.stderr))
    got = serve(p, 'qemu-io -f raw -c "write -P 9 3M 5M" -c "write -P 8 16777215 3" -c flush "$uri"')
    check(got.returncode == 0, 'writing to it %s' % got.stderr)
    got = sh('qemu-io', '-r', '-f', 'vpc', '-c', 'read -P 5 1M 2M', '-c', 'read -P 9 3M 5M', '-c', 'read -P 8 16777215 3',
             '-c', 'read -P 6 9000k 512', p)
    check(got.returncode == 0 and 'failed' not in got.stdout, 'is what QEMU reads then (%s)' % kind)

# Chains: dynamic, differencing twice, blocks out of order; the model never saw our code.
base = Image(SIZE)
scribble(base, rng, 12)
base.save(here('base.vhd'), order=lambda numbers: sorted(numbers, reverse=True))
middle = Image(SIZE, parent=base, parent_name='base.vhd')
scribble(middle, rng, 9)
middle.save(here('middle.vhd'))
leaf = Image(SIZE + 4 * BLOCK, parent=middle, parent_name='middle.vhd')
scribble(leaf, rng, 5)
leaf.save(here('leaf.vhd'))
check(content(here('middle.vhd')) == middle.content(), 'a child shows its parent where it has nothing')
check(content(here('leaf.vhd')) == leaf.content(), 'and so does its child, which is larger')

sums = [sh('sha256sum', here(n)).stdout for n in ('base.vhd', 'middle.vhd')]
piece = rng.randbytes(3 << 20)
with open(here('piece'), 'wb') as f:
    f.write(piece)
got = serve(here('leaf.vhd'), 'qemu-io -f raw -c "write -s %s 1000k 3M" -c flush "$uri"' % here('piece'))
leaf.write(1000 * 1024, piece)
check(got.returncode == 0 and content(here('leaf.vhd')) == leaf.content(), 'a write goes into the leaf %s' % got.stderr)
check([sh('sha256sum', here(n)).stdout for n in ('base.vhd', 'middle.vhd')] == sums, 'and its parents stay as they were')
got = serve(here('leaf.vhd'), 'qemu-io -f raw -c "write -z 0 4M" -c "write -z 20M 1M" -c flush "$uri"')
leaf.write(0, bytes(4 << 20))
check(content(here('leaf.vhd')) == leaf.content(), 'zeros hide what the parents have')
got = serve(here('leaf.vhd'), 'nbdinfo --map --totals "$uri"', '-r')
check(got.returncode == 0 and 'hole,zero' in got.stdout and 'data' in got.stdout, 'holes are told: %s' % got.stdout.split('\n')[0])

# A parent without a usable name is found by its uuid.
lost = Image(SIZE, parent=base, parent_name='gone.vhd')
lost.save(here('lost.vhd'))
u = base.uuid.hex()
shutil.copy(here('base.vhd'), here('-'.join((u[:8], u[8:12], u[12:16], u[16:20], u[20:])) + '.vhd'))
check(content(here('lost.vhd')) == base.content(), 'a parent is found by its uuid, too')

# On a raw image, as LVHD has it.
raw = rng.randbytes(3 * BLOCK)
with open(here('raw'), 'wb') as f:
    f.write(raw)
on_raw = Image(SIZE, raw_parent=raw, parent_name='raw')
scribble(on_raw, rng, 4)
on_raw.save(here('on-raw.vhd'))
check(content(here('on-raw.vhd')) == on_raw.content(), 'a raw parent is read as it stands')

# Blocks that only the batmap calls whole.
marked = Image(SIZE, batmap=True)
marked.write(BLOCK, rng.randbytes(2 * BLOCK))
marked.write(5 * BLOCK + 512, rng.randbytes(1024))
marked.save(here('marked.vhd'))
check(content(here('marked.vhd')) == marked.content(), 'whole blocks of a batmap are present')
piece = rng.randbytes(1 << 20)
with open(here('piece'), 'wb') as f:
    f.write(piece)
serve(here('marked.vhd'), 'qemu-io -f raw -c "write -s %s 2560k 1M" -c "write -s %s 14M 1M" "$uri"' % (here('piece'), here('piece')))
marked.write(2560 * 1024, piece)
marked.write(14 << 20, piece)
check(content(here('marked.vhd')) == marked.content(), 'also after writing into them')

# Hostile images: a sentence, no disk.
with open(here('base.vhd'), 'rb') as f:
    good = f.read()


def refused(what, data, word):
    with open(here('bad.vhd'), 'wb') as f:
        f.write(data)
    said = content(here('bad.vhd'))
    check(isinstance(said, str) and word in said, '%s is refused: %s' % (what, word))


def resum(part, at):
    part = bytearray(part)
    part[at:at + 4] = struct.pack('>I', ~(sum(part) - sum(part[at:at + 4])) & 0xffffffff)
    return bytes(part)


foot, head = good[:512], good[512:1536]
refused('an empty file', b'', 'too short')
refused('a text', b'x' * 9000, 'no VHD footer')
refused('a damaged checksum', b'\0' * 512 + good[512:-512] + foot[:64] + b'abcd' + foot[68:], 'footer')
refused('a block outside the file', good[:2048] + struct.pack('>I', 0x7fffffff) + good[2052:], 'outside')
refused('two blocks in one place', good[:2048] + struct.pack('>II', 5, 5) + good[2056:], 'in one place')
far = resum(head[:16] + struct.pack('>Q', 1 << 62) + head[24:], 36)
refused('a table far away', foot + far + good[1536:], 'table')
short = resum(head[:28] + struct.pack('>I', 2) + head[32:], 36)
refused('a table that is too short', foot + short + good[1536:], 'table')
tiny = resum(head[:32] + struct.pack('>I', 512) + head[36:], 36)
refused('blocks of 512 bytes', foot + tiny + good[1536:], 'unusual size')
loop = Image(SIZE, parent=base, parent_name='bad.vhd')
loop.parent = type('P', (), {'uuid': loop.uuid})()
loop.save(here('loop.vhd'))
with open(here('loop.vhd'), 'rb') as f:
    refused('a parent of itself', f.read(), 'tail')
other = Image(SIZE)
other.save(here('gone.vhd'))
check('another image' in str(content(here('lost.vhd'))), 'a parent of another uuid is refused')
up = Image(SIZE, parent=base, parent_name='../../etc/passwd')
up.save(here('up.vhd'))
check(content(here('up.vhd')) == base.content(),
      'a parent is never looked for in another folder')

shutil.rmtree(work)
done()
