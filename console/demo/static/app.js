/** Puts the page together. */
import { Connection } from './connection.js';
import { byId } from './dom.js';
import { askName } from './join.js';
import { Log } from './log.js';
import { Notice } from './notice.js';
import { randomName } from './people.js';
import { CHANNEL, Room } from './room.js';
import { Status } from './status.js';

/** What the page's own server answers. Throws an Error with words for the reader when it does not. */
async function json(url, options) {
  const response = await fetch(url, options).catch(() => {
    throw new Error(`The page’s own server at ${location.origin} does not answer.`);
  });
  if (response.ok) return response.json();
  const { error } = await response.json().catch(() => ({}));
  throw new Error(sentence(error ?? `${url} answered ${response.status}`));
}

function sentence(words) {
  return `${words[0].toUpperCase()}${words.slice(1)}${/[.?!]$/.test(words) ? '' : '.'}`;
}

/** What the next session needs: where the gateway is, the hash of its certificate, a token for this name. */
async function prepare(name, me) {
  const body = JSON.stringify({ name });
  const [config, { token, user }] = await Promise.all([
    json('/config.json', { cache: 'no-store' }),
    json('/token', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }),
  ]);
  showApplication(config);
  Object.assign(me, user);
  return { url: config.url, certificateHash: config.certificateHash, token };
}

function showApplication({ application, applicationNote, version }) {
  byId('application').dataset.application = application;
  byId('application-name').textContent = application === 'laravel' ? 'Laravel' : 'Stand-in application';
  byId('application-note').textContent = applicationNote ?? '';
  byId('version').textContent = version ?? '';
}

function setUpViews() {
  const main = byId('main');
  for (const button of byId('views').querySelectorAll('button')) {
    button.addEventListener('click', () => show(button.dataset.view));
  }
  function show(view) {
    main.dataset.view = view;
    for (const button of byId('views').querySelectorAll('button')) {
      button.setAttribute('aria-pressed', String(button.dataset.view === view));
    }
  }
  return show;
}

function follow(connection, { me, room, log, status, notice }) {
  connection.addEventListener('roundtrip', ({ detail }) => status.roundTrip(detail));
  connection.addEventListener('state', ({ detail }) => {
    const { state, welcome, transport } = detail;
    status.set(state, welcome?.sessionId, transport);
    if (state === 'connecting') {
      notice.retrying();
    } else if (state === 'connected') {
      notice.hide();
      log.own(welcome.sessionId);
      room.enter({ id: welcome.userId ?? me.id, name: me.name }, welcome.generation > 1);
    } else {
      room.leave();
      notice.closed(detail);
    }
  });
}

async function start() {
  const show = setUpViews();
  byId('channel').textContent = CHANNEL;
  byId('second-window').href = `?name=${encodeURIComponent(randomName())}`;
  const me = {};
  const connection = new Connection(() => prepare(me.name, me));
  const log = new Log((id) => room.nameOf(id));
  const room = new Room(connection, (event) => {
    show('log');
    log.reveal(event);
  });
  const status = new Status();
  const notice = new Notice(() => connection.open());
  log.connect('/log');
  json('/config.json').then(showApplication, () => {});
  follow(connection, { me, room, log, status, notice });
  me.name = await askName();
  connection.open();
  addEventListener('pagehide', () => connection.close());
  addEventListener('pageshow', ({ persisted }) => persisted && connection.open());
}

start();
