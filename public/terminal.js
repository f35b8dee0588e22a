// A terminal in the page: <berth-terminal> within an element with data-session="ID" and data-number="1".
// Bytes go both ways as binary frames; text frames are JSON (crates/api/src/streams.rs).

import { Terminal } from "/vendor/xterm/xterm.mjs";
import { FitAddon } from "/vendor/xterm/addon-fit.mjs";

const SIGHUP = 1;
const FIRST_RETRY_MS = 300;
const LAST_RETRY_MS = 10_000;
// The server takes no larger message, and a paste may be large.
const MAX_MESSAGE_BYTES = 32 * 1024;
const SCROLLBACK_LINES = 10_000;

const THEME = {
  background: "#0d1114", foreground: "#d6dde2", cursor: "#56c4e2", cursorAccent: "#0d1114",
  selectionBackground: "#2f5866",
  black: "#1a2126", red: "#ff8a80", green: "#6fd196", yellow: "#e5b454",
  blue: "#7cb7ff", magenta: "#d59bf6", cyan: "#56c4e2", white: "#d6dde2",
  brightBlack: "#7d8a93", brightRed: "#ffb0a9", brightGreen: "#98e3b5", brightYellow: "#f3cf85",
  brightBlue: "#a9d0ff", brightMagenta: "#e6c1fb", brightCyan: "#8edcf0", brightWhite: "#ffffff",
};

// xterm makes <style> elements of its own, which the page's policy allows only with this document's nonce. It takes no
// nonce, and makes some of them on the global document whatever its documentOverride says.
const nonce = document.querySelector("script[nonce]")?.nonce ?? "";
const createElement = document.createElement.bind(document);
document.createElement = (name, options) => {
  const element = createElement(name, options);
  if (String(name).toLowerCase() === "style") element.nonce = nonce;
  return element;
};

// What programs get without a capital.
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

class BerthTerminal extends HTMLElement {
  connectedCallback() {
    // Kept: when the element has left the page, what was around it is gone.
    this.about = this.closest("[data-session]").dataset;
    this.ended = false;
    this.closing = false;
    this.parentElement?.querySelector("[data-close]")?.addEventListener("click", () => { this.closing = true; });
    this.retryMs = FIRST_RETRY_MS;
    this.terminal = new Terminal({
      theme: THEME,
      fontFamily: getComputedStyle(this).getPropertyValue("--mono") || "monospace",
      fontSize: 13,
      lineHeight: 1.2,
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      scrollback: SCROLLBACK_LINES,
      macOptionIsMeta: true,
      // Text output for screen readers, and for tests that read what is on the screen.
      screenReaderMode: true,
    });
    this.fit = new FitAddon();
    this.terminal.loadAddon(this.fit);
    const encoder = new TextEncoder();
    this.terminal.onData((text) => this.send(encoder.encode(text)));
    this.terminal.onBinary((text) => this.send(Uint8Array.from(text, (character) => character.charCodeAt(0))));
    this.terminal.onResize(({ cols, rows }) => this.tell({ type: "resize", cols, rows }));
    // The font decides how many columns fit.
    document.fonts.ready.then(() => {
      if (!this.isConnected || this.observer) return;
      this.terminal.open(this);
      this.fit.fit();
      this.observer = new ResizeObserver(() => this.fit.fit());
      this.observer.observe(this);
      this.connect();
      // The first opens with the page, whose heading has the focus; the others open because somebody asked.
      if (this.about.number !== "1") this.terminal.focus();
    });
  }

  disconnectedCallback() {
    this.ended = true;
    clearTimeout(this.timer);
    this.observer?.disconnect();
    if (this.closing) {
      this.tell({ type: "signal", number: SIGHUP });
      sessionStorage.removeItem(this.key());
    }
    this.socket?.close();
    this.terminal?.dispose();
  }

  // A reload, or a way back from another page, finds the shell again; a terminal that was closed does not come back.
  key() {
    return `terminal:${this.about.session}:${this.about.number}`;
  }

  connect() {
    this.state("Connecting");
    const query = new URLSearchParams({ cols: this.terminal.cols, rows: this.terminal.rows });
    const attach = sessionStorage.getItem(this.key());
    if (attach) query.set("attach", attach);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const session = encodeURIComponent(this.about.session);
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/sessions/${session}/terminal?${query}`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onmessage = ({ data }) => {
      if (this.socket !== socket) return;
      if (typeof data === "string") this.hear(JSON.parse(data));
      else this.terminal.write(new Uint8Array(data));
    };
    socket.onclose = ({ reason }) => {
      if (this.socket !== socket || this.ended) return;
      this.state(`${reason ? sentence(reason) : "Connection lost"}, trying again`);
      this.timer = setTimeout(() => this.connect(), this.retryMs);
      this.retryMs = Math.min(this.retryMs * 2, LAST_RETRY_MS);
    };
  }

  hear(frame) {
    switch (frame.type) {
      case "attached":
        this.retryMs = FIRST_RETRY_MS;
        // What was on the screen comes again with the replay of a shell that is come back to.
        if (sessionStorage.getItem(this.key()) === frame.terminal) this.terminal.reset();
        sessionStorage.setItem(this.key(), frame.terminal);
        this.state("Connected");
        this.tell({ type: "resize", cols: this.terminal.cols, rows: this.terminal.rows });
        break;
      case "exit":
        this.end(`Ended with code ${frame.code}`);
        break;
      case "error":
        this.end(frame.message);
        break;
    }
  }

  end(message) {
    this.ended = true;
    sessionStorage.removeItem(this.key());
    this.state(sentence(message));
    this.terminal.write(`\r\n\x1b[2m${message}\x1b[0m\r\n`);
  }

  send(bytes) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    for (let from = 0; from < bytes.length; from += MAX_MESSAGE_BYTES) {
      this.socket.send(bytes.subarray(from, from + MAX_MESSAGE_BYTES));
    }
  }

  tell(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  state(text) {
    this.dataset.state = text;
    const place = this.parentElement?.querySelector(".terminal-state");
    if (place) place.textContent = text;
  }
}

if (!customElements.get("berth-terminal")) customElements.define("berth-terminal", BerthTerminal);
