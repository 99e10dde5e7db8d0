/** What stands between the reader and the room, in words: no gateway, a session that was closed. */
import { describe, mayReconnect } from './close-codes.js';
import { byId, el } from './dom.js';

export class Notice {
  #root = byId('notice');
  #timer = null;

  /** @param {() => void} onRetry */
  constructor(onRetry) {
    byId('retry-button').addEventListener('click', onRetry);
  }

  hide() {
    clearInterval(this.#timer);
    this.#root.hidden = true;
    byId('close-reason').textContent = '';
  }

  /** A new attempt is under way: the words about the last end stay until it is known how this one goes. */
  retrying() {
    clearInterval(this.#timer);
    byId('notice-next').textContent = 'Connecting…';
  }

  closed({ closure, url, retryIn }) {
    const { title, arrived, advice } = describe(closure, url);
    this.#show(title, advice);
    const reason = byId('close-reason');
    reason.textContent = arrived;
    reason.dataset.code = closure.code ?? '';
    reason.dataset.reconnect = String(mayReconnect(closure));
    byId('retry-button').hidden = false;
    byId('retry-button').textContent = retryIn === null ? 'Connect again' : 'Try now';
    if (retryIn === null) byId('notice-next').textContent = 'This page does not reconnect on its own.';
    else this.#countDown(performance.now() + retryIn);
  }

  #show(title, advice) {
    clearInterval(this.#timer);
    this.#root.hidden = false;
    this.#root.dataset.kind = 'closed';
    byId('notice-title').textContent = title;
    byId('notice-more').replaceChildren(...(advice ? [el('p', {}, advice)] : []));
  }

  #countDown(until) {
    const show = () => {
      const seconds = Math.max(0, Math.ceil((until - performance.now()) / 1000));
      byId('notice-next').textContent = `Reconnects in ${seconds} s.`;
    };
    show();
    this.#timer = setInterval(show, 500);
  }
}
