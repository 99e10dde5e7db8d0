/** One line about a log entry, and what kind of entry it is. */

const quote = (text) => `“${text}”`;
const joined = (...parts) => parts.filter((part) => part !== null && part !== undefined && part !== '').join(' · ');
const place = (value) => (Number.isFinite(value) ? value.toFixed(3) : '–');

/** Which of the three logs an entry stands in: `in`, `out` or `datagrams`, told by the stream's key, such as hg:{out:3}:datagrams. */
export function logOf(stream, type) {
  if (/datagram/.test(stream) || type.startsWith('datagram.')) return 'datagrams';
  return directionOf(stream);
}

/** `in` or `out`, by the stream's key alone. */
export function directionOf(stream) {
  return /[{:]out:/.test(stream) ? 'out' : 'in';
}

/** The colour family of a type, a class name in log.css. */
export function familyOf(type) {
  if (/failed|ended|closed|disconnect|unsubscribed/.test(type)) return 'end';
  if (/^message\./.test(type)) return 'message';
  if (/^datagram\./.test(type)) return 'datagram';
  if (/^whisper\./.test(type)) return 'whisper';
  if (/^(channel|subscription)\./.test(type)) return 'channel';
  if (/^session\./.test(type)) return 'session';
  return 'other';
}

function aboutFrame(frame, channel) {
  if (frame === null || typeof frame !== 'object') return compact(frame);
  const where = channel ?? frame.channel;
  const content = frame.data?.content ?? frame.content;
  if (typeof content === 'string') return joined(quote(content), where);
  if (Number.isFinite(frame.x)) return joined(`${frame.type} ${place(frame.x)}, ${place(frame.y)}`, where);
  return joined(frame.type ?? compact(frame.data ?? frame), where);
}

const SUMMARIES = {
  'session.opened': ({ data }) => joined(data.transport, data.path, data.address),
  'session.auth_requested': ({ data }) => joined('token sealed', data.protocol ? `protocol ${data.protocol}` : null),
  'session.resumed': ({ data }) => `generation ${data.generation}`,
  'session.restored': ({ data }) => `generation ${data.generation}`,
  'session.disconnected': ({ data }) => joined(`generation ${data.generation}`, data.code, data.reason, data.by ? `by the ${data.by}` : null),
  'session.closed': ({ data }) => joined(data.code, data.reason, data.by ? `by the ${data.by}` : null),
  'session.authenticated': ({ data, user }, name) => `is ${data.info?.name ?? name(data.user ?? user) ?? 'nobody by name'}`,
  'session.auth_failed': ({ data }) => joined(data.error),
  'session.disconnect_requested': ({ data }) => joined(data.code, data.reason),
  'channel.subscribe_requested': ({ data }) => joined(data.channel, data.recover ? 'recover' : null),
  'channel.unsubscribe_requested': ({ data }) => joined(data.channel, data.reason),
  'channel.subscribed': ({ data }) => joined(data.channel),
  'channel.unsubscribed': ({ data }) => joined(data.channel, data.reason),
  'subscription.granted': ({ topic, user, data }, name) =>
    joined(target(topic), data.member?.info?.name ?? name(user), data.recover ? 'recover' : null),
  'subscription.ended': ({ topic, data }) => joined(target(topic), data.reason),
  'message.received': ({ data }) => aboutFrame(data.frame, data.channel),
  'message.published': ({ topic, data }) => joined(target(topic), aboutFrame(data.frame, '')),
  'whisper.received': ({ data }) => joined(data.event, data.channel),
  'datagram.received': ({ data }) => aboutFrame(data.frame, data.channel),
  'datagram.published': ({ topic, data }) => joined(target(topic), aboutFrame(data.frame, '')),
};

/** What an entry says, in one line. `nameOf(userId)` gives a member's name or null. */
export function summarize(entry, nameOf) {
  const name = (id) => (id === null || id === undefined || id === '' ? null : nameOf(id) ?? `user ${id}`);
  const about = SUMMARIES[entry.type];
  if (!about || entry.data === null || typeof entry.data !== 'object') return compact(entry.data);
  return about(entry, name) || compact(entry.data);
}

function compact(value) {
  const text = JSON.stringify(value) ?? '';
  return text.length > 160 ? `${text.slice(0, 159)}…` : text;
}

/** Where a publication goes: a channel by its name, another topic by its kind. The whole topic stands in the opened entry. */
function target(topic) {
  const [kind, name] = String(topic ?? '').split(/:(.*)/su);
  return `→ ${kind === 'channel' ? name : kind}`;
}
