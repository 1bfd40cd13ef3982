// TAP lines for the steps of clients on node.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

let count = 0
let failed = 0

/** A package of the folder that the steps run in. */
const require = createRequire(process.cwd() + '/')
export const load = async name => import(pathToFileURL(require.resolve(name)).href)

export const check = (fact, what) => {
  count += 1
  if (!fact) failed += 1
  console.log(`${fact ? 'ok' : 'not ok'} ${count} - ${what}`)
  return fact
}

/** The promise must be refused with this code; gives the error. */
export const fails = async (code, what, promise) => {
  const error = await promise.then(
    () => undefined,
    error => error
  )
  check(error?.code === code, `${what}: ${error === undefined ? 'succeeded' : error.code ?? error.message}`)
  return error
}

export const skip = (what, why) => {
  count += 1
  console.log(`ok ${count} - ${what} # SKIP ${why}`)
}

/** Polls until the function gives something true, or 30 s are over; gives its last value. */
export const until = async (fn, seconds = 30) => {
  const end = Date.now() + seconds * 1e3
  for (;;) {
    const value = await fn()
    if (value || Date.now() > end) return value
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

export const done = () => {
  console.log(`1..${count}`)
  process.exit(failed ? 1 : 0)
}
