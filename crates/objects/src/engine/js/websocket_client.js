// WebSockets that code opens: new WebSocket(url).
const { p } = core;
const { Event, CloseEvent, ErrorEvent, AbortController } = core.load('events');
const { URL } = core.load('url');
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const refused = (message) => new p.DOMException(`WebSocket Constructor: ${message}`, 'SyntaxError');
const lost = () => new p.Error('Network connection lost.');

const urlOf = (given) => {
  let url;
  try { url = new URL(`${given}`); } catch { throw refused('The url is invalid.'); }
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:') throw refused('The url scheme must be ws or wss.');
  if (url.hash !== '') throw refused('The url fragment must be empty.');
  return url.href;
};
const protocolsOf = (given) => {
  if (given === undefined) return [];
  const list = typeof given === 'string' ? [given] : core.list(given), out = [];
  for (let i = 0; i < list.length; i++) {
    const protocol = core.usv(list[i]);
    if (!p.RegExpTest(TOKEN, protocol)) {
      throw refused(typeof given === 'string' ? 'The protocol header token is invalid.' : 'One of the protocol header tokens is invalid.');
    }
    if (p.ArrayIndexOf(out, protocol) >= 0) throw refused('The protocols header cannot have repeating values.');
    p.ArrayPush(out, protocol);
  }
  return out;
};
const fail = (state, error) => {
  const { dispatch } = core.load('websocket');
  state.client.connecting = false;
  state.closedHere = state.closedThere = true;
  dispatch(state, new ErrorEvent('error', { error, message: `Uncaught ${error}` }));
  dispatch(state, new CloseEvent('close', { code: 1006, reason: 'Failed to establish websocket connection', wasClean: false }));
};
const connect = async (state, protocols, signal) => {
  const { client } = state;
  const headers = { upgrade: 'websocket' };
  if (protocols.length > 0) headers['sec-websocket-protocol'] = p.ArrayJoin(protocols, ', ');
  try {
    const response = await core.fetch(null, `http${p.StringSlice(client.url, 2)}`, { headers, signal });
    if (response.webSocket === null) {
      throw new p.TypeError(`Failed to establish the WebSocket connection: expected server to reply with HTTP status code 101 (switching protocols), but received ${response.status} instead.`);
    }
    client.connecting = false;
    client.protocol = response.headers.get('sec-websocket-protocol') ?? '';
    const { become, dispatch } = core.load('websocket');
    become(state, response.webSocket);
    dispatch(state, new Event('open'));
  } catch (error) { fail(state, signal.aborted ? lost() : error); }
};
return {
  open: (state, url, protocols) => {
    const controller = new AbortController();
    const asked = urlOf(url), list = protocolsOf(protocols);
    state.client = { url: asked, protocol: '', connecting: true, abort: () => controller.abort() };
    connect(state, list, controller.signal);
  },
};
