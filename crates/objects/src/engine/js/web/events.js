const { p } = core;
const NONE = 0, CAPTURING = 1, AT_TARGET = 2, BUBBLING = 3;
const dictionary = (init, what) => {
  if (init === undefined || init === null) return {};
  if (typeof init !== 'object' && typeof init !== 'function') throw new p.TypeError(`${what} is no dictionary`);
  return init;
};

class Event {
  #type; #bubbles; #cancelable; #composed; #target = undefined; #current = undefined; #phase = NONE;
  #canceled = false; #stopped = false; #stoppedNow = false; #passive = false; #dispatching = false;
  #time = core.eventTime();
  constructor(type, init = undefined) {
    if (arguments.length === 0) throw new p.TypeError('Event needs a type');
    init = dictionary(init, 'init');
    this.#type = core.usv(type);
    this.#bubbles = !!init.bubbles;
    this.#cancelable = !!init.cancelable;
    this.#composed = !!init.composed;
  }
  get type() { return this.#type; }
  get target() { return this.#target; }
  get srcElement() { return this.#target; }
  get currentTarget() { return this.#current; }
  get eventPhase() { return this.#phase; }
  get bubbles() { return this.#bubbles; }
  get cancelable() { return this.#cancelable; }
  get composed() { return this.#composed; }
  get defaultPrevented() { return this.#cancelable && this.#canceled; }
  get returnValue() { return !(this.#cancelable && this.#canceled); }
  get isTrusted() { this.#type; return false; }
  get timeStamp() { return this.#time; }
  get cancelBubble() { return this.#stopped; }
  set cancelBubble(value) { if (value) this.#stopped = true; }
  composedPath() { return this.#current === undefined ? [] : [this.#current]; }
  stopPropagation() { this.#stopped = true; }
  stopImmediatePropagation() { this.#stopped = true; this.#stoppedNow = true; }
  preventDefault() { if (!this.#passive) this.#canceled = true; }
  static dispatch(event, target, run) {
    if (event.#dispatching) throw new p.DOMException('The event is being dispatched already.', 'InvalidStateError');
    event.#dispatching = true;
    event.#target = event.#current = target;
    event.#phase = AT_TARGET;
    try {
      run((passive) => { event.#passive = passive; }, () => event.#stoppedNow);
    } finally {
      event.#passive = event.#dispatching = event.#stopped = event.#stoppedNow = false;
      event.#current = undefined;
      event.#phase = NONE;
    }
    return !event.#canceled;
  }
  static is(value) { return typeof value === 'object' && value !== null && #type in value; }
}
const { dispatch, is: isEvent } = Event;
delete Event.dispatch;
delete Event.is;
for (const [name, value] of [['NONE', NONE], ['CAPTURING_PHASE', CAPTURING], ['AT_TARGET', AT_TARGET], ['BUBBLING_PHASE', BUBBLING]]) {
  const constant = { __proto__: null, value, enumerable: true };
  p.defineProperty(Event, name, constant);
  p.defineProperty(Event.prototype, name, constant);
}
core.brand(Event, 'Event');

class CustomEvent extends Event {
  #detail;
  constructor(type, init = undefined) { super(type, init); this.#detail = init?.detail; }
  get detail() { return this.#detail; }
}
core.brand(CustomEvent, 'CustomEvent');

class MessageEvent extends Event {
  #data; #origin; #id; #source; #ports;
  constructor(type, init = undefined) {
    super(type, init);
    this.#data = init?.data === undefined ? null : init.data;
    this.#origin = init?.origin === undefined ? null : core.usv(init.origin);
    this.#id = init?.lastEventId === undefined ? '' : core.usv(init.lastEventId);
    this.#source = init?.source ?? null;
    this.#ports = p.freeze(init?.ports === undefined ? [] : core.list(init.ports));
  }
  get data() { return this.#data; }
  get origin() { return this.#origin; }
  get lastEventId() { return this.#id; }
  get source() { return this.#source; }
  get ports() { return this.#ports; }
}
core.brand(MessageEvent, 'MessageEvent');

class CloseEvent extends Event {
  #code; #reason; #clean;
  constructor(type, init = undefined) {
    super(type, init);
    this.#code = init?.code === undefined ? 0 : init.code & 0xffff;
    this.#reason = init?.reason === undefined ? '' : core.usv(init.reason);
    this.#clean = !!init?.wasClean;
  }
  get code() { return this.#code; }
  get reason() { return this.#reason; }
  get wasClean() { return this.#clean; }
}
core.brand(CloseEvent, 'CloseEvent');

class ErrorEvent extends Event {
  #message; #filename; #line; #column; #error;
  constructor(type, init = undefined) {
    super(type, init);
    this.#message = init?.message === undefined ? '' : core.usv(init.message);
    this.#filename = init?.filename === undefined ? '' : core.usv(init.filename);
    this.#line = init?.lineno === undefined ? 0 : init.lineno >>> 0;
    this.#column = init?.colno === undefined ? 0 : init.colno >>> 0;
    this.#error = init?.error;
  }
  get message() { return this.#message; }
  get filename() { return this.#filename; }
  get lineno() { return this.#line; }
  get colno() { return this.#column; }
  get error() { return this.#error; }
}
core.brand(ErrorEvent, 'ErrorEvent');

class EventTarget {
  #listeners = [];
  #attributes = { __proto__: null };
  addEventListener(type, listener, options = undefined) {
    const self = this ?? globalTarget();
    if (arguments.length < 2) throw new p.TypeError('addEventListener needs a type and a listener');
    type = core.usv(type);
    const capture = typeof options === 'boolean' ? options : !!options?.capture;
    const once = typeof options === 'object' && options !== null && !!options.once;
    const passive = typeof options === 'object' && options !== null && !!options.passive;
    const signal = typeof options === 'object' && options !== null ? options.signal : undefined;
    if (signal !== undefined && !isSignal(signal)) throw new p.TypeError('signal is no AbortSignal');
    if (listener === null || listener === undefined) return;
    if (typeof listener !== 'function' && typeof listener !== 'object') throw new p.TypeError('the listener is neither a function nor an object');
    if (signal?.aborted) return;
    const all = self.#listeners;
    for (let i = 0; i < all.length; i++) {
      const one = all[i];
      if (one.type === type && one.listener === listener && one.capture === capture) return;
    }
    const entry = { type, listener, capture, once, passive, removed: false };
    p.ArrayPush(all, entry);
    if (signal !== undefined) onAbort(signal, () => drop(self, entry));
  }
  removeEventListener(type, listener, options = undefined) {
    const self = this ?? globalTarget();
    if (arguments.length < 2) throw new p.TypeError('removeEventListener needs a type and a listener');
    type = core.usv(type);
    const capture = typeof options === 'boolean' ? options : !!options?.capture;
    const all = self.#listeners;
    for (let i = 0; i < all.length; i++) {
      const one = all[i];
      if (one.type === type && one.listener === listener && one.capture === capture) return drop(self, one);
    }
  }
  dispatchEvent(event) {
    const self = this ?? globalTarget();
    self.#listeners;
    if (!isEvent(event)) throw new p.TypeError('dispatchEvent needs an Event');
    return fire(self, event);
  }
  static fire(self, event) {
    return dispatch(event, self, (setPassive, stopped) => {
      const todo = p.ArraySlice(self.#listeners);
      const type = event.type;
      for (let i = 0; i < todo.length && !stopped(); i++) {
        const one = todo[i];
        if (one.type !== type || one.removed) continue;
        if (one.once) drop(self, one);
        setPassive(one.passive);
        const run = typeof one.listener === 'function' ? one.listener : one.listener.handleEvent;
        if (typeof run !== 'function') throw new p.TypeError('the listener has no handleEvent');
        p.apply(run, typeof one.listener === 'function' ? self : one.listener, [event]);
        setPassive(false);
      }
    });
  }
  static remove(self, entry) {
    entry.removed = true;
    const at = p.ArrayIndexOf(self.#listeners, entry);
    if (at >= 0) p.ArraySplice(self.#listeners, at, 1);
  }
  static attribute(self, type) { return self.#attributes[type]?.value ?? null; }
  static setAttribute(self, type, value) {
    const usable = typeof value === 'function' || (typeof value === 'object' && value !== null);
    const held = self.#attributes[type];
    if (!usable) {
      if (held !== undefined) { drop(self, held.entry); delete self.#attributes[type]; }
    } else if (held !== undefined) held.value = value;
    else {
      const slot = { value, entry: null };
      const listener = function (event) { if (typeof slot.value === 'function') p.apply(slot.value, this, [event]); };
      slot.entry = { type, listener, capture: false, once: false, passive: false, removed: false };
      p.ArrayPush(self.#listeners, slot.entry);
      self.#attributes[type] = slot;
    }
  }
  static count(self, type) {
    let n = 0;
    for (let i = 0; i < self.#listeners.length; i++) if (self.#listeners[i].type === type) n++;
    return n;
  }
}
const { fire, remove: drop, attribute, setAttribute, count } = EventTarget;
for (const name of ['fire', 'remove', 'attribute', 'setAttribute', 'count']) delete EventTarget[name];
core.brand(EventTarget, 'EventTarget');
let global;
const globalTarget = () => (global ??= new EventTarget());

const signals = { make: null, abort: null, onAbort: null, is: null };
const token = {};
class AbortSignal extends EventTarget {
  #aborted = false; #reason = undefined; #then = []; #sources = null;
  constructor(given) { if (given !== token) throw core.illegal(); super(); }
  get aborted() { return this.#aborted; }
  get reason() { return this.#reason; }
  get onabort() { return attribute(this, 'abort'); }
  set onabort(value) { setAttribute(this, 'abort', value); }
  throwIfAborted() { if (this.#aborted) throw this.#reason; }
  static abort(reason = undefined) {
    const signal = new AbortSignal(token);
    signal.#aborted = true;
    signal.#reason = reason === undefined ? new p.DOMException('The operation was aborted', 'AbortError') : reason;
    return signal;
  }
  static timeout(ms) {
    ms = p.Number(ms);
    if (!(ms >= 0 && ms <= 9007199254740991)) throw new p.TypeError('the time is not within range');
    const signal = new AbortSignal(token);
    core.setTimer(() => AbortSignal.#run(signal, new p.DOMException('The operation was aborted due to timeout', 'TimeoutError')), p.floor(ms));
    return signal;
  }
  static any(signals) {
    const sources = core.list(signals);
    for (let i = 0; i < sources.length; i++) if (!isSignal(sources[i])) throw new p.TypeError('not an AbortSignal');
    const signal = new AbortSignal(token);
    for (let i = 0; i < sources.length; i++) {
      if (sources[i].#aborted) { signal.#aborted = true; signal.#reason = sources[i].#reason; return signal; }
    }
    for (let i = 0; i < sources.length; i++) p.ArrayPush(sources[i].#then, () => AbortSignal.#run(signal, sources[i].#reason));
    return signal;
  }
  static #run(signal, reason) {
    if (signal.#aborted) return;
    signal.#aborted = true;
    signal.#reason = reason === undefined ? new p.DOMException('The operation was aborted', 'AbortError') : reason;
    const then = signal.#then;
    signal.#then = [];
    for (let i = 0; i < then.length; i++) then[i](signal.#reason);
    fire(signal, new Event('abort'));
  }
  static {
    signals.make = () => new AbortSignal(token);
    signals.abort = (signal, reason) => AbortSignal.#run(signal, reason);
    signals.onAbort = (signal, then) => { if (!signal.#aborted) p.ArrayPush(signal.#then, then); };
    signals.is = (value) => typeof value === 'object' && value !== null && #aborted in value;
  }
}
const { onAbort, is: isSignal } = signals;
core.brand(AbortSignal, 'AbortSignal');

class AbortController {
  #signal = signals.make();
  get signal() { return this.#signal; }
  abort(reason = undefined) { signals.abort(this.#signal, reason); }
}
core.brand(AbortController, 'AbortController');

return {
  Event, CustomEvent, EventTarget, MessageEvent, CloseEvent, ErrorEvent, AbortController, AbortSignal,
  // for other scripts of ours: `fire(target, event)`, handler attributes, and signals without their public face
  fire, attribute, setAttribute, count, signals,
};
