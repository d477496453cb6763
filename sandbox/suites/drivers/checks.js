// What tests check with. A check outside every test is one of its own.

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
const expect = require('./expect.js')(freeze({ ...nodeAssert }), () => { if (current === null) nOutside += 1; });
