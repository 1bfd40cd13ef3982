// What Xen Orchestra's XenAPI layer, npm's @xen-orchestra/xapi, does above the connector: VMs, disks, copies, exports and imports,
// backups in full and by difference, maintenance. Unmodified; prints TAP.
//   node xo-library.mjs PORT USER PASSWORD
import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'

import { check, done, fails, load, skip, until } from './tap.mjs'

const { Xapi, XapiDiskSource } = await load('@xen-orchestra/xapi')
const { XapiVhdStreamSource } = await load('@xen-orchestra/xapi/disks/XapiVhdStreamSource.mjs')
const [, , port, user, password] = process.argv
const MIB = 1 << 20

// The library closes a qcow2 stream whose end it has not seen, and listens to no error of it.
process.on('uncaughtException', error => {
  if (error.code !== 'UND_ERR_ABORTED') throw error
})

const xapi = new Xapi({
  url: `https://127.0.0.1:${port}`, auth: { user, password }, allowUnauthorized: true, watchEvents: true,
  vdiDestroyRetryWhenInUse: { delay: 100, tries: 10 },
})
await xapi.connect()
await xapi.objectsFetched
const sr = xapi.pool.default_SR
// Not the management interface's: to change its MTU would take that interface down, and is refused.
const network = Object.values(xapi.objects.all).find(o => o.$type === 'network' && o.PIFs.length === 0)

const bytes_of = async stream => {
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}
const digest = buffer => createHash('sha256').update(buffer).digest('hex')
const raw = async vdi => bytes_of(await xapi.VDI_exportContent(vdi, { format: 'raw' }))
// Without a length the client announces 1 PiB and cuts the connection, at times before its last bytes have left it.
const stream_of = buffer => Object.assign(Readable.from([buffer]), { length: buffer.length })
const put = (vdi, buffer, format = 'raw') => xapi.VDI_importContent(vdi, stream_of(buffer), { format })

// ---- a VM of its own making ----
const template = Object.values(xapi.objects.all).find(o => o.$type === 'VM' && o.name_label === 'Other install media')
const vm = await xapi.VM_create({
  ...template, is_a_template: false, is_default_template: undefined, name_label: 'by the library', other_config: { 'xo:made': 'yes' },
  memory_static_max: 256 * MIB, memory_static_min: 256 * MIB, memory_dynamic_max: 256 * MIB, memory_dynamic_min: 256 * MIB,
  tags: ['one', 'two'],
}, { bios_strings: { 'bios-vendor': 'somebody', 'not-one-of-them': 'x' } })
let record = await xapi.getRecord('VM', vm)
check(record.name_label === 'by the library' && record.other_config['xo:made'] === 'yes' && record.tags.length === 2, 'VM_create')
check(record.bios_strings['bios-vendor'] === 'somebody', 'with its BIOS strings')
const vdi = await xapi.VDI_create({ name_label: 'system', SR: sr, virtual_size: 16 * MIB, tags: ['fast'] })
const vbd = await xapi.VBD_create({ VM: vm, VDI: vdi, bootable: true })
check((await xapi.getField('VBD', vbd, 'VDI')) === vdi && (await xapi.getField('VDI', vdi, 'tags')).includes('fast'), 'VDI_create, VBD_create')
const vif = await xapi.VIF_create({ VM: vm, network: network.$ref })
check((await xapi.getField('VIF', vif, 'network')) === network.$ref, 'VIF_create chooses a free device')

// ---- contents ----
const content = Buffer.alloc(16 * MIB)
randomBytes(3 * MIB).copy(content, MIB)
randomBytes(MIB).copy(content, 15 * MIB)
await put(vdi, content)
check(digest(await raw(vdi)) === digest(content), 'VDI_importContent and VDI_exportContent, raw: the same bytes')
check((await xapi.getField('VDI', vdi, 'other_config'))['xo:import:task'] === undefined, 'and its marks are gone')
for (const format of ['vhd', 'qcow2']) {
  const stream = await bytes_of(await xapi.VDI_exportContent(vdi, { format }))
  check(stream.length < content.length, `exported as ${format}: ${stream.length} bytes`)
  const copy = await xapi.VDI_create({ name_label: format, SR: sr, virtual_size: 16 * MIB })
  await put(copy, stream, format)
  check(digest(await raw(copy)) === digest(content), `and imported again from ${format}: the same bytes`)
  await xapi.VDI_destroy(copy)
}

