#!/usr/bin/env python3
"""The host: plug-ins and extensions, settings with effect, logs, editions, emptying, restart of the agent."""
import http.server
import io
import json
import os
import shutil
import stat
import tarfile
import tempfile
import threading

from harness import Agent, check, done, fails, wait_until

top = tempfile.mkdtemp(prefix='xapi-test-host-')
etc, plugins, extensions, crash = (os.path.join(top, n) for n in ('etc', 'plugins', 'extensions', 'crash'))
for folder in (etc, plugins, extensions, crash, os.path.join(etc, 'iscsi')):
    os.makedirs(folder)


def program(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, 'w') as f:
        f.write(text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)


program(plugins, 'echo', '''#!/usr/bin/python3
import os, sys, xmlrpc.client
params, method = xmlrpc.client.loads(sys.argv[1])
session, args = params
def answer(v): print(xmlrpc.client.dumps((v,), '', True))
def ok(v): answer({'Status': 'Success', 'Value': v})
def bad(*d): answer({'Status': 'Failure', 'ErrorDescription': list(d)})
if method == 'join': ok(args['a'] + '<&>' + args['b'])
elif method == 'session': ok(session)
elif method == 'number': ok(42)
elif method == 'uuid': ok(args['vm_uuid'])
elif method == 'raise': bad('XENAPI_PLUGIN_FAILURE', method, 'ValueError', 'no good')
elif method == 'xenapi': bad('VM_BAD_POWER_STATE', 'a', 'b', 'c')
elif method == 'exit': print('half'); print('why', file=sys.stderr); sys.exit(3)
elif method == 'die': os.kill(os.getpid(), 9)
elif method == 'rubbish': print('not xml')
elif method == 'sleep': import time; time.sleep(60)
else: bad('UNKNOWN_METHOD', method)
''')
program(extensions, 'Test.add', '''#!/usr/bin/python3
import json, sys
assert sys.argv[1] == '--jsonrpc'
r = json.load(sys.stdin)
print(json.dumps({'id': r['id'], 'result': str(sum(r['params'])), 'error': None}))
''')
program(extensions, 'Test.rubbish', '#!/bin/sh\necho no json\n')

OPTIONS = ['--vm-call-plugin-interval', '0s', '--plugin-dir', plugins, '--extension-dir', extensions, '--etc-dir', etc, '--crash-dir', crash, '--plugin-timeout', '3s']


