import type { BinaryNode } from '@whiskeysockets/baileys';
import { type Account, lidJid, phoneJid } from '../accounts/directory.ts';
import type { Network } from '../network.ts';
import { bytesOf, childOf, childrenOf, element, elementsOf } from '../wire/nodes.ts';

/** The answer to "who is this, with which devices": `<iq xmlns=usync>`. */
export function answerUsync(network: Network, query: BinaryNode): BinaryNode[] {
  const usync = childOf(query, 'usync');
  const protocols = elementsOf(childOf(usync, 'query')).map(({ tag }) => tag);
  const users = childrenOf(childOf(usync, 'list'), 'user').flatMap((user) => {
    const asked = subjectOf(network, user);
    return asked ? [userNode(asked.account, asked.jid, protocols)] : [];
  });
  return [element('usync', { ...usync?.attrs }, [element('result'), element('list', {}, users)])];
}

/** A user is named by a JID, or by a number in international form (`<contact>+972…</contact>`). */
function subjectOf(network: Network, user: BinaryNode): { account: Account; jid: string } | undefined {
  const number = bytesOf(childOf(user, 'contact'))?.toString().replace(/\D/g, '');
  if (number) {
    const account = network.directory.account(number);
    return { account, jid: phoneJid(account) };
  }
  const found = network.directory.resolve(user.attrs.jid);
  return found && user.attrs.jid ? { account: found.account, jid: user.attrs.jid } : undefined;
}

function userNode(account: Account, jid: string, protocols: string[]): BinaryNode {
  const content: BinaryNode[] = [];
  for (const protocol of protocols) {
    if (protocol === 'contact') {
      content.push(element('contact', { type: account.onWhatsApp ? 'in' : 'out' }));
    } else if (account.onWhatsApp && protocol === 'devices') {
      content.push(element('devices', {}, [element('device-list', { hash: '2:sim' }, deviceNodes(account))]));
    } else if (account.onWhatsApp && protocol === 'lid' && !jid.endsWith('@lid')) {
      content.push(element('lid', { val: lidJid(account) }));
    } else if (protocol === 'status') {
      content.push(element('status', { t: '0' }, Buffer.from('')));
    }
  }
  return element('user', { jid }, content);
}

/** The phone, and the companions that have uploaded keys: nobody could encrypt to the others yet. */
function deviceNodes(account: Account): BinaryNode[] {
  const nodes = [element('device', { id: '0' })];
  for (const device of account.devices.values()) {
    if (!device.keys.uploaded) continue;
    nodes.push(element('device', { id: device.number.toString(), 'key-index': device.number.toString() }));
  }
  return nodes;
}
