export default (print) => {
  for (const label of ['utf8', 'UTF-8', ' utf-8 ', 'latin1', 'ascii', 'iso-8859-1', 'windows-1252', 'utf-16le', 'utf-16', 'utf-16be', 'shift_jis', 'sjis', 'gbk', 'gb18030', 'big5',
    'euc-jp', 'euc-kr', 'koi8-r', 'iso-8859-2', 'windows-1251', 'macintosh', 'nope', '']) {
    try { print(label, new TextDecoder(label).encoding); } catch (e) { print(label, e.name); }
  }
};