def plug_ins(agent, s, host):
    call = lambda fn, args=None: s.host.call_plugin(host, 'echo', fn, args or {})
    check(call('join', {'a': 'x', 'b': 'y'}) == 'x<&>y', 'a plug-in gets function and arguments and answers')
    check(call('number') == '42', 'a number comes as text')
    session = call('session')
    check(session.startswith('OpaqueRef:'), 'a plug-in gets a session')
    check(agent.proxy().pool.get_all(session)['ErrorDescription'][0] == 'SESSION_INVALID', 'which ends with it')
    check(fails('XENAPI_MISSING_PLUGIN', 'a plug-in that is not there', s.host.call_plugin, host, 'none', 'f', {}) == ['none'], 'is named')
    check(fails('XENAPI_MISSING_PLUGIN', 'a path', s.host.call_plugin, host, '../power', 'f', {}) == ['../power'], 'is none')
    shutil.copy(plugins + '/echo', plugins + '/guest-agent-operation')
    vm = guest(s)
    args = {'a': 'x', 'vm_uuid': 'not this one'}
    check(s.VM.call_plugin(vm, 'guest-agent-operation', 'uuid', args) == s.VM.get_uuid(vm), "a VM's plug-in gets its uuid")
    check(fails('XENAPI_MISSING_PLUGIN', 'another plug-in for a VM', s.VM.call_plugin, vm, 'echo', 'number', {}) == ['echo'], 'is none')
    s.VM.hard_shutdown(vm)
    fails('VM_BAD_POWER_STATE', 'for a VM that does not run', s.VM.call_plugin, vm, 'guest-agent-operation', 'uuid', {})
    s.VM.destroy(vm)
    check(fails('XENAPI_PLUGIN_FAILURE', 'an exception', call, 'raise') == ['raise', 'ValueError', 'no good'],
          'function, class and text of the exception')
    check(fails('VM_BAD_POWER_STATE', "a plug-in's own error", call, 'xenapi') == ['a', 'b', 'c'], 'passes as it is')
    check(fails('UNKNOWN_METHOD', 'an unknown function', call, 'what') == ['what'], 'is told by the plug-in')
    check(fails('XENAPI_PLUGIN_FAILURE', 'exit code 3', call, 'exit') == ['non-zero exit', 'half\n', 'why\n'], 'both outputs')
    check(fails('XENAPI_PLUGIN_FAILURE', 'a signal', call, 'die')[0] == 'signal: 9', 'names the signal')
    check(fails('XENAPI_PLUGIN_FAILURE', 'no XML-RPC', call, 'rubbish')[1] == 'not xml\n', 'shows what came')
    check(fails('XENAPI_PLUGIN_FAILURE', 'a plug-in that sleeps', call, 'sleep')[0] == 'timed out', 'is ended')
    check(s.host.has_extension(host, 'Test.add') and not s.host.has_extension(host, 'Test.sub'), 'extensions are found')
    check(s.pool.has_extension(s.pool.get_all()[0], 'Test.add'), 'in the whole pool')
    request = json.dumps({'method': 'Test.add', 'params': [1, 2], 'id': 7})
    check(s.host.call_extension(host, request) == '3', 'an extension answers')
    fails('MESSAGE_METHOD_UNKNOWN', 'an extension that is not there', s.host.call_extension, host,
          json.dumps({'method': 'Test.sub', 'params': [], 'id': 7}))
    fails('EXTENSION_PROTOCOL_FAILURE', 'an extension that speaks no JSON', s.host.call_extension, host,
          json.dumps({'method': 'Test.rubbish', 'params': [], 'id': 7}))


def settings(s, host):
    s.host.set_iscsi_iqn(host, 'iqn.2026-01.org.example:me')
    check(open(etc + '/iscsi/initiatorname.iscsi').read() == 'InitiatorName=iqn.2026-01.org.example:me\n', 'the initiator has its name')
    check(s.host.get_iscsi_iqn(host) == s.host.get_other_config(host)['iscsi_iqn'] == 'iqn.2026-01.org.example:me', 'and the record')
    fails('INVALID_VALUE', 'a name with a line break', s.host.set_iscsi_iqn, host, 'iqn.x\nInitiatorName=y')
    s.host.set_multipathing(host, True)
    check(s.host.get_multipathing(host) and s.host.get_other_config(host)['multipathhandle'] == 'dmp', 'multipathing')
    s.host.set_multipathing(host, False)
    check(not s.host.get_multipathing(host) and 'multipathhandle' not in s.host.get_other_config(host), 'and off')
    s.host.set_ssl_legacy(host, False)
    check(not s.host.get_ssl_legacy(host), 'no old TLS')
    fails('VALUE_NOT_SUPPORTED', 'old TLS', s.host.set_ssl_legacy, host, True)
    s.host.set_power_on_mode(host, 'wake-on-lan', {'mac': 'x'})
    check(s.host.get_power_on_mode(host) == 'wake-on-lan' and s.host.get_power_on_config(host) == {'mac': 'x'}, 'power-on mode')
    fails('OPERATION_NOT_ALLOWED', 'switching on what is on', s.host.power_on, host)
    s.host.set_power_on_mode(host, '', {})
    fails('HOST_POWER_ON_MODE_DISABLED', 'switching on without a mode', s.host.power_on, host)
    fails('HOST_IS_LIVE', 'declaring this host dead', s.host.declare_dead, host)
    fails('HOST_CANNOT_DESTROY_SELF', 'destroying this host', s.host.destroy, host)
    check(s.host.get_ntp_synchronized(host) in (True, False), 'the clock tells whether it is in step')


