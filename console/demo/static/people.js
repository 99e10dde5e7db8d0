/** Who is in the room: names, colours and the row of members. */
import { byId, el } from './dom.js';

const ADJECTIVES = ['Calm', 'Brisk', 'Merry', 'Clever', 'Quiet', 'Bright', 'Gentle', 'Nimble', 'Sunny', 'Bold', 'Lucky', 'Wise'];
const CREATURES = [
  'Otter', 'Heron', 'Trout', 'Beaver', 'Salmon', 'Egret', 'Newt', 'Wagtail', 'Dipper', 'Grebe', 'Crane', 'Kingfisher',
];
/** Hues, in degrees of OKLCH, that stay apart from one another in the light and in the dark scheme. */
const HUES = [18, 48, 78, 128, 152, 178, 212, 244, 272, 298, 326, 350];

const pick = (list) => list[Math.floor(Math.random() * list.length)];

export function randomName() {
  return `${pick(ADJECTIVES)} ${pick(CREATURES)}`;
}

/** The same hue for the same id, in every window. */
export function hueOf(id) {
  let hash = 2166136261;
  for (const character of String(id)) hash = Math.imul(hash ^ character.codePointAt(0), 16777619) >>> 0;
  return HUES[((hash ^ (hash >>> 15)) >>> 0) % HUES.length];
}

/** Gives an element the colour of a user. Set through the CSSOM, which a strict style-src allows. */
export function tint(element, id) {
  element.style.setProperty('--hue', hueOf(id));
  return element;
}

export function initials(name) {
  const words = name.trim().split(/\s+/u);
  const letters = words.length > 1 ? [words[0], words.at(-1)].map((word) => [...word][0]) : [...words[0]].slice(0, 2);
  return letters.join('').toUpperCase();
}

export function avatar(id, name) {
  return tint(el('span', { class: 'avatar', 'aria-hidden': 'true' }, initials(name)), id);
}

/** The members of the room and their row in the page. Ids are compared as text: an application may use numbers. */
export class People {
  #names = new Map();
  #list = byId('members');
  #me = null;

  get size() {
    return this.#names.size;
  }

  name(id) {
    return this.#names.get(String(id)) ?? null;
  }

  has(id) {
    return this.#names.has(String(id));
  }

  /** Replaces the row by those who are there now; the reader of the page comes first. */
  reset(me, members) {
    this.#me = String(me.id);
    this.#names = new Map([[this.#me, me.name]]);
    for (const { id, name } of members) if (id !== this.#me) this.#names.set(id, name);
    this.#list.replaceChildren(...[...this.#names].map(([id, name]) => this.#item(id, name)));
  }

  add({ id, name }) {
    if (this.#names.has(id)) return false;
    this.#names.set(id, name);
    this.#list.append(this.#item(id, name));
    return true;
  }

  remove(id) {
    if (id === this.#me || !this.#names.delete(id)) return false;
    [...this.#list.children].find((item) => item.dataset.user === id)?.remove();
    return true;
  }

  #item(id, name) {
    return el(
      'li',
      { class: 'member', 'data-user': id, title: name },
      avatar(id, name),
      el('span', { class: 'member-name' }, name),
      id === this.#me ? el('span', { class: 'you' }, 'you') : null,
    );
  }
}

/** A member as the gateway lists it, {id, info: {name}}, as {id, name} with the id as text. */
export function memberOf(member) {
  const id = String(member?.id ?? member?.user ?? member);
  return { id, name: String(member?.info?.name ?? member?.name ?? `User ${id}`) };
}
