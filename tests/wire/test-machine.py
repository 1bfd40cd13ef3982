#!/usr/bin/env python3
"""What the host's messages do to the machine: the real program with every system command replaced by one that only notes
how it was called, and with a folder of its own for /etc. And the listeners: plain HTTP, management over no card at all."""
import http.client
import os
import shutil
import tempfile
import time

from harness import SOURCE, Agent, check, done, fails, wait_until

top = tempfile.mkdtemp(prefix='xapi-test-machine-')
etc, fakes, zones = (os.path.join(top, n) for n in ('etc', 'bin', 'zones'))
told = os.path.join(top, 'told')
NOTE = '#!/bin/sh\necho "${0##*/} $*" >>%s\n' % told
NO_SYSTEMD = 'System has not been booted with systemd as init system (PID 1). Can\'t operate.'


def put(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        f.write(text)


def fake(name, more=''):
    path = os.path.join(fakes, name)
    put(path, NOTE + more)
    os.chmod(path, 0o755)


def calls():
    """The commands since the last time."""
    try:
        lines = open(told).read().splitlines()
        os.unlink(told)
        return lines
    except FileNotFoundError:
        return []


def read(name):
    try:
        return open(os.path.join(etc, name)).read()
    except FileNotFoundError:
        return None


for command in ('systemctl', 'hostname', 'date', 'hwclock', 'update-grub', 'xenpm'):
    fake(command)
fake('chronyc', "printf '^,*,192.0.2.1,2,6\\n^,?,192.0.2.2,0,6\\n'\n")
put(zones + '/UTC', 'TZif')
put(zones + '/Europe/Paris', 'TZif')
put(zones + '/Europe/README', 'text')
put(zones + '/posix/Europe/Paris', 'TZif')
put(etc + '/chrony/chrony.conf', 'confdir /etc/chrony/conf.d\npool 2.debian.pool.ntp.org iburst\nsourcedir /run/chrony-dhcp\n'
                                 'makestep 1 3\n')
OPTIONS = ['--machine', os.path.join(SOURCE, 'xapi', 'helper', 'xapi-machine'), '--etc-dir', etc, '--zoneinfo-dir', zones,
           '--allow-host-power']
ENV = {'PATH': fakes + ':' + os.environ['PATH'], 'XAPI_ZONEINFO': zones, 'XAPI_SYS': top + '/sys'}
IDLE = [top + '/sys/devices/system/cpu/cpu0/cpuidle/state%d/disable' % i for i in range(3)]


def names(s, host):
    s.host.set_hostname_live(host, 'other-name')
    check(read('hostname') == 'other-name\n' and calls() == ['hostname other-name'], 'a new name, now and after the next boot')
    check(s.host.get_hostname(host) == 'other-name' and s.host.get_software_version(host)['hostname'] == 'other-name', 'and the record')
    for bad in ('', 'a_b', '-a', 'a.', 'x' * 65, 'a..b', 'a/b'):
        fails('HOST_NAME_INVALID', 'the name "%s"' % bad[:10], s.host.set_hostname_live, host, bad)
    check(calls() == [], 'of which the machine hears nothing')


def syslog(s, host):
    s.host.set_logging(host, {'syslog_destination': 'log.example.org'})
    s.host.syslog_reconfigure(host)
    check('*.* @log.example.org\n' in read('rsyslog.d/xapi-remote.conf') and calls() == ['systemctl try-restart rsyslog'],
          'the logger sends to the destination')
    s.host.set_logging(host, {'syslog_destination': 'x\n*.* /etc/passwd'})
    fails('INVALID_VALUE', 'a destination that is none', s.host.syslog_reconfigure, host)
    s.host.remove_from_logging(host, 'syslog_destination')
    calls()
    s.host.syslog_reconfigure(host)
    check(read('rsyslog.d/xapi-remote.conf') is None and calls(), 'without a destination the rule is gone')


def ntp(s, host):
    check(s.host.get_ntp_mode(host) == 'Factory', 'at first the servers of the distribution')
    original = read('chrony/chrony.conf')
    fails('INVALID_NTP_CONFIG', 'custom servers when there are none', s.host.set_ntp_mode, host, 'Custom')
    check(fails('INVALID_NTP_CONFIG', 'a server that is none', s.host.set_ntp_custom_servers, host, ['a b'])
          == ['a b is neither a name nor an address'], 'is named')
    s.host.set_ntp_custom_servers(host, ['ntp.example.org', '2001:db8::1'])
    check(calls() == [] and s.host.get_ntp_custom_servers(host) == ['ntp.example.org', '2001:db8::1'], 'kept for later')
    s.host.set_ntp_mode(host, 'Custom')
    check(read('chrony/sources.d/xapi.sources') == 'server ntp.example.org iburst\nserver 2001:db8::1 iburst\n', 'custom servers')
    check('\n#xapi# pool 2.debian' in read('chrony/chrony.conf') and '\n#xapi# sourcedir /run' in read('chrony/chrony.conf'),
          'and no others')
    check(calls() == ['systemctl enable --now chrony', 'systemctl restart chrony'], 'the service knows')
    s.host.set_ntp_custom_servers(host, ['192.0.2.1'])
    check(read('chrony/sources.d/xapi.sources') == 'server 192.0.2.1 iburst\n' and calls(), 'changed while in use')
    fails('INVALID_NTP_CONFIG', 'the last one taken away', s.host.set_ntp_custom_servers, host, [])
    check(s.host.get_ntp_servers_status(host) == {'192.0.2.1': 'current', '192.0.2.2': 'unreachable'}, 'how they do')
    s.host.set_ntp_mode(host, 'DHCP')
    check('\n#xapi# pool' in read('chrony/chrony.conf') and '\nsourcedir /run' in read('chrony/chrony.conf'), "only DHCP's")
    check(read('chrony/sources.d/xapi.sources') is None, 'not the custom ones')
    fails('NOT_ALLOWED_WHEN_NTP_IS_ENABLED', 'setting the clock meanwhile', s.host.set_servertime, host, '20260821T02:00:23Z')
    calls()
    s.host.set_ntp_mode(host, 'Disabled')
    check(calls() == ['systemctl disable --now chrony'] and s.host.get_ntp_servers_status(host) == {}, 'none at all')
    s.host.set_servertime(host, '20260821T02:00:23Z')
    check(calls()[0] == 'date -u -s @1787277623', 'then the clock can be set')
    s.host.set_ntp_mode(host, 'Factory')
    check(read('chrony/chrony.conf') == original, 'as it was')
    calls()
    shutil.rmtree(etc + '/chrony')
    fails('INTERNAL_ERROR', 'no time service installed', s.host.set_ntp_mode, host, 'DHCP')
    check(s.host.get_ntp_mode(host) == 'Factory', 'leaves the record alone')
    os.makedirs(etc + '/systemd')
    s.host.set_ntp_mode(host, 'Custom') if s.host.set_ntp_custom_servers(host, ['192.0.2.7']) == '' else None
    check(read('systemd/timesyncd.conf.d/xapi.conf') == '[Time]\nNTP=192.0.2.7\nFallbackNTP=\n', 'systemd-timesyncd does too')
    s.host.set_ntp_mode(host, 'Factory')
    check(read('systemd/timesyncd.conf.d/xapi.conf') is None, 'and back')
    check(s.host.get_ntp_synchronized(host) in (True, False), 'the clock tells whether it is in step')
    calls()


def zone(s, host):
    check(s.host.list_timezones(host) == ['Europe/Paris', 'UTC'], 'the time zones there are')
    s.host.set_timezone(host, 'Europe/Paris')
    check(os.readlink(etc + '/localtime') == zones + '/Europe/Paris' and read('timezone') == 'Europe/Paris\n', 'one of them')
    check(s.host.get_timezone(host) == 'Europe/Paris', 'and the record')
    for bad in ('Europe/README', '../passwd', ''):
        fails('INVALID_VALUE', 'no zone: "%s"' % bad, s.host.set_timezone, host, bad)


def ssh(s, host, pool):
    s.host.disable_ssh(host)
    check(not s.host.get_ssh_enabled(host) and calls() == ['systemctl disable --now ssh'], 'SSH closed')
    s.host.enable_ssh(host)
    check(s.host.get_ssh_enabled(host) and calls() == ['systemctl enable --now ssh'], 'and open')
    check(str(s.host.get_ssh_expiry(host)) == '19700101T00:00:00Z', 'for good')
    fails('INVALID_VALUE', 'for less than no time', s.host.set_ssh_enabled_timeout, host, -1)
    fails('INVALID_VALUE', 'for all hosts', s.pool.set_ssh_enabled_timeout, pool, 172801)
    s.host.set_ssh_auto_mode(host, True)
    check(os.path.exists(etc + '/xapi/ssh-auto') and calls() == ['systemctl stop ssh'], 'closed while the agent is well')
    check(s.host.get_ssh_auto_mode(host) and not s.host.get_ssh_enabled(host), 'and the record')
    s.pool.enable_ssh(pool)
    check(not s.host.get_ssh_auto_mode(host) and not os.path.exists(etc + '/xapi/ssh-auto'), 'opening it by hand ends that')
    s.pool.set_ssh_auto_mode(pool, True)
    s.pool.set_ssh_auto_mode(pool, False)
    s.pool.disable_ssh(pool)
    check(not s.host.get_ssh_enabled(host), 'the pool is all hosts')
    s.pool.set_console_idle_timeout(pool, 300)
    check('TMOUT=300\n' in read('profile.d/xapi-console-timeout.sh') and s.host.get_console_idle_timeout(host) == '300',
          'idle consoles end')
    s.host.set_console_idle_timeout(host, 0)
    check(read('profile.d/xapi-console-timeout.sh') is None, 'or never')
    fails('INVALID_VALUE', 'less than never', s.host.set_console_idle_timeout, host, -1)
    calls()


def processors(s, host):
    for path in IDLE:
        put(path, '0\n')
    s.host.set_max_cstate(host, '1')
    check(read('default/grub.d/xapi-processor.max_cstate.cfg').endswith('processor.max_cstate=1"\n')
          and 'update-grub ' in calls(), 'a limit on idle states')
    check([open(path).read() for path in IDLE] == ['0\n', '0\n', '1\n'], 'in force at once')
    s.host.set_max_cstate(host, '')
    check(read('default/grub.d/xapi-processor.max_cstate.cfg') is None and s.host.get_max_cstate(host) == '', 'and none')
    check(open(IDLE[2]).read() == '0\n', 'at once too')
    for bad in ('x', '-1', '1,', '1;reboot', '256'):
        fails('INVALID_VALUE', 'the state "%s"' % bad, s.host.set_max_cstate, host, bad)
    check(s.host.get_sched_gran(host) == 'cpu', 'without Xen CPUs are scheduled one by one')
    s.host.set_sched_gran(host, 'cpu')
    fails('INTERNAL_ERROR', 'and not otherwise', s.host.set_sched_gran, host, 'core')


CARD = top + '/sys/bus/pci/devices/0000:00:02.0'


def display(agent, s, host):
    """The screen's card goes to a guest, or comes back, at the next boot."""
    put(top + '/sys/bus/pci/devices/0000:00:01.0/vendor', '0x1af4\n')
    for name, text in (('boot_vga', '1'), ('vendor', '0x8086'), ('device', '0x3e92')):
        put(CARD + '/' + name, text + '\n')
    check(s.host.get_display(host) == 'enabled', 'the host has its screen')
    check(s.host.enable_display(host) == 'enabled' and not calls(), 'giving it back changes nothing')
    check(s.host.disable_display(host) == 'disable_on_reboot' and s.host.get_display(host) == 'disable_on_reboot', 'it is given away')
    line = read('default/grub.d/xapi-vfio-pci.ids.cfg')
    check(line.endswith('vfio-pci.ids=8086:3e92"\n') and 'update-grub ' in calls(), 'for the next boot: %s' % line.strip())
    check(s.host.disable_display(host) == 'disable_on_reboot' and not calls(), 'once')
    check(s.host.enable_display(host) == 'enabled' and read('default/grub.d/xapi-vfio-pci.ids.cfg') is None, 'or not after all')
    s.host.disable_display(host)
    calls()
    agent.stop()
    agent.start()
    s = agent.login()
    check(s.host.get_display(host) == 'disable_on_reboot', 'a start of the agent is no boot')
    agent.stop()
    put(os.path.join(agent.root, 'boot-id'), 'another boot\n')
    agent.start()
    s = agent.login()
    check(wait_until(lambda: s.host.get_display(host) == 'disabled'), 'after a boot the screen is gone')
    check(s.host.enable_display(host) == 'enable_on_reboot' and s.host.disable_display(host) == 'disabled', 'asked back, and not')
    s.host.enable_display(host)
    agent.stop()
    put(os.path.join(agent.root, 'boot-id'), 'yet another\n')
    agent.start()
    s = agent.login()
    check(wait_until(lambda: s.host.get_display(host) == 'enabled'), 'back after the next boot')
    os.unlink(CARD + '/boot_vga')
    check(s.host.disable_display(host) == 'disable_on_reboot' and read('default/grub.d/xapi-vfio-pci.ids.cfg') is None, 'without a card: a record')
    calls()
    return s


def memory_nodes(s, host):
    check(s.host.get_numa_affinity_policy(host) == 'default_policy', 'VMs are placed by default')
    for policy in ('any', 'best_effort', 'default_policy'):
        s.host.set_numa_affinity_policy(host, policy)
        check(s.host.get_numa_affinity_policy(host) == policy, 'one memory node: %s' % policy)
    fails('FIELD_TYPE_ERROR', 'no policy', s.host.set_numa_affinity_policy, host, 'all')
    for rescan in (s.host.rescan_drivers, s.Host_driver.rescan):
        rescan(host)
        check(s.Host_driver.get_all() == [] and s.Driver_variant.get_all() == [], 'the kernel has one of each driver')
        fails('HANDLE_INVALID', 'no host', rescan, 'OpaqueRef:none')


def no_systemd(s, host, pool):
    fake('systemctl', 'echo "%s" >&2\nexit 1\n' % NO_SYSTEMD)
    check(fails('ENABLE_SSH_FAILED', 'SSH without systemd', s.host.enable_ssh, host) == [host], 'names the host')
    fails('DISABLE_SSH_FAILED', 'closing it', s.host.disable_ssh, host)
    check(fails('ENABLE_SSH_PARTIALLY_FAILED', 'in the pool', s.pool.enable_ssh, pool) == ['[%s]' % host], 'names the hosts')
    fails('SET_SSH_AUTO_MODE_PARTIALLY_FAILED', 'automatically', s.pool.set_ssh_auto_mode, pool, True)
    check(not s.host.get_ssh_enabled(host), 'and is not recorded')
    why = fails('INTERNAL_ERROR', 'the logger', s.host.syslog_reconfigure, host)
    check(why == ['log-to: ' + NO_SYSTEMD], 'says what systemd said: %s' % why)
    fake('systemctl')
    s.host.disable_ssh(host)
    calls()


def power(s, host):
    s.host.disable(host)
    s.host.reboot(host)
    s.host.shutdown(host)
    check(calls() == ['systemctl reboot', 'systemctl poweroff'], 'the machine is told to reboot and to power off')
    s.host.enable(host)


def answers(port):
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
    try:
        c.request('POST', '/', '<methodCall><methodName>system.listMethods</methodName><params/></methodCall>')
        return c.getresponse().status == 200
    except OSError:
        return False
    finally:
        c.close()


def listens(port):
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
    try:
        c.connect()
        return True
    except OSError:
        return False
    finally:
        c.close()


def management(agent, s, host, pool):
    pifs = {p['device']: ref for ref, p in s.PIF.get_all_records().items()}
    check(s.host.get_management_interface(host) == pifs['eth0'], 'the management interface')
    check([p['device'] for p in s.PIF.get_all_records().values() if p['management']] == ['eth0'], 'is one')
    s.host.management_reconfigure(pifs['eth1'])
    check(s.host.get_management_interface(host) == pifs['eth1'] and s.host.get_address(host) == '127.0.0.2', 'another')
    s.host.local_management_reconfigure('eth0')
    check(s.host.get_address(host) == '127.0.0.1', 'by its name')
    s.pool.management_reconfigure(s.PIF.get_network(pifs['eth1']))
    check(s.host.get_address(host) == '127.0.0.2', 'for the whole pool by the network')
    fails('INTERFACE_HAS_NO_IP', 'one that is not there', s.host.local_management_reconfigure, 'eth7')
    network = s.network.get_by_name_label('Internal network')[0]
    check(fails('PIF_NOT_PRESENT', 'a network without cards', s.pool.management_reconfigure, network) == [host, network], 'both named')
    check(answers(agent.http_port) and listens(agent.https_port), 'both listeners are open')
    s.pool.set_https_only(pool, True)
    check(not listens(agent.http_port) and listens(agent.https_port) and s.host.get_https_only(host), 'TLS only')
    s.host.set_https_only(host, False)
    check(answers(agent.http_port), 'and plain HTTP again')
    s.host.management_disable()
    check(not listens(agent.http_port) and not listens(agent.https_port), 'no management: no listener')
    fails('HOST_HAS_NO_MANAGEMENT_IP', 'and no interface', s.host.get_management_interface, host)
    agent.stop()
    agent.start()
    s = agent.login()
    check(not listens(agent.http_port) and s.pool.get_all() == [pool], 'nor after a restart; the unix socket serves')
    s.host.management_reconfigure(pifs['eth0'])
    check(answers(agent.http_port) and listens(agent.https_port), 'until a card has it')
    return s


def ssh_for_a_time(s, host):
    s.host.set_ssh_enabled_timeout(host, 1)
    s.host.enable_ssh(host)
    check(str(s.host.get_ssh_expiry(host)) > '2020', 'SSH for a second')
    check(wait_until(lambda: not s.host.get_ssh_enabled(host), 30) and 'systemctl disable --now ssh' in calls(), 'is closed by itself')


def untouched():
    """The simulated hypervisor comes with a simulated machine."""
    before = os.uname().nodename
    with Agent() as agent:
        s = agent.login()
        host, pool = s.host.get_all()[0], s.pool.get_all()[0]
        s.host.set_hostname_live(host, 'pretended')
        check(os.uname().nodename == before and s.host.get_hostname(host) == 'pretended', 'the name is recorded only')
        s.host.set_ntp_mode(host, 'DHCP')
        s.host.disable_ssh(host)
        check(s.host.get_ntp_mode(host) == 'DHCP' and not s.host.get_ssh_enabled(host), 'and so are other settings')
        s.host.set_ntp_mode(host, 'Disabled')
        fails('OPERATION_NOT_ALLOWED', 'what cannot be recorded is refused', s.host.set_servertime, host, '20260821T02:00:23Z')
        s.host.disable(host)
        fails('OPERATION_NOT_ALLOWED', 'power too', s.host.shutdown, host)
        agent.stop()
        agent.start()
        check(agent.login().host.get_hostname(host) == 'pretended', 'the name stays over a restart')


try:
    with Agent(*OPTIONS, env=ENV) as agent:
        s = agent.login()
        host, pool = s.host.get_all()[0], s.pool.get_all()[0]
        names(s, host)
        syslog(s, host)
        ntp(s, host)
        zone(s, host)
        ssh(s, host, pool)
        processors(s, host)
        no_systemd(s, host, pool)
        power(s, host)
        s = display(agent, s, host)
        memory_nodes(s, host)
        s = management(agent, s, host, pool)
        ssh_for_a_time(s, host)
    untouched()
finally:
    shutil.rmtree(top, ignore_errors=True)
done()
