// The part of `expect(value).toBe(...)` that tests of small programs use, on top of node's own assert.
'use strict';

module.exports = (assert, note) => {
  const fail = (message) => { throw new assert.AssertionError({ message }); };
  const show = require('util').inspect;
  const holds = (check) => { try { check(); return true; } catch (error) { if (error.code === 'ERR_ASSERTION') return false; throw error; } };
  const size = (value) => (value.size === undefined ? value.length : value.size);
  const has = (value, item) => (typeof value === 'string' ? value.includes(item) : [...value].includes(item));
  function thrown(value, wanted) {
    try {
      value();
    } catch (error) {
      if (wanted === undefined) return true;
      if (typeof wanted === 'string') return String(error.message).includes(wanted);
      if (wanted instanceof RegExp) return wanted.test(error.message);
      return typeof wanted === 'function' ? error instanceof wanted || error.name === wanted.name : error.message === wanted.message;
    }
    return false;
  }
  const fit = (what, kinds, ...values) => values.every((value) => kinds.includes(typeof value)) || fail(`${what} are compared here, not ${values.map((value) => show(value)).join(', ')}`);
  const isNumber = (...values) => fit('numbers', ['number', 'bigint'], ...values);
  const near = (value, wanted, digits = 2) => typeof value === 'number' && (value === wanted || Math.abs(value - wanted) < 10 ** -digits / 2);
  const checks = {
    toBe: Object.is,
    toEqual: (value, wanted) => holds(() => assert.deepStrictEqual(value, wanted)),
    toStrictEqual: (value, wanted) => holds(() => assert.deepStrictEqual(value, wanted)),
    toBeCloseTo: near,
    toBeNull: (value) => value === null,
    toBeUndefined: (value) => value === undefined,
    toBeDefined: (value) => value !== undefined,
    toBeNaN: (value) => Number.isNaN(value),
    toBeTruthy: Boolean,
    toBeFalsy: (value) => !value,
    toContain: has,
    toContainEqual: (value, item) => [...value].some((one) => holds(() => assert.deepStrictEqual(one, item))),
    toHaveLength: (value, n) => size(value) === n,
    toHaveProperty: (value, name, ...wanted) => name in value && (!wanted.length || holds(() => assert.deepStrictEqual(value[name], wanted[0]))),
    toMatch: (value, pattern) => fit('strings', ['string'], value) && (typeof pattern === 'string' ? value.includes(pattern) : pattern.test(value)),
    toBeInstanceOf: (value, type) => value instanceof type,
    toBeGreaterThan: (value, other) => isNumber(value, other) && value > other,
    toBeGreaterThanOrEqual: (value, other) => isNumber(value, other) && value >= other,
    toBeLessThan: (value, other) => isNumber(value, other) && value < other,
    toBeLessThanOrEqual: (value, other) => isNumber(value, other) && value <= other,
    toThrow: thrown,
    toThrowError: thrown,
  };
  function matchers(value, negated) {
    const made = Object.create(null);
    for (const name of Object.keys(checks)) {
      made[name] = (...wanted) => {
        note();
        if (Boolean(checks[name](value, ...wanted)) === negated) {
          fail(`expect(${show(value)})${negated ? '.not' : ''}.${name}(${wanted.map((one) => show(one)).join(', ')})`);
        }
      };
    }
    return made;
  }
  function later(promise, rejects, negated) {
    const made = Object.create(null);
    for (const name of Object.keys(checks)) {
      made[name] = async (...wanted) => {
        let value;
        try {
          value = await promise;
        } catch (error) {
          if (!rejects) throw error;
          return matchers(name.startsWith('toThrow') ? () => { throw error; } : error, negated)[name](...wanted);
        }
        if (rejects) fail('the promise was expected to be rejected');
        return matchers(value, negated)[name](...wanted);
      };
    }
    return made;
  }
  const expect = (value) => {
    const made = matchers(value, false);
    made.not = matchers(value, true);
    made.resolves = Object.assign(later(value, false, false), { not: later(value, false, true) });
    made.rejects = Object.assign(later(value, true, false), { not: later(value, true, true) });
    return Object.freeze(made);
  };
  return Object.freeze(expect);
};
