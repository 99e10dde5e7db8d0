/** A JSON value as indented, coloured text. */
import { el } from './dom.js';

const TOKENS = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/gu;

/** A fragment of text and spans for a <pre>. */
export function jsonView(value) {
  const fragment = document.createDocumentFragment();
  const text = JSON.stringify(value, null, 2) ?? '';
  let at = 0;
  for (const match of text.matchAll(TOKENS)) {
    const [token, string, colon] = match;
    fragment.append(text.slice(at, match.index));
    if (colon) fragment.append(el('span', { class: 'json-key' }, string), colon);
    else fragment.append(el('span', { class: string ? 'json-string' : 'json-literal' }, token));
    at = match.index + token.length;
  }
  fragment.append(text.slice(at));
  return fragment;
}
