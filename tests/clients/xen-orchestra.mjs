// What Xen Orchestra does with a pool, through its own library: find every class, follow events, run a VM.
//   node xen-orchestra.mjs PORT USER PASSWORD      prints TAP
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(process.cwd() + '/')
const { createClient } = await import(pathToFileURL(require.resolve('xen-api')).href)
const [, , port, user, password] = process.argv
let count = 0
let failed = 0
const check = (fact, what) => {
  count += 1
  if (!fact) failed += 1
  console.log(`${fact ? 'ok' : 'not ok'} ${count} - ${what}`)
}

const xapi = createClient({ url: `https://127.0.0.1:${port}`, auth: { user, password }, allowUnauthorized: true, watchEvents: true })
await xapi.connect()
await xapi.objectsFetched
const all = Object.values(xapi.objects.all)
const count_of = type => all.filter(o => o.$type === type).length
check(count_of('host') === 1 && count_of('pool') === 1 && count_of('VM') > 50, `fetches every class: ${all.length} objects`)
check(xapi.pool.$master.software_version.product_brand !== undefined, 'follows references: pool to host')
check(xapi.pool.$master.$PIFs.length === 2, 'and back-references: host to PIFs')

const template = all.find(o => o.$type === 'VM' && o.name_label === 'Other install media')
const ref = await xapi.call('VM.clone', template.$ref, 'made by a client')
await xapi.call('VM.provision', ref)
await xapi.barrier(ref)
check(xapi.getObject(ref).name_label === 'made by a client', 'a new VM arrives by event')
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

await xapi.callAsync('VM.start', ref, false, false)
await xapi.barrier(ref)
check(xapi.getObject(ref).power_state === 'Running', 'a start is seen by event')
check(xapi.getObject(ref).$resident_on.$ref === xapi.pool.$master.$ref, 'on its host')
let failure
await xapi.callAsync('VM.start', ref, false, false).catch(error => { failure = error })
check(failure?.code === 'VM_BAD_POWER_STATE' && failure.params[0] === ref, 'an asynchronous failure has its code and parameters')
await xapi.callAsync('VM.clean_shutdown', ref)
await xapi.barrier(ref)
check(xapi.getObject(ref).power_state === 'Halted', 'a clean shutdown')
const snapshot = await xapi.callAsync('VM.snapshot', ref, 'snap')
await xapi.barrier(snapshot)
check(xapi.getObject(snapshot).$snapshot_of.$ref === ref, 'a snapshot')
for (const vm of [snapshot, ref]) {
  const disks = xapi.getObject(vm).$VBDs.map(vbd => vbd.VDI)
  await xapi.call('VM.destroy', vm)
  for (const disk of disks) await xapi.call('VDI.destroy', disk)
}
await xapi.barrier()
check(xapi.getObject(ref, null) === null && xapi.getObject(vdi, null) === null, 'what is destroyed goes by event')
await xapi.disconnect()
console.log(`1..${count}`)
process.exit(failed ? 1 : 0)
