export default async (print) => {
  const log = [];
  setTimeout((a, b) => log.push([a, b]), 1, 'x', 2);
  const id = setTimeout(() => log.push('never'), 1); clearTimeout(id); clearTimeout(undefined); clearTimeout(99999);
  await new Promise((r) => setTimeout(r, 10)); print(log);
};