// ---- backups: a full one by blocks, and the difference ----
const blocks_of = async source => {
  const disk = await source
  const blocks = new Map()
  for await (const { index, data } of disk.diskBlocks()) blocks.set(index, digest(data))
  const size = disk.getVirtualSize()
  const differs = disk.isDifferencing()
  await disk.close()
  return { blocks, size, differs }
}
const expected = index => digest(content.subarray(index * 2 * MIB, (index + 1) * 2 * MIB))
const first = await xapi.VM_snapshot(vm, { name_label: 'first backup' })
check((await xapi.getField('VM', first, 'is_a_template')) === false, 'VM_snapshot, which is then no template')
const disk_of = async snapshot => (await xapi.VM_getDisks(snapshot))[0]
const full = await blocks_of(new XapiDiskSource({ xapi, vdiRef: await disk_of(first), preferNbd: false }).openSource())
check(full.size === 16 * MIB && !full.differs, 'a full backup knows the size')
check([0, 1, 7].every(i => full.blocks.get(i) === expected(i)) && !full.blocks.has(4), `and carries what is written: blocks ${[...full.blocks.keys()]}`)
randomBytes(4096).copy(content, 5 * MIB)
await put(vdi, content)
const second = await xapi.VM_snapshot(vm, { name_label: 'second backup' })
// It makes differences of VHD streams only, those of qcow2 need NBD.
const vhd = new XapiVhdStreamSource({ xapi, vdiRef: await disk_of(second), baseRef: await disk_of(first) })
const delta = await vhd.init().then(() => blocks_of(vhd), error => ({ blocks: new Map(), error }))
check(delta.differs, `the next one is a difference ${delta.error ?? ''}`)
check(delta.blocks.get(2) === expected(2), `that carries what changed: blocks ${[...delta.blocks.keys()]}`)
await xapi.VM_assertHealthyVdiChains(vm, 3)
check(true, 'the chain of images is one that it takes for healthy')

// ---- the same over NBD with changed blocks, where the repository can ----
const nbd = await xapi.call('VDI.get_nbd_info', await disk_of(first)).then(list => list.length, error => error.code)
if (nbd === 0) skip('a backup over NBD', 'no network has the purpose nbd')
else if (typeof nbd === 'number') {
  const read = await blocks_of(new XapiDiskSource({ xapi, vdiRef: await disk_of(first), preferNbd: true }).openSource())
  check([0, 1, 7].every(i => read.blocks.get(i) === full.blocks.get(i)), 'a full backup over NBD carries the same')
} else check(nbd === 'NOT_IMPLEMENTED' || nbd === 'SR_OPERATION_NOT_SUPPORTED', `VDI.get_nbd_info is refused by name: ${nbd}`)

// ---- export and import of the whole VM, from a running one ----
await xapi.callAsync('VM.start', vm, false, false)
const exported = await bytes_of((await xapi.VM_export(vm, { compress: 'zstd' })).body)
check(exported.length > 4 * MIB && exported.readUInt32LE(0) === 0xfd2fb528, `VM_export of a running VM, zstd: ${exported.length} bytes`)
check(await until(async () => (await xapi.getField('VM', vm, 'snapshots')).length === 2), 'its own snapshot is gone again')
const seen = []
const imported = await xapi.VM_import(stream_of(exported), sr, created => seen.push(created.$ref))
await xapi.barrier(imported)
check(seen[0] === imported, 'VM_import tells of the VM as soon as it is there')
check(digest(await raw(await disk_of(imported))) === digest(content), 'and its disk has the same bytes')
const gzip = await bytes_of((await xapi.VM_export(first, { compress: 'gzip' })).body)
check(gzip.readUInt16BE(0) === 0x1f8b, 'VM_export of a snapshot, gzip')

