// The part of chai's `expect(x).to...` and `assert` that tests of small programs use, on top of node's own assert.
'use strict';

module.exports = (assert, holds, fail, show, thrown) => {
  const same = (value, other, deep) => (deep ? holds(() => assert.deepStrictEqual(value, other)) : value === other);
  const size = (value) => (value.size === undefined ? value.length : value.size);
  const kind = (value) => (Array.isArray(value) ? 'array' : value === null ? 'null' : value instanceof Error ? 'error' : typeof value);
  const isEmpty = (value) => (typeof value === 'string' || Array.isArray(value) ? value.length === 0 : value.size === undefined ? Object.keys(value).length === 0 : value.size === 0);
  const isNumber = (...values) => values.every((value) => ['number', 'bigint'].includes(typeof value)) || fail(`numbers are compared here, not ${values.map((one) => show(one)).join(', ')}`);
  const includes = (value, item, deep) => {
    if (typeof value === 'string') return value.includes(item);
    if (value !== null && typeof value === 'object' && value[Symbol.iterator] === undefined) return Object.keys(item).every((key) => same(value[key], item[key], deep));
    return [...value].some((one) => same(one, item, deep));
  };
  const members = (value, others, deep) => value.length === others.length && others.every((one) => includes(value, one, deep)) && value.every((one) => includes(others, one, deep));
  const words = ['to', 'be', 'been', 'is', 'that', 'which', 'and', 'has', 'have', 'with', 'at', 'of', 'same', 'but', 'does', 'still', 'also'];
  const properties = {
    true: (value) => value === true, false: (value) => value === false, null: (value) => value === null,
    undefined: (value) => value === undefined, NaN: (value) => Number.isNaN(value), ok: Boolean, empty: isEmpty,
    exist: (value) => value !== null && value !== undefined,
  };
  const methods = {
    equal: (value, deep, other) => same(value, other, deep),
    eql: (value, deep, other) => same(value, other, true),
    above: (value, deep, other) => isNumber(value, other) && value > other,
    below: (value, deep, other) => isNumber(value, other) && value < other,
    least: (value, deep, other) => isNumber(value, other) && value >= other,
    most: (value, deep, other) => isNumber(value, other) && value <= other,
    within: (value, deep, low, high) => isNumber(value, low, high) && value >= low && value <= high,
    closeTo: (value, deep, other, delta) => isNumber(value, other, delta) && Math.abs(value - other) <= delta,
    include: (value, deep, item) => includes(value, item, deep),
    members: (value, deep, others) => members(value, others, deep),
    keys: (value, deep, ...names) => members(Object.keys(value), names.flat(), false),
    oneOf: (value, deep, others) => others.some((one) => same(value, one, deep)),
    match: (value, deep, pattern) => typeof value === 'string' && pattern.test(value),
    string: (value, deep, part) => typeof value === 'string' && value.includes(part),
    lengthOf: (value, deep, n) => size(value) === n,
    property: (value, deep, name, ...wanted) => name in Object(value) && (!wanted.length || same(value[name], wanted[0], deep)),
    instanceof: (value, deep, type) => value instanceof type,
    satisfy: (value, deep, check) => Boolean(check(value)),
    throw: (value, deep, wanted, message) => thrown(value, wanted) && (message === undefined || thrown(value, message)),
    a: (value, deep, name) => kind(value) === name.toLowerCase(),
  };
  const others = { equals: 'equal', eq: 'equal', eqls: 'eql', gt: 'above', greaterThan: 'above', lt: 'below', lessThan: 'below', gte: 'least', lte: 'most', approximately: 'closeTo', includes: 'include', contain: 'include', contains: 'include', an: 'a', key: 'keys', length: 'lengthOf', throws: 'throw', Throw: 'throw', instanceOf: 'instanceof' };

  function chain(value, checked, negated = false, deep = false) {
    const judge = (name, result, wanted) => {
      checked();
      if (Boolean(result) === negated) fail(`expect(${show(value)}).to${negated ? '.not' : ''}${deep ? '.deep' : ''}.${name}(${wanted.map((one) => show(one)).join(', ')})`);
      return chain(value, checked, negated, deep);
    };
    return new Proxy(Object.create(null), {
      get: (_, name) => {
        if (words.includes(name)) return chain(value, checked, negated, deep);
        if (name === 'not') return chain(value, checked, !negated, deep);
        if (name === 'deep') return chain(value, checked, negated, true);
        if (Object.hasOwn(properties, name)) return judge(name, properties[name](value), []);
        if (typeof name === 'symbol' || name === 'then') return undefined;
        const known = others[name] || name;
        if (!Object.hasOwn(methods, known)) return fail(`expect(...).to....${name} is not supported here; write expect(value).to.equal(other), or node's assert`);
        const check = (...wanted) => judge(name, methods[known](value, deep, ...wanted), wanted);
        return ['a', 'include', 'lengthOf'].includes(known) ? Object.assign(new Proxy(check, { get: (__, next) => chain(value, checked, negated, deep)[next] })) : check;
      },
    });
  }
  // chai's assert: its names, with what they check of the value that stands first
  const asserts = { isTrue: 'true', isFalse: 'false', isNull: 'null', isUndefined: 'undefined', isNaN: 'NaN', isOk: 'ok', isEmpty: 'empty', exists: 'exist', isDefined: '!undefined', isNotNull: '!null', isNotOk: '!ok', isNotEmpty: '!empty', isAbove: 'above', isBelow: 'below', isAtLeast: 'least', isAtMost: 'most', include: 'include', includes: 'include', notInclude: '!include', lengthOf: 'lengthOf', property: 'property', instanceOf: 'instanceof', closeTo: 'closeTo', approximately: 'closeTo', typeOf: 'a', sameMembers: 'members', oneOf: 'oneOf', hasAllKeys: 'keys' };
  const kinds = { isArray: 'array', isString: 'string', isNumber: 'number', isObject: 'object', isFunction: 'function', isBoolean: 'boolean' };
  const checks = {};
  for (const name of Object.keys(asserts)) {
    const negated = asserts[name].startsWith('!');
    const what = negated ? asserts[name].slice(1) : asserts[name];
    checks[name] = (value, ...wanted) => {
      const result = properties[what] ? properties[what](value) : methods[what](value, false, ...wanted);
      if (Boolean(result) === negated) fail(`assert.${name}(${[value, ...wanted].map((one) => show(one)).join(', ')})`);
    };
  }
  for (const name of Object.keys(kinds)) checks[name] = (value) => { if (kind(value) !== kinds[name]) fail(`assert.${name}(${show(value)})`); };
  return { chain, checks };
};
