export default (print) => {
  const shared = { n: 1 }; const v = { x: shared, y: shared, list: [shared] }; v.self = v;
  const c = structuredClone(v); print(c.x === c.y, c.list[0] === c.x, c.self === c, c.x !== shared);
  const m = new Map(); m.set('me', m); const cm = structuredClone(m); print(cm.get('me') === cm);
  const b = new ArrayBuffer(8); const views = structuredClone([new Uint8Array(b, 1, 2), new DataView(b), b]);
  print(views[0].buffer === views[1].buffer, views[1].buffer === views[2], views[0].byteOffset, views[0].length);
};
