// WebSockets: pairs within the object, and ends whose other end is elsewhere.
const { p } = core;
const { EventTarget, MessageEvent, CloseEvent, ErrorEvent } = core.load('events');
const { attachment: mostAttachment, message: mostMessage, tags: mostTags, tagBytes } = ops.limits;
const CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3;
const states = new p.WeakMap();
const bySocket = new p.Map();
const hibernating = new p.Set();
const secret = {};
const stateOf = (socket) => {
  const state = p.WeakMapGet(states, socket);
  if (state === undefined) throw new p.TypeError('Illegal invocation');
  return state;
};
const newState = (socket) => ({
  socket, peer: null, remote: null, accepted: false, hibernates: false, gone: false, tags: [], attachment: null, autoTime: null,
  closedHere: false, closedThere: false, binaryType: 'blob', outbox: [], inbox: [], left: false, client: null,
});
const dispatch = (state, event) => { try { state.socket.dispatchEvent(event); } catch (error) { core.report(error); } };

/** Tells the outside that this end is the object's. */
const announce = (state) => {
  ops.socketAccept(state.remote, state.tags, state.hibernates);
  p.MapSet(bySocket, state.remote, state);
  if (state.attachment !== null) ops.socketAttachment(state.remote, state.attachment);
};
const gone = (state) => {
  if (state.gone || state.remote === null) return;
  state.gone = true;
  p.MapDelete(bySocket, state.remote);
  ops.socketGone(state.hibernates);
};
/** Binary messages in the form that the code asked for. */
const shown = (state, data) => {
  if (typeof data === 'string' || state.binaryType === 'arraybuffer') return data;
  return new (core.load('blob').Blob)([data]);
};
/** The other end has closed: it is answered in kind unless this end has closed before. */
const answerClose = (state, code, reason) => {
  state.closedThere = true;
  if (state.closedHere) return;
  state.closedHere = true;
  transmit(state, { close: { code, reason, wasClean: true } });
};
const deliver = (state, message) => {
  if (!state.accepted) { p.ArrayPush(state.inbox, message); return; }
  if (message.close === undefined) { dispatch(state, new MessageEvent('message', { data: shown(state, message.data) })); return; }
  const { close } = message;
  answerClose(state, close.code, close.reason);
  dispatch(state, new CloseEvent('close', close));
};
const transmit = (state, message) => {
  if (state.remote !== null) {
    if (message.close === undefined) ops.socketSend(state.remote, message.data);
    else ops.socketClose(state.remote, message.close.code === 1005 ? undefined : message.close.code, message.close.reason);
  } else if (state.peer !== null && !state.peer.left) {
    const { peer } = state;
    const data = message.close === undefined && typeof message.data !== 'string' ? { data: p.typedBuffer(message.data) } : message;
    p.queueMicrotask(() => deliver(peer, data));
  } else {
    p.ArrayPush(state.outbox, message);
  }
};
const accept = (state) => {
  if (state.accepted) return;
  state.accepted = true;
  if (state.remote !== null) announce(state);
  const inbox = state.inbox;
  state.inbox = [];
  for (let i = 0; i < inbox.length; i++) p.queueMicrotask(() => deliver(state, inbox[i]));
};

