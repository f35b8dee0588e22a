const { p } = core;
// Most messages are answered without a look at their headers.
const headersScript = () => core.load('headers');
const typeError = (message) => new p.TypeError(message);
const secret = {};
const NULL_BODY = new p.Set([101, 204, 205, 304]);
const USED = 'Body has already been used. It can only be used once. Use tee() first if you need to read it twice.';

// A body is text or bytes as long as it can be, so that most requests never need a stream. Text is a string, and TAKEN once it has
// left, until somebody asks for more.
const TAKEN = p.Symbol('taken');
const newBody = (text, bytes, stream, shared) => ({ text, bytes, stream, used: false, shared });
const stateOf = (parts) => {
  const { body } = parts;
  if (typeof body === 'string') parts.body = newBody(body, null, null, false);
  else if (body === TAKEN) (parts.body = newBody(null, null, null, false)).used = true;
  return parts.body;
};
const bytesOf = (body) => {
  if (body.text !== null) { body.bytes = ops.utf8Encode(body.text); body.text = null; }
  return body.bytes;
};
const streams = () => core.load('streams');
const streamOf = (body) => {
  if (body.stream != null) return body.stream;
  const held = bytesOf(body);
  const bytes = body.used ? new p.Uint8Array(0) : body.shared ? p.TypedSlice(held) : held;
  body.stream = streams().fromBytes(bytes);
  if (body.used) core.handled(streams().cancel(streams().state(body.stream), undefined));
  body.bytes = null;
  return body.stream;
};
const isUsed = (body) => body != null && (body.used || (body.stream != null && streams().state(body.stream).disturbed));
const isLocked = (body) => body != null && body.stream != null && streams().state(body.stream).reader != null;

const NOTHING = { body: null, type: null };
const TEXT_TYPE = 'text/plain;charset=UTF-8', TEXT_HEADERS = `content-type\n${TEXT_TYPE}\n`;
const ofBytes = (bytes, type, shared = false) => ({ body: newBody(null, bytes, null, shared), type });
/** A body and its content type of whatever a user may give as one. */
const extract = (value) => {
  if (value == null) return NOTHING;
  if (typeof value === 'object') {
    const view = core.viewOf(value);
    if (view != null) return ofBytes(p.TypedSlice(view), null);
    const s = core.ifLoaded('streams');
    if (s !== undefined && s.state(value) != null) {
      const state = s.state(value);
      if (state.disturbed) throw typeError('This ReadableStream is disturbed (has already been read from), and cannot be used as a body.');
      if (state.reader != null) throw typeError('This ReadableStream is currently locked to a reader.');
      return { body: newBody(null, null, value, false), type: null };
    }
    const blob = core.ifLoaded('blob')?.bytesOf(value) ?? null;
    if (blob != null) return ofBytes(blob, value.type === '' ? null : value.type, true);
    if (core.ifLoaded('url')?.isParams(value)) return ofBytes(ops.utf8Encode(p.apply(core.load('url').URLSearchParams.prototype.toString, value, [])), 'application/x-www-form-urlencoded;charset=UTF-8');
    const form = core.ifLoaded('formdata');
    if (form !== undefined && form.pairsOf(value) != null) {
      const { bytes, boundary } = form.serialize(value);
      return ofBytes(bytes, `multipart/form-data; boundary=${boundary}`);
    }
  }
  return { body: core.usv(value), type: TEXT_TYPE };
};

