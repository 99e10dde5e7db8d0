/** One session with the gateway: from the handshake and the auth frame to its end. It does not reconnect. */
import { WebSocketCarrier, WebTransportCarrier } from './carriers.js';

const HANDSHAKE_MS = 10_000;
const AUTH_MS = 8_000;
const PING_EVERY_MS = 3_000;
const PONG_WITHIN_MS = 8_000;
/** What this side closes with when it has given a connection up, not the session. */
const COMES_BACK = 3000;
/** After the gateway's last word, how long its close may take before this side stops waiting for it. */
const CLOSE_WITHIN_MS = 1_500;

/**
 * Events: `frame` and `datagram` with the frame as detail, `roundtrip` with milliseconds.
 * `closed` resolves once, with a Closure (close-codes.js), however the session ends.
 */
export class Session extends EventTarget {
  #settings;
  #carrier = null;
  #ready = false;
  #lastWord = null;
  #pinged = null;
  #timers = [];
  #resolveClosed;
  #ended = false;

  /** @param {{url: string, certificateHash: string|null, token: string, transport: 'webtransport'|'websocket', resume?: object}}
   *  settings  the hash is SHA-256 in base64, `resume` is what a Progress gives */
  constructor(settings) {
    super();
    this.#settings = settings;
    this.closed = new Promise((resolve) => { this.#resolveClosed = resolve; });
  }

  /** Opens the session; gives the gateway's auth_success, or null when it ended before (then see `closed`). */
  async open() {
    try {
      const Carrier = this.#settings.transport === 'websocket' ? WebSocketCarrier : WebTransportCarrier;
      this.#carrier = new Carrier(this.#settings);
      this.#carrier.closed.then(
        ({ code, reason }) => this.#end({ by: 'gateway', code, reason }),
        (error) => this.#end(this.#cut(error)),
      );
      this.#after(HANDSHAKE_MS, () => this.#ready || this.#end(this.#cut(new Error('no answer in 10 s'))));
      await this.#carrier.open(
        (frame) => this.#receive(frame),
        (detail) => this.dispatchEvent(new CustomEvent('datagram', { detail })),
        (reason) => this.#expectClose(reason),
      );
      this.#ready = true;
      return await this.#authenticate();
    } catch (error) {
      this.#end(this.#cut(error));
      return null;
    }
  }

  /** Writes one frame. A write that fails is told by `closed`. */
  send(frame) {
    this.#carrier?.send(frame);
  }

  /** Sends one frame unreliably, or not at all. */
  sendDatagram(frame) {
    this.#carrier?.sendDatagram(frame);
  }

  close(code = 0, reason = '') {
    this.#end({ by: 'page', code, reason });
  }

  async #authenticate() {
    const answer = new Promise((resolve) => {
      this.addEventListener('authenticated', (event) => resolve(event.detail), { once: true });
      this.closed.then(() => resolve(null));
    });
    this.send({ type: 'auth', token: this.#settings.token, protocol: 1, id: 'auth', resume: this.#settings.resume });
    const late = this.#after(AUTH_MS, () => this.#end(this.#cut(new Error('no answer to the auth frame'))));
    const welcome = await answer;
    clearTimeout(late);
    if (welcome) this.#startPings();
    return welcome;
  }

  #receive(frame) {
    switch (frame.type) {
      case 'ping':
        this.send({ type: 'pong' });
        return;
      case 'pong':
        this.#measure();
        return;
      case 'auth_success':
        this.dispatchEvent(new CustomEvent('authenticated', { detail: frame }));
        return;
      case 'auth_failed':
        this.#lastWord ??= { code: 4401, reason: String(frame.error ?? '') };
        this.#expectClose('');
        return;
      case 'disconnect':
        this.#lastWord = { code: frame.code, reason: String(frame.reason ?? ''), reconnect: frame.reconnect };
        this.#expectClose('');
        return;
      default:
        this.dispatchEvent(new CustomEvent('frame', { detail: frame }));
    }
  }

  #startPings() {
    const ping = () => {
      if (this.#pinged === null) {
        this.#pinged = performance.now();
        this.send({ type: 'ping' });
      } else if (performance.now() - this.#pinged > PONG_WITHIN_MS) {
        this.#end(this.#cut(new Error('The gateway has not answered for 8 s.')));
      }
    };
    if (this.#ended) return;
    ping();
    this.#timers.push(setInterval(ping, PING_EVERY_MS));
  }

  #measure() {
    if (this.#pinged === null) return;
    const detail = performance.now() - this.#pinged;
    this.#pinged = null;
    this.dispatchEvent(new CustomEvent('roundtrip', { detail }));
  }

  /** The session's close, with its code, follows the end of its streams: wait for it, but not for ever. */
  #expectClose(reason) {
    this.#after(CLOSE_WITHIN_MS, () => this.#end(this.#cut(new Error(reason))));
  }

  #after(milliseconds, action) {
    const timer = setTimeout(action, milliseconds);
    this.#timers.push(timer);
    return timer;
  }

  #cut(error) {
    return { by: this.#ready ? 'lost' : 'unreachable', code: null, reason: error.message ?? String(error) };
  }

  #end(closure) {
    if (this.#ended) return;
    this.#ended = true;
    for (const timer of this.#timers) clearTimeout(timer);
    try {
      this.#carrier?.close(closure.by === 'page' ? closure.code : COMES_BACK);
    } catch {
      // Already closed by the other side.
    }
    this.#resolveClosed(this.#lastWord && closure.by !== 'page' ? { by: 'gateway', ...this.#lastWord } : closure);
  }
}
