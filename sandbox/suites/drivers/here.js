// The program in this process, loaded once what tests rely on was locked.

const { getPrototypeOf, preventExtensions } = Object;
const iterators = [[][Symbol.iterator](), ''[Symbol.iterator](), new Map().keys(), new Set().keys(), ''.matchAll(/x/g), (function* () {})()];
const lockable = [
  Array.prototype, String.prototype, Number.prototype, Boolean.prototype, Map.prototype, Set.prototype,
  RegExp.prototype, Date.prototype, Promise.prototype, BigInt.prototype, Symbol.prototype,
  WeakMap.prototype, WeakSet.prototype, ArrayBuffer.prototype, getPrototypeOf(Int8Array.prototype),
  ...iterators.map(getPrototypeOf), getPrototypeOf(getPrototypeOf(iterators[0])), getPrototypeOf(getPrototypeOf(iterators[5])),
];
const frozen = [Math, JSON, Reflect, Object, Number, String, Array, Symbol, Promise, Boolean, BigInt, Date, Map, Set, util];
const restored = [Object.prototype, Error.prototype, TypeError.prototype, RangeError.prototype, Function.prototype];

function remember(object) {
  const kept = [];
  for (const key of ownKeys(object)) push(kept, [key, getOwnPropertyDescriptor(object, key)]);
  return [object, kept];
}
const kept = restored.map(remember);

function restore() {
  for (let i = 0; i < kept.length; i++) {
    const [object, properties] = kept[i];
    const known = [];
    for (let j = 0; j < properties.length; j++) {
      push(known, properties[j][0]);
      defineProperty(object, properties[j][0], properties[j][1]);
    }
    if (object !== restored[0]) continue;
    const now = ownKeys(object);
    for (let j = 0; j < now.length; j++) if (!includes(known, now[j])) delete object[now[j]];
  }
}

function lock() {
  for (const object of lockable) {
    for (const key of ownKeys(object)) {
      const property = getOwnPropertyDescriptor(object, key);
      if (property.configurable && key !== 'constructor') {
        defineProperty(object, key, hasOwn(property, 'value') ? { writable: false, configurable: false } : { configurable: false });
      }
    }
  }
  for (const object of frozen) freeze(object);
  preventExtensions(Object.prototype); // a setter there would take what any object is given
  for (const name of intrinsics) {
    if (hasOwn(globalThis, name)) defineProperty(globalThis, name, { value: globalThis[name], writable: false, configurable: false });
  }
  for (const name of ['removeListener', 'off', 'removeAllListeners']) {
    const remove = process[name];
    const value = (event, ...rest) => (event === undefined || includes(HEARD, event) ? process : apply(remove, process, [event, ...rest]));
    defineProperty(process, name, { value, writable: false, configurable: false });
  }
  for (const name of ['binding', '_linkedBinding', 'dlopen']) { // they give what fs itself writes with
    defineProperty(process, name, { value: undefined, writable: false, configurable: false });
  }
}

function loadHere() {
  lock();
  try {
    const found = require('./program.js').load(config.source, config.names);
    restore();
    return found;
  } catch (error) {
    restore();
    return fail(describe(error));
  }
}
