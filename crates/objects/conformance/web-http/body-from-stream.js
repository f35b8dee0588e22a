export default async (print) => {
  const enc = new TextEncoder();
  const make = () => { let n = 0; return new ReadableStream({ pull(c) { if (++n > 3) c.close(); else c.enqueue(enc.encode(`part${n};`)); } }); };
  print(await new Response(make()).text());
  const s = make(); const r = new Response(s); print(r.body === s, r.headers.get('content-type'));
  s.getReader(); try { new Response(s); } catch (e) { print(e.name); }
  const failing = new Response(new ReadableStream({ pull(c) { c.error(new RangeError('broke')); } }));
  try { await failing.text(); } catch (e) { print(e.name, e.message); }
  try { await new Response(new ReadableStream({ start(c) { c.enqueue(5); c.close(); } })).text(); } catch (e) { print(e.name); }
};
