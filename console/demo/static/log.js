/** The log panel: entries as the server streams them, filtered, paused, and tied together by their traces. */
import { byId, el, followEnd } from './dom.js';
import { LogRow } from './log-row.js';

const KEPT = 500;
/** While paused, as many entries wait; older ones are dropped, as they would be from the list. */
const HELD = 500;
/** Entries of so many milliseconds are drawn at once, so that a burst of datagrams costs one layout. */
const DRAW_EVERY_MS = 60;
/** Datagrams of one session and type that follow one another so closely share a row, which lasts at most FOLD_FOR_MS. */
const FOLD_WITHIN_MS = 2_000;
const FOLD_FOR_MS = 15_000;

export class Log {
  #list = byId('log');
  #follow = followEnd(this.#list, (atEnd) => { byId('log-newest').hidden = atEnd; });
  #nameOf;
  #rows = new Map();
  #byElement = new WeakMap();
  #bursts = new Map();
  #waiting = [];
  #drawing = null;
  #paused = false;
  #counts = { in: 0, out: 0, datagrams: 0 };

  /** @param {(userId: string) => string|null} nameOf */
  constructor(nameOf) {
    this.#nameOf = nameOf;
    for (const button of byId('log-filter').querySelectorAll('button')) {
      button.addEventListener('click', () => this.#filter(button));
    }
    byId('log-pause').addEventListener('click', () => this.#pause(!this.#paused));
    byId('log-newest').addEventListener('click', () => this.#follow.toEnd());
    for (const type of ['pointerover', 'focusin']) {
      this.#list.addEventListener(type, (event) => this.#markTrace(event.target.closest('.entry')?.dataset.trace));
    }
    this.#list.addEventListener('pointerleave', () => this.#markTrace(null));
  }

  /** Follows the stream. The browser reconnects by itself; entries that come again are known by stream and id. */
  connect(url) {
    const source = new EventSource(url);
    const tell = (state) => { byId('log-state').dataset.state = state; };
    source.addEventListener('open', () => tell('live'));
    source.addEventListener('error', () => tell('waiting'));
    source.addEventListener('message', ({ data }) => this.#receive(JSON.parse(data)));
    source.addEventListener('skipped', ({ data }) => this.#skipped(JSON.parse(data).skipped));
  }

  /** Shows the entry with this id, wherever the list stands. */
  reveal(id) {
    this.#draw();
    const row = [...this.#rows.values()].findLast((each) => each.id === id);
    if (!row) return;
    const { element } = row;
    this.#filter(byId('log-filter').querySelector(`[data-log="${element.dataset.log}"]`), true);
    element.scrollIntoView({ block: 'center' });
    element.querySelector('summary').focus({ preventScroll: true });
    element.classList.remove('found');
    requestAnimationFrame(() => element.classList.add('found'));
  }

  /** Marks the rows of this page's own session. */
  own(sessionId) {
    this.#list.dataset.own = sessionId;
    for (const { element } of this.#rows.values()) this.#markOwn(element);
  }

  #receive(record) {
    this.#waiting.push(record);
    if (this.#waiting.length > HELD) this.#waiting.shift();
    if (this.#paused) this.#showHeld();
    else this.#drawing ??= setTimeout(() => this.#draw(), DRAW_EVERY_MS);
  }

  /** The server keeps so many entries for a page that reads too slowly, and says how many it left out. */
  #skipped(count) {
    this.#draw();
    this.#list.append(el('p', { class: 'skipped' }, `${count} entries were too many for this page to keep up with.`));
    this.#follow.stick();
  }

  #draw() {
    clearTimeout(this.#drawing);
    this.#drawing = null;
    if (this.#paused) return;
    const fragment = document.createDocumentFragment();
    for (const record of this.#waiting.splice(0)) this.#add(record, fragment);
    byId('log-empty').hidden = true;
    this.#list.append(fragment);
    this.#trim();
    this.#follow.stick();
    for (const [log, count] of Object.entries(this.#counts)) byId(`count-${log}`).textContent = count.toLocaleString('en');
  }

  #add(record, fragment) {
    const key = `${record.stream} ${record.redis_id}`;
    if (this.#rows.has(key)) return;
    const burst = this.#burstOf(record);
    if (burst) {
      this.#rows.delete(burst.key);
      burst.row.fold(record);
      Object.assign(burst, { key, last: record.entry.ts });
      this.#rows.set(key, burst.row);
      this.#byElement.set(burst.row.element, key);
      this.#counts.datagrams += 1;
      return;
    }
    const row = new LogRow(record, this.#nameOf);
    const { log } = row.element.dataset;
    this.#counts[log] += 1;
    this.#rows.set(key, row);
    this.#byElement.set(row.element, key);
    this.#markOwn(row.element);
    if (log === 'datagrams') this.#bursts.set(burstKey(record), { row, key, first: record.entry.ts, last: record.entry.ts });
    fragment.append(row.element);
  }

  /** The burst that a datagram continues, if its row is still there. */
  #burstOf(record) {
    const burst = this.#bursts.get(burstKey(record));
    if (!burst || !this.#rows.has(burst.key)) return null;
    const { ts } = record.entry;
    return ts - burst.last <= FOLD_WITHIN_MS && ts - burst.first <= FOLD_FOR_MS ? burst : null;
  }

  #trim() {
    while (this.#list.childElementCount > KEPT) {
      this.#rows.delete(this.#byElement.get(this.#list.firstElementChild));
      this.#list.firstElementChild.remove();
    }
    for (const [name, { key }] of this.#bursts) if (!this.#rows.has(key)) this.#bursts.delete(name);
  }

  #filter(button, on = button.getAttribute('aria-pressed') !== 'true') {
    button.setAttribute('aria-pressed', String(on));
    this.#list.classList.toggle(`hide-${button.dataset.log}`, !on);
    this.#follow.stick();
  }

  #pause(paused) {
    this.#paused = paused;
    byId('log-pause').setAttribute('aria-pressed', String(paused));
    byId('log-state').classList.toggle('paused', paused);
    this.#showHeld();
    if (!paused) this.#draw();
  }

  #showHeld() {
    const held = this.#waiting.length;
    let words = 'Pause';
    if (this.#paused) words = held === 0 ? 'Resume' : `Resume (${held}${held === HELD ? '+' : ''})`;
    byId('log-pause').replaceChildren(el('span', {}, words));
  }

  #markOwn(element) {
    element.classList.toggle('mine', element.dataset.session !== '' && element.dataset.session === this.#list.dataset.own);
  }

  /** One trace runs from the frame that a browser sent to the frame that another received: its rows light up together. */
  #markTrace(trace) {
    if (trace === this.#list.dataset.trace) return;
    this.#list.dataset.trace = trace ?? '';
    for (const { element } of this.#rows.values()) {
      element.classList.toggle('traced', Boolean(trace) && element.dataset.trace === trace);
    }
  }
}

function burstKey({ stream, entry }) {
  return [stream, entry.type, entry.session, entry.data?.frame?.type].join(' ');
}
