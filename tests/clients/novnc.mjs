// noVNC, unmodified, in headless Chromium: it draws a VM's screen over /console and types into it.
//     node novnc.mjs URL PNG        URL: wss://.../console?ref=...&session_id=...; PNG: where a picture of the page goes
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { join, normalize } from 'node:path'
import { check, done, load, until } from './tap.mjs'

const { chromium } = (await load('playwright-core')).default
const [url, picture] = process.argv.slice(2)
const root = join(process.cwd(), 'node_modules', '@novnc', 'novnc')
const page = `<!doctype html><meta charset=utf-8><div id=screen></div><script type=module>
import RFB from '/core/rfb.js'
window.seen = []
const rfb = new RFB(document.getElementById('screen'), ${JSON.stringify(url)})
for (const name of ['connect', 'disconnect', 'securityfailure', 'credentialsrequired']) {
  rfb.addEventListener(name, e => window.seen.push(name + ' ' + JSON.stringify(e.detail ?? null)))
}
window.rfb = rfb
</script>`

const server = createServer(async (request, response) => {
  const path = normalize(decodeURI(request.url))
  if (path === '/') {
    response.setHeader('content-type', 'text/html')
    return response.end(page)
  }
  try {
    const text = await readFile(join(root, path))
    response.setHeader('content-type', 'text/javascript')
    response.end(text)
  } catch {
    response.statusCode = 404
    response.end()
  }
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))

// The canvas' size, how many colours it has, and how many pixels that are not black.
const look = () => {
  const canvas = document.querySelector('canvas')
  if (!canvas || !canvas.width) return { width: 0, height: 0, colours: 0, lit: 0 }
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  const colours = new Set()
  let lit = 0
  for (let i = 0; i < data.length; i += 4) {
    const colour = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2]
    colours.add(colour)
    if (colour) lit += 1
  }
  return { width: canvas.width, height: canvas.height, colours: colours.size, lit }
}

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--ignore-certificate-errors'],
})
try {
  const tab = await browser.newPage()
  await tab.goto(`http://127.0.0.1:${server.address().port}/`)
  const connected = tab.waitForFunction(() => window.seen.some(s => s.startsWith('connect ')), null, { timeout: 60000 })
  check(await connected.then(() => true, () => false), 'noVNC connects: ' + JSON.stringify(await tab.evaluate(() => window.seen)))
  const drawn = tab.waitForFunction(`(${look})().colours > 1`, null, { timeout: 90000, polling: 500 })
  const ok = await drawn.then(() => true, () => false)
  const seen = await tab.evaluate(look)
  check(ok && seen.width >= 320 && seen.height >= 200, 'and draws the screen: ' + JSON.stringify(seen))
  await tab.screenshot({ path: picture })
  // The firmware has found nothing to boot and is still, but for a blinking cursor: it listens to keys now.
  const lit = `(${look})().lit`
  let before = -1000
  const still = async () => {
    const was = before
    before = await tab.evaluate(lit)
    return Math.abs(before - was) < 100 || new Promise(resolve => setTimeout(resolve, 1500, false))
  }
  check(await until(still, 60), 'what the firmware says comes to an end')
  await tab.evaluate(() => window.rfb.sendCtrlAltDel())
  // Who hangs up at once lets go of keys that QEMU has not given the guest yet.
  console.log('# Ctrl-Alt-Del, and now a word on standard input')
  await new Promise(resolve => process.stdin.once('data', resolve))
  process.stdin.pause()
  await tab.evaluate(() => window.rfb.disconnect())
  const closed = tab.waitForFunction(() => window.seen.some(s => s.startsWith('disconnect ')), null, { timeout: 30000 })
  check(await closed.then(() => true, () => false), 'and it leaves cleanly: ' + JSON.stringify((await tab.evaluate(() => window.seen)).at(-1)))
} finally {
  await browser.close()
  server.close()
}
done()
