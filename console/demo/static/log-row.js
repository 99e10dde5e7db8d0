/** One row of the log: a line, and the whole entry when it is opened. */
import { el, shortId } from './dom.js';
import { jsonView } from './json-view.js';
import { directionOf, familyOf, logOf, summarize } from './summaries.js';

/** The part of a traceparent that a whole trace shares (https://www.w3.org/TR/trace-context/#traceparent-header). */
export function traceOf(entry) {
  return /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(entry.traceparent ?? '')?.[1] ?? null;
}

/** A row for a record of the log, {stream, redis_id, entry}. */
export class LogRow {
  #record;
  #nameOf;
  #summary = el('span', { class: 'summary' });
  #count = el('span', { class: 'count', hidden: true });
  #times = 1;

  constructor(record, nameOf) {
    const { stream, entry } = record;
    this.#nameOf = nameOf;
    const direction = directionOf(stream);
    const line = el(
      'summary',
      {},
      el('time', { datetime: new Date(Number(entry.ts)).toISOString() }, clockOf(Number(entry.ts))),
      el('span', { class: 'direction', title: stream }, direction),
      el('span', { class: 'type', title: entry.type }, entry.type),
      el('span', { class: 'session', title: entry.session || 'no session' }, shortId(entry.session) || '–'),
      el('span', { class: 'about' }, this.#count, this.#summary),
    );
    this.element = el('details', { class: `entry family-${familyOf(entry.type)}` }, line);
    Object.assign(this.element.dataset, {
      type: entry.type,
      log: logOf(stream, entry.type),
      direction,
      session: entry.session ?? '',
      trace: traceOf(entry) ?? '',
    });
    this.element.addEventListener('toggle', () => this.#toggle());
    this.#take(record);
  }

  get id() {
    return this.#record.entry.id;
  }

  /** Takes a newer entry of the same burst into this row. */
  fold(record) {
    this.#times += 1;
    this.#count.hidden = false;
    this.#count.textContent = `×${this.#times}`;
    this.#count.title = `${this.#times} entries in one burst; this is the newest`;
    this.#take(record);
  }

  #take(record) {
    this.#record = record;
    this.element.dataset.id = record.entry.id;
    this.element.dataset.redisId = record.redis_id;
    this.#summary.textContent = summarize(record.entry, this.#nameOf);
  }

  #toggle() {
    this.element.querySelector('.whole')?.remove();
    if (this.element.open) this.element.append(whole(this.#record));
  }
}

function whole({ stream, redis_id: redisId, entry }) {
  const rows = [
    ['Stream', el('code', {}, stream)],
    ['Redis id', el('code', {}, redisId)],
    ['Trace', traceparent(entry)],
  ];
  return el(
    'div',
    { class: 'whole' },
    el('dl', {}, ...rows.flatMap(([term, value]) => [el('dt', {}, term), el('dd', {}, value)])),
    el('pre', { tabindex: '0', 'aria-label': 'The whole entry as JSON' }, jsonView(entry)),
  );
}

function traceparent(entry) {
  const trace = traceOf(entry);
  if (trace === null) return el('span', {}, entry.traceparent || 'none');
  const [before, after] = entry.traceparent.split(trace);
  return el('code', { class: 'traceparent' }, before, el('mark', {}, trace), after);
}

/** Hours to milliseconds of the local time. */
function clockOf(milliseconds) {
  const time = new Date(milliseconds);
  const pad = (value, width = 2) => String(value).padStart(width, '0');
  return `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}.${pad(time.getMilliseconds(), 3)}`;
}
