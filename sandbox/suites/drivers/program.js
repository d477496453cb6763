// Loads a JavaScript program and gives its exports and those of its top-level names that are asked for.
'use strict';
const fs = require('fs');
const vm = require('vm');
const path = require('path');
const { createRequire, Module } = require('module');

exports.load = (source, names) => {
  const file = path.join(process.cwd(), source);
  const code = fs.readFileSync(path.join(__dirname, source), 'utf8').replace(/^#!/, '//');
  const module = new Module(file);
  module.filename = file;
  const own = createRequire(file);
  own.main = undefined; // the program is not the main module: what it does only when run stays undone
  const run = vm.compileFunction(
    `${code}\n;return (name) => eval(name)`,
    ['exports', 'require', 'module', '__filename', '__dirname'],
    { filename: source },
  );
  const peek = Reflect.apply(run, module.exports, [module.exports, own, module, file, path.dirname(file)]);
  const found = {};
  for (const name of names) {
    if (name in globalThis && !Object.hasOwn(globalThis, name)) continue;
    try {
      const value = peek(name);
      if (value !== globalThis[name]) found[name] = value;
    } catch {
      continue; // the program has no such name
    }
  }
  for (const name of ['exports', 'require', 'module']) delete found[name];
  return { exports: module.exports, names: found };
};
