/** The dialog that asks for a name. */
import { byId } from './dom.js';
import { initials, randomName, tint } from './people.js';

const REMEMBERED = 'headgate.name';
const LONGEST_NAME = 40;

/** Gives the name to join with: the one in the address (?name=Ada) at once, or what the reader enters. */
export function askName() {
  const given = new URLSearchParams(location.search).get('name')?.trim().slice(0, LONGEST_NAME);
  if (given) return Promise.resolve(given);
  const dialog = byId('join');
  const input = byId('join-name');
  const face = byId('join-face');
  const show = () => {
    const name = input.value.trim() || '?';
    face.textContent = initials(name);
    tint(face, name);
  };
  const suggest = (name) => {
    input.value = name;
    show();
  };
  input.maxLength = LONGEST_NAME;
  input.addEventListener('input', show);
  byId('join-other').addEventListener('click', () => suggest(randomName()));
  suggest(sessionStorage.getItem(REMEMBERED) ?? randomName());
  // There is no room without a name. Browsers let a cancelled close be cancelled only once, so the dialog is opened again.
  dialog.addEventListener('close', () => byId('join-form').dataset.done ?? dialog.showModal());
  dialog.showModal();
  input.select();
  return new Promise((resolve) => {
    byId('join-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (name === '') return;
      sessionStorage.setItem(REMEMBERED, name);
      byId('join-form').dataset.done = '';
      dialog.close();
      resolve(name);
    });
  });
}
