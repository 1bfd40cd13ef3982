// What Xen Orchestra does with a pool, through its own library: find every class, follow events, run a VM, outlive the agent.
//   node xen-orchestra.mjs PORT USER PASSWORD TRANSPORT      prints TAP
// At the line "# restart" the agent is killed and started again; "started" on standard input says that it is back.
import { once } from 'node:events'

import { check, done, fails, load, until } from './tap.mjs'

const { createClient } = await load('xen-api')
const [, , port, user, password, transport] = process.argv
console.log(`# over ${transport}`)

const xapi = createClient({
  url: `https://127.0.0.1:${port}`, auth: { user, password }, allowUnauthorized: true, watchEvents: true, transport,
  eventPollDelay: 1e3, // after a lost connection it would wait a minute
})
await xapi.connect()
await xapi.objectsFetched
const all = Object.values(xapi.objects.all)
const count_of = type => all.filter(o => o.$type === type).length
check(count_of('host') === 1 && count_of('pool') === 1 && count_of('VM') > 50, `fetches every class: ${all.length} objects`)
check(xapi.pool.$master.software_version.product_brand !== undefined, 'follows references: pool to host')
check(xapi.pool.$master.$PIFs.length === 2, 'and back-references: host to PIFs')
check(all.filter(o => o.$type === 'VM').every(vm => vm.platform['cores-per-socket'] !== undefined), 'no VM that it would write to')

const template = all.find(o => o.$type === 'VM' && o.name_label === 'Other install media')
const ref = await xapi.call('VM.clone', template.$ref, 'made by a client')
await xapi.call('VM.provision', ref)
await xapi.barrier(ref)
const vm = xapi.getObject(ref)
check(vm.name_label === 'made by a client', 'a new VM arrives by event')
const states = []
xapi.objects.on('update', objects => {
  for (const id in objects) if (objects[id].$ref === ref && states.at(-1) !== objects[id].power_state) states.push(objects[id].power_state)
})
const sr = xapi.getObject(xapi.pool.default_SR)
const vdi = await xapi.call('VDI.create', {
  name_label: 'disk', name_description: '', SR: sr.$ref, virtual_size: 1 << 26, type: 'user', sharable: false, read_only: false, other_config: {},
})
const devices = await xapi.call('VM.get_allowed_VBD_devices', ref)
await xapi.call('VBD.create', {
  VM: ref, VDI: vdi, userdevice: devices[0], bootable: true, mode: 'RW', type: 'Disk', empty: false, other_config: {},
  qos_algorithm_type: '', qos_algorithm_params: {},
})
await xapi.barrier(ref)
check(xapi.getObject(ref).$VBDs[0].$VDI.name_label === 'disk', 'so does its disk, linked both ways')

// Through its life, each change an event.
const now = async state => {
  await xapi.barrier(ref)
  check(xapi.getObject(ref).power_state === state, `${state} is seen by event`)
}
await xapi.callAsync('VM.start', ref, false, false)
await now('Running')
check(xapi.getObject(ref).$resident_on.$ref === xapi.pool.$master.$ref, 'on its host')
const failure = await fails('VM_BAD_POWER_STATE', 'an asynchronous failure has its code', xapi.callAsync('VM.start', ref, false, false))
check(failure.params[0] === ref && failure.params[1] === 'halted' && failure.params[2] === 'running', 'and its parameters')
await xapi.callAsync('VM.pause', ref)
await now('Paused')
await xapi.callAsync('VM.unpause', ref)
await now('Running')
await xapi.callAsync('VM.suspend', ref)
await now('Suspended')
await xapi.callAsync('VM.resume', ref, false, false)
await now('Running')
await xapi.callAsync('VM.clean_reboot', ref)
await now('Running')
check(states.join(' ').includes('Running Paused Running Suspended Running'), `no state was missed: ${states.join(' ')}`)
await xapi.setFieldEntry('VM', ref, 'other_config', 'xo:1234', 'kept')
await xapi.setField('VM', ref, 'name_description', 'a <&> b')
await xapi.setFieldEntry('VM', ref, 'other_config', 'xo:1234', 'changed')
await xapi.barrier(ref)
check(xapi.getObject(ref).other_config['xo:1234'] === 'changed' && xapi.getObject(ref).name_description === 'a <&> b',
  'fields and entries of maps are set, the second time too')

// The agent dies with the VM running and events parked, and comes back.
const session = xapi.sessionId
const before = Object.keys(xapi.objects.all).length
console.log('# restart')
await once(process.stdin, 'data')
check((await until(() => xapi.call('VM.get_power_state', ref).catch(() => ''))) === 'Running', 'after a kill -9 of the agent the VM runs on')
await until(() => xapi.barrier(ref).then(() => true, () => false))
await now('Running')
check(xapi.sessionId === session, 'the session is still the same')
await xapi.setField('VM', ref, 'name_label', 'renamed later')
await xapi.barrier(ref)
check(xapi.getObject(ref).name_label === 'renamed later', 'events go on')
check(xapi.status === 'connected' && Object.keys(xapi.objects.all).length >= before - 3, 'nothing was lost from its cache')

await xapi.callAsync('VM.clean_shutdown', ref)
await now('Halted')
const snapshot = await xapi.callAsync('VM.snapshot', ref, 'snap')
await xapi.barrier(snapshot)
check(xapi.getObject(snapshot).$snapshot_of.$ref === ref, 'a snapshot')

// HTTP endpoints with a task, as its streams use them.
const task = await xapi.call('task.create', 'export', 'by a client')
const response = await xapi.getResource('/export/', { query: { ref: snapshot, use_compression: 'false' }, task })
let bytes = 0
for await (const chunk of response.body) bytes += chunk.length
check(bytes > 1 << 20, `an export arrives: ${bytes} bytes`)
check((await xapi.call('VM.get_all')).includes(ref), 'and calls go on beside it')

for (const old of [snapshot, ref]) {
  const disks = xapi.getObject(old).$VBDs.map(vbd => vbd.VDI)
  await xapi.call('VM.destroy', old)
  for (const disk of disks) await xapi.call('VDI.destroy', disk)
}
await xapi.barrier()
check(xapi.getObject(ref, null) === null && xapi.getObject(vdi, null) === null, 'what is destroyed goes by event')
await xapi.disconnect()
await fails('SESSION_AUTHENTICATION_FAILED', 'a wrong password is refused by name', createClient({
  url: `https://127.0.0.1:${port}`, auth: { user, password: 'wrong' }, allowUnauthorized: true, transport,
}).connect())
done()
