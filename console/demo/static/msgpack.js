/** Reads msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md), as far as frames use it: no extension types. */

const MAX_DEPTH = 32;

/** The value that the bytes hold. Throws when they are cut short, too deep, of an unknown type, or followed by more. */
export function decodeMsgpack(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (!reader.atEnd) throw new Error('There is more than one msgpack value.');
  return value;
}

class Reader {
  #bytes;
  #view;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get atEnd() {
    return this.#at === this.#bytes.length;
  }

  value(depth) {
    if (depth > MAX_DEPTH) throw new Error('The msgpack value is nested too deep.');
    const head = this.#number('getUint8', 1);
    if (head <= 0x7f) return head;
    if (head <= 0x8f) return this.#map(head & 0x0f, depth);
    if (head <= 0x9f) return this.#array(head & 0x0f, depth);
    if (head <= 0xbf) return this.#string(head & 0x1f);
    if (head >= 0xe0) return head - 0x100;
    return this.#marked(head, depth);
  }

  #marked(head, depth) {
    switch (head) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.#take(this.#number('getUint8', 1));
      case 0xc5: return this.#take(this.#number('getUint16', 2));
      case 0xc6: return this.#take(this.#number('getUint32', 4));
      case 0xca: return this.#number('getFloat32', 4);
      case 0xcb: return this.#number('getFloat64', 8);
      case 0xcc: return this.#number('getUint8', 1);
      case 0xcd: return this.#number('getUint16', 2);
      case 0xce: return this.#number('getUint32', 4);
      case 0xcf: return Number(this.#number('getBigUint64', 8));
      case 0xd0: return this.#number('getInt8', 1);
      case 0xd1: return this.#number('getInt16', 2);
      case 0xd2: return this.#number('getInt32', 4);
      case 0xd3: return Number(this.#number('getBigInt64', 8));
      case 0xd9: return this.#string(this.#number('getUint8', 1));
      case 0xda: return this.#string(this.#number('getUint16', 2));
      case 0xdb: return this.#string(this.#number('getUint32', 4));
      case 0xdc: return this.#array(this.#number('getUint16', 2), depth);
      case 0xdd: return this.#array(this.#number('getUint32', 4), depth);
      case 0xde: return this.#map(this.#number('getUint16', 2), depth);
      case 0xdf: return this.#map(this.#number('getUint32', 4), depth);
      default: throw new Error(`The msgpack type 0x${head.toString(16)} is not one of a frame.`);
    }
  }

  /** DataView's own RangeError tells of bytes that are cut short. */
  #number(read, size) {
    const value = this.#view[read](this.#at);
    this.#at += size;
    return value;
  }

  #take(length) {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new RangeError('The msgpack value is cut short.');
    const part = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return part;
  }

  #string(length) {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(this.#take(length));
  }

  #array(length, depth) {
    const values = [];
    for (let index = 0; index < length; index += 1) values.push(this.value(depth + 1));
    return values;
  }

  /** fromEntries defines the keys as own properties, so that a key "__proto__" stays a key. */
  #map(length, depth) {
    const entries = [];
    for (let index = 0; index < length; index += 1) entries.push([this.value(depth + 1), this.value(depth + 1)]);
    return Object.fromEntries(entries);
  }
}
