import type { proto } from '@whiskeysockets/baileys';
import { type Device, lidJid } from '../accounts/directory.ts';
import { type Network, stanzaTime } from '../network.ts';
import { element } from '../wire/nodes.ts';
import type { ClientConnection } from './connection.ts';

const LOGGED_OUT = 401;

/** A client that says that it is paired: checked against the device's Noise key, then let in. */
export function logIn(network: Network, connection: ClientConnection, payload: proto.ClientPayload): void {
  const phone = payload.username?.toString() ?? '';
  const number = payload.device ?? 0;
  const fault = network.faults.strike('login-failure', {
    phone,
    device: number,
    ...(connection.proxy !== undefined && { proxy: connection.proxy }),
  });
  if (fault) {
    if (fault.code === undefined) connection.drop();
    else refuse(connection, fault.code);
    return;
  }
  const device = network.directory.byNoiseKey(connection.noiseKey);
  if (!device || device.account.phone !== phone || device.number !== number) {
    refuse(connection, LOGGED_OUT);
    return;
  }
  const earlier = connectionsOf(network, device);
  connection.device = device;
  device.stats.logins += 1;
  device.stats.connections += 1;
  device.stats.maxConnections = Math.max(device.stats.maxConnections, device.stats.connections);
  network.ledger.enter(connection.proxy, 'sessions', connection.noiseKey);
  for (const other of earlier) replace(other);
  connection.send(
    element('success', {
      t: stanzaTime(network),
      lid: lidJid(device.account, device.number),
      display_name: device.account.name,
    }),
  );
}

/** The client is ready for what came while it was away: `<iq xmlns=passive><active>`. */
export function goActive(connection: ClientConnection): void {
  const { device } = connection;
  if (!device) return;
  const count = device.mailbox.open(connection.deliver);
  connection.send(element('ib', {}, [element('offline', { count: count.toString() })]));
}

/** Undoes a login when its connection has ended. */
export function logOff(network: Network, connection: ClientConnection): void {
  const { device } = connection;
  if (!device) return;
  device.mailbox.close(connection.deliver);
  device.stats.connections -= 1;
  network.ledger.leave(connection.proxy, 'sessions', connection.noiseKey);
}

/** Open connections that are logged in as this device. */
export const connectionsOf = (network: Network, device: Device): ClientConnection[] =>
  [...network.connections].filter((each) => each.device === device && !each.closed);

/** 401: the phone has removed the device; it will not get in again. */
export function removeDevice(network: Network, device: Device): void {
  network.directory.unlink(device);
  for (const connection of connectionsOf(network, device)) {
    connection.endWithError(LOGGED_OUT, element('conflict', { type: 'device_removed' }));
  }
}

/** 440: somebody else has logged in as this device. */
export function replace(connection: ClientConnection): void {
  if (connection.device) connection.device.stats.replaced += 1;
  connection.endWithError(undefined, element('conflict', { type: 'replaced' }));
}

function refuse(connection: ClientConnection, code: number): void {
  connection.end(element('failure', { reason: code.toString(), location: 'sim' }));
}
