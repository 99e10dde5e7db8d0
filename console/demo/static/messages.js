/** The messages of the room, and the life of those that were sent from here. */
import { byId, duration, el, followEnd, keepNewest, shortId } from './dom.js';
import { avatar, tint } from './people.js';

const KEPT = 300;
/** Messages of one author so close together stand under one name. */
const SAME_GROUP_MS = 120_000;
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

/** The list of messages. `onReveal(event)` is called when the reader asks for a message's entry in the log. */
export class Messages {
  #list = byId('messages');
  #follow = followEnd(this.#list);
  #last = null;
  #onReveal;

  constructor(onReveal) {
    this.#onReveal = onReveal;
  }

  has(id) {
    return this.find(id) !== null;
  }

  find(id) {
    return [...this.#list.children].find((item) => item.dataset.message === String(id)) ?? null;
  }

  /** A message as the application published it; `own` when it is this user's, from another window. */
  received({ id, user, content, at, own }) {
    this.#add(this.#item({ id, user, content, at, own }), user.id, at);
  }

  /** A message from here that is on its way; gives its life, to be told what happens to it. */
  sent({ id, user, content, onAgain }) {
    const at = Date.now();
    const item = this.#item({ id, user, content, at, own: true });
    const life = new Life(item, { onReveal: this.#onReveal, onAgain, onChange: () => this.#follow.stick() });
    this.#add(item, user.id, at);
    this.#follow.toEnd();
    return life;
  }

  /** A line of the room itself: who came, who left, what the connection did. */
  note(text) {
    this.#last = null;
    this.#append(el('li', { class: 'note' }, text));
  }

  /** Takes a message out that turned out to be shown already. */
  drop(id) {
    this.find(id)?.remove();
  }

  #item({ id, user, content, at, own }) {
    const time = el('time', { datetime: new Date(at).toISOString() }, clock.format(at));
    return tint(
      el(
        'li',
        { class: `message${own ? ' own' : ''}`, 'data-message': String(id), 'data-user': user.id },
        avatar(user.id, user.name),
        el('p', { class: 'byline' }, el('strong', {}, own ? 'You' : user.name), ' ', time),
        el('p', { class: 'bubble' }, content),
      ),
      user.id,
    );
  }

  #add(item, userId, at) {
    if (this.#last?.userId === userId && at - this.#last.at < SAME_GROUP_MS) item.classList.add('grouped');
    this.#last = { userId, at };
    this.#append(item);
  }

  #append(item) {
    this.#list.append(item);
    keepNewest(this.#list, KEPT);
    this.#follow.stick();
  }
}

/** What a sent message goes through: sent, durable in the log, stored by the application. Times are since it was sent. */
export class Life {
  #item;
  #line = el('p', { class: 'life' });
  #began = performance.now();
  #on;

  constructor(item, on) {
    this.#item = item;
    this.#on = on;
    this.#item.append(this.#line);
    this.#show('sent', step('sent', 'done'), step('durable', 'next'), step('stored', 'next'));
  }

  get content() {
    return this.#item.querySelector('.bubble').textContent;
  }

  /** The gateway's ack: the event is in the log. */
  durable(event) {
    if (this.#item.dataset.stage !== 'sent') return;
    this.#show('durable', step('sent', 'done'), this.#durableStep(event), step('the application has it next', 'waiting'));
  }

  /** The application's reply. @param {string|null} id  the id it gave the message */
  stored(id) {
    const durable = this.#line.querySelector('.durable') ?? step('durable', 'done');
    const label = id === null ? 'answered by the application' : `stored as ${id.length > 12 ? `…${shortId(id)}` : `#${id}`}`;
    if (id !== null) this.#item.dataset.message = id;
    this.#show('stored', step('sent', 'done'), durable, step(label, 'done', this.#elapsed()));
  }

  /** The gateway or the application would not have it. */
  refused(words, temporary) {
    this.#show('refused', step(words, 'bad'), temporary ? this.#again() : null);
  }

  /** The session ended before the answer came. */
  interrupted() {
    if (this.#item.dataset.stage === 'durable') {
      this.#show('interrupted', this.#line.querySelector('.durable'), step('the connection ended before the reply', 'waiting'));
    } else if (this.#item.dataset.stage === 'sent') {
      this.#show('interrupted', step('not confirmed: the connection ended first', 'bad'), this.#again());
    }
  }

  /** The session goes on: whether the message is to be sent again, as the gateway never confirmed it. */
  sentAgain() {
    const lost = this.#item.dataset.stage === 'interrupted' && this.#line.querySelector('.durable') === null;
    if (lost) this.#show('sent', step('sent again', 'done'), step('durable', 'next'), step('stored', 'next'));
    return lost;
  }

  #durableStep(event) {
    const button = el('button', { type: 'button', class: 'reveal', title: `Event ${event}: show it in the log` }, 'durable');
    button.addEventListener('click', () => this.#on.onReveal(event));
    return el('span', { class: 'step done durable', 'data-event': event }, button, ' ', el('b', {}, this.#elapsed()));
  }

  #again() {
    const button = el('button', { type: 'button', class: 'reveal' }, 'Send again');
    button.addEventListener('click', () => {
      this.#item.remove();
      this.#on.onAgain();
    });
    return el('span', { class: 'step' }, button);
  }

  #elapsed() {
    return duration(performance.now() - this.#began);
  }

  #show(stage, ...steps) {
    this.#item.dataset.stage = stage;
    this.#line.replaceChildren(...steps.filter(Boolean));
    this.#on.onChange();
  }
}

function step(label, state, time = null) {
  return el('span', { class: `step ${state}` }, label, time ? ' ' : null, time ? el('b', {}, time) : null);
}
