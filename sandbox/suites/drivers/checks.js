// What tests check with. A check outside every test is one of its own.

let current = null; // the test that runs
let outside = null; // what failed while no test ran
let nOutside = 0;

class AssertionFailure extends ErrorHere {}
AssertionFailure.prototype.name = 'AssertionError';

function noteFailure(error) {
  if (error === LEFT) return;
  if (current !== null) {
    if (current.failure === null) current.failure = error;
  } else if (outside === null) outside = error;
}

// A check counts, and one that failed stays so if it is caught, unless what it stands in expects it to throw.
let nChecks = 0;
function checked(run, catches) {
  if (current === null) nOutside += 1;
  nChecks += 1;
  const kept = [current, current === null ? outside : current.failure];
  const forget = (value) => {
    if (current === kept[0] && current !== null) [, current.failure] = kept;
    else if (current === kept[0]) [, outside] = kept;
    return value;
  };
  try {
    const value = run();
    return catches && value instanceof PromiseHere ? value.then(forget) : catches ? forget(value) : value;
  } catch (error) {
    if (config.sticky) noteFailure(error);
    throw error;
  }
}
const CATCHING = ['throws', 'rejects'];

// An `expect(...)` that nothing is asked of checks nothing.
const watch = {
  begun() {
    const test = current;
    let asked = false;
    if (test !== null) test.open += 1;
    return () => {
      if (!asked && test !== null) test.open -= 1;
      asked = true;
      checked(() => {});
    };
  },
  wanted(n) { if (current !== null) current.wanted = n; },
};

const isObject = (value) => (typeof value === 'object' && value !== null) || typeof value === 'function';

function wrap(name, original) {
  const check = function (...args) {
    if ((name === 'equal' || name === 'deepEqual') && isObject(args[0]) !== isObject(args[1])) {
      return checked(() => { throw new AssertionFailure(`${name}: an object is compared with a plain value, which proves nothing`); });
    }
    return checked(() => apply(original, nodeAssert, args), includes(CATCHING, name));
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
    checked(() => {});
    if (condition) return;
    const error = new AssertionFailure(message.length ? `console.assert: ${message.map(text).join(' ')}` : 'console.assert failed');
    noteFailure(error);
    consoleError('Assertion failed', ...message);
  }),
  writable: false,
  configurable: false,
});
const { expect, chai, jest } = require('./expect.js')(freeze({ ...nodeAssert }), watch);
const chaiAssert = wrap('ok', nodeAssert.ok);
for (const name of keys(assert)) chaiAssert[name] = assert[name];
for (const name of keys(chai)) chaiAssert[name] = wrap(name, chai[name]);
freeze(chaiAssert);
