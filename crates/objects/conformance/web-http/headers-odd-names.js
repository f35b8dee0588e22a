export default (print) => {
  const h = new Headers();
  for (const f of [() => h.set('', '1'), () => h.append('ü', '1')]) { try { f(); print('fine'); } catch (e) { print(e.name); } }
};
