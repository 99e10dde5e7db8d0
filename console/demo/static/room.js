/** The room: what its frames mean for members, messages, pointers and the one who writes. */
import { byId } from './dom.js';
import { Messages } from './messages.js';
import { People, memberOf } from './people.js';
import { Cursors, Typing, shareCursor, shareTyping } from './presence-signals.js';

export const CHANNEL = 'presence-lobby';
const LONGEST_MESSAGE = 2000;

export class Room {
  #connection;
  #people = new People();
  #cursors = new Cursors();
  #typing = new Typing();
  #messages;
  #lives = new Map();
  #me = null;
  #position = null;
  #joined = false;
  #sequence = 0;
  #input = byId('composer-input');
  #typingAnew;

  /** @param {import('./connection.js').Connection} connection  @param {(event: string) => void} onReveal */
  constructor(connection, onReveal) {
    this.#connection = connection;
    this.#messages = new Messages(onReveal);
    connection.addEventListener('frame', ({ detail }) => this.#receive(detail));
    connection.addEventListener('datagram', ({ detail }) => this.#signal(detail));
    shareCursor(byId('room'), (place) => this.#sendSignal({ type: 'cursor', ...place }));
    this.#typingAnew = shareTyping(this.#input, () => this.#sendSignal({ type: 'typing' }));
    this.#setUpComposer();
  }

  /** The name of a user who is or was here, for the log. */
  nameOf(id) {
    return this.#people.name(id);
  }

  /**
   * A session is open. One that was resumed still is in the channel, and what it sent in vain is sent again: with its id it is
   * the same message. A new one asks for the channel, and for what was missed since the last one.
   */
  enter(me, resumed) {
    this.#me = { id: String(me.id), name: me.name };
    if (resumed) {
      for (const [id, life] of this.#lives) if (life.sentAgain()) this.#write(id, life.content);
      return;
    }
    const recover = this.#position ? { recover: this.#position } : {};
    this.#connection.send({ type: 'subscribe', channel: CHANNEL, id: this.#nextId('s'), ...recover });
  }

  /** The session is gone. */
  leave() {
    this.#setJoined(false);
    this.#cursors.clear();
    this.#typing.clear();
    for (const life of this.#lives.values()) life.interrupted();
  }

  #setUpComposer() {
    const form = byId('composer');
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#input.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    this.#input.maxLength = LONGEST_MESSAGE;
    this.#setJoined(false);
  }

  #setJoined(joined) {
    this.#joined = joined;
    byId('send-button').disabled = !joined;
    byId('room').dataset.joined = String(joined);
    this.#input.placeholder = joined ? `Message ${CHANNEL}` : 'Waiting for the gateway…';
    byId('alone').hidden = !joined || this.#people.size > 1;
  }

  #submit() {
    const content = this.#input.value.trim();
    if (!this.#joined || content === '') return;
    this.#input.value = '';
    this.#typingAnew();
    this.#send(content);
  }

  #send(content) {
    const id = this.#nextId('m');
    const onAgain = () => {
      this.#lives.delete(id);
      if (this.#joined) this.#send(content);
      else this.#input.value = content;
    };
    const life = this.#messages.sent({ id, user: this.#me, content, onAgain });
    this.#lives.set(id, life);
    this.#write(id, content);
  }

  #write(id, content) {
    this.#connection.send({ type: 'message', channel: CHANNEL, data: { content }, id });
  }

  #receive(frame) {
    const life = frame.id === undefined ? undefined : this.#lives.get(frame.id);
    if (frame.type === 'ack') life?.durable(String(frame.event));
    else if (frame.type === 'error') this.#refused(frame, life);
    else if (frame.type === 'subscribed') this.#subscribed(frame);
    else if (frame.type === 'presence') this.#presence(frame);
    else if (frame.type === 'channel_broadcast') this.#broadcast(frame);
    else if (life) this.#replied(frame, life);
  }

  #subscribed(frame) {
    if (frame.channel !== CHANNEL) return;
    const asked = this.#position !== null;
    this.#people.reset(this.#me, (frame.members ?? []).map(memberOf));
    this.#position = { epoch: frame.epoch, offset: frame.offset };
    for (const publication of frame.publications ?? []) this.#publication(publication.frame ?? publication);
    if (asked && frame.recovered === false) this.#messages.note('Messages from the time in between may be missing here.');
    this.#setJoined(true);
  }

  #presence(frame) {
    if (frame.channel !== CHANNEL) return;
    if (frame.joined) {
      const member = memberOf(frame.joined);
      if (this.#people.add(member)) this.#messages.note(`${member.name} joined`);
    }
    if (frame.left) {
      const { id } = memberOf(frame.left);
      const name = this.#people.name(id);
      this.#cursors.remove(id);
      this.#typing.remove(id);
      if (this.#people.remove(id)) this.#messages.note(`${name} left`);
    }
    byId('alone').hidden = !this.#joined || this.#people.size > 1;
  }

  #broadcast(frame) {
    if (frame.channel !== CHANNEL) return;
    if (frame.offset !== undefined) this.#position = { epoch: frame.epoch ?? this.#position?.epoch, offset: frame.offset };
    this.#publication(frame);
  }

  /** A publication is a message of the room, or an event that the application made up. */
  #publication({ data, event }) {
    if (typeof data?.content !== 'string') {
      this.#messages.note(`${event ?? 'Broadcast'}: ${JSON.stringify(data)}`.slice(0, 200));
      return;
    }
    const user = memberOf(data.user ?? 'unknown');
    this.#typing.remove(user.id);
    if (data.id !== undefined && this.#messages.has(data.id)) return;
    const own = user.id === this.#me.id;
    if (own && this.#settle(data)) return;
    const at = timeOf(data.created_at);
    this.#messages.received({ id: data.id ?? this.#nextId('r'), user, content: data.content, at, own });
  }

  /** True for a message from here whose reply was lost with its session, and which the channel's history brings instead. */
  #settle({ id, content }) {
    for (const [frameId, life] of this.#lives) {
      if (life.content !== content) continue;
      this.#lives.delete(frameId);
      life.stored(id === undefined ? null : String(id));
      return true;
    }
    return false;
  }

  #replied(frame, life) {
    const id = frame.data?.id;
    if (id !== undefined) this.#messages.drop(id);
    life.stored(id === undefined ? null : String(id));
    this.#lives.delete(frame.id);
  }

  #refused(frame, life) {
    const words = `${frame.message ?? 'Refused'} (${frame.code})`;
    if (life) {
      life.refused(words, frame.temporary === true);
      this.#lives.delete(frame.id);
    } else {
      this.#messages.note(words);
    }
  }

  #signal(frame) {
    if ((frame.channel ?? frame.room) !== CHANNEL) return;
    const id = String(frame.from?.id ?? frame.from?.user ?? frame.from);
    const name = this.#people.name(id);
    if (name === null) return;
    if (frame.type === 'cursor' || frame.type === 'position') this.#cursors.move(id, name, frame.x, frame.y);
    else if (frame.type === 'typing') this.#typing.add(id, name);
  }

  #sendSignal(frame) {
    if (this.#joined) this.#connection.sendDatagram({ ...frame, channel: CHANNEL });
  }

  /** Unique among the frames of this page and, by its random part, among those of other pages. */
  #nextId(kind) {
    this.#sequence += 1;
    return `${kind}-${this.#sequence}-${crypto.randomUUID().slice(0, 8)}`;
  }
}

function timeOf(created) {
  const at = typeof created === 'number' ? created : Date.parse(created ?? '');
  return Number.isFinite(at) ? at : Date.now();
}
