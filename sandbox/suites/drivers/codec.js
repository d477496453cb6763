// Plain data as JSON: what JSON lacks is a tagged pair. Anything else cannot travel and throws a TypeError.
'use strict';
const MAX_DEPTH = 200;
const PROTOTYPES = [Object.prototype, null];

function encode(value, depth = 0, above = []) {
  if (depth > MAX_DEPTH) throw new TypeError('it is nested too deeply');
  switch (typeof value) {
    case 'string': case 'boolean': return value;
    case 'number': return Number.isFinite(value) && !Object.is(value, -0) ? value : { $: 'number', v: Object.is(value, -0) ? '-0' : String(value) };
    case 'undefined': return { $: 'undefined' };
    case 'bigint': return { $: 'bigint', v: String(value) };
    case 'object': break;
    default: throw new TypeError(`a ${typeof value} cannot travel`);
  }
  if (value === null) return null;
  if (above.includes(value)) throw new TypeError('it contains itself');
  const inner = (one) => encode(one, depth + 1, [...above, value]);
  const prototype = Object.getPrototypeOf(value);
  if (Array.isArray(value) && prototype === Array.prototype && Object.keys(value).length === value.length) return Array.from(value, inner);
  if (prototype === Map.prototype) return { $: 'map', v: Array.from(value, ([key, one]) => [inner(key), inner(one)]) };
  if (prototype === Set.prototype) return { $: 'set', v: Array.from(value, inner) };
  if (prototype === Date.prototype) return { $: 'date', v: encode(value.getTime()) };
  if (!PROTOTYPES.includes(prototype) || Object.getOwnPropertySymbols(value).length > 0) throw new TypeError('an object of a class cannot travel');
  const entries = Object.getOwnPropertyNames(value).map((name) => {
    const property = Object.getOwnPropertyDescriptor(value, name);
    if (!('value' in property) || !property.enumerable) throw new TypeError('an object with accessors cannot travel');
    return [name, inner(property.value)];
  });
  return { $: prototype === null ? 'bare' : 'object', v: entries };
}

function decode(data) {
  if (data === null || typeof data !== 'object') return data;
  if (Array.isArray(data)) return data.map(decode);
  switch (data.$) {
    case 'number': return Number(data.v);
    case 'bigint': return BigInt(data.v);
    case 'map': return new Map(data.v.map(([key, value]) => [decode(key), decode(value)]));
    case 'set': return new Set(data.v.map(decode));
    case 'date': return new Date(decode(data.v));
    case 'object': case 'bare': {
      const made = data.$ === 'bare' ? Object.create(null) : {};
      for (const [name, value] of data.v) Object.defineProperty(made, name, { value: decode(value), writable: true, enumerable: true, configurable: true });
      return made;
    }
    default: return undefined;
  }
}

// Makes an argument look like what the program made of it: tests may look at what a function did in place.
function update(ours, theirs) {
  if (typeof ours !== 'object' || ours === null || typeof theirs !== 'object' || theirs === null) return;
  if (ours instanceof Map) {
    ours.clear();
    theirs.forEach((value, key) => ours.set(key, value));
  } else if (ours instanceof Set) {
    ours.clear();
    theirs.forEach((value) => ours.add(value));
  } else if (Array.isArray(ours)) {
    const before = ours.slice();
    ours.length = 0;
    theirs.forEach((value, i) => ours.push(keep(before[i], value)));
  } else if (!(ours instanceof Date)) {
    for (const name of Object.keys(ours)) if (!Object.hasOwn(theirs, name)) delete ours[name];
    for (const name of Object.keys(theirs)) ours[name] = keep(ours[name], theirs[name]);
  }
}

function keep(ours, theirs) {
  const alike = typeof ours === 'object' && ours !== null && typeof theirs === 'object' && theirs !== null && Array.isArray(ours) === Array.isArray(theirs) && Object.getPrototypeOf(ours) === Object.getPrototypeOf(theirs);
  if (!alike || ours instanceof Date) return theirs;
  update(ours, theirs);
  return ours;
}

const KINDS = { Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError };
function toError(threw) {
  if ('value' in threw) return decode(threw.value);
  const made = new (KINDS[threw.type] || Error)(threw.message);
  if (made.name !== threw.type) Object.defineProperty(made, 'name', { value: threw.type, configurable: true, writable: true });
  for (const [name, value] of threw.properties || []) made[name] = decode(value);
  made.stack = `${threw.type}: ${threw.message}\n    at ${threw.where || 'the program'}`;
  return made;
}

module.exports = { encode, decode, update, toError };
