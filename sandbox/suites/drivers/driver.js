// Runs the tests of a JavaScript program in this process and reports them on descriptor 3.
//
// Everything used for judging is taken before the program loads. With "apart" the program runs in another job and its
// functions are called over descriptor 3 with plain data; else it runs here, after what tests rely on was locked.
'use strict';
const fs = require('fs');
const vm = require('vm');
const path = require('path');
const nodeAssert = require('assert');
const { createRequire } = require('module');
const codec = require('./codec.js');

const FD = 3;
const config = JSON.parse(fs.readFileSync(path.join(__dirname, 'config.json'), 'utf8'));
const { readSync, writeSync } = fs;
const { stringify, parse } = JSON;
const { isArray } = Array;
const { defineProperty, freeze, getOwnPropertyDescriptor, keys } = Object;
const { ownKeys } = Reflect;
const bind = Function.prototype.call.bind.bind(Function.prototype.call);
const slice = bind(String.prototype.slice);
const push = bind(Array.prototype.push);
const includes = bind(Array.prototype.includes);
const hasOwn = bind(Object.prototype.hasOwnProperty);
const exec = bind(RegExp.prototype.exec);
const apply = Reflect.apply;
const exit = process.reallyExit.bind(process);
const text = String;
const buffer = Buffer.alloc(65536);
const decode = bind(Buffer.prototype.toString);
const PromiseHere = Promise;
const ErrorHere = Error;

let pending = '';
function readLine() {
  for (;;) {
    for (let i = 0; i < pending.length; i++) {
      if (pending[i] === '\n') {
        const line = slice(pending, 0, i);
        pending = slice(pending, i + 1);
        return line;
      }
    }
    const n = readSync(FD, buffer, 0, buffer.length, null);
    if (n <= 0) exit(125);
    pending += decode(buffer, 'latin1', 0, n);
  }
}

const nonce = readLine();
const quote = (value) => stringify(slice(text(value), 0, 1500));
function send(event, fields) {
  const line = `{"nonce":"${nonce}","event":"${event}"${fields}}\n`;
  let at = 0;
  const whole = Buffer.from(line, 'utf8');
  while (at < whole.length) at += writeSync(FD, whole, at, whole.length - at);
}

// --- The program ------------------------------------------------------------------------------------------------

function giveUp(why) {
  send('opaque', `,"reason":${quote(why)}`);
  exit(1);
}

function ask(question) {
  send('call', `,"question":${stringify(question)}`);
  const answer = parse(Buffer.from(readLine(), 'latin1').toString('utf8'));
  if (answer === null) {
    send('exception', ',"type":"ProgramEnded","message":"the program ended while its tests were running","line":null');
    exit(1);
  }
  return answer;
}

function remoteFunction(name) {
  const stub = function (...args) {
    let encoded;
    try {
      encoded = args.map((value) => codec.encode(value));
    } catch (error) {
      giveUp(`an argument of ${name} is not plain data: ${error.message}`);
    }
    const answer = ask(stringify({ call: name, args: encoded }));
    if (answer.opaque) giveUp(answer.opaque);
    if (answer.args) args.forEach((value, i) => codec.update(value, codec.decode(answer.args[i])));
    const outcome = answer.threw
      ? () => { throw codec.toError(answer.threw); }
      : () => codec.decode(answer.value);
    if (answer.promise) return new PromiseHere((resolve) => resolve(outcome()));
    return outcome();
  };
  defineProperty(stub, 'name', { value: name });
  defineProperty(stub, 'length', { value: 0, configurable: true });
  return stub;
}

