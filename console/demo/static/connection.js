/** The page's connection: a session that goes on from one to the next where it can, with the waits between them. */
import { mayReconnect } from './close-codes.js';
import { Progress } from './progress.js';
import { Session } from './session.js';

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
/** A session that lived so long starts the waits from the shortest again. */
const STEADY_MS = 5_000;

/**
 * How long to wait before an attempt, in milliseconds: doubled each time, between half and all of it by chance, so that the
 * pages that one restart has cut off do not all return in the same moment.
 */
export function backoff(failures, chance = Math.random()) {
  return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures) * (0.5 + chance / 2);
}

/** Whether this browser has WebTransport; `?nowt` in the page's address is for trying what happens without. */
export function hasWebTransport() {
  return 'WebTransport' in globalThis && !new URLSearchParams(location.search).has('nowt');
}

/**
 * Events: `state` with {state, welcome?, transport?, closure?, url?, retryIn?}, where state is connecting, connected or closed and retryIn is in
 * milliseconds, or null when nothing more is tried; and what the open session says: `frame`, `datagram`, `roundtrip`.
 */
export class Connection extends EventTarget {
  #prepare;
  #session = null;
  #failures = 0;
  #timer = null;
  #progress = new Progress();
  #run = 0;
  #transport = hasWebTransport() ? 'webtransport' : 'websocket';

  /** @param {() => Promise<{url: string, certificateHash: string, token: string}>} prepare  called anew before each session,
   *  because certificate and token do not outlive a restart of the gateway */
  constructor(prepare) {
    super();
    this.#prepare = prepare;
  }

  /** Connects now, whatever wait is under way. */
  open() {
    this.close();
    this.#failures = 0;
    this.#attempt();
  }

  /** Ends the session and the attempts. */
  close() {
    clearTimeout(this.#timer);
    this.#run += 1;
    this.#session?.close();
    this.#session = null;
    this.#progress = new Progress();
  }

  send(frame) {
    this.#session?.send(frame);
  }

  sendDatagram(frame) {
    this.#session?.sendDatagram(frame);
  }

  async #attempt() {
    const run = (this.#run += 1);
    this.#tell({ state: 'connecting' });
    let settings = null;
    let closure;
    try {
      settings = await this.#prepare();
      if (run !== this.#run) return;
      closure = await this.#live(settings, run);
      if (closure.by === 'unreachable' && this.#transport === 'webtransport' && run === this.#run) {
        // UDP may be what does not get through.
        this.#transport = 'websocket';
        closure = await this.#live(settings, run);
      }
    } catch (error) {
      closure = { by: 'server', code: null, reason: error.message };
    }
    if (run === this.#run) this.#pause(closure, settings?.url);
  }

  /** Opens one session and follows it to its end; gives its Closure. */
  async #live(settings, run) {
    const session = new Session({ ...settings, transport: this.#transport, resume: this.#progress.resume });
    this.#session = session;
    session.addEventListener('authenticated', ({ detail }) => this.#progress.welcomed(detail));
    session.addEventListener('frame', ({ detail }) => this.#progress.received(detail));
    for (const type of ['frame', 'datagram', 'roundtrip']) {
      session.addEventListener(type, ({ detail }) => {
        if (run === this.#run) this.dispatchEvent(new CustomEvent(type, { detail }));
      });
    }
    const welcome = await session.open();
    const since = performance.now();
    if (welcome && run === this.#run) this.#tell({ state: 'connected', welcome, transport: this.#transport, url: settings.url });
    const closure = await session.closed;
    // A gateway that neither reaches may be away: the better transport is tried first again.
    if (closure.by === 'unreachable' && this.#transport === 'websocket' && hasWebTransport()) this.#transport = 'webtransport';
    if (welcome && performance.now() - since > STEADY_MS) this.#failures = 0;
    return closure;
  }

  #pause(closure, url) {
    this.#session = null;
    const retryIn = mayReconnect(closure) ? backoff(this.#failures) : null;
    this.#failures += 1;
    if (retryIn !== null) this.#timer = setTimeout(() => this.#attempt(), retryIn);
    this.#tell({ state: 'closed', closure, url, retryIn });
  }

  #tell(detail) {
    this.dispatchEvent(new CustomEvent('state', { detail }));
  }
}
