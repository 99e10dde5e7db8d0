/**
 * The few helpers with which the page builds its elements. Text goes in as text nodes only, so that nothing that came from
 * others becomes markup.
 */

const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

/** An element with attributes (a null or false value leaves one out, true sets it empty) and children (elements or text). */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Removes the oldest children beyond a limit. */
export function keepNewest(parent, limit) {
  while (parent.childElementCount > limit) parent.firstElementChild.remove();
}

/**
 * Keeps a scrolling box at its end while its reader is there. Gives `stick()`, to be called after something was added, and `toEnd()`.
 * `onChange(atEnd)` is called when the reader leaves the end or comes back.
 */
export function followEnd(box, onChange = () => {}) {
  const slack = 48;
  let atEnd = true;
  const set = (now) => {
    if (now === atEnd) return;
    atEnd = now;
    onChange(atEnd);
  };
  box.addEventListener('scroll', () => set(box.scrollHeight - box.scrollTop - box.clientHeight < slack), { passive: true });
  const stick = () => { if (atEnd) box.scrollTop = box.scrollHeight; };
  new ResizeObserver(stick).observe(box);
  return {
    stick,
    toEnd() {
      set(true);
      stick();
    },
  };
}

/** A duration for reading: "1.8 ms", "142 ms", "2.4 s". */
export function duration(milliseconds) {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** The end of an id: the beginnings of ids made in the same moment are alike. */
export function shortId(id) {
  return String(id ?? '').slice(-8);
}
