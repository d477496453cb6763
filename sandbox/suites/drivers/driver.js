// Registers the tests, runs them one after the other and reports each.

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

const DEAF = 'the program took away what hears of failures that nobody awaits';
const listeners = process.listeners.bind(process);
const hear = (error) => { noteFailure(error); };
const hears = () => HEARD.every((event) => includes(listeners(event), hear));

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
    await new PromiseHere((resolve) => { later(resolve); }); // rejections that nobody awaits are told only now
    if (!hears()) throw new AssertionFailure(DEAF);
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

// What tests judge with: they see the program's own of such a name only if they use nothing else of the program.
const intrinsics = [
  'Object', 'Function', 'Array', 'String', 'Number', 'Boolean', 'Symbol', 'BigInt', 'Math', 'JSON', 'Reflect', 'Promise',
  'Map', 'Set', 'WeakMap', 'WeakSet', 'Date', 'RegExp', 'Proxy', 'Error', 'TypeError', 'RangeError', 'SyntaxError',
  'isNaN', 'isFinite', 'parseInt', 'parseFloat', 'ArrayBuffer', 'Uint8Array', 'Buffer',
  'assert', 'console', 'process', 'globalThis', 'global',
];
const NEVER = ['console', 'process', 'globalThis', 'global'];
function withoutIntrinsics(found) {
  const isOther = (name) => includes(config.names, name) && !includes(intrinsics, name);
  const others = [...keys(found.names), ...(isObject(found.exports) ? keys(found.exports) : [])].some(isOther);
  for (const name of keys(found.names)) {
    if (includes(NEVER, name) || (includes(intrinsics, name) && (others || typeof found.exports === 'function'))) delete found.names[name];
  }
}

function requireForTests(found) {
  const own = createRequire(path.join(process.cwd(), config.tests));
  const programs = /^(?:\.{0,2}\/)*(?:src\/)?(?:solution|main|index|candidate|code|program|module)(?:\.[cm]?[jt]sx?)?$/;
  const runners = ['node:test', 'test', 'vitest', '@jest/globals', 'mocha', 'chai', 'bun:test'];
  return (name) => {
    if (['assert', 'node:assert', 'chai/assert'].includes(name)) return assert;
    if (['util', 'node:util'].includes(name)) return util;
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

// What nobody awaits, as a function that is called where it stands, may still check something.
const IDLE_MS = 250; // a program may keep a timer or a socket for ever
const { setTimeout: inTime } = globalThis;
const once = process.once.bind(process);
function drained() {
  return new PromiseHere((resolve) => {
    once('beforeExit', resolve); // nothing is left to wait for
    inTime(resolve, IDLE_MS).unref();
  });
}

async function main() {
  const file = path.join(__dirname, config.tests);
  const body = fs.readFileSync(file, 'utf8');
  for (const text of [file, file.replace(/js$/, 'ts')]) fs.rmSync(text, { force: true }); // a program here must not read what is expected
  const found = config.apart ? loadApart() : loadHere();
  withoutIntrinsics(found);
  found.exports = exportsAndNames(found);
  const parameters = { ...api, require: requireForTests(found), module: { exports: {} }, exports: {} };
  const own = keys(parameters);
  for (const name of keys(found.names)) if (!own.includes(name)) parameters[name] = found.names[name];
  if (isObject(found.exports)) {
    for (const name of config.names) if (!hasOwn(parameters, name) && name in found.exports && !(name in globalThis)) parameters[name] = found.exports[name];
  }
  const wanted = config.functions.map((name) => `typeof ${name}==='function'?${name}:null`).join(',');
  const wrapped = `return (async function(${config.bare}){${body}\n;return [${wanted}]})(${config.bare}$)`;
  let functions;
  try {
    const names = [...keys(parameters), `${config.bare}$`];
    const run = compileFunction(wrapped, names, { filename: config.tests });
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
  for (let i = 0; i < functions.length; i++) {
    if (functions[i] !== null) await runOne(config.functions[i], functions[i], null);
  }
  for (const one of queue) {
    if (one.skipped) conclude(one.id, null, true);
    else await runOne(one.id, one.body || (() => {}), one.hooks);
  }
  await drained();
  if (!hears()) noteFailure(new AssertionFailure(DEAF));
  if (outside !== null || nOutside > 0) conclude('top level', outside, false);
  send('collected', `,"tests":[${reported.map(quote).join(',')}]`);
  send('end', '');
  return exit(nFailed > 0 ? 1 : 0);
}

for (const event of HEARD) process.on(event, hear);
main().catch((error) => {
  const what = describe(error);
  send('exception', `,"type":${quote(what.type)},"message":${quote(what.message)},"line":null`);
  exit(1);
});
