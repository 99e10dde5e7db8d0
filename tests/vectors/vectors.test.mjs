// What every implementation must agree on, in JavaScript with nothing but Node: `node --test tests/vectors`.

import assert from "node:assert/strict";
import { createHash, createHmac, hkdfSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const read = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), "utf8"));

const hmac = (key, text, encoding) => createHmac("sha256", key).update(text).digest(encoding);

/** CRC-32 (IEEE 802.3), bit by bit; node:zlib has one only since 22.2. */
const crc32 = (bytes) => {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) {
      crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
  }
  return ~crc >>> 0;
};

for (const one of read("signing.json").vectors) {
  test(`a request is signed: ${one.name}`, () => {
    const hash = createHash("sha256").update(one.body).digest("hex");
    const { method, target, timestamp, nonce, session, user } = one;
    const text = ["v1", method.toUpperCase(), target, timestamp, nonce, session, user, hash].join("\n");
    assert.equal(text, one.canonical);
    assert.equal(`v1=${hmac(one.secret, text, "hex")}`, one.signature);
  });
}

for (const one of read("keys.json").vectors) {
  test(`a key has its partition: ${JSON.stringify(one.key)}`, () => {
    const crc = crc32(Buffer.from(one.key));
    assert.equal(crc, one.crc32);
    assert.equal(crc % one.partitions, one.partition);
  });
}

for (const one of read("tokens.json").cases) {
  test(`a connection token is signed: ${one.name}`, () => {
    const key = Buffer.from(hkdfSync("sha256", one.secret, "", "headgate connection token", 32));
    assert.equal(key.toString("hex"), one.derived_key);
    const [header, claims, mac] = one.token.split(".");
    const part = (text) => JSON.parse(Buffer.from(text, "base64url"));
    assert.deepEqual(part(header), { alg: "HS256", typ: "headgate-connection+jwt", kid: one.key_id });
    assert.deepEqual(part(claims), one.claims);
    assert.equal(hmac(key, `${header}.${claims}`, "base64url"), mac);
  });
}

for (const one of read("channel_auth.json").cases) {
  test(`a subscription is signed: ${one.channel}`, () => {
    const parts = [one.socket_id, one.channel, one.channel_data].filter((part) => part !== null);
    assert.equal(`${one.key}:${hmac(one.secret, parts.join(":"), "hex")}`, one.auth);
  });
}