/** All bytes of a body, which it gives once. */
const consume = (body) => {
  if (body == null) return p.promiseResolve(new p.Uint8Array(0));
  if (isUsed(body)) return p.promiseReject(typeError(USED));
  if (isLocked(body)) return p.promiseReject(typeError('This ReadableStream is currently locked to a reader.'));
  body.used = true;
  if (body.stream != null) return streams().collect(body.stream);
  const { shared } = body, bytes = bytesOf(body);
  body.bytes = null;
  return p.promiseResolve(shared ? p.TypedSlice(bytes) : bytes);
};
/** The text of a body that is text already and is still to be had; null for any other. */
const takeText = (body) => {
  if (body == null || body.used || body.text === null) return null;
  const { text } = body;
  body.used = true;
  body.text = null;
  return text[0] === '\ufeff' ? p.StringSlice(text, 1) : text;
};
const copyBody = (body) => {
  if (body == null) return null;
  if (isUsed(body)) throw typeError(USED);
  if (isLocked(body)) throw typeError('This ReadableStream is currently locked to a reader.');
  if (body.stream == null) { body.shared = true; return newBody(body.text, body.bytes, null, true); }
  const [mine, other] = streams().tee(body.stream);
  body.stream = mine;
  return newBody(null, null, other, false);
};
/** What the engine sends: null, text, bytes or a stream; the body is used up. */
const takeBody = (parts) => {
  if (parts.body === null) return null;
  if (typeof parts.body === 'string') {
    const text = parts.body;
    parts.body = TAKEN;
    return text;
  }
  const body = stateOf(parts);
  if (isUsed(body)) throw typeError(USED);
  if (isLocked(body)) throw typeError('This ReadableStream is currently locked to a reader.');
  body.used = true;
  if (body.stream == null) { const { text, bytes } = body; body.text = body.bytes = null; return text ?? bytes; }
  return body.stream;
};
const lengthOf = (body) => (body?.stream ? core.ifLoaded('transforms')?.lengthOf(body.stream) ?? null : null);

/** Headers are text, as they are sent, until somebody looks at them. `frozen`: those of what came by the wire. */
const headersOf = (parts) => {
  if (typeof parts.headers === 'string') {
    const { fromWire, guard } = headersScript(), headers = fromWire(parts.headers);
    parts.headers = parts.frozen ? guard(headers) : headers;
  }
  return parts.headers;
};
const copyHeaders = (parts) => (typeof parts.headers === 'string' ? headersScript().fromWire(parts.headers) : new (headersScript().Headers)(parts.headers));
const headerText = (parts) => (typeof parts.headers === 'string' ? parts.headers : headersScript().textOf(parts.headers));

let requestParts, responseParts;
/** What a Request or a Response is made of; null for anything else. */
const partsOf = (value) => (typeof value === 'object' && value != null ? requestParts(value) ?? responseParts(value) : null);
/** Of whatever has a body. */
const own = (value) => {
  const parts = partsOf(value);
  if (parts === null) throw typeError('Illegal invocation');
  return parts;
};
/** What Request and Response have in common. */
class Body {
  get body() { const body = stateOf(own(this)); return body == null ? null : streamOf(body); }
  get bodyUsed() { return isUsed(stateOf(own(this))); }
  get headers() { return headersOf(own(this)); }
  async text() { const body = stateOf(own(this)); return takeText(body) ?? ops.utf8Decode(await consume(body)); }
  async json() { const body = stateOf(own(this)); return p.parse(takeText(body) ?? ops.utf8Decode(await consume(body))); }
  async arrayBuffer() {
    const bytes = await consume(stateOf(own(this)));
    return p.typedBytes(bytes) === p.bufferBytes(p.typedBuffer(bytes)) ? p.typedBuffer(bytes) : p.typedBuffer(p.TypedSlice(bytes));
  }
  async bytes() { return consume(stateOf(own(this))); }
  async blob() {
    const parts = own(this), type = headersOf(parts).get('content-type') ?? '';
    return core.load('blob').make(await consume(stateOf(parts)), type);
  }
  async formData() {
    const parts = own(this), type = headersOf(parts).get('content-type');
    if (parts.body != null && type == null) throw typeError('Parsing a Body as FormData requires a Content-Type header.');
    return core.load('formdata').parse(await consume(stateOf(parts)), type);
  }
}
const METHODS = new p.Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'PURGE', 'COPY', 'LOCK', 'MKCOL', 'MOVE', 'PROPFIND', 'PROPPATCH',
  'SEARCH', 'UNLOCK', 'ACL', 'REPORT', 'MKACTIVITY', 'CHECKOUT', 'MERGE', 'MSEARCH', 'NOTIFY', 'SUBSCRIBE', 'UNSUBSCRIBE', 'QUERY', 'BAN']);
