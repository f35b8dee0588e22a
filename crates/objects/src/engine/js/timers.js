// Timers. A number that code sees stands for the one of `ops` that is set for it now.
const { p } = core;
const waiting = new p.Map();
core.setTimer = (run, ms) => {
  const number = ops.setTimer(ms);
  p.MapSet(waiting, number, run);
  return number;
};
core.clearTimer = (number) => { if (p.MapDelete(waiting, number)) ops.clearTimer(number); };
core.on.timer = (number) => {
  const run = p.MapGet(waiting, number);
  p.MapDelete(waiting, number);
  if (run !== undefined) run();
};

const handles = new p.Map();
let last = 0;
const milliseconds = (value) => { const ms = p.Number(value); return ms > 0 ? ms : 0; };
const arm = (call, ms, args, repeats) => {
  if (typeof call !== 'function') {
    throw new p.TypeError(`Failed to execute '${repeats ? 'setInterval' : 'setTimeout'}': parameter 1 is not of type 'Function'.`);
  }
  const handle = ++last;
  const fire = () => {
    if (repeats) p.MapSet(handles, handle, core.setTimer(fire, ms));
    else p.MapDelete(handles, handle);
    try { p.apply(call, undefined, args); } catch (error) { core.report(error); }
  };
  p.MapSet(handles, handle, core.setTimer(fire, ms));
  return handle;
};
const disarm = (handle) => {
  const number = p.MapGet(handles, handle);
  if (number === undefined) return;
  p.MapDelete(handles, handle);
  core.clearTimer(number);
};
const globals = {
  setTimeout(callback, msDelay = 0, ...args) { return arm(callback, milliseconds(msDelay), args, false); },
  setInterval(callback, msDelay = 0, ...args) { return arm(callback, milliseconds(msDelay), args, true); },
  clearTimeout(handle = undefined) { disarm(handle); },
  clearInterval(handle = undefined) { disarm(handle); },
};
for (const name of p.keys(globals)) core.define(name, globals[name]);
// Time stands still while code runs: it learns of it by what comes from outside.
const RealDate = p.Date;
const now = () => ops.now();
const DateFunction = function Date(...args) {
  if (new.target === undefined) return p.apply(RealDate.prototype.toString, new RealDate(now()), []);
  return p.construct(RealDate, args.length === 0 ? [now()] : args, new.target);
};
p.setPrototypeOf(DateFunction, RealDate);
p.defineProperty(DateFunction, 'prototype', { __proto__: null, value: RealDate.prototype, writable: false, enumerable: false, configurable: false });
p.defineProperty(DateFunction, 'length', { __proto__: null, value: 7, configurable: true });
for (const [name, value] of [['now', { now() { return now(); } }.now], ['parse', RealDate.parse], ['UTC', RealDate.UTC]]) {
  p.defineProperty(DateFunction, name, { __proto__: null, value, writable: true, enumerable: false, configurable: true });
}
p.defineProperty(RealDate.prototype, 'constructor', { __proto__: null, value: DateFunction, writable: true, enumerable: false, configurable: true });
core.define('Date', DateFunction);