// ---- life ----
await xapi.VM_reboot(vm)
check((await xapi.getField('VM', vm, 'power_state')) === 'Running', 'VM_reboot')
const checkpoint = await xapi.VM_checkpoint(vm, { name_label: 'with memory' })
check((await xapi.getField('VM', checkpoint, 'power_state')) === 'Suspended', 'VM_checkpoint keeps the memory')
await xapi.call('VM.add_to_blocked_operations', vm, 'clean_reboot', 'not now')
await fails('OPERATION_BLOCKED', 'a blocked reboot', xapi.VM_reboot(vm))
await xapi.VM_reboot(vm, { bypassBlockedOperation: true })
check((await xapi.getField('VM', vm, 'blocked_operations')).clean_reboot === 'not now', 'is done when told to, and blocked again')
await xapi.network_setMtu(network.$ref, 1400)
check((await xapi.getField('network', network.$ref, 'MTU')) === 1400, 'network_setMtu')
const hotplug = await xapi.VDI_create({ name_label: 'hot', SR: sr, virtual_size: MIB })
const hot = await xapi.VBD_create({ VM: vm, VDI: hotplug })
check(await xapi.getField('VBD', hot, 'currently_attached'), 'VBD_create into a running VM plugs it')
await xapi.VBD_destroy(hot)
await xapi.VDI_destroy(hotplug)

// ---- maintenance of the repository: VMs go down, come back ----
await xapi.SR_enableMaintenanceMode(sr, { vmsToShutdown: [await xapi.getField('VM', vm, 'uuid')] })
check((await xapi.getField('VM', vm, 'power_state')) === 'Halted' && !(await xapi.getRecords('PBD', await xapi.getField('SR', sr, 'PBDs')))[0].currently_attached,
  'SR_enableMaintenanceMode ends VMs and unplugs')
await xapi.SR_disableMaintenanceMode(sr)
check(await until(async () => (await xapi.getField('VM', vm, 'power_state')) === 'Running'), 'SR_disableMaintenanceMode brings them back')

// ---- what needs a plug-in that is not ours fails by name ----
await fails('XENAPI_MISSING_PLUGIN', 'SR_reclaimSpace without the plug-in', xapi.SR_reclaimSpace(sr))
await fails('XENAPI_MISSING_PLUGIN', 'host_getMdadmHealth without the plug-in', xapi.call('host.call_plugin', xapi.pool.master, 'raid.py', 'check_raid_pool', {}))
const vtpm = await xapi.VTPM_create({ VM: imported }).then(ref => ref, error => error.code)
check(String(vtpm).startsWith('OpaqueRef:') || vtpm === 'NOT_IMPLEMENTED' || vtpm === 'VM_BAD_POWER_STATE', `VTPM_create: ${vtpm}`)

// ---- and away with all of it ----
const refused = await xapi.VM_destroy(template.$ref).catch(error => error)
check(refused?.data?.property === 'isDefaultTemplate', 'a default template is known as one')
await xapi.VM_destroy(imported)
await xapi.VM_destroy(vm, { force: true })
await xapi.barrier()
check(!Object.values(xapi.objects.all).some(o => o.$type === 'VBD' || (o.$type === 'VM' && !o.is_a_template && !o.is_control_domain)), 'VM_destroy takes snapshots and disks with it')
// The hidden parents of what was destroyed are the repository's to collect.
const left = (await xapi.getRecords('VDI', await xapi.getField('SR', sr, 'VDIs'))).filter(disk => disk.managed)
check(left.length === 0, `no disk is left ${left.map(disk => disk.name_label)}`)
await xapi.disconnect()
done()
