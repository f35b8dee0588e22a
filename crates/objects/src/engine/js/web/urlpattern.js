// URL patterns by the WHATWG's standard (urlpattern.spec.whatwg.org): a pattern becomes parts, and those a regular expression.
const { p } = core;
const typeError = (message) => new p.TypeError(message);
const COMPONENTS = ['protocol', 'username', 'password', 'hostname', 'port', 'pathname', 'search', 'hash'];
const PORTS = { __proto__: null, http: '80', https: '443', ws: '80', wss: '443', ftp: '21' };
const FULL_WILDCARD = '.*';
const NAME_START = /^[\p{ID_Start}$_]$/u, NAME_PART = /^[\p{ID_Continue}$\u200c\u200d]$/u, SPECIAL = /[.+*?^${}()[\]|/\\]/g;
const replace = p.uncurry(RegExp.prototype[Symbol.replace]);
const escapeRegExp = (text) => replace(SPECIAL, text, '\\$&');
const escapePattern = (text) => replace(/[+*?:{}()\\]/g, text, '\\$&');
const points = (text) => core.list(text);

/** Tokens: { kind, at, value }. A lenient reader has 'invalid' where a strict one throws. */
const tokenize = (text, lenient) => {
  const input = points(text), tokens = [];
  let i = 0;
  const push = (kind, end, value) => { p.ArrayPush(tokens, { kind, at: i, value }); i = end; };
  const invalid = (end) => {
    if (!lenient) throw typeError(`Invalid URLPattern at ${i}.`);
    push('invalid', end, input[i]);
  };
  while (i < input.length) {
    const c = input[i];
    if (c === '*') push('asterisk', i + 1, c);
    else if (c === '+' || c === '?') push('modifier', i + 1, c);
    else if (c === '\\') { if (i === input.length - 1) invalid(i + 1); else push('escaped', i + 2, input[i + 1]); }
    else if (c === '{') push('open', i + 1, c);
    else if (c === '}') push('close', i + 1, c);
    else if (c === ':') {
      let end = i + 1, name = '';
      while (end < input.length && p.RegExpTest(end === i + 1 ? NAME_START : NAME_PART, input[end])) name += input[end++];
      if (name === '') invalid(i + 1); else push('name', end, name);
    } else if (c === '(') {
      let depth = 1, end = i + 1, value = '', bad = false;
      while (end < input.length && depth > 0) {
        const d = input[end];
        if (p.StringCharCodeAt(d, 0) > 127 || (end === i + 1 && d === '?')) { bad = true; break; }
        if (d === '\\') {
          if (end === input.length - 1 || p.StringCharCodeAt(input[end + 1], 0) > 127) { bad = true; break; }
          value += d + input[end + 1];
          end += 2;
          continue;
        }
        if (d === ')') { if (--depth === 0) { end++; break; } }
        else if (d === '(') { depth++; if (input[end + 1] !== '?') { bad = true; break; } }
        value += d;
        end++;
      }
      if (bad || depth > 0 || value === '') invalid(i + 1); else push('regexp', end, value);
    } else push('char', i + 1, c);
  }
  push('end', i, '');
  return tokens;
};

