/** What members show one another without a message: where their pointer is and that they are typing. Both ride on datagrams. */
import { byId, el, svg } from './dom.js';
import { tint } from './people.js';

/** Thirty a second, the most that this page sends. */
const CURSOR_EVERY_MS = 34;
const TYPING_EVERY_MS = 1_500;
const TYPING_LASTS_MS = 3_500;
const CURSOR_IDLE_MS = 6_000;
const CURSOR_GONE_MS = 60_000;
const ARROW = 'M1 1 L1 15.5 L5.2 11.8 L8 18 L11 16.7 L8.3 10.7 L13.8 10.3 Z';

/** Sends this page's pointer, at most every CURSOR_EVERY_MS and always its last place. Places are 0..1 of the room's size. */
export function shareCursor(room, send) {
  let last = 0;
  let timer = null;
  let place = null;
  const flush = () => {
    timer = null;
    last = performance.now();
    send(place);
  };
  room.addEventListener('pointermove', (event) => {
    const box = room.getBoundingClientRect();
    const within = (value, size) => Math.round(Math.min(1, Math.max(0, value / size)) * 10_000) / 10_000;
    place = { x: within(event.clientX - box.left, box.width), y: within(event.clientY - box.top, box.height) };
    timer ??= setTimeout(flush, Math.max(0, CURSOR_EVERY_MS - (performance.now() - last)));
  });
}

/** The pointers of the others, drawn over the room. */
export class Cursors {
  #layer = byId('cursors');
  #shown = new Map();

  move(id, name, x, y) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) return;
    const cursor = this.#shown.get(id) ?? this.#create(id, name);
    const [left, top] = [x, y].map((value) => Math.min(1, Math.max(0, value)));
    // The element is as large as the room, so per cent of its own size are per cent of the room.
    cursor.element.style.transform = `translate(${left * 100}%, ${top * 100}%)`;
    cursor.element.classList.toggle('flipped', left > 0.8);
    cursor.element.classList.remove('idle');
    clearTimeout(cursor.idle);
    clearTimeout(cursor.gone);
    cursor.idle = setTimeout(() => cursor.element.classList.add('idle'), CURSOR_IDLE_MS);
    cursor.gone = setTimeout(() => this.remove(id), CURSOR_GONE_MS);
  }

  remove(id) {
    const cursor = this.#shown.get(id);
    if (!cursor) return;
    clearTimeout(cursor.idle);
    clearTimeout(cursor.gone);
    cursor.element.remove();
    this.#shown.delete(id);
  }

  clear() {
    for (const id of [...this.#shown.keys()]) this.remove(id);
  }

  #create(id, name) {
    const arrow = svg('svg', { width: 16, height: 20, viewBox: '0 0 16 20' }, svg('path', { d: ARROW }));
    const element = tint(el('div', { class: 'cursor', 'data-user': id }, arrow, el('span', {}, name)), id);
    this.#layer.append(element);
    const cursor = { element, idle: null, gone: null };
    this.#shown.set(id, cursor);
    return cursor;
  }
}

/** Says at most every TYPING_EVERY_MS that the composer is being written in. Gives a function that starts anew, for the next message. */
export function shareTyping(input, send) {
  let last = -Infinity;
  input.addEventListener('input', () => {
    const now = performance.now();
    if (input.value.trim() === '' || now - last < TYPING_EVERY_MS) return;
    last = now;
    send();
  });
  return () => { last = -Infinity; };
}

/** The line that says who is typing. */
export class Typing {
  #line = byId('typing');
  #writers = new Map();

  add(id, name) {
    clearTimeout(this.#writers.get(id)?.timer);
    this.#writers.set(id, { name, timer: setTimeout(() => this.remove(id), TYPING_LASTS_MS) });
    this.#show();
  }

  remove(id) {
    clearTimeout(this.#writers.get(id)?.timer);
    if (this.#writers.delete(id)) this.#show();
  }

  clear() {
    for (const id of [...this.#writers.keys()]) this.remove(id);
  }

  #show() {
    const names = [...this.#writers.values()].map(({ name }) => name);
    let words = '';
    if (names.length === 1) words = `${names[0]} is typing`;
    else if (names.length === 2) words = `${names[0]} and ${names[1]} are typing`;
    else if (names.length > 2) words = `${names.length} people are typing`;
    this.#line.textContent = words;
    this.#line.classList.toggle('active', words !== '');
  }
}
