// Stands in for @vates/parse-duration: '5 min' -> 300000.
'use strict'

const UNITS = { ms: 1, s: 1e3, sec: 1e3, m: 6e4, min: 6e4, h: 36e5, hour: 36e5, d: 864e5, day: 864e5 }

exports.parseDuration = text => {
  if (typeof text === 'number') return text
  const [, count, unit] = /^\s*([\d.]+)\s*([a-z]+?)s?\s*$/.exec(text) ?? []
  if (UNITS[unit] === undefined) throw new TypeError(`not a duration: ${text}`)
  return count * UNITS[unit]
}
