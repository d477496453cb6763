// `jest.fn` and `jest.spyOn`, and what `expect` asks of the functions that they make.
'use strict';

module.exports = (assert, fail) => {
  const made = new WeakSet();
  const same = (value, other) => { try { assert.deepStrictEqual(value, other); return true; } catch { return false; } };
  function fn(body) {
    const mock = { calls: [], results: [] };
    let [otherwise, once] = [body, []];
    const called = function (...args) {
      mock.calls.push(args);
      const run = once.length ? once.shift() : otherwise;
      try {
        const value = run ? Reflect.apply(run, this, args) : undefined;
        mock.results.push({ type: 'return', value });
        return value;
      } catch (error) {
        mock.results.push({ type: 'throw', value: error });
        throw error;
      }
    };
    made.add(called);
    const sets = (change) => (...args) => { change(...args); return called; };
    return Object.assign(called, {
      mock,
      mockImplementation: sets((run) => { otherwise = run; }),
      mockImplementationOnce: sets((run) => { once.push(run); }),
      mockReturnValue: sets((value) => { otherwise = () => value; }),
      mockReturnValueOnce: sets((value) => { once.push(() => value); }),
      mockResolvedValue: sets((value) => { otherwise = async () => value; }),
      mockRejectedValue: sets((value) => { otherwise = async () => { throw value; }; }),
      mockClear: sets(() => { mock.calls.length = 0; mock.results.length = 0; }),
      mockReset: sets(() => { mock.calls.length = 0; mock.results.length = 0; [otherwise, once] = [undefined, []]; }),
    });
  }
  function spyOn(object, name) {
    const original = object[name];
    const spy = fn(original);
    object[name] = spy;
    return Object.assign(spy, { mockRestore: () => { object[name] = original; } });
  }
  const calls = (mock) => (made.has(mock) ? mock.mock.calls : fail('only what jest.fn or jest.spyOn made can be asked for its calls'));
  const checks = {
    toHaveBeenCalled: (mock) => calls(mock).length > 0,
    toHaveBeenCalledTimes: (mock, n) => calls(mock).length === n,
    toHaveBeenCalledWith: (mock, ...args) => calls(mock).some((one) => same(one, args)),
    toHaveBeenLastCalledWith: (mock, ...args) => same(calls(mock).at(-1), args),
    toHaveReturnedWith: (mock, value) => calls(mock) && mock.mock.results.some((one) => one.type === 'return' && same(one.value, value)),
  };
  const known = { fn, spyOn };
  const jest = new Proxy(known, {
    get: (_, name) => known[name] || fail(`jest.${String(name)} is not supported here; write jest.fn or jest.spyOn, or a function of the tests' own`),
  });
  return { jest, checks };
};
