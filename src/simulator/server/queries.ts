import { createHash } from 'node:crypto';
import type { BinaryNode } from '@whiskeysockets/baileys';
import { bundleNodes } from '../accounts/device-keys.ts';
import type { KeyBundle } from '../accounts/signal-party.ts';
import { type Network, stanzaTime } from '../network.ts';
import { bigEndian, childOf, childrenOf, element, elementsOf, resultOf } from '../wire/nodes.ts';
import type { ClientConnection } from './connection.ts';
import { goActive, removeDevice } from './login.ts';
import { answerUsync } from './usync.ts';

const MEDIA_CONN_TTL_SECONDS = 3600;

/** Answers an `<iq>` of type get or set, and does what it asks for. */
export function answerQuery(network: Network, connection: ClientConnection, query: BinaryNode): void {
  connection.send(resultOf(query, answerOf(network, connection, query)));
  if (isGoingActive(query)) goActive(connection);
  if (query.attrs.xmlns === 'md' && childOf(query, 'remove-companion-device') && connection.device) {
    removeDevice(network, connection.device);
  }
}

/** Whether a client says that it is ready for what waits for it. */
export const isGoingActive = (query: BinaryNode): boolean =>
  query.attrs.xmlns === 'passive' && childOf(query, 'active') !== undefined;

/** The content of the answer. A query that the network does not know gets an empty result. */
function answerOf(
  network: Network,
  connection: ClientConnection,
  query: BinaryNode,
): BinaryNode[] | undefined {
  switch (query.attrs.xmlns) {
    case 'encrypt':
      return answerKeys(network, connection, query);
    case 'usync':
      return answerUsync(network, query);
    case 'w:m':
      return [mediaConnection(network, connection)];
    case 'abt':
      return [element('props', { protocol: '1' })];
    case 'blocklist':
      return [element('list')];
    case 'privacy':
      return [privacySettings(query)];
    case 'w:mex':
      return [element('result', {}, Buffer.from(MEX_ANSWER))];
    case 'w:sync:app:state':
      return [emptyCollections(query)];
    default:
      return undefined;
  }
}

const MEX_ANSWER = JSON.stringify({
  data: { xwa2_fetch_account_reachout_timelock: { is_active: false, time_enforcement_ends: '0' } },
});

function answerKeys(
  network: Network,
  connection: ClientConnection,
  query: BinaryNode,
): BinaryNode[] | undefined {
  const keys = connection.device?.keys;
  const wanted = childOf(query, 'key');
  if (wanted) return [keyList(network, wanted)];
  if (!keys) return undefined;
  if (childOf(query, 'count')) return [element('count', { value: keys.count.toString() })];
  if (childOf(query, 'digest')) return keys.base && [digestOf(keys.base)];
  if (childOf(query, 'rotate')) keys.rotate(query);
  else if (childOf(query, 'registration')) keys.upload(query);
  return undefined;
}

function keyList(network: Network, wanted: BinaryNode): BinaryNode {
  const users = childrenOf(wanted, 'user').flatMap(({ attrs }) => {
    const bundle = bundleOf(network, attrs.jid);
    return bundle ? [element('user', { jid: attrs.jid, t: stanzaTime(network) }, bundleNodes(bundle))] : [];
  });
  return element('list', {}, users);
}

function bundleOf(network: Network, jid: string | undefined): KeyBundle | undefined {
  const target = network.directory.resolve(jid);
  if (!target?.account.onWhatsApp) return undefined;
  return target.device === 0
    ? target.account.party().bundle()
    : target.account.devices.get(target.device)?.keys.take();
}

function digestOf(base: Omit<KeyBundle, 'preKey'>): BinaryNode {
  const hash = createHash('sha1').update(base.identity).update(base.signedPreKey.public).digest();
  return element('digest', {}, [
    element('registration', {}, bigEndian(base.registrationId, 4)),
    element('identity', {}, base.identity),
    element('hash', {}, hash),
  ]);
}

function mediaConnection(network: Network, connection: ClientConnection): BinaryNode {
  return element(
    'media_conn',
    {
      auth: network.media.authFor(connection.noiseKey, connection.proxy),
      ttl: MEDIA_CONN_TTL_SECONDS.toString(),
      auth_ttl: MEDIA_CONN_TTL_SECONDS.toString(),
      max_buckets: '12',
    },
    [element('host', { hostname: network.mediaHost, maxContentLengthBytes: '104857600' })],
  );
}

/** Both `get` of the settings and `set` of tokens use this namespace. */
function privacySettings(query: BinaryNode): BinaryNode {
  if (childOf(query, 'tokens')) return element('tokens');
  const names = ['readreceipts', 'last', 'online', 'profile', 'status', 'groupadd', 'calladd'];
  return element(
    'privacy',
    {},
    names.map((name) => element('category', { name, value: 'all' })),
  );
}

function emptyCollections(query: BinaryNode): BinaryNode {
  const collections = elementsOf(childOf(query, 'sync')).map(({ attrs }) =>
    element('collection', { name: attrs.name, version: attrs.version ?? '0' }),
  );
  return element('sync', {}, collections);
}
