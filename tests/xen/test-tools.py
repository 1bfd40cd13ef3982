#!/usr/bin/env python3
"""What a guest says of itself in xenstore: its drivers, the tools under the names of xe-guest-utilities, what it is told there, and a
guest that writes nonsense as fast as it can."""
import json

from harness import LEVEL, check, done, fails, wait_until
from guests import Machine

# Goes before the first process of the small Linux: writes to xenstore through the kernel's device, one message a write.
INIT = r'''#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mkdir -p /dev/xen
# xs TYPE PATH VALUE: 11 writes, 2 reads; prints the answer
xs() {
    len=$((${#2} + 1 + ${#3}))
    { printf "\\$(printf %03o $1)\0\0\0\0\0\0\0\0\0\0\0\\$(printf %03o $((len % 256)))\\$(printf %03o $((len / 256)))\0\0%s\0" "$2"
      printf '%s' "$3"; } >&4
    dd bs=16 count=1 <&4 >/dev/null 2>&1
    dd bs=4096 count=1 <&4 2>/dev/null
}
(
    sleep 3
    exec 4<>/dev/xen/xenbus
    case $(cat /proc/cmdline) in
    *tools=sane*)
        xs 11 attr/PVAddons/Installed 1
        xs 11 attr/PVAddons/MajorVersion 8
        xs 11 attr/PVAddons/MinorVersion 2
        xs 11 attr/PVAddons/MicroVersion 1
        xs 11 attr/PVAddons/BuildVersion 135
        xs 11 data/os_name "Tiny Linux 1"
        xs 11 data/os_uname 6.1.0
        xs 11 data/os_distro tiny
        xs 11 data/os_majorver 1
        xs 11 data/os_minorver 0
        xs 11 attr/vif/0/ipv4/0 10.9.0.2
        xs 11 attr/vif/0/ipv6/0 fe80:0:0:0:1:2:3:4
        xs 11 control/feature-suspend 1
        xs 11 control/feature-ts2 1
        xs 11 control/feature-static-ip-setting 1
        xs 11 control/feature-xs-batcmd 1
        xs 11 feature/hotplug/vbd 1
        xs 11 data/updated 1
        before=ENOENT
        wish=xenserver/device/vif/0/static-ip-setting
        while :; do
            enabled=$(xs 2 $wish/enabled "")
            if [ "$enabled" = 1 ]; then address=$(xs 2 $wish/address ""); else address=none; fi
            if [ "$address" != "$last" ]; then
                last=$address
                ip addr flush dev eth0
                if [ $address != none ]; then
                    ip link set eth0 up
                    ip addr add $address dev eth0
                    xs 11 attr/vif/0/ipv4/0 ${address%/*}
                fi
                xs 11 $wish/error-code 0
                xs 11 $wish/error-msg "did $address"
                xs 11 data/updated $address
                echo "tools: eth0 has $address" >/dev/console
            fi
            if [ "$(xs 2 control/batcmd/state "")" = READY ]; then
                xs 11 control/batcmd/state "IN PROGRESS"
                xs 2 control/batcmd/script "" >/script
                echo "tools: runs $(cat /script)" >/dev/console
                sh /script >/out 2>/err
                xs 11 control/batcmd/return $?
                xs 11 control/batcmd/stdout "$(head -c 3000 /out)"
                xs 11 control/batcmd/stderr "$(head -c 1000 /err)"
                xs 11 control/batcmd/state SUCCESS
            fi
            now=$(xs 2 control/ts "")
            [ "$now" = "$before" ] || echo "tools: ts is $now" >/dev/console
            before=$now
            sleep 1
        done ;;
    *tools=mad*)
        long=0123456789abcdef
        while [ ${#long} -lt 1000 ]; do long=$long$long; done
        xs 11 data/os_name "$(printf 'a\001\033[2J\n\377\300\200\357\277\277<b>&')"
        xs 11 data/os_uname "$long"
        xs 11 attr/PVAddons/MajorVersion "'; drop table VM; --"
        xs 11 attr/vif/0/ipv4/0 "10.9.0.2; reboot"
        xs 11 attr/vif/0/ipv6/0 "$long"
        xs 11 attr/eth0/ip 10.9.0.77
        xs 11 control/feature-suspend "$long"
        xs 11 data/meminfo_free 99999999999999999999
        xs 11 memory/target 1
        xs 11 name owned
        xs 11 ../0/name owned
        xs 11 data/updated "$long"
        echo "mad: said" >/dev/console
        n=0
        while :; do n=$((n + 1)); xs 11 data/updated $n; xs 11 data/key$n "$long"; done ;;
    esac
) >/dev/null &
exec /init.small
'''


def make_ramdisk(m):
    """The small Linux with the script in front of it: a second archive on top of the first."""
    m.rig.must('rm -rf /root/top; mkdir -p /root/top; cd /root/top; zcat /boot/initramfs.gz | busybox cpio -i init 2>/dev/null; mv init init.small\n'
               'cat >init; chmod 755 init; (cat /boot/initramfs.gz; find init init.small | busybox cpio -o -H newc 2>/dev/null | gzip -1)'
               ' >/root/tools.gz', 60, INIT.encode())


