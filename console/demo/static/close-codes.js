/** What the close codes of a session mean to the one who reads the page, and after which of them it connects again. */

/**
 * @typedef {object} Closure  Why a session ended.
 * @property {'page'|'gateway'|'lost'|'unreachable'|'server'} by  who ended it: this page, the gateway with a code, the network after
 *   it had been open, the network before it was open, or what the page's own server could not give
 * @property {number|null} code  the close code, null when none arrived
 * @property {string} reason  the words that came with it
 * @property {boolean} [reconnect]  what the gateway said in its disconnect frame
 */

const MEANINGS = new Map([
  [3000, ['The gateway had an error', 'Its log says which; a new session may go better.']],
  [3001, ['The gateway is shutting down', 'It drains its sessions before it stops; another start of it will take this one.']],
  [3005, ['The token has expired', 'A new one is asked for.']],
  [3008, ['This page read too slowly', 'More than the gateway keeps for one session was waiting to be read.']],
  [3010, ['The gateway lost the state of this session', 'A new session starts clean.']],
  [3012, ['No answer to the gateway’s ping', 'The browser may have put this page to sleep.']],
  [3013, ['Too many requests', 'The gateway allows so many frames a second to one session.']],
  [3500, ['The application ended this session', 'It asked the gateway to close it, and not to come back on its own.']],
  [3504, ['Too many sessions', 'The limit of open sessions for this user is reached: close another window first.']],
  [4400, ['A frame was malformed', 'The gateway could not read what this page sent.']],
  [4401, ['The token was refused', 'The application did not accept who this page says it is. Connecting again asks for a new one.']],
  [4403, ['Not allowed', 'The gateway does not accept this origin or this channel. Open the page under its configured origin.']],
  [4408, ['Authentication took too long', 'The token did not arrive in time.']],
  [4413, ['A frame was too large', 'The gateway refuses frames beyond its limit.']],
]);

/**
 * Whether a session that ended this way is opened again. One without a code was cut off, which a new one may mend; so was one with
 * code 0 from the gateway, for browsers report a stream that merely ended in this way.
 */
export function mayReconnect({ by, code, reconnect }) {
  if (by === 'page') return false;
  if (code === null || code === 0) return true;
  if (typeof reconnect === 'boolean') return reconnect;
  return (code >= 3000 && code < 3500) || (code >= 4000 && code < 4400);
}

/** A title, what arrived, and what can be done, each as a sentence or null. */
export function describe(closure, url) {
  if (closure.by === 'unreachable') return unreachable(closure, url);
  if (closure.by === 'server') {
    return {
      title: 'No session could be prepared',
      arrived: closure.reason,
      advice: 'The terminal in which headgate runs says more.',
    };
  }
  const [title, advice] = MEANINGS.get(closure.code) ?? ['The gateway closed this session', null];
  if (closure.by === 'lost' || !closure.code) {
    return { title: 'The connection was lost', arrived: closure.reason || 'No close code arrived.', advice: null };
  }
  return { title, arrived: `Code ${closure.code}${closure.reason ? `: ${closure.reason}` : ''}`, advice };
}

function unreachable(closure, url) {
  return {
    title: 'The gateway cannot be reached',
    arrived: `${url ?? 'The gateway'} did not answer${closure.reason ? ` (${closure.reason.replace(/\.$/, '')})` : ''}.`,
    advice:
      'Is the gateway running? WebTransport is QUIC over UDP, which a VPN, proxy or firewall may stop; WebSocket takes a certificate ' +
      'that the browser trusts: open the address above in a tab of its own and accept it.',
  };
}
