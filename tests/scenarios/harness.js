// The client's end in a page: does what the test says, tells it what comes. Bytes travel as base64.
const peers = new Map();
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const base64 = (data) => { let out = ''; for (const byte of data) out += String.fromCharCode(byte); return btoa(out); };

class Peer {
  constructor(id) { this.streams = new Map(); this.accepted = 0; this.tell = (...what) => tell(id, ...what); }
}

class WebTransportPeer extends Peer {
  async open(url, hash) {
    const digest = { algorithm: 'sha-256', value: bytes(hash) };
    this.transport = new WebTransport(url, { serverCertificateHashes: [digest] });
    this.transport.closed.then(
      ({ closeCode, reason }) => this.tell('closed', closeCode, reason, false),
      () => this.tell('closed', 0, '', true),
    );
    await this.transport.ready;
    this.datagrams = this.transport.datagrams.writable.getWriter();
    this.take(this.transport.incomingBidirectionalStreams, (stream) => {
      this.accepted += 1;
      this.keep(4 * this.accepted + 1, stream.writable, stream.readable);
    });
    this.take(this.transport.datagrams.readable, (data) => this.tell('datagram', base64(data)));
  }

  async take(readable, use) {
    const reader = readable.getReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        use(value);
      }
    } catch {
      // The session is over: `closed` tells how.
    }
  }

  async openStream(id, unidirectional) {
    // Commands for a stream wait in order for it to be there.
    const made = unidirectional ? this.transport.createUnidirectionalStream() : this.transport.createBidirectionalStream();
    const stream = await made;
    if (unidirectional) this.keep(id, stream, null);
    else this.keep(id, stream.writable, stream.readable);
  }

  keep(id, writable, readable) {
    const stream = { writer: writable.getWriter(), reader: readable?.getReader(), held: null };
    this.streams.set(id, stream);
    stream.writer.closed.catch((error) => this.tell('stopped', id, error.streamErrorCode ?? null));
    if (readable) this.read(id, stream);
  }

  async read(id, stream) {
    try {
      for (;;) {
        await stream.held?.promise;
        const { value, done } = await stream.reader.read();
        this.tell('data', id, value ? base64(value) : '', done);
        if (done) return;
      }
    } catch (error) {
      if (error.source === 'stream') this.tell('reset', id, error.streamErrorCode ?? null);
      else this.tell('data', id, '', true);
    }
  }

  write(id, data, end) {
    const { writer } = this.streams.get(id);
    if (data) writer.write(bytes(data)).catch(() => {});
    if (end) writer.close().catch(() => {});
  }

  reset(id, code) {
    const error = new WebTransportError({ message: '', streamErrorCode: code });
    this.streams.get(id).writer.abort(error).catch(() => {});
  }

  stop(id, code) {
    const error = new WebTransportError({ message: '', streamErrorCode: code });
    this.streams.get(id).reader.cancel(error).catch(() => {});
  }

  hold() { for (const stream of this.streams.values()) stream.held = Promise.withResolvers(); }

  release() {
    for (const stream of this.streams.values()) { stream.held?.resolve(); stream.held = null; }
  }

  datagram(data) { this.datagrams.write(bytes(data)).catch(() => {}); }

  close(closeCode, reason) { this.transport.close({ closeCode, reason }); }
}

class WebSocketPeer extends Peer {
  open(url) {
    this.socket = new WebSocket(url);
    this.socket.binaryType = 'arraybuffer';
    this.socket.onmessage = ({ data }) => {
      const text = typeof data === 'string';
      this.tell('message', base64(text ? new TextEncoder().encode(data) : new Uint8Array(data)), text);
    };
    this.socket.onclose = ({ code, reason }) => this.tell('closed', code, reason, code === 1006);
    return new Promise((opened, failed) => { this.socket.onopen = opened; this.socket.onerror = failed; });
  }

  message(data, text) { this.socket.send(text ? new TextDecoder().decode(bytes(data)) : bytes(data)); }

  close(code, reason) { if (code) this.socket.close(code, reason); else this.socket.close(); }
}

function connect(id, kind, ...where) {
  const peer = kind === 'webtransport' ? new WebTransportPeer(id) : new WebSocketPeer(id);
  peers.set(id, peer);
  return peer.open(...where);
}

// In order and at once, so that what a test sends together leaves together. What fails because its session is over does not count.
async function commands(id, all) {
  for (const [name, ...how] of all) {
    try { await peers.get(id)[name](...how); } catch (error) { console.debug(name, String(error)); }
  }
}
