#!/usr/bin/env python3
"""LEVEL=full: a PV and a PVH guest on real Xen with a framebuffer, a keyboard and a pointer: its picture over VNC, before and after a
suspend; its second processor is taken away and given back while it runs."""
import subprocess
import sys
import urllib.request

from harness import LEVEL, check, done, fails
from guests import Guests, Rig, wait_until


# Before the first process of the small Linux: a processor that was plugged is switched on, as udev does in other guests.
INIT = rb'''#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev
cpu=/sys/devices/system/cpu/cpu1
(
    while :; do
        [ "$(cat $cpu/online 2>/dev/null)" = 0 ] && echo 1 >$cpu/online
        sleep 1
    done
) &
exec /init.small
'''


def make_ramdisk(rig):
    """The small Linux with the script in front of it: a second archive on top of the first."""
    rig.must('rm -rf /root/top; mkdir -p /root/top; cd /root/top; zcat /boot/initramfs.gz | busybox cpio -i init 2>/dev/null; mv init init.small\n'
             'cat >init; chmod 755 init; (cat /boot/initramfs.gz; find init init.small | busybox cpio -o -H newc 2>/dev/null | gzip -1)'
             ' >/root/cpus.gz', 60, INIT)


def colours(g, vm):
    """(width, height, colours) of its screen as GET /vncsnapshot shows it."""
    url = 'http://127.0.0.1:%d/vncsnapshot?uuid=%s&session_id=%s' % (g.agent.port, g.s.VM.get_uuid(vm), g.s._ref)
    with urllib.request.urlopen(url, timeout=300) as answer:
        jpeg = answer.read()
    ppm = subprocess.run(['djpeg', '-ppm'], input=jpeg, capture_output=True, check=True).stdout
    _, size, _, pixels = ppm.split(b'\n', 3)
    width, height = map(int, size.split())
    return width, height, len({pixels[i:i + 3] for i in range(0, len(pixels), 3)})


def has_screen(g, kind):
    s, rig = g.s, g.rig
    # What the kernel says goes to the screen too; userland writes to the last console.
    vm = g.vm(kind, kind, vcpus=2, platform={'framebuffer': 'true'}, ramdisk='/root/cpus.gz',
              PV_args='console=tty0 console=hvc0 mitigations=off tick=1 watch=1 nonce=' + kind)
    g.start(vm)
    console, = s.VM.get_consoles(vm)
    check(s.console.get_protocol(console) == 'rfb', kind + ': its console is a screen')
    check(g.lives(vm, 400), kind + ': it ticks')
    number = s.VM.get_domid(vm)
    state = lambda kind: rig.run('xenstore-read /local/domain/0/backend/%s/%s/0/state' % (kind, number))[1].strip()
    check(wait_until(lambda: state('vfb') == '4' and state('vkbd') == '4', 120, 0.5), 'its drivers have taken up screen and keyboard: %s %s' % (
        state('vfb'), state('vkbd')))
    check(wait_until(lambda: colours(g, vm)[2] > 1, 120, 1), 'there is something on the screen: %d x %d, %d colours' % colours(g, vm))

    fails('INVALID_VALUE', 'more processors than VCPUs_max', s.VM.set_VCPUs_number_live, vm, '3')
    last = lambda: [l for l in g.log(vm).splitlines() if 'cpus: ' in l][-1:]
    check(wait_until(lambda: 'cpus: 2 ' in ''.join(last()), 120, 0.5), 'it has two processors')
    for n in ('1', '2'):
        s.VM.set_VCPUs_number_live(vm, n)
        check(wait_until(lambda: 'cpus: %s ' % n in ''.join(last()), 180, 0.5), 'while it runs it gets %s: %s' % (n, last()))
        check(s.VM_metrics.get_VCPUs_number(s.VM.get_metrics(vm)) == n, 'and its record says so')
    s.VM.suspend(vm)
    check(g.clean() == '', 'suspended, and nothing of it is left: %s' % g.leftovers())
    s.VM.resume(vm, False, False)
    check(g.lives(vm, 400) and wait_until(lambda: colours(g, vm)[2] > 1, 120, 1), 'resumed: %d x %d, %d colours' % colours(g, vm))
    s.VM.hard_shutdown(vm)
    check(g.clean() == '', kind + ': nothing is left of it: %s' % g.leftovers())


if LEVEL != 'full':
    print('# two guests with screens take eight minutes under emulation: LEVEL=full')
    sys.exit(77)
with Rig('xen') as rig:
    rig.install()
    agent = rig.start_agent('--log-level', 'debug', timeout_s=300)
    rig.must('xl sched-credit2 -d Domain-0 -w 65535')
    guests = Guests(rig, agent)
    make_ramdisk(rig)
    try:
        for one in ('pv', 'pvh'):
            has_screen(guests, one)
    except BaseException:
        print(''.join('# agent: %s\n' % l for l in agent.tail(60).splitlines()))
        raise
done()
