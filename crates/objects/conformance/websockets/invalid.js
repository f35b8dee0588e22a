export default async (print) => {
  const [a, b] = Object.values(new WebSocketPair()); a.accept(); b.accept();
  for (const f of [() => a.close(1, 'x'), () => a.close(999), () => a.close(5000), () => a.close(4000, 'r'.repeat(200)), () => a.close(undefined, 'reason'), () => a.send(), () => new WebSocket('http:'), () => WebSocketPair()]) try { f(); print('fine'); } catch (e) { print(e.name); }
};
