/** How far this page has come in its session, which another connection can go on from. */
export class Progress {
  #session = null;
  #secret = null;
  #offsets = {};

  /** What `auth` takes to go on with the session; undefined where there is none. */
  get resume() {
    return this.#secret === null ? undefined : { session: this.#session, secret: this.#secret, offsets: this.#offsets };
  }

  /** An auth_success. Of a session that goes on, what was missed follows and brings the places with it. */
  welcomed({ sessionId, resumeSecret, offsets, recovered }) {
    if (sessionId !== this.#session) this.#offsets = {};
    if (!recovered) Object.assign(this.#offsets, offsets);
    this.#session = sessionId;
    this.#secret = resumeSecret ?? null;
  }

  /** A frame: those with a place move the page on in its topic. */
  received(frame) {
    const { channel, epoch, offset, headgate } = frame;
    if (headgate) this.#offsets[headgate.topic] = { epoch: headgate.epoch, offset: headgate.offset };
    else if (channel !== undefined && offset !== undefined) this.#offsets[`channel:${channel}`] = { epoch, offset };
  }
}
