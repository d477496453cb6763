// What tests see as `process`: leaving with a status says whether they passed, and ends no more than them.

const LEFT = freeze(new ErrorHere('the tests left')); // thrown where tests leave
let status = null; // with which they left, the first time

function leave(code) {
  if (status === null) {
    status = Number(code === undefined ? processOfTests.exitCode || 0 : code);
    if (status !== 0) noteFailure(new AssertionFailure(`the tests exited with status ${status}`));
  }
  throw LEFT;
}
let exitCode;
const processOfTests = new Proxy(process, {
  get: (target, name) => (name === 'exit' ? leave : name === 'exitCode' ? exitCode : Reflect.get(target, name, target)),
  set: (target, name, value) => {
    if (name === 'exitCode') exitCode = value;
    else target[name] = value;
    return true;
  },
});
