// The program in another job: its functions are called with plain data.

function giveUp(why) {
  send('opaque', `,"reason":${quote(why)}`);
  exit(1);
}

function ask(question) {
  send('call', `,"question":${stringify(question)}`);
  const answer = parse(Buffer.from(readLine(), 'latin1').toString('utf8'));
  if (answer === null) {
    send('exception', ',"type":"ProgramEnded","message":"the program ended while its tests were running","line":null');
    exit(1);
  }
  return answer;
}

function remoteFunction(name) {
  const stub = function (...args) {
    let encoded;
    try {
      encoded = args.map((value) => codec.encode(value));
    } catch (error) {
      giveUp(`an argument of ${name} is not plain data: ${error.message}`);
    }
    const answer = ask(stringify({ call: name, args: encoded }));
    if (answer.opaque) giveUp(answer.opaque);
    if (answer.args) args.forEach((value, i) => codec.update(value, codec.decode(answer.args[i])));
    const outcome = answer.threw
      ? () => { throw codec.toError(answer.threw); }
      : () => codec.decode(answer.value);
    if (answer.promise) return new PromiseHere((resolve) => resolve(outcome()));
    return outcome();
  };
  defineProperty(stub, 'name', { value: name });
  defineProperty(stub, 'length', { value: 0, configurable: true });
  return stub;
}

function loadApart() {
  const answer = ask(stringify({ names: config.names }));
  if (answer.threw) fail(answer.threw);
  const found = { exports: {}, names: {} };
  const make = (entry, name) => {
    if (entry.kind === 'function') return remoteFunction(name);
    if (entry.kind === 'value') return codec.decode(entry.value);
    return giveUp(`${name} of the program is not plain data`);
  };
  for (const name of keys(answer.names)) found.names[name] = make(answer.names[name], name);
  for (const name of keys(answer.exports)) {
    if (name === '*') found.exports = make(answer.exports[name], 'exports.*');
  }
  for (const name of keys(answer.exports)) {
    if (name !== '*') found.exports[name] = make(answer.exports[name], `exports.${name}`);
  }
  return found;
}
