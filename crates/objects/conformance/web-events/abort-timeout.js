export default async (print) => {
  const s = AbortSignal.timeout(5);
  print(s.aborted);
  await new Promise((r) => s.addEventListener('abort', r));
  print(s.aborted, s.reason.name);
};