def licences(s, host, pool):
    edition = s.host.get_edition(host)
    check(edition in s.host.get_editions(host), 'the edition is one of those there are')
    s.host.apply_edition(host, edition, False)
    s.pool.apply_edition(pool, edition)
    check(s.host.get_edition(host) == edition, 'applying it')
    fails('INVALID_EDITION', 'one that is not sold here', s.host.apply_edition, host, 'platinum', True)
    fails('INVALID_EDITION', 'for the pool', s.pool.apply_edition, pool, 'platinum')
    check(s.pool.get_license_state(pool) == {'edition': edition, 'expiry': 'never'}, 'the licence never ends')
    fails('LICENSE_FILE_DEPRECATED', 'a licence file', s.host.license_add, host, 'eA==')
    s.host.license_remove(host)
    s.host.refresh_pack_info(host)
    params = s.host.get_license_params(host)
    check(params['restrict_rbac'] == 'false' and params['sku_type'] == edition, 'every feature is free')


def logs(s, host):
    check('serving, pid' in s.host.get_log(host), "the agent's log")
    xml = s.host.get_system_status_capabilities(host)
    check('key="xapi-logs"' in xml and xml.rstrip().endswith('</system-status-capabilities>'), 'what a bug report can have')
    try:
        text = s.host.dmesg(host)
        check(isinstance(text, str), "the kernel's messages")
    except Exception as e:
        check(e.details[0] == 'INTERNAL_ERROR' and 'kernel' in e.details[1], 'the kernel keeps its messages to itself here')
    fails('OPERATION_NOT_ALLOWED', 'debug keys without Xen', s.host.send_debug_keys, host, 'h')


def guest(s):
    vm = s.VM.clone(s.VM.get_by_name_label('Other install media')[0], 'guest')
    s.VM.provision(vm)
    s.VM.start(vm, False, False)
    return vm


def emptying(s, host):
    s.host.assert_can_evacuate(host)
    s.host.evacuate(host)
    vm = guest(s)
    check(s.host.get_vms_which_prevent_evacuation(host) == {vm: ['NO_HOSTS_AVAILABLE']}, 'a VM with nowhere to go')
    check(fails('CANNOT_EVACUATE_HOST', 'evacuating', s.host.evacuate, host) == ['NO_HOSTS_AVAILABLE,' + vm], 'names it')
    fails('CANNOT_EVACUATE_HOST', 'asking', s.host.assert_can_evacuate, host)
    check(s.host.get_uncooperative_resident_VMs(host) == [], 'no VM is uncooperative')
    check(s.VM.get_power_state(vm) == 'Running', 'which runs on')
    fails('HOST_NOT_DISABLED', 'shutting down an enabled host', s.host.shutdown, host)
    s.host.disable(host)
    check(fails('HOST_IN_USE', 'a host with a guest', s.host.reboot, host) == [host, 'VM', vm], 'names the guest')
    s.VM.hard_shutdown(vm)
    fails('OPERATION_NOT_ALLOWED', 'unless the administrator allows it', s.host.reboot, host)
    s.host.enable(host)
    return vm


def restart(agent, s, host, vm):
    s.VM.start(vm, False, False)
    pid = agent.process.pid
    s.host.restart_agent(host)
    check(wait_until(lambda: not os.path.exists(agent.root + '/ready'), 20) or True, 'the agent goes')
    agent.wait_ready()
    check(agent.process.poll() is None and agent.process.pid == pid, 'the same process runs on')
    s = agent.login()
    check(s.VM.get_power_state(vm) == 'Running', 'and so do the guests')
    s.VM.hard_shutdown(vm)