/** Parts: { type: 'fixed' | 'segment' | 'full' | 'regexp', value, modifier, name, prefix, suffix }. */
const parsePattern = (text, { delimiter, prefix: prefixes, encode }) => {
  const tokens = tokenize(text, false), parts = [], names = new p.Set();
  const segment = delimiter === '' ? FULL_WILDCARD : `[^${escapeRegExp(delimiter)}]+?`;
  let at = 0, pending = '', nextName = 0;
  const take = (kind) => (tokens[at].kind === kind ? tokens[at++] : null);
  const flush = () => {
    if (pending === '') return;
    p.ArrayPush(parts, { type: 'fixed', value: encode(pending), modifier: '', name: '', prefix: '', suffix: '' });
    pending = '';
  };
  const modifier = () => (take('modifier') ?? take('asterisk'))?.value ?? '';
  const add = (prefix, name, matcher, suffix, mod) => {
    if (name === null && matcher === null && mod === '') { pending += prefix; return; }
    flush();
    if (name === null && matcher === null) {
      if (prefix !== '') p.ArrayPush(parts, { type: 'fixed', value: encode(prefix), modifier: mod, name: '', prefix: '', suffix: '' });
      return;
    }
    let value = matcher === null ? segment : matcher.kind === 'asterisk' ? FULL_WILDCARD : matcher.value;
    let type = 'regexp';
    if (value === FULL_WILDCARD) { type = 'full'; value = ''; } else if (value === segment) { type = 'segment'; value = ''; }
    const called = name !== null ? name : p.String(nextName++);
    if (p.SetHas(names, called)) throw typeError(`The name "${called}" is there twice.`);
    p.SetAdd(names, called);
    p.ArrayPush(parts, { type, value, modifier: mod, name: called, prefix: encode(prefix), suffix: encode(suffix) });
  };
  const plain = () => { let out = ''; for (let t; (t = take('char') ?? take('escaped')) !== null;) out += t.value; return out; };
  while (at < tokens.length) {
    const char = take('char');
    const name = take('name');
    let matcher = take('regexp');
    if (name === null && matcher === null) matcher = take('asterisk');
    if (name !== null || matcher !== null) {
      let prefix = char?.value ?? '';
      if (prefix !== '' && prefix !== prefixes) { pending += prefix; prefix = ''; }
      flush();
      add(prefix, name?.value ?? null, matcher, '', modifier());
      continue;
    }
    const fixed = char ?? take('escaped');
    if (fixed !== null) { pending += fixed.value; continue; }
    if (take('open') !== null) {
      const prefix = plain();
      const inner = take('name');
      let within = take('regexp');
      if (inner === null && within === null) within = take('asterisk');
      const suffix = plain();
      if (take('close') === null) throw typeError('a group has no end');
      add(prefix, inner?.value ?? null, within, suffix, modifier());
      continue;
    }
    flush();
    if (take('end') === null) throw typeError(`Invalid URLPattern at ${tokens[at].at}.`);
    break;
  }
  return parts;
};

const compile = (parts, { delimiter }, ignoreCase) => {
  const segment = delimiter === '' ? FULL_WILDCARD : `[^${escapeRegExp(delimiter)}]+?`;
  const names = [];
  let out = '^', custom = false;
  for (let i = 0; i < parts.length; i++) {
    const { type, value, modifier, name, prefix, suffix } = parts[i];
    if (type === 'fixed') { out += modifier === '' ? escapeRegExp(value) : `(?:${escapeRegExp(value)})${modifier}`; continue; }
    p.ArrayPush(names, name);
    custom ||= type === 'regexp';
    const inner = type === 'segment' ? segment : type === 'full' ? FULL_WILDCARD : value;
    const before = escapeRegExp(prefix), after = escapeRegExp(suffix);
    if (before === '' && after === '') out += modifier === '' || modifier === '?' ? `(${inner})${modifier}` : `((?:${inner})${modifier})`;
    else if (modifier === '' || modifier === '?') out += `(?:${before}(${inner})${after})${modifier}`;
    else out += `(?:${before}((?:${inner})(?:${after}${before}(?:${inner}))*)${after})${modifier === '*' ? '?' : ''}`;
  }
  let regexp;
  try { regexp = new p.RegExp(`${out}$`, ignoreCase ? 'vi' : 'v'); } catch { throw typeError('a regular expression of the pattern is none'); }
  return { regexp, names, custom };
};

/** The pattern as text again, with what can be left out left out. */
const generate = (parts, { delimiter, prefix: prefixes }) => {
  const segment = delimiter === '' ? FULL_WILDCARD : `[^${escapeRegExp(delimiter)}]+?`;
  let out = '';
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i], next = parts[i + 1], before = parts[i - 1];
    if (part.type === 'fixed') { out += part.modifier === '' ? escapePattern(part.value) : `{${escapePattern(part.value)}}${part.modifier}`; continue; }
    const named = !p.RegExpTest(/^\d/, part.name);
    let group = part.suffix !== '' || (part.prefix !== '' && part.prefix !== prefixes);
    if (!group && named && part.type === 'segment' && part.modifier === '' && next !== undefined && next.prefix === '' && next.suffix === '') {
      group = next.type === 'fixed' ? next.value !== '' && p.RegExpTest(NAME_PART, points(next.value)[0]) : p.RegExpTest(/^\d/, next.name);
    }
    if (!group && part.prefix === '' && before !== undefined && before.type === 'fixed' && before.value !== '') {
      group = before.value[before.value.length - 1] === prefixes;
    }
    if (group) out += '{';
    out += escapePattern(part.prefix);
    if (named) out += `:${part.name}`;
    if (part.type === 'regexp') out += `(${part.value})`;
    else if (part.type === 'segment') { if (!named) out += `(${segment})`; }
    else if (!named && (before === undefined || before.type === 'fixed' || before.modifier !== '' || group || part.prefix !== '')) out += '*';
    else out += `(${FULL_WILDCARD})`;
    if (part.type === 'segment' && named && part.suffix !== '' && p.RegExpTest(NAME_PART, points(part.suffix)[0])) out += '\\';
    out += escapePattern(part.suffix);
    if (group) out += '}';
    out += part.modifier;
  }
  return out;
};