const methodOf = (given) => {
  const method = core.usv(given);
  const upper = p.StringToUpperCase(method);
  if (p.SetHas(METHODS, upper)) return upper;
  throw typeError(`Invalid HTTP method string: ${method}`);
};
const signalOf = (signal) => {
  if (signal == null || signal === undefined) return null;
  if (!core.load('events').signals.is(signal)) throw typeError('signal is no AbortSignal');
  return signal;
};

/** Of a request from outside. */
class RequestParts {
  constructor(method, url, headers, body, event) {
    this.method = method;
    this.url = url;
    this.headers = headers;
    this.body = body;
    this.event = event;
  }
}
RequestParts.prototype.redirect = 'manual';
RequestParts.prototype.signal = null;
RequestParts.prototype.frozen = true;
core.keepLayouts(RequestParts, ['method', 'url', 'headers', 'body', 'event']);
const copyRequest = (source, body) => ({
  method: source.method, url: source.url, headers: copyHeaders(source), body, redirect: source.redirect, signal: source.signal,
  event: null, frozen: false, cf: source.cf, cache: source.cache,
});

class Request {
  #parts;
  static { requestParts = (value) => (#parts in value ? value.#parts : null); }
  constructor(input, init = undefined) {
    if (input === secret) { this.#parts = init; return; }
    if (arguments.length === 0) throw typeError('Request needs a URL or a request');
    const from = partsOf(input);
    const source = from != null && from.url !== undefined && from.method !== undefined ? from : null;
    let parts;
    if (source != null) {
      parts = copyRequest(source, null);
    } else {
      const url = core.usv(core.ifLoaded('url')?.isUrl(input) ? input.href : input);
      const href = ops.urlHref(url);
      if (href == null) throw typeError(`Invalid URL: ${url}`);
      parts = { method: 'GET', url: href, headers: '', body: null, redirect: 'follow', signal: null, event: null };
    }
    let given = null;
    if (init !== undefined && init != null) {
      const other = partsOf(init);
      if (other != null && other.method !== undefined) init = { method: other.method, headers: headersOf(other), body: init.body, redirect: other.redirect, signal: other.signal };
      if (typeof init !== 'object' && typeof init !== 'function') throw typeError('init is no dictionary');
      if (init.method !== undefined) parts.method = methodOf(init.method);
      if (init.headers !== undefined) parts.headers = new (headersScript().Headers)(init.headers);
      if (init.redirect !== undefined) {
        const redirect = core.usv(init.redirect);
        if (redirect !== 'follow' && redirect !== 'manual' && redirect !== 'error') throw typeError(`Invalid redirect value, must be one of "follow" or "manual" ("error" won't be implemented since it does not make sense at the edge; use "manual" and check the response status code).`);
        if (redirect === 'error') throw typeError(`Invalid redirect value, must be one of "follow" or "manual" ("error" won't be implemented since it does not make sense at the edge; use "manual" and check the response status code).`);
        parts.redirect = redirect;
      }
      if (init.signal !== undefined) parts.signal = signalOf(init.signal);
      if (init.cf !== undefined) parts.cf = init.cf;
      if (init.body !== undefined && init.body != null) {
        if (parts.method === 'GET' || parts.method === 'HEAD') throw typeError('Request with a GET or HEAD method cannot have a body.');
        given = extract(init.body);
      }
    }
    if (given != null) {
      parts.body = given.body;
      if (given.type != null) headersScript().setRaw(headersOf(parts), 'content-type', given.type);
    } else if (source != null && source.body != null && !(init !== undefined && init != null && init.body === null)) {
      const held = stateOf(source);
      if (isUsed(held)) throw typeError('Cannot reconstruct a Request with a used body.');
      // The body moves: the source is used up.
      parts.body = { ...held };
      held.used = true;
      held.text = held.bytes = null;
      if (held.stream != null) held.stream = streams().fromBytes(new p.Uint8Array(0));
    }
    this.#parts = parts;
  }
  get method() { return this.#parts.method; }
  get url() { return this.#parts.url; }
  get redirect() { return this.#parts.redirect; }
  get signal() {
    const parts = this.#parts;
    // An event's own says when whoever asked has gone; requests made of this one do not end with it.
    if (parts.signal === null && parts.event !== null) return core.eventSignal(parts.event);
    return (parts.signal ??= core.load('events').signals.make());
  }
  get cf() { return this.#parts.cf; }
  get cache() { return this.#parts.cache; }
  get integrity() { return ''; }
  get keepalive() { return false; }
  get fetcher() { return null; }
  clone() {
    const parts = this.#parts;
    return new Request(secret, copyRequest(parts, copyBody(stateOf(parts))));
  }
}
core.brand(Request, 'Request');
core.keepLayouts(Request, [], new Request(secret, null));

class ResponseParts {
  constructor(status, headers, body) {
    this.status = status;
    this.headers = headers;
    this.body = body;
  }
}
ResponseParts.prototype.statusText = null;
ResponseParts.prototype.webSocket = null;
ResponseParts.prototype.url = '';
ResponseParts.prototype.redirected = false;
ResponseParts.prototype.frozen = false;
core.keepLayouts(ResponseParts, ['status', 'headers', 'body', 'frozen', 'url']);

class Response {
  #parts;
  static { responseParts = (value) => (#parts in value ? value.#parts : null); }
  constructor(body = undefined, init = undefined) {
    if (body === secret) { this.#parts = init; return; }
    if (init === undefined && typeof body === 'string') {
      this.#parts = new ResponseParts(200, TEXT_HEADERS, core.usv(body));
      return;
    }
    if (init !== undefined && init != null && typeof init !== 'object' && typeof init !== 'function') throw typeError('init is no dictionary');
    const other = partsOf(init);
    if (other != null && other.status !== undefined) init = { status: other.status, statusText: other.statusText, headers: headersOf(other), webSocket: other.webSocket, cf: other.cf };
    const webSocket = init?.webSocket ?? null;
    let status = init?.status === undefined ? 200 : p.Number(init.status) & 0xffff;
    if (init?.status === undefined && webSocket != null) status = 101;
    if (webSocket != null ? status !== 101 : status < 200 || status > 599) {
      if (webSocket != null) throw new p.RangeError('Responses with a WebSocket must have status code 101.');
      throw new p.RangeError('Responses may only be constructed with status codes in the range 200 to 599, inclusive.');
    }
    const statusText = init?.statusText === undefined ? null : core.usv(init.statusText);
    if (statusText != null && !p.RegExpTest(/^[\t\x20-\x7e\x80-\xff]*$/, statusText)) throw typeError('Invalid statusText');
    const list = init?.headers;
    let headers = list === undefined ? '' : new (headersScript().Headers)(list);
    const given = extract(body);
    if (given.body != null) {
      if (p.SetHas(NULL_BODY, status) && (typeof given.body === 'string' ? given.body !== '' : given.body.stream != null || bytesOf(given.body).length > 0)) throw typeError(`Response with null body status (101, 204, 205, or 304) cannot have a body.`);
      if (given.type != null) {
        if (headers === '') headers = `content-type\n${given.type}\n`;
        else headersScript().setRaw(headers, 'content-type', given.type);
      }
    }
    const parts = new ResponseParts(status, headers, given.body);
    parts.statusText = statusText;
    parts.webSocket = webSocket;
    if (init?.cf !== undefined) parts.cf = init.cf;
    this.#parts = parts;
  }
  static error() { throw new p.Error('Failed to execute \'error\' on \'Response\': the method is not implemented.'); }
  static json(data = undefined, init = undefined) {
    const text = `${p.stringify(data)}`;
    const { Headers, setRaw } = headersScript(), headers = new Headers(init?.headers);
    setRaw(headers, 'content-type', 'application/json');
    return new Response(text, { status: init?.status, statusText: init?.statusText, headers, cf: init?.cf, webSocket: init?.webSocket });
  }
  static redirect(url, status = 302) {
    const href = ops.urlHref(core.usv(url));
    if (href == null) throw typeError(`Unable to parse URL: ${url}`);
    status = p.Number(status);
    if (status !== 301 && status !== 302 && status !== 303 && status !== 307 && status !== 308) throw new p.RangeError(`${status} is not a redirect status code.`);
    const response = new Response(null, { status, headers: [['location', href]] });
    headersScript().guard(response.headers);
    return response;
  }
  get status() { return this.#parts.status; }
  get statusText() { return this.#parts.statusText ?? ''; }
  get ok() { return this.#parts.status >= 200 && this.#parts.status < 300; }
  get url() { return this.#parts.url; }
  get redirected() { return this.#parts.redirected; }
  get type() { return 'default'; }
  get webSocket() { return this.#parts.webSocket; }
  get cf() { return this.#parts.cf; }
  clone() {
    const parts = this.#parts;
    if (parts.webSocket != null) throw typeError('Cannot clone a response to a WebSocket handshake.');
    const copy = new ResponseParts(parts.status, copyHeaders(parts), copyBody(stateOf(parts)));
    copy.statusText = parts.statusText;
    copy.url = parts.url;
    copy.redirected = parts.redirected;
    if (parts.cf !== undefined) copy.cf = parts.cf;
    return new Response(secret, copy);
  }
}
core.brand(Response, 'Response');
core.keepLayouts(Response, [], new Response(secret, null));

// What a user sees of Body sits on Request's and Response's own prototypes, as Web IDL's mixins do.
for (const C of [Request, Response]) {
  const names = p.ownKeys(Body.prototype);
  for (let i = 0; i < names.length; i++) {
    if (names[i] !== 'constructor') p.defineProperty(C.prototype, names[i], { ...p.getOwnPropertyDescriptor(Body.prototype, names[i]), enumerable: true });
  }
}

const bodyFrom = (body) => {
  if (body == null) return null;
  if (typeof body === 'string') return body;
  return p.isView(body) ? newBody(null, body, null, false) : newBody(null, null, body, false);
};
const withoutHash = (url) => { const hash = p.StringIndexOf(url, '#'); return hash < 0 ? url : p.StringSlice(url, 0, hash); };
return {
  Request, Response, partsOf, headerText, lengthOf, takeBody, withoutHash,
  /** The parts of a request to send. Its body is used up, that of `input` with it. */
  toSend: (input, init) => {
    const parts = init === undefined ? partsOf(input) : null;
    const asItIs = parts !== null && parts.method !== undefined && (parts.body === null || typeof parts.body === 'string' || (parts.body.stream === null && !parts.body.used));
    return asItIs ? parts : partsOf(new Request(input, init));
  },
  /** `event`: whose request it is. */
  makeRequest: (method, url, headers, body, event) => new Request(secret, new RequestParts(method, url, headers, bodyFrom(body), event)),
  makeResponse: (status, statusText, headers, body, webSocket, url, redirected) => {
    const parts = new ResponseParts(status, headers, bodyFrom(body));
    parts.frozen = true;
    if (url !== '') parts.url = url;
    if (statusText !== '') parts.statusText = statusText;
    if (webSocket !== null) parts.webSocket = webSocket;
    if (redirected) parts.redirected = true;
    return new Response(secret, parts);
  },
};
