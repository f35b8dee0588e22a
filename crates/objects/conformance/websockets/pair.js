export default async (print) => {
  const pair = new WebSocketPair(); print(Object.keys(pair), pair[0] instanceof WebSocket, pair[0] !== pair[1]); const [a, b] = Object.values(pair);
  print(a.readyState, WebSocket.OPEN, WebSocket.CLOSED, WebSocket.CONNECTING, WebSocket.CLOSING);
  try { a.send('early'); print('fine'); } catch (e) { print(e.name); }
  a.accept(); b.accept(); print(a.readyState); const got = new Promise((k) => b.addEventListener('message', (e) => k([e.type, e.data]))); a.send('through'); print(await got);
  const closed = new Promise((k) => b.addEventListener('close', (e) => k([e.code, e.reason, e.wasClean]))); a.close(1000, 'bye'); print(await closed); print(a.readyState === WebSocket.CLOSING || a.readyState === WebSocket.CLOSED);
};