def said(m, guest):
    ref = m.s.VM.get_guest_metrics(guest.ref)
    return {} if ref == 'OpaqueRef:NULL' else m.s.VM_guest_metrics.get_record(ref)


def hears(m, guest):
    """What it is told: remote desktop, a key, a trigger."""
    s = m.s
    ask = lambda fn: s.VM.call_plugin(guest.ref, 'guest-agent-operation', fn, {})
    check(ask('request-rdp-on') == '' and guest.said('tools: ts is 1', 60), 'tools that offer remote desktop are asked for it')
    check(ask('request-rdp-off') == '' and guest.said('tools: ts is 0', 60), 'and to end it')
    s.VM.send_sysrq(guest.ref, 'h')
    check(guest.said('sysrq: HELP', 60), 'its kernel answers to a key')
    s.VM.send_trigger(guest.ref, 'nmi')
    check(guest.said('NMI received for unknown reason', 60), 'and to an interrupt that cannot be masked')
    fails('NOT_IMPLEMENTED', 'it has no power button', s.VM.send_trigger, guest.ref, 'power')


def obeys(m, guest):
    """Scripts that its tools run."""
    s = m.s
    args = lambda text: {'username': 'u', 'password': 'p', 'script': text}
    run = lambda text: s.VM.call_plugin(guest.ref, 'guest-agent-operation', 'run-script', args(text))
    fails('FEATURE_RESTRICTED', 'a script before the pool lets scripts be run', run, 'true')
    s.pool.add_to_other_config(s.pool.get_all()[0], 'allow_guest_agent_run_script', 'true')
    got = json.loads(run('uname; echo no >&2; exit 3'))
    check(got == {'rc': 3, 'stdout': 'Linux', 'stderr': 'no'}, 'a script in the guest: %s' % got)
    got = json.loads(run("printf 'a\\200b\\001'; yes é | head -c 2000"))
    check(got['rc'] == 0 and got['stdout'].startswith('a\ufffdb\x01é\né') and len(got['stdout'].encode()) <= 1024
          and got['stdout'].endswith(' (truncated)'), 'any bytes, and much of them: %r' % got['stdout'][:40])
    task = s.Async.VM.call_plugin(guest.ref, 'guest-agent-operation', 'run-script', args('sleep 8'))
    check(guest.said('tools: runs sleep 8', 60), 'a long one')
    got = fails('XENAPI_PLUGIN_FAILURE', 'another one meanwhile', run, 'true')
    check('earlier script' in got[1], 'is refused with the reason: %s' % got)
    s.task.cancel(task)
    check(wait_until(lambda: s.task.get_status(task) == 'cancelled', 30, 1), 'nobody waits for it any more')
    check(wait_until(lambda: m.rig.must('xenstore-read /local/domain/%d/control/batcmd/state' % guest.domid()).strip() == 'SUCCESS', 60, 1),
          'it runs on to its end')
    check(json.loads(run('echo again'))['stdout'] == 'again', 'and then there may be others')
    task = s.Async.VM.call_plugin(guest.ref, 'guest-agent-operation', 'run-script', args('sleep 7; poweroff -f'))
    check(guest.said('tools: runs sleep 7', 60), 'one that its guest does not survive')
    return task


def addressed(m, guest):
    """Its card gets an address, and another, by the tools in it; one that is unplugged has none to get any more."""
    s = m.s
    vif, = s.VM.get_VIFs(guest.ref)
    store = lambda node: m.rig.must('xenstore-read /local/domain/%d/xenserver/device/vif/0/static-ip-setting/%s' % (guest.domid(), node)).strip()
    check(guest.said('tools: eth0 has 10.9.0.2/24', 60) and store('mac') == s.VIF.get_MAC(vif), 'the address that the record had before its start')
    check(wait_until(lambda: said(m, guest)['networks'].get('0/ip') == '10.9.0.2', 60, 1), 'it says so itself')
    s.VIF.configure_ipv4(vif, 'Static', '10.9.0.3/24', '10.9.0.1')
    s.VIF.configure_ipv6(vif, 'Static', '2001:db8::3/64', '')
    check(guest.said('tools: eth0 has 10.9.0.3/24', 60), 'another while it runs')
    check((store('gateway'), store('address6'), store('enabled6')) == ('10.9.0.1', '2001:db8::3/64', '1'), 'with a gateway, and one of IPv6')
    check(store('error-msg') == 'did 10.9.0.3/24', 'it can answer there')
    bridge = s.network.get_bridge(s.VIF.get_network(vif))
    rc, text = m.rig.run('ip addr add 10.9.0.1/24 dev {0}; ping -q -c 1 -w 30 10.9.0.3; rc=$?; ip addr del 10.9.0.1/24 dev {0}; exit $rc'.format(bridge), 60)
    check(rc == 0, 'the host reaches it there: %s' % text.splitlines()[-2:])
    s.VIF.configure_ipv4(vif, 'None', '', '')
    check(guest.said('tools: eth0 has none', 60) and store('enabled') == '0', 'left alone again')
    nodes = m.rig.must('xenstore-list /local/domain/%d/xenserver/device/vif/0/static-ip-setting' % guest.domid()).split()
    check('address' not in nodes and 'gateway' not in nodes and 'address6' in nodes, 'of what was said nothing stays: %s' % nodes)


