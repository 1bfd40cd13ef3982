#!/usr/bin/env python3
"""Ansible's modules for XenServer as Debian ships them (community.general), unmodified, with XenAPI.py of python3-os-xenapi:
a play makes VMs with disks, cards and a CD, changes them, runs them and takes them away. (xenserver_facts is not here: it only
knows the unix socket, through a part of XenAPI.py that is written for Python 2.)"""
import json
import os
import shutil
import subprocess
import tempfile

from harness import PASSWORD, USER, Agent, check, done

PLAY = r'''
- hosts: localhost
  connection: local
  gather_facts: false
  module_defaults:
    community.general.xenserver_guest: &login
      hostname: "{{ url }}"
      username: "{{ user }}"
      password: "{{ password }}"
      validate_certs: false
    community.general.xenserver_guest_info: *login
    community.general.xenserver_guest_powerstate: *login
  tasks:
    - name: made
      community.general.xenserver_guest: &made
        name: by ansible
        name_desc: with a disk
        template: Debian Bookworm 12
        state: present
        folder: /testing/ansible
        hardware: {num_cpus: 2, num_cpu_cores_per_socket: 2, memory_mb: 512}
        disks: [{size_gb: 1, name: root disk, name_desc: the first, sr: "{{ sr }}"}]
        networks: [{name: "{{ network }}", mac: "aa:bb:cc:00:11:22"}]
        cdrom: {type: none}
        custom_params: [{key: xenstore_data, value: {vm-data/by: ansible}}]
      register: made
    - name: made again
      community.general.xenserver_guest: *made
      register: made_again
    - name: seen
      community.general.xenserver_guest_info: {name: by ansible}
      register: seen
    - name: changed
      community.general.xenserver_guest:
        uuid: "{{ made.instance.uuid }}"
        state: present
        hardware: {num_cpus: 4, num_cpu_cores_per_socket: 2, memory_mb: 1024}
        disks: [{size_gb: 2, name: bigger}, {size_gb: 1, name: second, sr: "{{ sr }}"}]
        networks: [{name: "{{ network }}"}, {name: "{{ network }}"}]
        cdrom: {type: iso, iso_name: "{{ iso }}"}
      register: changed
    - name: only looked at
      community.general.xenserver_guest: {uuid: "{{ made.instance.uuid }}", state: present, name_desc: never}
      check_mode: true
      register: looked
    - name: on
      community.general.xenserver_guest_powerstate: {name: by ansible, state: powered-on}
      register: "on"
    - name: on again
      community.general.xenserver_guest_powerstate: {name: by ansible, state: powered-on}
      register: on_again
    - name: restarted
      community.general.xenserver_guest_powerstate: {name: by ansible, state: restarted}
      register: restarted
    - name: suspended
      community.general.xenserver_guest_powerstate: {name: by ansible, state: suspended}
      register: suspended
    - name: resumed
      community.general.xenserver_guest_powerstate: {name: by ansible, state: powered-on}
      register: resumed
    - name: off by the guest
      community.general.xenserver_guest_powerstate: {name: by ansible, state: shutdown-guest, state_change_timeout: 60}
      register: guest_off
    - name: from a copy, running
      community.general.xenserver_guest:
        name: copied
        template_uuid: "{{ other }}"
        state: poweredon
        disks: [{size_gb: 1, sr: "{{ sr }}"}]
        networks: [{name: "{{ network }}"}]
      register: copied
    - name: no such template
      community.general.xenserver_guest: {name: nothing, template: no such template, state: present}
      ignore_errors: true
      register: nothing
    - name: absent
      community.general.xenserver_guest: {name: "{{ item }}", state: absent, force: true}
      loop: [by ansible, copied]
      register: absent
    - name: told
      copy: {content: "{{ vars_of | to_json }}", dest: "{{ answers }}"}
      vars:
        vars_of: {made: "{{ made }}", made_again: "{{ made_again }}", seen: "{{ seen }}", changed: "{{ changed }}", looked: "{{ looked }}",
                  'on': "{{ on }}", on_again: "{{ on_again }}", restarted: "{{ restarted }}", suspended: "{{ suspended }}",
                  resumed: "{{ resumed }}", guest_off: "{{ guest_off }}", copied: "{{ copied }}", nothing: "{{ nothing }}", absent: "{{ absent }}"}
'''


