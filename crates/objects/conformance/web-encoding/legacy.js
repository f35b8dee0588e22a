export default (print) => {
  print(new TextDecoder('windows-1252').decode(new Uint8Array([0x80, 0xe9, 0x9f])));
  print(new TextDecoder('utf-16le').decode(new Uint8Array([0x61, 0, 0x3d, 0xd8, 0, 0xde])));
  print(new TextDecoder('shift_jis').decode(new Uint8Array([0x83, 0x65, 0x83, 0x58])));
  print(new TextDecoder('gbk').decode(new Uint8Array([0xc4, 0xe3, 0xba, 0xc3])));
  print(new TextDecoder('windows-1251').decode(new Uint8Array([0xcf, 0xf0, 0xe8])));
  print(new TextDecoder('euc-kr').decode(new Uint8Array([0xb0, 0xa1])));
};
