export default async (print) => {
  const show = async (label, body) => { const r = new Response(body); print(label, r.headers.get('content-type'), [...new Uint8Array(await r.arrayBuffer())]); };
  await show('string', 'aé'); await show('buffer', new Uint8Array([1, 2]).buffer); await show('view', new Uint8Array([9, 8, 7]).subarray(1)); await show('data view', new DataView(new ArrayBuffer(2)));
  await show('params', new URLSearchParams('a=1&b=ü')); await show('blob', new Blob(['x'], { type: 'Text/X' })); await show('blob without type', new Blob(['y']));
  await show('number', 12); await show('object', { toString: () => 'obj' }); await show('null', null); await show('undefined', undefined); await show('empty', '');
};
