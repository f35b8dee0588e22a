// Errors on their way out and in.
const { p } = core;
core.on = { __proto__: null };
const CLASSES = { __proto__: null, Error: p.Error, TypeError: p.TypeError, RangeError: p.RangeError, SyntaxError: p.SyntaxError,
  ReferenceError: p.ReferenceError, EvalError: p.EvalError, URIError: p.URIError };
const FLAGS = ['remote', 'retryable', 'overloaded', 'durableObjectReset'];
const SKIPPED = { __proto__: null, message: 1, stack: 1, cause: 1, remote: 1, retryable: 1, overloaded: 1, durableObjectReset: 1 };
// An accessor: an error has it as its own only where somebody wrote to it.
const stackOf = p.uncurry(p.getOwnPropertyDescriptor(p.Error.prototype, 'stack').get);
const text = (value) => { try { return `${value}`; } catch { return ''; } };
const isObject = (value) => (typeof value === 'object' && value !== null) || typeof value === 'function';

const own = (error) => {
  const found = {};
  let any = false;
  const names = p.ownKeys(error);
  for (let i = 0; i < names.length; i++) {
    const name = names[i];
    if (typeof name !== 'string' || name in SKIPPED) continue;
    const at = p.getOwnPropertyDescriptor(error, name);
    if (at === undefined || !at.enumerable) continue;
    found[name] = error[name];
    any = true;
  }
  return any ? core.clone.encode(found) : null;
};

/** What `ops` take for an error; `remote`: whoever gets it is told that it was thrown by code elsewhere. */
core.problemOf = (error, remote) => {
  if (!isObject(error)) return ['Error', text(error), null, null, remote, false, false, false];
  let name = 'Error', message = '', stack = null, properties = null;
  const flags = [false, false, false, false];
  try {
    name = text(error.name ?? 'Error');
    message = text(error.message ?? '');
    const at = p.getOwnPropertyDescriptor(error, 'stack');
    const found = at === undefined ? stackOf(error) : at.value;
    if (typeof found === 'string') stack = found;
    for (let i = 0; i < 4; i++) flags[i] = error[FLAGS[i]] === true;
    properties = own(error);
  } catch { /* What can be read has been. */ }
  return [name, message, stack, properties, remote || flags[0], flags[1], flags[2], flags[3]];
};

core.errorOf = (problem) => {
  const name = problem[0];
  const error = new (CLASSES[name] ?? p.Error)(problem[1]);
  const set = (key, value, enumerable) => p.defineProperty(error, key, { __proto__: null, value, writable: true, enumerable, configurable: true });
  if (!(name in CLASSES)) set('name', name, false);
  if (problem[3] !== null) {
    // Its name is among them where it is its own.
    const properties = core.clone.decode(problem[3]);
    const names = p.keys(properties);
    for (let i = 0; i < names.length; i++) set(names[i], properties[names[i]], true);
  }
  for (let i = 0; i < 4; i++) if (problem[4 + i]) set(FLAGS[i], true, true);
  return error;
};

const describe = (error) => {
  const problem = core.problemOf(error, false);
  const head = isObject(error) ? `${problem[0]}: ${problem[1]}` : problem[1];
  return problem[2] ? `${head}\n${problem[2]}` : head;
};
/** Thrown where nobody can catch it any more. */
core.report = (error) => ops.print(5, `Uncaught ${describe(error)}`);
