export default (print) => {
  const d = new TextDecoder();
  print(d.encoding, d.fatal, d.ignoreBOM);
  print(d.decode(new Uint8Array([0x61, 0xc3, 0xa9, 0xf0, 0x9f, 0x98, 0x80])));
  print(d.decode(new Uint8Array([0xff, 0x61, 0xc3])), d.decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])).length);
  print(new TextDecoder('utf-8', { ignoreBOM: true }).decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])).length);
  try { new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xff])); } catch (e) { print(e.name); }
  print(d.decode(), d.decode(new ArrayBuffer(0)), d.decode(new DataView(new Uint8Array([65, 66]).buffer, 1)));
  print(d.decode(new Uint8Array([0xe2, 0x82])), d.decode(new Uint8Array([0xed, 0xa0, 0x80])));
  try { d.decode('x'); } catch (e) { print(e.name); }
};
