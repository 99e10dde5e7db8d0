/**
 * Frames on the wire: JSON objects that follow one another on a stream, and one frame in each datagram.
 *
 * The gateway may cut or merge its writes anywhere, inside a character too, so a stream is split by looking at braces
 * outside of strings and not by its newlines.
 */
import { decodeMsgpack } from './msgpack.js';

/** The longest frame that is kept, in UTF-16 units: a gateway that sends more without an end is broken. */
export const MAX_FRAME_LENGTH = 4 * 1024 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const encoder = new TextEncoder();

/** The bytes of one frame, with the newline that ends it on a stream. */
export function encodeFrame(frame) {
  return encoder.encode(`${JSON.stringify(frame)}\n`);
}

/** The bytes of one datagram. */
export function encodeDatagram(frame) {
  return encoder.encode(JSON.stringify(frame));
}

/** The frame in a datagram, JSON or msgpack by its first byte. Throws when it is neither or no map. */
export function decodeDatagram(bytes) {
  const frame = bytes[0] === OPEN ? JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) : decodeMsgpack(bytes);
  if (frame === null || typeof frame !== 'object' || Array.isArray(frame)) throw new Error('A datagram holds one map.');
  return frame;
}

/** Cuts the bytes of one stream into its JSON objects, whatever the pieces are in which they arrive. */
export class FrameSplitter {
  #decoder = new TextDecoder('utf-8', { fatal: true });
  #text = '';
  #scanned = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;

  /** Takes the next bytes, gives the frames that they complete. Throws when what stands there is no JSON object. */
  push(bytes) {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    const frames = [];
    let start = 0;
    for (let at = this.#scanned; at < this.#text.length; at += 1) {
      const code = this.#text.charCodeAt(at);
      if (this.#depth === 0) {
        if (isSpace(code)) start = at + 1;
        else if (code === OPEN) [start, this.#depth] = [at, 1];
        else throw new Error(`A frame begins with "{", not with "${this.#text[at]}".`);
      } else if (this.#closes(code)) {
        frames.push(JSON.parse(this.#text.slice(start, at + 1)));
        start = at + 1;
      }
    }
    this.#text = this.#text.slice(start);
    this.#scanned = this.#text.length;
    if (this.#text.length > MAX_FRAME_LENGTH) throw new Error(`A frame is longer than ${MAX_FRAME_LENGTH} characters.`);
    return frames;
  }

  /** Takes one character of an object; true when it is the brace that ends the object. */
  #closes(code) {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (code === BACKSLASH) this.#escaped = true;
      else if (code === QUOTE) this.#inString = false;
      return false;
    }
    if (code === QUOTE) this.#inString = true;
    else if (code === OPEN) this.#depth += 1;
    else if (code === CLOSE) this.#depth -= 1;
    return this.#depth === 0;
  }
}

function isSpace(code) {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}
