export default async (print) => {
  const w = new WritableStream({ write(x) { if (x === 2) throw new RangeError('two'); } }); const k = w.getWriter();
  await k.write(1); try { await k.write(2); } catch (e) { print(e.message); } try { await k.write(3); } catch (e) { print(e.message); } try { await k.closed; } catch (e) { print('closed', e.message); } print(k.desiredSize);
  const log = []; const a = new WritableStream({ abort(r) { log.push(r); } }); await a.abort('why'); print(log); try { await a.getWriter().closed; } catch (e) { print(e); }
  const b = new WritableStream(); b.getWriter(); try { b.getWriter(); } catch (e) { print(e.name); } try { await b.abort(); } catch (e) { print(e.name); } try { await b.close(); } catch (e) { print(e.name); }
  let c0; const c = new WritableStream({ start(x) { c0 = x; } }); c0.error('given'); try { await c.getWriter().write(1); } catch (e) { print(e); } print(c0.signal.aborted);
};
