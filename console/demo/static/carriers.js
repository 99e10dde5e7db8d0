/**
 * What carries a session's frames: WebTransport, or WebSocket where that is missing or blocked.
 *
 * Each has `closed`, which resolves with {code, reason} and rejects when the connection was cut; `open(onFrame, onDatagram, onEnd)`,
 * where onEnd is told that nothing more will be read while the close may still be on its way; `send`, `sendDatagram`, `close`.
 */
import { FrameSplitter, decodeDatagram, encodeDatagram, encodeFrame } from './frames.js';

/** A page that may be left waiting keeps no more unsent than this, in bytes, before it drops pointers. */
const MAX_UNSENT = 16 * 1024;

export class WebTransportCarrier {
  #transport;
  #writer = null;
  #datagrams = null;

  constructor({ url, certificateHash }) {
    this.#transport = new WebTransport(url, transportOptions(certificateHash));
    this.closed = this.#transport.closed.then(({ closeCode, reason }) => ({ code: closeCode ?? null, reason: reason ?? '' }));
  }

  async open(onFrame, onDatagram, onEnd) {
    await this.#transport.ready;
    const control = await this.#transport.createBidirectionalStream();
    const { datagrams } = this.#transport;
    this.#writer = control.writable.getWriter();
    this.#datagrams = (datagrams.createWritable?.() ?? datagrams.writable).getWriter();
    const splitter = new FrameSplitter();
    each(control.readable, (bytes) => splitter.push(bytes).forEach(onFrame)).then(
      () => onEnd('The gateway ended the control stream.'),
      (error) => onEnd(error.message),
    );
    // Its end is that of the session; `closed` says why.
    each(datagrams.readable, (bytes) => readable(bytes, onDatagram)).catch(() => {});
  }

  send(frame) {
    this.#writer?.write(encodeFrame(frame)).catch(() => {});
  }

  /** Dropped when the one before it is still waiting, since the next is newer. */
  sendDatagram(frame) {
    if (!this.#datagrams || this.#datagrams.desiredSize <= 0) return;
    this.#datagrams.write(encodeDatagram(frame)).catch(() => {});
  }

  close(closeCode) {
    this.#transport.close({ closeCode, reason: '' });
  }
}

export class WebSocketCarrier {
  #socket;

  constructor({ url }) {
    this.#socket = new WebSocket(url.replace(/^http/, 'ws'));
    this.#socket.binaryType = 'arraybuffer';
    this.closed = new Promise((resolve, reject) => {
      this.#socket.onclose = ({ code, reason }) => {
        // Without a close frame the browser says 1006; 1000 and none are the session's 0.
        if (code === 1006) reject(new Error('the connection was cut'));
        else resolve({ code: code < 3000 ? 0 : code, reason });
      };
    });
  }

  async open(onFrame, onDatagram) {
    this.#socket.onmessage = ({ data }) => {
      const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : new Uint8Array(data);
      readable(bytes, ({ unreliable, ...frame }) => (unreliable === true ? onDatagram(frame) : onFrame(frame)));
    };
    await Promise.race([new Promise((opened) => { this.#socket.onopen = opened; }), this.closed]);
  }

  send(frame) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  sendDatagram(frame) {
    if (this.#socket.bufferedAmount < MAX_UNSENT) this.send({ ...frame, unreliable: true });
  }

  close(code) {
    if (code) this.#socket.close(code);
    else this.#socket.close();
  }
}

async function each(stream, use) {
  const reader = stream.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    use(value);
  }
}

function readable(bytes, use) {
  let frame;
  try {
    frame = decodeDatagram(bytes);
  } catch (error) {
    console.warn('A frame could not be read:', error.message);
    return;
  }
  use(frame);
}

function transportOptions(certificateHash) {
  if (!certificateHash) return {};
  const value = Uint8Array.from(atob(certificateHash), (character) => character.charCodeAt(0));
  return { serverCertificateHashes: [{ algorithm: 'sha-256', value }] };
}
