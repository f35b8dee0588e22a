export default async (print) => {
  const f = new FormData();
  f.append('a', '1'); f.append('a', 'two\r\nlines'); f.append('q"uote', 'ü'); f.append('file', new File(['content'], 'n"ame.txt', { type: 'text/x' })); f.append('blob', new Blob(['bb']), 'given.bin');
  const r = new Response(f);
  print(/^multipart\/form-data; ?boundary="?[^"]+"?$/.test(r.headers.get('content-type')));
  const g = await r.formData();
  for (const [k, v] of g) print(k, typeof v === 'string' ? v : [v.name, v.type, v.size, await v.text()]);
};
