// The clock, and what of timers and the console is there before anybody uses them.
const { p } = core;
core.setTimer = (run, ms) => core.load('timers').set(run, ms);
core.clearTimer = (number) => core.load('timers').clear(number);
core.lazy(['setTimeout', 'setInterval', 'clearTimeout', 'clearInterval'], 'timers');
core.lazy('console', 'console');

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