// Canonical forms, by way of the URL parser.
const HOSTNAME = 6, PATHNAME = 8, SEARCH = 9, HASH = 10;
const through = (part, value, base = 'https://dummy.test/') => {
  if (value === '') return '';
  const out = ops.urlSet(base, part, value);
  return out[part];
};
const encoders = {
  __proto__: null,
  protocol: (value) => {
    if (value === '') return '';
    const out = ops.urlParse(`${value}://dummy.test/`, null);
    if (out == null) throw typeError(`Invalid protocol "${value}".`);
    return p.StringSlice(out[2], 0, -1);
  },
  username: (value) => through(3, value),
  password: (value) => through(4, value),
  hostname: (value) => {
    if (value === '') return '';
    if (value[0] === '[' || (value[0] === '{' && value[1] === '[')) return p.StringToLowerCase(value);
    const out = ops.urlParse(`https://${value}/`, null);
    if (out == null || p.RegExpTest(/[#/?@:\\]/, value)) throw typeError(`Invalid hostname "${value}".`);
    return out[HOSTNAME];
  },
  port: (value) => {
    if (!p.RegExpTest(/^\d*$/, value) || p.Number(value) > 65535) throw typeError(`Invalid port "${value}".`);
    return value === '' ? '' : p.String(p.Number(value));
  },
  pathname: (value) => {
    if (value === '') return '';
    const out = through(PATHNAME, value[0] === '/' ? value : `/-${value}`);
    return value[0] === '/' ? out : p.StringSlice(out, 2);
  },
  opaque: (value) => (value === '' ? '' : ops.urlParse(`data:${value}`, null)?.[PATHNAME] ?? value),
  search: (value) => p.StringSlice(through(SEARCH, value), 1),
  hash: (value) => p.StringSlice(through(HASH, value), 1),
};
const isSpecial = (protocol) => protocol === '' || protocol === 'file' || protocol in PORTS;
const optionsOf = (component, special) => {
  if (component === 'hostname') return { delimiter: '.', prefix: '', encode: encoders.hostname };
  if (component === 'pathname' && special) return { delimiter: '/', prefix: '/', encode: encoders.pathname };
  return { delimiter: '', prefix: '', encode: component === 'pathname' ? encoders.opaque : encoders[component] };
};

/** Splits a pattern that is a whole URL into its components. */
const splitString = (text) => {
  const tokens = tokenize(text, true), input = points(text), out = { __proto__: null };
  let state = 'init', start = 0, i = 0, step = 1, group = 0, bracket = 0, specialProtocol = false;
  const slice = (from, to) => p.ArrayJoin(p.ArraySlice(input, from, to), '');
  const is = (index, value) => {
    const token = tokens[index];
    return token !== undefined && token.value === value && (token.kind === 'char' || token.kind === 'escaped' || token.kind === 'invalid');
  };
  const isSearchPrefix = () => {
    if (is(i, '?')) return true;
    if (tokens[i].value !== '?') return false;
    const before = tokens[i - 1];
    return before === undefined || !(before.kind === 'name' || before.kind === 'regexp' || before.kind === 'close' || before.kind === 'asterisk');
  };
  const change = (next, skip) => {
    if (state !== 'init' && state !== 'authority' && state !== 'done') out[state] = slice(start, tokens[i].at);
    if (state !== 'init' && next !== 'done') {
      if ((state === 'protocol' || state === 'authority' || state === 'username' || state === 'password') && (next === 'port' || next === 'pathname' || next === 'search' || next === 'hash')) out.hostname ??= '';
      if ((state === 'protocol' || state === 'authority' || state === 'username' || state === 'password' || state === 'hostname' || state === 'port') && (next === 'search' || next === 'hash')) out.pathname ??= specialProtocol ? '/' : '';
      if (next === 'hash' && state !== 'search') out.search ??= '';
    }
    state = next;
    i += skip;
    start = tokens[i].at;
    step = 0;
  };
  const rewind = (next) => { i = 0; start = 0; step = 0; state = next; };
  for (; i < tokens.length; i += step) {
    step = 1;
    const { kind } = tokens[i];
    if (kind === 'end') {
      if (state === 'init') {
        rewind('init');
        if (is(0, '#')) change('hash', 1);
        else if (tokens[0].value === '?') change('search', 1);
        else change('pathname', 0);
        continue;
      }
      if (state === 'authority') { i = authority; step = 0; state = 'hostname'; start = tokens[i].at; continue; }
      change('done', 0);
      break;
    }
    if (group > 0) { if (kind === 'close') group--; continue; }
    if (kind === 'open') { group++; continue; }
    switch (state) {
      case 'init':
        if (is(i, ':')) rewind('protocol');
        break;
      case 'protocol':
        if (is(i, ':')) {
          const text2 = slice(start, tokens[i].at);
          const { regexp } = compile(parsePattern(text2, optionsOf('protocol', true)), optionsOf('protocol', true), false);
          for (const name of ['http', 'https', 'ws', 'wss', 'ftp', 'file']) if (p.RegExpTest(regexp, name)) specialProtocol = true;
          const slashes = is(i + 1, '/') && is(i + 2, '/');
          if (slashes) { change('authority', 3); authority = i; } else if (specialProtocol) { change('authority', 1); authority = i; } else change('pathname', 1);
        }
        break;
      case 'authority':
        if (is(i, '@')) { i = authority; start = tokens[i].at; state = 'username'; step = 0; }
        else if (is(i, '/') || isSearchPrefix() || is(i, '#')) { i = authority; start = tokens[i].at; state = 'hostname'; step = 0; }
        break;
      case 'username':
        if (is(i, ':')) change('password', 1);
        else if (is(i, '@')) change('hostname', 1);
        break;
      case 'password':
        if (is(i, '@')) change('hostname', 1);
        break;
      case 'hostname':
        if (is(i, '[')) bracket++;
        else if (is(i, ']')) bracket--;
        else if (is(i, ':') && bracket === 0) change('port', 1);
        else if (is(i, '/')) change('pathname', 0);
        else if (isSearchPrefix()) change('search', 1);
        else if (is(i, '#')) change('hash', 1);
        break;
      case 'port':
        if (is(i, '/')) change('pathname', 0);
        else if (isSearchPrefix()) change('search', 1);
        else if (is(i, '#')) change('hash', 1);
        break;
      case 'pathname':
        if (isSearchPrefix()) change('search', 1);
        else if (is(i, '#')) change('hash', 1);
        break;
      case 'search':
        if (is(i, '#')) change('hash', 1);
        break;
      default:
        break;
    }
  }
  if (out.hostname !== undefined) out.port ??= '';
  return out;
};
let authority = 0;

const dictionary = (input, base) => {
  const out = { __proto__: null };
  if (base !== undefined) {
    const parts = ops.urlParse(core.usv(base), null);
    if (parts == null) throw typeError('Invalid base URL.');
    const keep = [p.StringSlice(parts[2], 0, -1), undefined, undefined, parts[6], parts[7], parts[8], p.StringSlice(parts[9], 1), p.StringSlice(parts[10], 1)];
    // A component is taken from the base only if none before it is given.
    const first = ['protocol', 'hostname', 'port', 'pathname', 'search', 'hash'];
    for (let i = 0; i < first.length; i++) {
      const at = p.ArrayIndexOf(COMPONENTS, first[i]);
      if (first[i] === 'hash' || input[first[i]] !== undefined) break;
      out[first[i]] = escapePattern(keep[at]);
    }
  }
  for (let i = 0; i < COMPONENTS.length; i++) {
    const name = COMPONENTS[i];
    if (input[name] === undefined) continue;
    let value = core.usv(input[name]);
    if (name === 'protocol' && p.StringEndsWith(value, ':')) value = p.StringSlice(value, 0, -1);
    if (name === 'search' && value[0] === '?') value = p.StringSlice(value, 1);
    if (name === 'hash' && value[0] === '#') value = p.StringSlice(value, 1);
    if (name === 'pathname' && base !== undefined && value !== '' && value[0] !== '/' && !p.StringStartsWith(value, '{/') && !p.StringStartsWith(value, '\\/')) {
      const path = ops.urlParse(core.usv(base), null)[PATHNAME];
      const slash = p.StringLastIndexOf(path, '/');
      if (slash >= 0) value = escapePattern(p.StringSlice(path, 0, slash + 1)) + value;
    }
    out[name] = value;
  }
  return out;
};

class URLPattern {
  #parts = { __proto__: null };
  constructor(input = {}, base = undefined, options = undefined) {
    if (typeof base === 'object' && base !== null) { options = base; base = undefined; }
    const ignoreCase = !!options?.ignoreCase;
    let given;
    if (typeof input === 'string') {
      given = splitString(input);
      if (base === undefined && given.protocol === undefined) throw typeError('a relative pattern needs a base URL');
      given = dictionary(given, base);
    } else {
      if (typeof input !== 'object' || input === null) throw typeError('the pattern is neither text nor a dictionary');
      if (base !== undefined) throw typeError('a base URL beside a dictionary');
      given = dictionary(input, input.baseURL);
    }
    const protocol = given.protocol ?? '*';
    if (protocol in PORTS && given.port === PORTS[protocol]) given.port = '';
    const make = (name, special) => {
      const kind = optionsOf(name, special);
      const parts = parsePattern(given[name] ?? '*', kind);
      this.#parts[name] = { ...compile(parts, kind, ignoreCase && (name === 'pathname' || name === 'search' || name === 'hash')), text: generate(parts, kind) };
    };
    make('protocol', true);
    let special = false;
    for (const name of ['http', 'https', 'ws', 'wss', 'ftp', 'file']) if (p.RegExpTest(this.#parts.protocol.regexp, name)) special = true;
    for (let i = 1; i < COMPONENTS.length; i++) make(COMPONENTS[i], special);
  }
  #match(input, base) {
    let values;
    if (typeof input === 'object' && input !== null) {
      if (base !== undefined) throw typeError('a base URL beside a dictionary');
      const given = { __proto__: null };
      try {
        const raw = dictionary(input, input.baseURL);
        const special = isSpecial(raw.protocol ?? '');
        for (let i = 0; i < COMPONENTS.length; i++) {
          const name = COMPONENTS[i];
          given[name] = optionsOf(name, special).encode(raw[name] === undefined ? '' : replace(/\\(.)/g, raw[name], '$1'));
        }
        if (given.protocol in PORTS && given.port === PORTS[given.protocol]) given.port = '';
      } catch { return null; }
      values = [];
      for (let i = 0; i < COMPONENTS.length; i++) p.ArrayPush(values, given[COMPONENTS[i]]);
    } else {
      const url = ops.urlParse(core.usv(input), base === undefined ? null : core.usv(base));
      if (url == null) return null;
      values = [p.StringSlice(url[2], 0, -1), url[3], url[4], url[6], url[7], url[8], p.StringSlice(url[9], 1), p.StringSlice(url[10], 1)];
    }
    const result = { inputs: base === undefined ? [input] : [input, base] };
    for (let i = 0; i < COMPONENTS.length; i++) {
      const { regexp, names } = this.#parts[COMPONENTS[i]];
      const found = p.RegExpExec(regexp, values[i]);
      if (found === null) return null;
      const groups = {};
      for (let j = 0; j < names.length; j++) groups[names[j]] = found[j + 1];
      result[COMPONENTS[i]] = { input: values[i], groups };
    }
    return result;
  }
  test(input = {}, base = undefined) { return this.#match(input, base) !== null; }
  exec(input = {}, base = undefined) { return this.#match(input, base); }
  get protocol() { return this.#parts.protocol.text; }
  get username() { return this.#parts.username.text; }
  get password() { return this.#parts.password.text; }
  get hostname() { return this.#parts.hostname.text; }
  get port() { return this.#parts.port.text; }
  get pathname() { return this.#parts.pathname.text; }
  get search() { return this.#parts.search.text; }
  get hash() { return this.#parts.hash.text; }
  get hasRegExpGroups() {
    for (let i = 0; i < COMPONENTS.length; i++) if (this.#parts[COMPONENTS[i]].custom) return true;
    return false;
  }
}
core.brand(URLPattern, 'URLPattern');
return { URLPattern };
