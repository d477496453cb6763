// Runs the tests of a JavaScript program in this process and reports them on descriptor 3.
//
// Everything used for judging is taken before the program loads. With "apart" the program runs in another job and its
// functions are called over descriptor 3 with plain data; else it runs here, after what tests rely on was locked.
'use strict';
const fs = require('fs');
const vm = require('vm');
const path = require('path');
const nodeAssert = require('assert');
const util = require('util');
const { createRequire } = require('module');
const codec = require('./codec.js');

const FD = 3;
const config = JSON.parse(fs.readFileSync(path.join(__dirname, 'config.json'), 'utf8'));
const { readSync, writeSync } = fs;
const { stringify, parse } = JSON;
const { compileFunction } = vm;
const later = setImmediate;
const { isArray } = Array;
const { defineProperty, freeze, getOwnPropertyDescriptor, keys } = Object;
const { ownKeys } = Reflect;
const bind = Function.prototype.call.bind.bind(Function.prototype.call);
const slice = bind(String.prototype.slice);
const push = bind(Array.prototype.push);
const includes = bind(Array.prototype.includes);
const hasOwn = bind(Object.prototype.hasOwnProperty);
const exec = bind(RegExp.prototype.exec);
const replaceAll = bind(String.prototype.replace);
const charCode = bind(String.prototype.charCodeAt);
const inBase = bind(Number.prototype.toString);
const apply = Reflect.apply;
const HEARD = ['uncaughtException', 'unhandledRejection']; // failures that no test awaits
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
const escaped = (c) => `\\u${slice(`000${inBase(charCode(c, 0), 16)}`, -4)}`;
function send(event, fields) {
  // As text, not as a Buffer: making one calls methods that a program in this process could have replaced.
  let line = `{"nonce":"${nonce}","event":"${event}"${replaceAll(fields, /[^\x20-\x7e]/g, escaped)}}\n`;
  while (line !== '') line = slice(line, writeSync(FD, line));
}

function lineOf(error, file) {
  if (!config.lines) return null; // what runs was made of another text
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
