/** What stands between the reader and the room, in words: no WebTransport here, no gateway, a session that was closed. */
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

  unsupported() {
    this.#show('This browser has no WebTransport', null);
    this.#root.dataset.kind = 'unsupported';
    byId('retry-button').hidden = true;
    byId('notice-next').textContent = 'The log beside this goes on: it needs no WebTransport.';
    byId('notice-more').replaceChildren(...(window.isSecureContext ? otherBrowsers() : otherAddress()));
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

function otherBrowsers() {
  return [
    el('p', {}, 'The room speaks to the gateway over WebTransport, streams and datagrams on one QUIC connection. To join:'),
    el(
      'ul',
      {},
      el('li', {}, el('strong', {}, 'Chrome, Edge or another Chromium'), ', version 100 or newer. The demo is tested with Chromium.'),
      el('li', {}, el('strong', {}, 'Firefox'), ' 125 or newer has what is needed too, but the demo is not tested with it.'),
      el('li', {}, 'Open the same address there: ', el('code', {}, `${location.origin}/`)),
    ),
  ];
}

/** Browsers offer WebTransport to secure contexts only, and plain http is one on localhost alone. */
function otherAddress() {
  const local = `http://localhost:${location.port || '80'}/`;
  return [
    el('p', {}, 'Browsers offer it only to pages from https or from this computer itself.'),
    el('p', {}, 'This page came from ', el('code', {}, location.origin), '.'),
    el('ul', {}, el('li', {}, 'On the computer that runs the gateway, open ', el('code', {}, local), '.')),
  ];
}
