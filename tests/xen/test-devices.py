#!/usr/bin/env python3
"""Devices of guests on real Xen beside disks of files: a logical volume, CDs that change in a PV guest and in an emulated drive, what is
written into xenstore for a guest, memory for page tables; a vTPM and PCI devices are refused by name. LEVEL=full only; ONLY=regex: some
of it."""
import os
import re
import sys

from harness import LEVEL, check, done, fails
from guests import BOOT_S, NULL, PVH_GRUB, Guests, Rig, wait_until

if LEVEL != 'full':
    print('# a guest boots: LEVEL=full')
    sys.exit(77)


def discs(g):
    """VDIs of a repository with two CDs: {name: VDI}"""
    s = g.s
    g.rig.must('mkdir -p /root/iso; for n in one two; do echo "CD $n" >/root/iso/$n.iso; truncate -s 1M /root/iso/$n.iso; done')
    sr = (s.SR.get_by_name_label('iso') or
          [s.SR.create(s.host.get_all()[0], {'location': '/root/iso', 'legacy_mode': 'true'}, '0', 'iso', '', 'iso', 'iso', False, {})])[0]
    return {s.VDI.get_name_label(vdi).replace('.iso', ''): vdi for vdi in s.SR.get_VDIs(sr)}


def uses_volume(g):
    """A Linux with its disk in a volume group, and a drive whose CD changes."""
    s, rig, cds = g.s, g.rig, discs(g)
    group = s.SR.create(s.host.get_all()[0], {'device': '/dev/vdb'}, '0', 'volumes', '', 'lvm', '', False, {})
    vm = g.vm('volume', words='disk=xvda watch=1')
    file_sr, g.sr = g.sr, group
    disk = g.disk('volume', 16)
    g.sr = file_sr
    g.vbd(vm, disk)
    drive = g.vbd(vm, NULL, '3', 'CD', 'RO')
    g.start(vm)
    node = rig.must('xenstore-read /local/domain/0/backend/vbd/%s/51712/physical-device' % s.VM.get_domid(vm))
    name = rig.must('cat /sys/dev/block/%d:%d/dm/name' % tuple(int(n, 16) for n in node.split(':')))
    check(s.VDI.get_uuid(disk).replace('-', '--') in name, "a volume of LVM is the kernel's backend's: %s" % name)
    check(g.lives(vm, BOOT_S) and g.says(vm, 'disk xvda: written', 1, 60), 'the guest reads and writes it')
    last = lambda: [line for line in g.log(vm).splitlines() if 'devices:' in line][-1]
    s.VBD.insert(drive, cds['one'])
    check(wait_until(lambda: 'xvdd' in last(), 120, 1) and not s.VBD.get_empty(drive), 'a CD is put into its drive: %s' % last())
    fails('VBD_NOT_EMPTY', 'not a second one', s.VBD.insert, drive, cds['two'])
    s.VBD.eject(drive)
    check(wait_until(lambda: 'xvdd' not in last(), 120, 1) and s.VBD.get_empty(drive), 'and taken out: %s' % last())
    s.VM.clean_shutdown(vm)
    check(g.clean() == '', 'nothing is left of it: %s' % g.leftovers())
    path = rig.must('lvs --noheadings -o lv_active,lv_name | grep %s' % s.VDI.get_uuid(disk))
    check('active' not in path, 'its volume is no longer active: %s' % path)


def changes_discs(g):
    """The emulated drive of an HVM guest: its device model has the files open."""
    s, cds = g.s, discs(g)
    vm = g.vm('drive', 'hvm', mib=64, kernel='', ramdisk='', HVM_boot_policy='BIOS order', HVM_boot_params={'order': 'd'},
              platform={'acpi': '1', 'apic': 'true', 'pae': 'true', 'vga': 'std', 'videoram': '8'}, has_vendor_device=True)
    drive = g.vbd(vm, cds['one'], '3', 'CD', 'RO')
    open_now = lambda: g.rig.must('ls -l /proc/$(pgrep -f -- "[-]xen-domid")/fd | grep -o "[a-z]*[.]iso" | sort -u; true')
    g.start(vm, paused=True)
    check(open_now() == 'one.iso', 'HVM: starts with a CD: %s' % open_now())
    words = g.rig.must('tr "\\0" " " </proc/$(pgrep -f -- "[-]xen-domid")/cmdline')
    check('xen-pvdevice,device-id=0xc000' in words, "HVM: with the vendor's device: %s" % words)
    s.VBD.eject(drive)
    check(open_now() == '' and s.VBD.get_empty(drive), 'HVM: which is taken out: %s' % open_now())
    fails('VBD_IS_EMPTY', 'HVM: once', s.VBD.eject, drive)
    s.VBD.insert(drive, cds['two'])
    check(open_now() == 'two.iso' and s.VBD.get_VDI(drive) == cds['two'], 'HVM: another one comes into it: %s' % open_now())
    g.again().VBD.eject(drive)
    check(open_now() == '', 'HVM: another agent takes it out: %s' % open_now())
    g.s.VM.hard_shutdown(vm)
    check(g.clean() == '', 'HVM: nothing is left of it: %s' % g.leftovers())


