// The part of `expect(value).toBe(...)` that tests of small programs use, on top of node's own assert.
'use strict';

module.exports = (assert, watch) => {
  const fail = (message) => { throw new assert.AssertionError({ message }); };
  const show = require('util').inspect;
  const mocks = require('./jest.js')(assert, fail);
  const wild = (pattern, value) => { // patterns such as expect.any(Number), replaced by what they fit
    if (pattern instanceof Pattern) return pattern.fits(value) ? value : pattern;
    if (Array.isArray(pattern) && Array.isArray(value)) return pattern.map((one, i) => wild(one, value[i]));
    if (pattern === null || typeof pattern !== 'object' || Object.getPrototypeOf(pattern) !== Object.prototype || value === null || typeof value !== 'object') return pattern;
    return Object.fromEntries(Object.keys(pattern).map((key) => [key, wild(pattern[key], value[key])]));
  };
  class Pattern { constructor(fits) { this.fits = fits; } }
  const equal = (value, wanted) => holds(() => assert.deepStrictEqual(value, wild(wanted, value)));
  const part = (value, wanted) => (wanted !== null && typeof wanted === 'object' && !Array.isArray(wanted) && !(wanted instanceof Pattern)
    ? value !== null && typeof value === 'object' && Object.keys(wanted).every((key) => key in value && part(value[key], wanted[key]))
    : equal(value, wanted));
  const isOf = (value, type) => (type === Object ? typeof value === 'object' : value instanceof type || typeof value === type.name.toLowerCase());
  const patterns = {
    any: (type) => new Pattern((value) => isOf(value, type)),
    anything: () => new Pattern((value) => value !== null && value !== undefined),
    arrayContaining: (items) => new Pattern((value) => Array.isArray(value) && items.every((item) => value.some((one) => equal(one, item)))),
    objectContaining: (wanted) => new Pattern((value) => part(value, wanted)),
    stringContaining: (text) => new Pattern((value) => typeof value === 'string' && value.includes(text)),
    stringMatching: (text) => new Pattern((value) => typeof value === 'string' && new RegExp(text).test(value)),
    closeTo: (wanted, digits) => new Pattern((value) => near(value, wanted, digits)),
  };
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
    ...mocks.checks,
    toEqual: equal,
    toStrictEqual: equal,
    toMatchObject: part,
    toBeCloseTo: near,
    toBeNull: (value) => value === null,
    toBeUndefined: (value) => value === undefined,
    toBeDefined: (value) => value !== undefined,
    toBeNaN: (value) => Number.isNaN(value),
    toBeTruthy: Boolean,
    toBeFalsy: (value) => !value,
    toContain: has,
    toContainEqual: (value, item) => [...value].some((one) => equal(one, item)),
    toHaveLength: (value, n) => size(value) === n,
    toHaveProperty: (value, name, ...wanted) => name in value && (!wanted.length || equal(value[name], wanted[0])),
    toMatch: (value, pattern) => fit('strings', ['string'], value) && (typeof pattern === 'string' ? value.includes(pattern) : pattern.test(value)),
    toBeInstanceOf: (value, type) => value instanceof type,
    toBeGreaterThan: (value, other) => isNumber(value, other) && value > other,
    toBeGreaterThanOrEqual: (value, other) => isNumber(value, other) && value >= other,
    toBeLessThan: (value, other) => isNumber(value, other) && value < other,
    toBeLessThanOrEqual: (value, other) => isNumber(value, other) && value <= other,
    toThrow: thrown,
    toThrowError: thrown,
  };
  const chai = require('./chai.js')(assert, holds, fail, show, thrown);
  function matchers(value, negated, checked) {
    const made = Object.create(null);
    for (const name of Object.keys(checks)) {
      made[name] = (...wanted) => {
        checked();
        if (Boolean(checks[name](value, ...wanted)) === negated) {
          fail(`expect(${show(value)})${negated ? '.not' : ''}.${name}(${wanted.map((one) => show(one)).join(', ')})`);
        }
      };
    }
    return made;
  }
  function later(promise, rejects, negated, checked) {
    const made = Object.create(null);
    for (const name of Object.keys(checks)) {
      made[name] = async (...wanted) => {
        checked();
        let value;
        try {
          value = await promise;
        } catch (error) {
          if (!rejects) throw error;
          return matchers(name.startsWith('toThrow') ? () => { throw error; } : error, negated, checked)[name](...wanted);
        }
        if (rejects) fail('the promise was expected to be rejected');
        return matchers(value, negated, checked)[name](...wanted);
      };
    }
    return made;
  }
  const expect = (value) => {
    const checked = watch.begun();
    const made = matchers(value, false, checked);
    made.not = matchers(value, true, checked);
    made.resolves = Object.assign(later(value, false, false, checked), { not: later(value, false, true, checked) });
    made.rejects = Object.assign(later(value, true, false, checked), { not: later(value, true, true, checked) });
    Object.defineProperty(made, 'to', { get: () => chai.chain(value, checked) });
    return Object.freeze(made);
  };
  Object.assign(expect, patterns, { assertions: watch.wanted, hasAssertions: () => watch.wanted(null), fail: (text = 'expect.fail') => { watch.begun()(); fail(text); } });
  return { expect: Object.freeze(expect), chai: chai.checks, jest: mocks.jest };
};
