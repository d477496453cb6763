// Holds a JavaScript program and answers calls of its functions with plain data, over descriptor 3.
'use strict';
const fs = require('fs');
const path = require('path');
const codec = require('./codec.js');

const FD = 3;
const { readSync, writeSync } = fs;
const config = JSON.parse(fs.readFileSync(path.join(__dirname, 'config.json'), 'utf8'));
const { parse, stringify } = JSON;
const buffer = Buffer.alloc(65536);
const { exit } = process;
let pending = Buffer.alloc(0);

function readLine() {
  for (;;) {
    const at = pending.indexOf(10);
    if (at >= 0) {
      const line = pending.toString('utf8', 0, at);
      pending = pending.subarray(at + 1);
      return line;
    }
    const n = readSync(FD, buffer, 0, buffer.length, null);
    if (n <= 0) return null;
    pending = Buffer.concat([pending, buffer.subarray(0, n)]);
  }
}

function answer(value) {
  const whole = Buffer.from(`${stringify(value)}\n`);
  for (let at = 0; at < whole.length;) at += writeSync(FD, whole, at, whole.length - at);
}

function describe(error) {
  if (!(error instanceof Error)) {
    try {
      return { type: 'Error', message: `thrown: ${String(error)}`, line: null, value: codec.encode(error) };
    } catch {
      return { type: 'Error', message: 'something that is no Error was thrown', line: null };
    }
  }
  const match = new RegExp(`${config.source.replace('.', '\\.')}:(\\d+)`).exec(String(error.stack));
  const properties = [];
  for (const name of Object.keys(error)) {
    try {
      properties.push([name, codec.encode(error[name])]);
    } catch {
      continue; // what cannot travel is left out
    }
  }
  const name = error.name !== 'Error' ? error.name : error.constructor.name;
  return { type: String(name), message: String(error.message), line: match ? Number(match[1]) : null, where: match ? match[0] : null, properties };
}

const isClass = (value) => /^class\b/.test(Function.prototype.toString.call(value)) || Object.getOwnPropertyNames(value.prototype || {}).length > 1;

function kind(value) {
  if (typeof value === 'function') {
    const hasMore = Object.keys(value).length > 0;
    return isClass(value) || hasMore ? { kind: 'opaque' } : { kind: 'function' };
  }
  try {
    return { kind: 'value', value: codec.encode(value) };
  } catch {
    return { kind: 'opaque' };
  }
}

const functions = new Map();
function offer(names) {
  const found = require('./program.js').load(config.source, names);
  const reply = { names: {}, exports: {} };
  const add = (list, name, value, key) => {
    list[name] = kind(value);
    functions.set(key, value);
  };
  for (const name of Object.keys(found.names)) add(reply.names, name, found.names[name], name);
  const { exports } = found;
  const isNamespace = typeof exports === 'object' && exports !== null && Object.getPrototypeOf(exports) === Object.prototype;
  if (!isNamespace) add(reply.exports, '*', exports, 'exports.*');
  else for (const name of Object.keys(exports)) add(reply.exports, name, exports[name], `exports.${name}`);
  return reply;
}

async function call(question) {
  const args = question.args.map(codec.decode);
  const reply = {};
  try {
    let value = Reflect.apply(functions.get(question.call), undefined, args);
    if (value instanceof Promise) {
      reply.promise = true;
      value = await value;
    }
    try {
      reply.value = codec.encode(value);
    } catch (error) {
      return { opaque: `${question.call} returned what is not plain data: ${error.message}` };
    }
  } catch (error) {
    reply.threw = describe(error);
  }
  try {
    const after = args.map((one) => codec.encode(one));
    if (stringify(after) !== stringify(question.args)) reply.args = after;
  } catch (error) {
    return { opaque: `${question.call} left in an argument what is not plain data: ${error.message}` };
  }
  return reply;
}

async function main() {
  readLine(); // the nonce of this job's channel: nothing here reports
  for (;;) {
    const line = readLine();
    if (line === null) exit(0);
    const question = parse(parse(line).question);
    let reply;
    try {
      reply = question.names ? offer(question.names) : await call(question);
    } catch (error) {
      reply = { threw: describe(error) };
    }
    answer(reply);
    await new Promise((resolve) => setImmediate(resolve)); // let the program's own timers and promises run
  }
}
main();