def has_words(g):
    """A guest that only waits."""
    s = g.s
    vm = g.vm('words', 'pvh', mib=32, kernel=PVH_GRUB, ramdisk='', VCPUs_params={'cap': '1', 'weight': '16'},
              xenstore_data={'vm-data/colour': 'green', '../0/name': 'bad', 'vm-data/a b': 'c'})
    g.start(vm)
    tree = g.rig.must('xenstore-ls -f /local/domain/%s/vm-data; xenstore-read /local/domain/0/name' % s.VM.get_domid(vm)).splitlines()
    check(tree[0].endswith('vm-data/colour = "green"') and tree[1:] == ['Domain-0'], 'xenstore_data is below the domain, and nowhere else: %s' % tree)
    s.VM.set_shadow_multiplier_live(vm, 3.0)
    check(s.VM.get_HVM_shadow_multiplier(vm) == 3.0, 'memory for page tables grows while it is there')
    fails('HOST_NOT_ENOUGH_FREE_MEMORY', 'not beyond what the host has', s.VM.set_shadow_multiplier_live, vm, 10000.0)
    s.VM.hard_shutdown(vm)
    why = fails('NOT_IMPLEMENTED', 'a vTPM is refused', s.VTPM.create, vm, False)
    check('xen' in why[0], 'by the name of the driver: %s' % why)
    s.VM.add_to_other_config(vm, 'pci', '0/0000:00:03.0')
    fails('VM_REQUIRES_IOMMU', "a device of the host's is refused where there is no IOMMU", s.VM.start, vm, False, False)
    check(g.clean() == '', 'nothing is left of it: %s' % g.leftovers())


def of_one_moment(g):
    """A guest with two disks stands still while their snapshots are made, and goes on."""
    s = g.s
    vm = g.grub('two')
    for device in '01':
        g.vbd(vm, g.disk('two' + device, 16, raw=False), device)
    g.start(vm)
    spent_s = lambda: float(g.rig.must('xl list %s | tail -n 1' % s.VM.get_domid(vm)).split()[-1])      # its boot loader polls the keyboard
    before = spent_s()
    check(wait_until(lambda: spent_s() > before, 60, 1), 'a guest with two disks runs')
    snapshot = s.VM.snapshot(vm, 'both', [])
    did = [line for line in g.agent.tail(200).splitlines() if s.VM.get_uuid(vm) in line and 'pause ' in line]
    check(len(did) == 2 and ' pause ' in did[0] and ' unpause ' in did[1] and all(': ok' in line for line in did),
          'stands still for a snapshot: %s' % did)
    before = spent_s()
    check(s.VM.get_power_state(vm) == 'Running' and wait_until(lambda: spent_s() > before, 60, 1), 'and goes on')
    check(len(s.VM.get_VBDs(snapshot)) == 2 and 'unfinished-by' not in s.VM.get_other_config(vm), 'with both disks')
    s.VM.hard_shutdown(vm)
    check(g.clean() == '', 'nothing is left of it: %s' % g.leftovers())


with Rig('xen') as rig:
    rig.install()
    agent = rig.start_agent('--log-level', 'debug', timeout_s=300)
    rig.must('xl sched-credit2 -d Domain-0 -w 65535')     # a guest that boots does not keep dom0 from its work
    guests = Guests(rig, agent)
    try:
        for part in (has_words, changes_discs, of_one_moment, uses_volume):
            if re.search(os.environ.get('ONLY', ''), part.__name__):
                part(guests)
    except BaseException:
        print(''.join('# agent: %s\n' % l for l in agent.tail(60).splitlines()))
        raise
done()