class WebSocket extends EventTarget {
  constructor(url, protocols = undefined) {
    super();
    const state = newState(this);
    p.WeakMapSet(states, this, state);
    if (url === secret) return;
    if (arguments.length === 0) throw new p.TypeError("Failed to construct 'WebSocket': constructor parameter 1 is not of type 'string'.");
    core.load('websocket_client').open(state, url, protocols);
  }
  accept() {
    const state = stateOf(this);
    if (state.client !== null) throw new p.TypeError("Websockets obtained from the 'new WebSocket()' constructor cannot call accept");
    if (state.hibernates) throw new p.TypeError("Can't accept() WebSocket after enabling hibernation.");
    if (state.left) throw new p.TypeError("Can't accept() WebSocket when it was already used in a response.");
    accept(state);
  }
  send(message) {
    const state = stateOf(this);
    if (arguments.length === 0) throw new p.TypeError('send() needs a message');
    if (!state.accepted) throw new p.TypeError('You must call one of accept() or state.acceptWebSocket() on this WebSocket before sending messages.');
    if (state.closedHere) throw new p.TypeError("Can't call WebSocket send() after close().");
    const view = core.viewOf(message);
    const data = view === null ? core.usv(message) : p.TypedSlice(view);
    if ((view === null ? data.length : view.length) > mostMessage) throw new p.RangeError(`a WebSocket message has at most ${mostMessage} bytes`);
    if (state.closedThere) return;
    transmit(state, { data });
  }
  close(code = undefined, reason = undefined) {
    const state = stateOf(this);
    const connecting = state.client !== null && state.client.connecting;
    if (!state.accepted && !connecting) throw new p.TypeError('You must call one of accept() or state.acceptWebSocket() on this WebSocket before sending messages.');
    if (code !== undefined) {
      code = p.Number(code);
      if (code < 1000 || code >= 5000 || code === 1004 || code === 1005 || code === 1006 || code === 1015) throw new p.DOMException(`Invalid WebSocket close code: ${code}.`, 'InvalidAccessError');
    } else if (reason !== undefined) {
      throw new p.DOMException('If you specify a WebSocket close reason, you must also specify a code.', 'InvalidAccessError');
    }
    if (reason !== undefined && ops.utf8Encode(core.usv(reason)).length > 123) throw new p.DOMException('WebSocket close reason must not be longer than 123 bytes.', 'SyntaxError');
    if (state.closedHere) return;
    if (connecting) { state.client.abort(); return; }
    state.closedHere = true;
    transmit(state, { close: { code: code ?? 1005, reason: reason === undefined ? '' : core.usv(reason), wasClean: true } });
    if (state.closedThere) gone(state);
  }
  serializeAttachment(value) {
    const state = stateOf(this);
    const bytes = core.clone.encode(value);
    if (bytes.length > mostAttachment) throw new p.Error(`A WebSocket 'attachment' cannot be larger than ${mostAttachment} bytes.'attachment' was ${bytes.length} bytes.`);
    state.attachment = bytes;
    if (state.remote !== null && state.accepted) ops.socketAttachment(state.remote, bytes);
  }
  deserializeAttachment() {
    const { attachment } = stateOf(this);
    return attachment === null ? null : core.clone.decode(attachment);
  }
  get readyState() {
    const state = stateOf(this);
    if (state.client !== null && state.client.connecting) return CONNECTING;
    return state.closedHere && state.closedThere ? CLOSED : state.closedHere || state.closedThere ? CLOSING : OPEN;
  }
  get binaryType() { return stateOf(this).binaryType; }
  set binaryType(value) { if (value === 'blob' || value === 'arraybuffer') stateOf(this).binaryType = value; }
  get url() { return stateOf(this).client?.url ?? null; }
  get protocol() { return stateOf(this).client?.protocol ?? ''; }
  get extensions() { return ''; }
}
core.brand(WebSocket, 'WebSocket');
for (const [name, value] of [['CONNECTING', CONNECTING], ['OPEN', OPEN], ['CLOSING', CLOSING], ['CLOSED', CLOSED],
  ['READY_STATE_CONNECTING', CONNECTING], ['READY_STATE_OPEN', OPEN], ['READY_STATE_CLOSING', CLOSING], ['READY_STATE_CLOSED', CLOSED]]) {
  const at = { __proto__: null, value, writable: false, enumerable: true, configurable: false };
  p.defineProperty(WebSocket, name, at);
  p.defineProperty(WebSocket.prototype, name, at);
}
for (const type of ['message', 'close', 'error', 'open']) {
  const handlers = new p.WeakMap();
  p.defineProperty(WebSocket.prototype, `on${type}`, {
    __proto__: null, enumerable: true, configurable: true,
    get() { return p.WeakMapGet(handlers, this) ?? null; },
    set(handler) {
      const had = p.WeakMapGet(handlers, this);
      if (had) this.removeEventListener(type, had);
      p.WeakMapSet(handlers, this, typeof handler === 'function' ? handler : null);
      if (typeof handler === 'function') this.addEventListener(type, handler);
    },
  });
}
class WebSocketPair {
  constructor() {
    const first = new WebSocket(secret), second = new WebSocket(secret);
    const a = stateOf(first), b = stateOf(second);
    a.peer = b; b.peer = a;
    this[0] = first; this[1] = second;
  }
  *[Symbol.iterator]() { yield this[0]; yield this[1]; }
}
class WebSocketRequestResponsePair {
  #request; #response;
  constructor(request, response) { this.#request = `${request}`; this.#response = `${response}`; }
  get request() { return this.#request; }
  get response() { return this.#response; }
}
core.brand(WebSocketRequestResponsePair, 'WebSocketRequestResponsePair');

const adopt = (number) => {
  const socket = new WebSocket(secret);
  const state = stateOf(socket);
  state.remote = number;
  return state;
};
/** Who handles an event of a hibernating socket, if the class has a handler for it. */
const handle = async (event, name, args) => {
  try {
    const { instance } = core;
    if (typeof instance[name] === 'function') await instance[name](...args);
  } catch (error) { core.report(error); }
  core.finish(event);
};
const known = (event, number) => {
  const state = p.MapGet(bySocket, number);
  if (state === undefined) ops.finished(event);
  return state;
};
const message = (event, number, data) => {
  const state = known(event, number);
  if (state === undefined) return;
  data = typeof data === 'string' ? data : p.typedBuffer(data);
  if (state.hibernates) { handle(event, 'webSocketMessage', [state.socket, data]); return; }
  deliver(state, { data });
  core.finish(event);
};
const closed = (event, number, code, reason, clean) => {
  const state = known(event, number);
  if (state === undefined) return;
  if (clean) answerClose(state, code, reason);
  else state.closedThere = state.closedHere = true;
  if (state.hibernates) handle(event, 'webSocketClose', [state.socket, code, reason, clean]);
  else { dispatch(state, new CloseEvent('close', { code, reason, wasClean: clean })); core.finish(event); }
  gone(state);
};
const failed = (event, number, why) => {
  const state = known(event, number);
  if (state === undefined) return;
  state.closedThere = state.closedHere = true;
  const error = new p.Error(why);
  if (state.hibernates) handle(event, 'webSocketError', [state.socket, error]);
  else { dispatch(state, new ErrorEvent('error', { error, message: why })); core.finish(event); }
  gone(state);
};

let pair = null, eventTimeout = null;
const MOST_AUTO = 2048;
const checkAuto = (name, what, text) => {
  const { length } = ops.utf8Encode(text);
  if (length > MOST_AUTO) throw new p.RangeError(`${name} cannot be larger than ${MOST_AUTO} bytes. A ${what} of size ${length} was provided.`);
};
return {
  WebSocket, WebSocketPair, WebSocketRequestResponsePair, message, closed, failed, dispatch,
  /** `socket` came with an answer: `state` is it from now on. */
  become: (state, socket) => {
    const given = stateOf(socket);
    state.remote = given.remote;
    given.left = true;
    accept(state);
  },
  received: (number) => adopt(number).socket,
  /** The socket leaves in a response: its number, under which the other end is known outside. */
  leave: (socket) => {
    const state = stateOf(socket);
    if (state.accepted) throw new p.TypeError("Can't return WebSocket in a Response after calling accept().");
    if (state.left) throw new p.TypeError('WebSocket was already used in a response.');
    state.left = true;
    if (state.remote !== null) return state.remote;
    const { peer } = state;
    peer.remote = ops.newSocket();
    if (peer.accepted) announce(peer);
    return peer.remote;
  },
  /** After the response: what the object has said to the other end. */
  flush: (socket) => {
    const { peer } = stateOf(socket);
    if (peer === null) return;
    const outbox = peer.outbox.concat(stateOf(socket).inbox);
    peer.outbox = [];
    stateOf(socket).inbox = [];
    for (let i = 0; i < outbox.length; i++) transmit(peer, outbox[i]);
  },
  hibernate: (socket, tags) => {
    const state = stateOf(socket);
    if (state.accepted) throw new p.Error('Cannot call `acceptWebSocket()` if the WebSocket was already accepted via `accept()`');
    const list = core.list(tags);
    if (list.length > mostTags) throw new p.Error(`a Hibernatable WebSocket cannot have more than ${mostTags} tags`);
    const unique = [];
    for (let i = 0; i < list.length; i++) {
      const tag = `${list[i]}`;
      if (tag.length > tagBytes) throw new p.Error(`"${tag}" is longer than the max tag length (${tagBytes} characters).`);
      if (p.ArrayIndexOf(unique, tag) < 0) p.ArrayPush(unique, tag);
    }
    state.tags = unique;
    state.hibernates = true;
    accept(state);
    p.SetAdd(hibernating, state);
  },
  list: (tag) => {
    const found = [];
    p.SetForEach(hibernating, (state) => {
      if (state.closedHere || state.closedThere || state.gone) { if (state.gone) p.SetDelete(hibernating, state); return; }
      if (tag === undefined || p.ArrayIndexOf(state.tags, tag) >= 0) p.ArrayPush(found, state.socket);
    });
    return found;
  },
  tags: (socket) => {
    const state = stateOf(socket);
    if (!state.hibernates) throw new p.Error("you must call 'acceptWebSocket()' before attempting to access the tags of a WebSocket.");
    return p.ArraySlice(state.tags);
  },
  setAutoResponse: (given) => {
    if (given !== undefined && given !== null && !(given instanceof WebSocketRequestResponsePair)) throw new p.TypeError('setWebSocketAutoResponse() needs a WebSocketRequestResponsePair');
    const request = given?.request, response = given?.response;
    if (request !== undefined) {
      checkAuto('Request', 'request', request);
      checkAuto('Response', 'response', response);
    }
    ops.autoResponse(request, response);
    pair = given ?? null;
  },
  autoResponse: () => pair,
  autoResponseTime: (socket) => { const { autoTime } = stateOf(socket); return autoTime === null ? null : new p.Date(autoTime); },
  setTimeout: (ms) => { eventTimeout = ms === undefined ? null : p.Number(ms); },
  timeout: () => eventTimeout,
  /** Sockets that were there before the object was started. */
  restore: (held, auto) => {
    for (let i = 0; i < held.length; i++) {
      const [number, tags, attachment, autoTime, closing] = held[i];
      const state = adopt(number);
      state.accepted = state.hibernates = true;
      state.tags = tags; state.attachment = attachment; state.autoTime = autoTime; state.closedThere = closing;
      p.MapSet(bySocket, number, state);
      p.SetAdd(hibernating, state);
    }
    if (auto !== undefined && auto !== null) pair = new WebSocketRequestResponsePair(auto[0], auto[1]);
  },
};
