export default (print) => {
  for (const f of [() => eval('1 + 1'), () => new Function('return 1')(), () => (0, eval)('2'), () => Function('return 3')(), () => (async () => {}).constructor('return 1')()]) {
    try { print('ran', f()); } catch (e) { print(e instanceof Error); }
  }
};