def speaks(m):
    s = m.s
    guest = m.guest('sane', 'pv', 'tools=sane', disk=True)
    s.VM.set_PV_ramdisk(guest.ref, '/root/tools.gz')
    s.VIF.configure_ipv4(s.VM.get_VIFs(guest.ref)[0], 'Static', '10.9.0.2/24', '')
    s.VM.start(guest.ref, False, False)
    check(wait_until(lambda: said(m, guest).get('live'), 200, 1), 'the tools are heard')
    record = said(m, guest)
    check(record['PV_drivers_version'] == {'major': '8', 'minor': '2', 'micro': '1', 'build': '135'}, 'their version: %s' % record['PV_drivers_version'])
    check(record['os_version'] == {'name': 'Tiny Linux 1', 'uname': '6.1.0', 'distro': 'tiny', 'major': '1', 'minor': '0'},
          'the system: %s' % record['os_version'])
    check(record['networks'] == {'0/ip': '10.9.0.2', '0/ipv4/0': '10.9.0.2', '0/ipv6/0': 'fe80::1:2:3:4'}, 'addresses: %s' % record['networks'])
    check(wait_until(lambda: said(m, guest)['PV_drivers_detected'], 60, 1), 'paravirtual drivers are at work')
    check(record['can_use_hotplug_vbd'] == 'yes' and record['can_use_hotplug_vif'] == 'unspecified' and
          record['other'].get('feature-suspend') == '1', 'and what they can: %s' % record['other'])
    hears(m, guest)
    addressed(m, guest)
    m.agent.kill()
    m.restart()
    s = m.s
    check(wait_until(lambda: said(m, guest).get('os_version'), 60, 1), 'after a restart of the agent it is known again')
    task = obeys(m, guest)
    check(wait_until(lambda: s.VM.get_power_state(guest.ref) == 'Halted' and s.task.get_status(task) == 'failure', 60, 1)
          and s.task.get_error_info(task)[0] in ('XENAPI_PLUGIN_FAILURE', 'VM_BAD_POWER_STATE'), 'fails: %s' % s.task.get_error_info(task))
    check(s.VM.get_guest_metrics(guest.ref) == 'OpaqueRef:NULL', 'what it said is gone with it')


def raves(m):
    s = m.s
    guest = m.guest('mad', 'pv', 'tools=mad', disk=False)
    s.VM.set_PV_ramdisk(guest.ref, '/root/tools.gz')
    s.VM.start(guest.ref, False, False)
    check(guest.said('mad: said', 200) and wait_until(lambda: said(m, guest).get('live'), 100, 1), 'a mad guest is heard')
    record = said(m, guest)
    check(record['os_version']['name'] == 'a??[2J?????<b>&' or all(' ' <= ch for ch in record['os_version']['name']),
          'control characters and broken UTF-8 do not come through: %r' % record['os_version']['name'])
    check(len(record['os_version']['uname']) <= 256, 'what is long is cut')
    check(record['networks'] == {'0/ip': '10.9.0.77', '0/ipv4/0': '10.9.0.77'}, 'what is no address is none: %s' % record['networks'])
    check(record['other'].get('feature-suspend') == '0' and len(record['other']) < 40, 'what is no sign is none: %s' % record['other'])
    name, target = m.rig.must('xenstore-read /local/domain/{0}/name /local/domain/{0}/memory/target'.format(guest.domid())).split()
    check(name == 'mad' and int(target) == 128 * 1024, 'it could not write where it must not')
    # While it goes on writing the agent serves others.
    other = m.guest('calm', 'pv', disk=False, vif=False)
    s.VM.start(other.ref, False, False)
    check(other.lives(), 'other guests start and run meanwhile')
    before = int(m.rig.must('grep -c "event 1[0-9] of" %s' % m.agent.log))
    wait_until(lambda: False, 10)
    told = int(m.rig.must('grep -c "event 1[0-9] of" %s' % m.agent.log)) - before
    check(told <= 8, 'of its thousands of writes in ten seconds the agent looks at few: %d' % told)
    s.VM.hard_shutdown(other.ref)
    s.VM.hard_shutdown(guest.ref)
    check(m.left() == '', 'nothing is left: ' + m.left())


with Machine('--vm-call-plugin-interval', '0s') as m:
    make_ramdisk(m)
    speaks(m)
    if LEVEL == 'full':
        raves(m)
done()
