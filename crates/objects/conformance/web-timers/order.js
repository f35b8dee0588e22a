export default async (print) => {
  const log = [];
  setTimeout(() => log.push('t10'), 10); setTimeout(() => log.push('t0'), 0); queueMicrotask(() => log.push('micro')); Promise.resolve().then(() => log.push('promise'));
  log.push('sync');
  await new Promise((r) => setTimeout(r, 20)); print(log);
};