def run_play(agent, folder, facts):
    """Ansible's answers by register; None when it failed."""
    # the library as the module asks for it: `import XenAPI`
    library = os.path.join(folder, 'lib')
    os.makedirs(library)
    import os_xenapi.client.XenAPI as library_file
    os.symlink(library_file.__file__, os.path.join(library, 'XenAPI.py'))
    play = os.path.join(folder, 'play.yml')
    with open(play, 'w') as f:
        f.write(PLAY)
    answers = os.path.join(folder, 'answers.json')
    extra = dict(facts, url='http://127.0.0.1:%d' % agent.http_port, user=USER, password=PASSWORD, answers=answers,
                 ansible_python_interpreter='/usr/bin/python3')
    env = dict(os.environ, PYTHONPATH=library, ANSIBLE_HOME=folder, ANSIBLE_LOCAL_TEMP=folder, ANSIBLE_REMOTE_TMP=folder, HOME=folder,
               ANSIBLE_NOCOLOR='1', ANSIBLE_RETRY_FILES_ENABLED='0', LC_ALL='C.UTF-8')
    ran = subprocess.run(['ansible-playbook', '-i', 'localhost,', play, '-e', json.dumps(extra)], env=env, text=True, timeout=280,
                         capture_output=True)
    if not check(ran.returncode == 0, 'the play ends well'):
        print(ran.stdout[-6000:] + ran.stderr[-2000:])
        return None
    return json.load(open(answers))


def look(s, r):
    vm = r['made']['instance']
    check(r['made']['changed'] and vm['name'] == 'by ansible' and vm['name_desc'] == 'with a disk', 'a VM is made from a template')
    check(vm['hardware'] == {'num_cpus': 2, 'num_cpu_cores_per_socket': 2, 'memory_mb': 512}, 'with its hardware: %s' % vm['hardware'])
    check([d['size'] for d in vm['disks']] == [1 << 30] and vm['disks'][0]['name'] == 'root disk', 'with its disk')
    check(vm['networks'][0]['mac'] == 'aa:bb:cc:00:11:22', 'with its card')
    check(vm['folder'] == '/testing/ansible' and vm['xenstore_data'].get('vm-data/by') == 'ansible', 'with folder and data')
    check(not r['made_again']['changed'], 'the same again changes nothing: %s' % r['made_again'].get('changes'))
    check(r['seen']['instance']['uuid'] == vm['uuid'] and r['seen']['instance']['state'] == 'poweredoff', 'xenserver_guest_info finds it')
    now = r['changed']['instance']
    check(now['hardware'] == {'num_cpus': 4, 'num_cpu_cores_per_socket': 2, 'memory_mb': 1024}, 'hardware is changed')
    check(sorted(d['size'] for d in now['disks']) == [1 << 30, 2 << 30], 'a disk grows and one is added')
    check(len(now['networks']) == 2 and now['cdrom']['type'] == 'iso' and now['cdrom']['iso_name'], 'a card is added and a CD inserted')
    check(r['looked']['changed'], 'check mode tells what it would do')
    for name, state in (('on', 'poweredon'), ('restarted', 'poweredon'), ('suspended', 'suspended'), ('resumed', 'poweredon'),
                        ('guest_off', 'poweredoff')):
        got = r[name].get('instance', {}).get('state')
        check(r[name]['changed'] and got == state, 'power: %s leaves it %s' % (name, got))
    check(not r['on_again']['changed'], 'what is on is left alone')
    check(r['copied']['instance']['state'] == 'poweredon', 'made and started at once')
    check('no such template' in str(r['nothing']['msg']), 'a template that is not there is said: %s' % r['nothing']['msg'])
    check(all(a['changed'] for a in r['absent']['results']), 'both are taken away')
    check(not [v for v in s.VM.get_all() if not s.VM.get_is_a_template(v) and not s.VM.get_is_control_domain(v)], 'and are gone')
    check(s.SR.get_VDIs(s.pool.get_default_SR(s.pool.get_all()[0])) == [], 'with their disks')


def make_iso(agent, s):
    """An image in an ISO repository of its own; its name."""
    folder = os.path.join(agent.root, 'isos')
    os.makedirs(folder)
    with open(os.path.join(folder, 'tools.iso'), 'wb') as f:
        f.truncate(1 << 20)
    sr = s.SR.create(s.host.get_all()[0], {'location': folder, 'legacy_mode': 'true'}, '0', 'isos', '', 'iso', 'iso', False, {})
    s.SR.scan(sr)
    return s.VDI.get_name_label(s.SR.get_VDIs(sr)[0])


workspace = tempfile.mkdtemp(prefix='xapi-ansible-')
try:
    with Agent() as running:
        session = running.login()
        facts = {'iso': make_iso(running, session),
                 'sr': session.SR.get_name_label(session.pool.get_default_SR(session.pool.get_all()[0])),
                 'network': session.network.get_name_label(session.network.get_all()[0]),
                 'other': session.VM.get_uuid(session.VM.get_by_name_label('Other install media')[0])}
        registered = run_play(running, workspace, facts)
        if registered:
            look(session, registered)
finally:
    shutil.rmtree(workspace, ignore_errors=True)
done()
