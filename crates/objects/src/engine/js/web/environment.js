const { p } = core;
const secret = {};
class Performance {
  constructor(given) { if (given !== secret) throw core.illegal(); }
  get timeOrigin() { return 0; }
  now() { return ops.now(); }
  toJSON() { return { timeOrigin: 0 }; }
}
core.brand(Performance, 'Performance');
class Navigator {
  constructor(given) { if (given !== secret) throw core.illegal(); }
  // What existing code looks for to know that it runs in an object worker.
  get userAgent() { return 'Cloudflare-Workers'; }
  get hardwareConcurrency() { return 1; }
  get language() { return 'en'; }
  get languages() { return ['en']; }
  get platform() { return 'linux'; }
}
core.brand(Navigator, 'Navigator');
class Scheduler {
  constructor(given) { if (given !== secret) throw core.illegal(); }
  wait(ms, options = undefined) {
    const { promise, resolve, reject } = p.withResolvers();
    const signal = options?.signal;
    const { signals } = core.load('events');
    if (signal !== undefined && !signals.is(signal)) throw new p.TypeError('signal is no AbortSignal');
    if (signal?.aborted) { reject(signal.reason); return promise; }
    const timer = core.setTimer(() => resolve(undefined), p.Number(ms));
    if (signal !== undefined) signals.onAbort(signal, (reason) => { core.clearTimer(timer); reject(reason); });
    return promise;
  }
}
core.brand(Scheduler, 'Scheduler');
return {
  Performance, Navigator, Scheduler, performance: new Performance(secret), navigator: new Navigator(secret), scheduler: new Scheduler(secret),
};
