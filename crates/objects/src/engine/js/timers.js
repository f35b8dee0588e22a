// Timers. A number that code sees stands for the one of `ops` that is set for it now.
const { p } = core;
const waiting = new p.Map();
const set = (run, ms) => {
  const number = ops.setTimer(ms);
  p.MapSet(waiting, number, run);
  return number;
};
const clear = (number) => { if (p.MapDelete(waiting, number)) ops.clearTimer(number); };
core.on.timer = (number) => {
  const run = p.MapGet(waiting, number);
  p.MapDelete(waiting, number);
  if (run !== undefined) run();
};

const handles = new p.Map();
let last = 0;
const milliseconds = (value) => { const ms = p.Number(value); return ms > 0 ? ms : 0; };
/** An interval of nothing would leave no time for anything else. */
const apart = (value) => { const ms = milliseconds(value); return ms >= 1 && ms !== 1 / 0 ? ms : 1; };
const arm = (call, ms, args, repeats) => {
  if (typeof call !== 'function') {
    throw new p.TypeError(`Failed to execute '${repeats ? 'setInterval' : 'setTimeout'}': parameter 1 is not of type 'Function'.`);
  }
  const handle = ++last;
  const fire = () => {
    if (repeats) p.MapSet(handles, handle, set(fire, ms));
    else p.MapDelete(handles, handle);
    try { p.apply(call, undefined, args); } catch (error) { core.report(error); }
  };
  p.MapSet(handles, handle, set(fire, ms));
  return handle;
};
const disarm = (handle) => {
  const number = p.MapGet(handles, handle);
  if (number === undefined) return;
  p.MapDelete(handles, handle);
  clear(number);
};
return {
  set, clear,
  setTimeout(callback, msDelay = 0, ...args) { return arm(callback, milliseconds(msDelay), args, false); },
  setInterval(callback, msDelay = 0, ...args) { return arm(callback, apart(msDelay), args, true); },
  clearTimeout(handle = undefined) { disarm(handle); },
  clearInterval(handle = undefined) { disarm(handle); },
};
