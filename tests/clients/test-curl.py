#!/usr/bin/env python3
"""Scripts with curl, tar and Python's own xmlrpc.client: what admins write by hand. JSON-RPC 1.0 and 2.0, files with Basic
credentials (as packer asks for exports), uploads, and a disk put together from an export."""
import json
import os
import subprocess
import tempfile
import xmlrpc.client

from harness import PASSWORD, USER, Agent, check, done, wait_until

MIB = 1 << 20


def curl(agent, path, *options, user=None):
    """Body of the answer and HTTP status, over TLS as curl trusts it with -k."""
    argv = ['curl', '-sk', '-m', '60', '-w', '%{stderr}%{http_code}', *options]
    if user:
        argv += ['-u', user]
    ran = subprocess.run(argv + ['https://127.0.0.1:%d%s' % (agent.https_port, path)], capture_output=True)
    return ran.stdout, int(ran.stderr[-3:] or 0)


def json_rpc(agent, method, *params, v2=True):
    call = {'method': method, 'params': list(params), 'id': 'x1'}
    if v2:
        call['jsonrpc'] = '2.0'
    body, status = curl(agent, '/jsonrpc', '-H', 'Content-Type: application/json', '-d', json.dumps(call))
    return json.loads(body) if status == 200 else {'status': status}


def json_calls(agent):
    for v2 in (True, False):
        name = 'JSON-RPC %s' % ('2.0' if v2 else '1.0')
        answer = json_rpc(agent, 'session.login_with_password', USER, PASSWORD, v2=v2)
        session = answer['result']
        check(session.startswith('OpaqueRef:') and answer['id'] == 'x1', '%s: a login with curl' % name)
        check(('error' in answer) != v2 and ('jsonrpc' in answer) == v2, '%s: members of its version only' % name)
        host = json_rpc(agent, 'host.get_all_records', session, v2=v2)['result']
        check(all(isinstance(h['API_version_major'], int) and isinstance(h['enabled'], bool) for h in host.values()),
              '%s: numbers are numbers, booleans booleans' % name)
        error = json_rpc(agent, 'VM.start', session, 'OpaqueRef:NULL', False, False, v2=v2)['error']
        if v2:
            check(error['message'] == 'HANDLE_INVALID' and error['data'] == ['VM', 'OpaqueRef:NULL'] and error['code'] == 1,
                  '%s: an error has code, message and data' % name)
        else:
            check(error == ['HANDLE_INVALID', 'VM', 'OpaqueRef:NULL'], '%s: an error is a list' % name)
        check(json_rpc(agent, 'session.logout', session, v2=v2)['result'] == '', '%s: nothing is the empty string' % name)
    check(curl(agent, '/jsonrpc', '-d', 'not json')[1] == 200, 'garbage is answered')
    options = curl(agent, '/jsonrpc', '-X', 'OPTIONS', '-H', 'Access-Control-Request-Headers: Content-Type', '-D', '-')[0].decode().lower()
    check('access-control-allow-origin: *' in options and 'content-type' in options, 'a browser may ask')


def make_vm(x, session):
    def call(name, *args):
        answer = getattr(x, name)(session, *args)
        if answer['Status'] != 'Success':
            raise RuntimeError(answer['ErrorDescription'])
        return answer['Value']
    vm = call('VM.clone', call('VM.get_by_name_label', 'Other install media')[0], 'by hand')
    call('VM.provision', vm)
    sr = call('pool.get_default_SR', call('pool.get_all')[0])
    vdi = call('VDI.create', {'name_label': 'disk', 'SR': sr, 'virtual_size': str(4 * MIB), 'type': 'user', 'sharable': False,
                              'read_only': False, 'other_config': {}})
    call('VBD.create', {'VM': vm, 'VDI': vdi, 'userdevice': '0', 'bootable': True, 'mode': 'RW', 'type': 'Disk', 'empty': False,
                        'other_config': {}, 'qos_algorithm_type': '', 'qos_algorithm_params': {}})
    return call, vm, vdi


def files(agent, folder):
    x = xmlrpc.client.ServerProxy('http://127.0.0.1:%d' % agent.http_port)
    session = x.session.login_with_password(USER, PASSWORD)['Value']
    check(session.startswith('OpaqueRef:'), "Python's own xmlrpc.client logs in")
    check('VM.start' in x.system.listMethods(), 'and lists the methods without a session')
    call, vm, vdi = make_vm(x, session)
    login = '%s:%s' % (USER, PASSWORD)

    disk = os.path.join(folder, 'disk.raw')
    content = os.urandom(MIB) + bytes(2 * MIB) + os.urandom(MIB)
    with open(disk, 'wb') as f:
        f.write(content)
    task = call('task.create', 'upload', '')
    status = curl(agent, '/import_raw_vdi?session_id=%s&task_id=%s&vdi=%s&format=raw' % (session, task, vdi), '-T', disk)[1]
    check(status == 200 and wait_until(lambda: call('task.get_status', task) == 'success'), 'an upload with curl -T: %d' % status)
    body, status = curl(agent, '/export_raw_vdi?vdi=%s&format=raw' % call('VDI.get_uuid', vdi), user=login)
    check(status == 200 and body == content, 'comes back with Basic credentials')
    check(curl(agent, '/export_raw_vdi?vdi=' + vdi, user=USER + ':wrong')[1] == 401, 'wrong ones get 401')
    check(curl(agent, '/export_raw_vdi?vdi=' + vdi)[1] == 401, 'none too')

    xva = os.path.join(folder, 'vm.xva')
    status = curl(agent, '/export?uuid=%s' % call('VM.get_uuid', vm), '-o', xva, user=login)[1]
    check(status == 200 and os.path.getsize(xva) > 2 * MIB, 'an export with curl -o: %d' % status)
    subprocess.run(['tar', 'xf', xva, '-C', folder], check=True)
    blocks = os.path.join(folder, [n for n in os.listdir(folder) if n.startswith('Ref:')][0])
    whole = bytearray(4 * MIB)
    for name in os.listdir(blocks):
        if name.isdigit():
            piece = open(os.path.join(blocks, name), 'rb').read()
            whole[int(name) * MIB:int(name) * MIB + len(piece)] = piece
    check(bytes(whole) == content, 'its blocks are the disk')
    before = set(call('VM.get_all'))
    status = curl(agent, '/import?session_id=' + session, '-T', xva)[1]
    new = wait_until(lambda: [v for v in set(call('VM.get_all')) - before if call('VM.get_VBDs', v)
                              and 'import' not in call('VM.get_current_operations', v).values()])
    check(status == 200 and len(new) == 1 and call('VM.get_name_label', new[0]) == 'by hand', 'an import with curl -T')
    check(curl(agent, '/no/such/file')[1] == 404, 'an unknown file is 404')


with tempfile.TemporaryDirectory() as workspace, Agent() as running:
    json_calls(running)
    files(running, workspace)
done()
