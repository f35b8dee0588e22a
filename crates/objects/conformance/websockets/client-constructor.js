export default async (print) => {
  const tried = (...args) => { try { new WebSocket(...args); return 'made'; } catch (e) { return `${e.name}: ${e.message}`; } };
  for (const url of ['nonsense', 'ftp://x/', 'http://x/', 'ws://x/#y', '']) print(url, tried(url));
  for (const protocols of [['a', 'a'], 'a b', '', ['ok', '(']]) print(JSON.stringify(protocols), tried('ws://x/', protocols));
  print(tried());
  const socket = new WebSocket('ws://127.0.0.1:1/path?q', ['one']);
  print(socket.readyState, socket.url, JSON.stringify(socket.protocol), JSON.stringify(socket.extensions), socket.binaryType);
  for (const use of [() => socket.accept(), () => socket.send('early')]) try { use(); print('used'); } catch (e) { print(e.name, e.message); }
  const all = [];
  await new Promise((resolve) => { for (const type of ['open', 'error', 'close']) socket.addEventListener(type, (e) => { all.push(type, socket.readyState); if (type === 'close') { all.push(e.code, e.wasClean); resolve(); } }); });
  print(all);
};
