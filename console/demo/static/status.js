/** The header's account of the connection. */
import { byId, duration, shortId, svg } from './dom.js';

const WORDS = { connecting: 'Connecting', connected: 'Connected', closed: 'Disconnected' };
const TRANSPORTS = { webtransport: 'WebTransport', websocket: 'WebSocket' };
const SAMPLES = 24;

export class Status {
  #root = byId('status');
  #samples = [];

  /** @param {'connecting'|'connected'|'closed'} state */
  set(state, sessionId = null, transport = null) {
    this.#root.dataset.state = state;
    byId('status-text').textContent = WORDS[state];
    byId('facts').hidden = state !== 'connected';
    if (state !== 'connected') return;
    byId('transport').textContent = TRANSPORTS[transport];
    byId('session-id').textContent = shortId(sessionId);
    byId('session-id').title = sessionId;
    byId('session-id').dataset.session = sessionId;
    byId('round-trip').textContent = '…';
    this.#samples = [];
  }

  roundTrip(milliseconds) {
    byId('round-trip').textContent = duration(milliseconds);
    this.#samples = [...this.#samples, milliseconds].slice(-SAMPLES);
    this.#draw();
  }

  /** A line of the last round trips, scaled to the slowest of them. */
  #draw() {
    const [width, height] = [48, 14];
    const top = Math.max(...this.#samples, 1);
    const points = this.#samples.map((value, index) => {
      const x = (index * width) / (SAMPLES - 1);
      return `${x.toFixed(1)},${(height - 1.5 - (value / top) * (height - 3)).toFixed(1)}`;
    });
    byId('spark').replaceChildren(svg('polyline', { points: points.join(' ') }));
  }
}
