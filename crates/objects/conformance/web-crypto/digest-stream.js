export default async (print) => {
  const d = new crypto.DigestStream('SHA-256'); const w = d.getWriter(); await w.write(new TextEncoder().encode('a')); await w.write(new TextEncoder().encode('bc')); await w.close();
  print([...new Uint8Array(await d.digest)].slice(0, 4), d.bytesWritten);
  const p = new crypto.DigestStream('MD5'); await new Response('abc').body.pipeTo(p); print([...new Uint8Array(await p.digest)].slice(0, 4));
};
