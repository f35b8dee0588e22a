// console: lines for whoever runs the deployment, in the way Node.js shows values.
const { p } = core;
const DEPTH = 2, ITEMS = 100, NAME = /^[A-Za-z_$][\w$]*$/;
const quote = (value) => `'${p.StringReplaceAll(p.StringReplaceAll(p.StringReplaceAll(value, '\\', '\\\\'), '\n', '\\n'), "'", "\\'")}'`;
const nameOf = (value) => {
  for (let at = value; at !== null; at = p.getPrototypeOf(at)) {
    const own = p.getOwnPropertyDescriptor(at, 'constructor');
    if (own !== undefined && typeof own.value === 'function') return `${own.value.name}`;
  }
  return null;
};
const key = (name) => typeof name === 'symbol' ? `[${p.SymbolToString(name)}]` : p.RegExpTest(NAME, name) ? name : quote(name);
const show = (value, depth, seen) => {
  switch (typeof value) {
    case 'string': return quote(value);
    case 'bigint': return `${value}n`;
    case 'symbol': return p.SymbolToString(value);
    case 'number': return value === 0 && 1 / value < 0 ? '-0' : `${value}`;
    case 'function': {
      const kind = p.StringStartsWith(p.FunctionToString(value), 'class') ? 'class' : 'Function';
      return kind === 'class' ? `[class ${value.name || '(anonymous)'}]` : `[Function: ${value.name || '(anonymous)'}]`;
    }
    case 'object': break;
    default: return `${value}`;
  }
  if (value === null) return 'null';
  if (p.ArrayIndexOf(seen, value) >= 0) return '[Circular *1]';
  if (value instanceof p.Error) {
    const problem = core.problemOf(value, false);
    return problem[2] ? `${problem[0]}: ${problem[1]}\n${problem[2]}` : `[${problem[0]}: ${problem[1]}]`;
  }
  if (value instanceof p.Date) return new p.Date(p.DateGetTime(value)).toISOString();
  if (value instanceof p.RegExp) return `/${p.regexpSource(value)}/${p.regexpFlags(value)}`;
  const name = nameOf(value);
  if (value instanceof p.Promise) return 'Promise { <pending> }';
  if (depth > DEPTH) return p.isArray(value) ? '[Array]' : `[${name ?? 'Object: null prototype'}]`;
  const within = [...seen, value];
  const parts = [];
  let open = '{', close = '}', prefix = name === null ? '[Object: null prototype] ' : name === 'Object' ? '' : `${name} `;
  const add = (part) => { p.ArrayPush(parts, part); };
  let indexed = -1;
  if (p.isArray(value) || (p.isView(value) && p.typedTag(value) !== undefined)) {
    indexed = value.length;
    open = '['; close = ']';
    prefix = p.isArray(value) && name === 'Array' ? '' : `${name}(${indexed}) `;
    for (let i = 0; i < indexed && i < ITEMS; i++) add(show(value[i], depth + 1, within));
    if (indexed > ITEMS) add(`... ${indexed - ITEMS} more items`);
  } else if (value instanceof p.Map) {
    prefix = `${name}(${value.size}) `;
    p.MapForEach(value, (item, at) => add(`${show(at, depth + 1, within)} => ${show(item, depth + 1, within)}`));
  } else if (value instanceof p.Set) {
    prefix = `${name}(${value.size}) `;
    p.SetForEach(value, (item) => add(show(item, depth + 1, within)));
  } else if (core.isBuffer(value)) {
    add(`byteLength: ${p.bufferBytes(value)}`);
  }
  const names = p.ownKeys(value);
  for (let i = 0; i < names.length && parts.length < ITEMS; i++) {
    const at = p.getOwnPropertyDescriptor(value, names[i]);
    if (at === undefined || !at.enumerable || (indexed >= 0 && typeof names[i] === 'string' && p.RegExpTest(/^\d+$/, names[i]))) continue;
    const shown = at.get !== undefined ? (at.set !== undefined ? '[Getter/Setter]' : '[Getter]') : at.set !== undefined ? '[Setter]' : show(at.value, depth + 1, within);
    add(`${key(names[i])}: ${shown}`);
  }
  if (parts.length === 0) return `${prefix}${open}${close}`;
  const line = p.ArrayJoin(parts, ', ');
  if (line.length <= 72 && p.StringIndexOf(line, '\n') < 0) return `${prefix}${open} ${line} ${close}`;
  return `${prefix}${open}\n${p.StringReplaceAll(`  ${p.ArrayJoin(parts, ',\n')}`, '\n', '\n  ')}\n${close}`;
};
const safe = (value) => { try { return show(value, 0, []); } catch { return '[unreadable]'; } };
const format = (args) => {
  let out = '', at = 0;
  if (typeof args[0] === 'string') {
    const text = args[0];
    at = 1;
    let from = 0;
    for (let i = p.StringIndexOf(text, '%'); i >= 0 && i + 1 < text.length; i = p.StringIndexOf(text, '%', i)) {
      const kind = text[i + 1];
      if (kind === '%') { out += p.StringSlice(text, from, i + 1); from = i += 2; continue; }
      if (at >= args.length || p.StringIndexOf('sdifoOjc', kind) < 0) { i += 2; continue; }
      const value = args[at++];
      out += p.StringSlice(text, from, i);
      if (kind === 's') out += typeof value === 'string' ? value : safe(value);
      else if (kind === 'd' || kind === 'i' || kind === 'f') out += typeof value === 'object' ? 'NaN' : `${kind === 'i' ? p.Number.parseInt(value) : p.Number(value)}`;
      else if (kind !== 'c') out += safe(value);
      from = i += 2;
    }
    out += p.StringSlice(text, from);
  }
  for (; at < args.length; at++) out += `${at > 0 ? ' ' : ''}${typeof args[at] === 'string' ? args[at] : safe(args[at])}`;
  return out;
};
const counts = new p.Map(), times = new p.Map();
let indent = '';
const line = (level, args) => ops.print(level, indent === '' ? format(args) : indent + p.StringReplaceAll(format(args), '\n', `\n${indent}`));
return { console: {
  debug(...args) { line(0, args); }, info(...args) { line(1, args); }, log(...args) { line(2, args); },
  warn(...args) { line(3, args); }, error(...args) { line(4, args); }, trace(...args) { line(2, ['Trace:', ...args]); },
  dir(value) { line(2, [value]); }, table(value) { line(2, [value]); },
  assert(ok, ...args) { if (!ok) line(4, args.length === 0 ? ['Assertion failed'] : ['Assertion failed:', ...args]); },
  group(...args) { if (args.length > 0) line(2, args); if (indent.length < 40) indent += '  '; },
  groupCollapsed(...args) { if (args.length > 0) line(2, args); if (indent.length < 40) indent += '  '; },
  groupEnd() { indent = p.StringSlice(indent, 2); },
  count(label = 'default') { const n = (p.MapGet(counts, label) ?? 0) + 1; p.MapSet(counts, label, n); line(2, [`${label}: ${n}`]); },
  countReset(label = 'default') { p.MapDelete(counts, label); },
  time(label = 'default') { p.MapSet(times, label, ops.now()); },
  timeLog(label = 'default', ...args) { line(2, [`${label}: ${ops.now() - p.MapGet(times, label)}ms`, ...args]); },
  timeEnd(label = 'default') { line(2, [`${label}: ${ops.now() - p.MapGet(times, label)}ms`]); p.MapDelete(times, label); },
} };