function loadApart() {
  const answer = ask(stringify({ names: config.names }));
  if (answer.threw) fail(answer.threw);
  const found = { exports: {}, names: {} };
  const make = (entry, name) => {
    if (entry.kind === 'function') return remoteFunction(name);
    if (entry.kind === 'value') return codec.decode(entry.value);
    return giveUp(`${name} of the program is not plain data`);
  };
  for (const name of keys(answer.names)) found.names[name] = make(answer.names[name], name);
  for (const name of keys(answer.exports)) {
    if (name === '*') found.exports = make(answer.exports[name], 'exports.*');
  }
  for (const name of keys(answer.exports)) {
    if (name !== '*') found.exports[name] = make(answer.exports[name], `exports.${name}`);
  }
  return found;
}

const lockable = [
  Array.prototype, String.prototype, Number.prototype, Boolean.prototype, Map.prototype, Set.prototype,
  RegExp.prototype, Date.prototype, Promise.prototype, BigInt.prototype, Symbol.prototype,
];
const frozen = [Math, JSON, Reflect, Object, Number, String, Array, Symbol, Promise, Boolean, BigInt, Date];
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
  for (const name of ['assert', 'console', 'Math', 'JSON', 'Object', 'Array', 'Number', 'String', 'Promise', 'Reflect']) {
    if (hasOwn(globalThis, name)) defineProperty(globalThis, name, { value: globalThis[name], writable: false, configurable: false });
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

function lineOf(error, file) {
  const stack = typeof error === 'object' && error !== null ? text(error.stack) : '';
  const escaped = file.replace(/[.]/g, '\\.');
  const match = exec(new RegExp(`${escaped}:(\\d+)`), stack);
  return match ? Number(match[1]) : null;
}

function describe(error) {
  try {
    if (error instanceof ErrorHere || (typeof error === 'object' && error !== null && 'message' in error)) {
      const message = text(error.message);
      return { type: text(error.name || 'Error'), message, line: lineOf(error, config.source) };
    }
    return { type: 'Error', message: `thrown: ${text(error)}`, line: null };
  } catch {
    return { type: 'Error', message: 'something unprintable was thrown', line: null };
  }
}

function fail(what) {
  const event = what.type === 'SyntaxError' ? 'compile_error' : 'exception';
  send(event, `,"type":${quote(what.type)},"message":${quote(what.message)},"line":${what.line || 'null'}`);
  return exit(1);
}

// --- Checks -----------------------------------------------------------------------------------------------------

let current = null; // the test that runs
let outside = null; // what failed while no test ran
let nOutside = 0;

class AssertionFailure extends ErrorHere {}
AssertionFailure.prototype.name = 'AssertionError';

function noteFailure(error) {
  if (current !== null) {
    if (current.failure === null) current.failure = error;
  } else if (outside === null) outside = error;
}

const isObject = (value) => (typeof value === 'object' && value !== null) || typeof value === 'function';

function wrap(name, original) {
  const check = function (...args) {
    if (current === null) nOutside += 1;
    if ((name === 'equal' || name === 'deepEqual') && isObject(args[0]) !== isObject(args[1])) {
      throw new AssertionFailure(`${name}: an object is compared with a plain value, which proves nothing`);
    }
    return apply(original, nodeAssert, args);
  };
  return check;
}

const assert = wrap('ok', nodeAssert.ok);
for (const name of keys(nodeAssert)) {
  const value = nodeAssert[name];
  if (typeof value === 'function' && !/^[A-Z]/.test(name) && name !== 'strict') assert[name] = freeze(wrap(name, value));
}
assert.AssertionError = nodeAssert.AssertionError;
const strict = wrap('ok', nodeAssert.ok);
for (const name of keys(assert)) strict[name] = assert[name];
for (const [loose, tight] of [['equal', 'strictEqual'], ['deepEqual', 'deepStrictEqual'], ['notEqual', 'notStrictEqual'], ['notDeepEqual', 'notDeepStrictEqual']]) {
  strict[loose] = assert[tight];
}
strict.strict = strict;
assert.strict = strict;
freeze(strict);
freeze(assert);

const consoleError = console.error.bind(console);
defineProperty(console, 'assert', {
  value: freeze((condition, ...message) => {
    if (current === null) nOutside += 1;
    if (condition) return;
    const error = new AssertionFailure(message.length ? `console.assert: ${message.map(text).join(' ')}` : 'console.assert failed');
    noteFailure(error);
    consoleError('Assertion failed', ...message);
  }),
  writable: false,
  configurable: false,
});
const expect = require('./expect.js')(nodeAssert, () => { if (current === null) nOutside += 1; });

// --- Tests ------------------------------------------------------------------------------------------------------

const queue = [];
let scope = [];
let hooks = { before: [], after: [], beforeEach: [], afterEach: [] };

function define(name, options, body, skipped) {
  if (typeof options === 'function') body = options;
  else if (options && (options.skip || options.todo)) skipped = true;
  push(queue, { id: [...scope, text(name)].join(' > '), body, skipped, hooks });
}
const test = (name, options, body) => define(name, options, body, false);
test.skip = (name, options, body) => define(name, options, body, true);
test.todo = test.skip;
test.only = test;
test.each = (rows) => (name, body) => rows.forEach((row, i) => {
  const args = isArray(row) ? row : [row];
  test(`${text(name)} [${i + 1}]`, () => body(...args));
});
function describeBlock(name, options, body) {
  const run = typeof options === 'function' ? options : body;
  const outer = [scope, hooks];
  scope = [...scope, text(name)];
  hooks = { before: [...hooks.before], after: [...hooks.after], beforeEach: [...hooks.beforeEach], afterEach: [...hooks.afterEach] };
  run();
  [scope, hooks] = outer;
}
describeBlock.only = describeBlock;
describeBlock.skip = () => {};
test.test = test;
test.it = test;
test.describe = describeBlock;
test.suite = describeBlock;
const hook = (name) => (body) => { push(hooks[name], body); };
const api = {
  test, it: test, describe: describeBlock, suite: describeBlock, context: describeBlock, expect, assert,
  before: hook('before'), after: hook('after'), beforeAll: hook('before'), afterAll: hook('after'),
  beforeEach: hook('beforeEach'), afterEach: hook('afterEach'),
};
for (const name of ['before', 'after', 'beforeEach', 'afterEach']) test[name] = api[name];
const reported = [];
let nFailed = 0;

function unique(id) {
  let name = id;
  for (let n = 2; includes(reported, name); n++) name = `${id} (${n})`;
  return name;
}

function conclude(id, error, skipped) {
  const name = unique(id);
  push(reported, name);
  if (skipped) {
    send('test', `,"id":${quote(name)},"outcome":"skipped","type":"Skipped","message":"marked as skipped","by":"tests"`);
  } else if (error === null) {
    send('test', `,"id":${quote(name)},"outcome":"passed"`);
  } else {
    nFailed += 1;
    const what = describe(error);
    const kind = what.type === 'AssertionError' || error.code === 'ERR_ASSERTION' ? 'AssertionError' : what.type;
    const line = lineOf(error, config.tests);
    const where = line === null ? '' : ` (line ${line})`;
    send('test', `,"id":${quote(name)},"outcome":"failed","type":${quote(kind)},"message":${quote(what.message + where)}`);
    consoleError(`FAILED ${name}: ${kind}: ${what.message}`);
  }
}

const started = [];
async function runOne(id, body, ownHooks) {
  current = { failure: null };
  restore();
  let error = null;
  let threw = false;
  try {
    if (ownHooks) {
      for (const one of ownHooks.before) if (!includes(started, one)) { push(started, one); await one(); }
      for (const one of ownHooks.beforeEach) await one();
    }
    const context = { name: id, test: async (name, inner) => inner(context), diagnostic() {}, skip() {} };
    const returned = await (body.length > 0 && ownHooks ? withCallback(body, context) : body());
    if (returned === false) throw new AssertionFailure('the test returned false');
    if (ownHooks) for (const one of ownHooks.afterEach) await one();
  } catch (caught) {
    error = caught;
    threw = true;
  }
  if (!threw && current.failure !== null) [error, threw] = [current.failure, true];
  current = null;
  if (threw && (error === null || error === undefined)) error = new ErrorHere(`thrown: ${text(error)}`);
  conclude(id, threw ? error : null, false);
}

function withCallback(body, context) {
  const name = exec(/^(?:async\s*)?(?:function\s*\w*\s*)?\(?\s*(\w+)/, text(body));
  if (!name || name[1] !== 'done') return body(context);
  return new PromiseHere((resolve, reject) => body((error) => (error ? reject(error) : resolve())));
}

async function bare(id, body) {
  await runOne(id, body, null);
}

function requireForTests(found) {
  const own = createRequire(path.join(process.cwd(), config.tests));
  const programs = /^(?:\.{0,2}\/)*(?:src\/)?(?:solution|main|index|candidate|code|program|module)(?:\.[cm]?[jt]sx?)?$/;
  const runners = ['node:test', 'test', 'vitest', '@jest/globals', 'mocha', 'chai', 'bun:test'];
  return (name) => {
    if (['assert', 'node:assert', 'chai/assert'].includes(name)) return assert;
    if (['assert/strict', 'node:assert/strict'].includes(name)) return strict;
    if (runners.includes(name)) return Object.assign((...args) => test(...args), api, { default: test });
    if (programs.test(name)) return found.exports;
    return own(name);
  };
}

function exportsAndNames(found) {
  const { exports } = found;
  if (isObject(exports)) {
    for (const name of keys(found.names)) {
      if (!(name in exports)) defineProperty(exports, name, { value: found.names[name], enumerable: false, configurable: true, writable: true });
    }
  }
  return exports;
}

async function main() {
  const found = config.apart ? loadApart() : loadHere();
  found.exports = exportsAndNames(found);
  const parameters = { ...api, require: requireForTests(found), module: { exports: {} }, exports: {} };
  const own = keys(parameters);
  for (const name of keys(found.names)) if (!own.includes(name)) parameters[name] = found.names[name];
  if (isObject(found.exports)) {
    for (const name of config.names) if (!hasOwn(parameters, name) && name in found.exports && !(name in globalThis)) parameters[name] = found.exports[name];
  }
  const body = fs.readFileSync(path.join(__dirname, config.tests), 'utf8');
  const wanted = config.functions.map((name) => `typeof ${name}==='function'?${name}:null`).join(',');
  const wrapped = `return (async function(${config.bare}){${body}\n;return [${wanted}]})(${config.bare}$)`;
  let functions;
  try {
    const names = [...keys(parameters), `${config.bare}$`];
    const run = vm.compileFunction(wrapped, names, { filename: config.tests });
    functions = run(...keys(parameters).map((name) => parameters[name]), bare);
  } catch (error) {
    const what = describe(error);
    send('tests_error', `,"type":${quote(what.type)},"message":${quote(what.message)},"line":${lineOf(error, config.tests) || 'null'}`);
    return exit(1);
  }
  try {
    functions = await functions;
  } catch (error) {
    noteFailure(error);
    functions = [];
  }
  if (outside !== null || nOutside > 0) conclude('top level', outside, false);
  for (let i = 0; i < functions.length; i++) {
    if (functions[i] !== null) await runOne(config.functions[i], functions[i], null);
  }
  for (const one of queue) {
    if (one.skipped) conclude(one.id, null, true);
    else await runOne(one.id, one.body || (() => {}), one.hooks);
  }
  send('collected', `,"tests":[${reported.map(quote).join(',')}]`);
  send('end', '');
  return exit(nFailed > 0 ? 1 : 0);
}

process.on('uncaughtException', (error) => { noteFailure(error); });
process.on('unhandledRejection', (error) => { noteFailure(error); });
main().catch((error) => {
  const what = describe(error);
  send('exception', `,"type":${quote(what.type)},"message":${quote(what.message)},"line":null`);
  exit(1);
});