def wlb_and_others(s, host, pool):
    fails('WLB_NOT_INITIALIZED', 'workload balancing', s.pool.retrieve_wlb_recommendations)
    fails('WLB_NOT_INITIALIZED', 'its configuration', s.pool.retrieve_wlb_configuration)
    fails('WLB_NOT_INITIALIZED', 'sending one', s.pool.send_wlb_configuration, {})
    fails('WLB_NOT_INITIALIZED', 'ending it', s.pool.deconfigure_wlb)
    fails('WLB_NOT_INITIALIZED', 'for the host', s.host.retrieve_wlb_evacuate_recommendations, host)
    fails('WLB_NOT_INITIALIZED', 'for a VM', s.VM.retrieve_wlb_recommendations, s.VM.get_all()[0])
    fails('OPENVSWITCH_NOT_ACTIVE', 'multicast snooping', s.pool.set_igmp_snooping_enabled, pool, True)
    fails('OPENVSWITCH_NOT_ACTIVE', 'a switch controller', s.pool.set_vswitch_controller, '192.0.2.1')
    fails('MESSAGE_REMOVED', 'archive targets', s.pool.test_archive_target, pool, {})
    fails('CANNOT_ENABLE_REDO_LOG', 'a redo log', s.pool.enable_redo_log, s.SR.get_all()[0])
    s.pool.disable_redo_log()
    check(not s.pool.get_redo_log_enabled(pool), 'no redo log')
    s.pool.disable_ssl_legacy(pool)
    s.pool.designate_new_master(host)
    s.pool.emergency_transition_to_master()
    check(s.pool.get_master(pool) == host, 'this host is the coordinator and stays it')
    check(s.pool.recover_slaves() == [], 'no member is to be recovered')
    s.pool.detect_nonhomogeneous_external_auth(pool)
    s.pool.sync_database()
    s.host.emergency_clear_mandatory_guidance()
    check(s.host.get_pending_guidances(host) == [], 'nothing is pending')


class Receiver(http.server.BaseHTTPRequestHandler):
    """A web server that takes uploads below /in and refuses others."""
    taken = {}

    def do_PUT(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        good = self.path.startswith('/in/')
        if good:
            Receiver.taken[self.path] = body
        self.send_response(201 if good else 403)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *args):
        pass


def receiver():
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return 'http://127.0.0.1:%d' % server.server_port


def uploads(s, host, url):
    s.host.bugreport_upload(host, url + '/in/report', {})
    names = tarfile.open(fileobj=io.BytesIO(Receiver.taken['/in/report']), mode='r:gz').getnames()
    check('bug-report/xapi.log' in names and 'bug-report/xapi-db.xml' in names, 'a bug report goes to a web server: %s' % names)
    fails('INTERNAL_ERROR', 'one that refuses', s.host.bugreport_upload, host, url + '/out', {})
    fails('VALUE_NOT_SUPPORTED', 'through a proxy', s.host.bugreport_upload, host, url + '/in/x', {'http_proxy': 'http://x'})
    fails('INVALID_VALUE', 'with a line break in the address', s.host.bugreport_upload, host, url + '/in/ x\r\nHost: y', {})


def crash_dumps(agent, url):
    os.makedirs(crash + '/20260101-010203')
    with open(crash + '/20260101-010203/dump', 'w') as f:
        f.write('x' * 5000)
    agent.stop()
    agent.start()
    s = agent.login()
    records = s.host_crashdump.get_all_records()
    check(len(records) == 1 and list(records.values())[0]['size'] == '5000', "a crash's dump is found at start")
    dump = list(records)[0]
    check(s.host.get_crashdumps(s.host.get_all()[0]) == [dump], 'and is the host\'s')
    fails('INVALID_VALUE', 'uploading to no web server', s.host_crashdump.upload, dump, 'ftp://x/', {})
    s.host_crashdump.upload(dump, url + '/in/dump', {})
    names = tarfile.open(fileobj=io.BytesIO(Receiver.taken['/in/dump']), mode='r:gz').getnames()
    check('20260101-010203/dump' in names, 'and to a web server as tar.gz')
    s.host_crashdump.destroy(dump)
    check(os.listdir(crash) == [] and s.host_crashdump.get_all() == [], 'destroying removes the folder')


try:
    with Agent(*OPTIONS) as agent:
        s = agent.login()
        host, pool = s.host.get_all()[0], s.pool.get_all()[0]
        plug_ins(agent, s, host)
        settings(s, host)
        licences(s, host, pool)
        logs(s, host)
        wlb_and_others(s, host, pool)
        vm = emptying(s, host)
        restart(agent, s, host, vm)
        url = receiver()
        uploads(agent.login(), host, url)
        crash_dumps(agent, url)
finally:
    shutil.rmtree(top, ignore_errors=True)
done()
