/** Every Redis key that Flotilla uses is built here. The first group is the outside contract. */
export const keys = {
  profilesAvailable: 'profiles:available',
  profilesUsed: 'profiles:used',
  proxiesAll: 'proxies:all',
  proxiesAvailable: 'proxies:available',
  proxiesBad: 'proxies:bad',
  phoneStickyProxy: 'phone:sticky_proxy',
  proxyActiveCount: 'proxy:active_count',
  phoneActiveCount: 'phone:active_count',
  outbox: (sessionId: string) => `session:outbox:${sessionId}`,
  outboxProcessing: (sessionId: string) => `session:outbox:processing:${sessionId}`,

  /** HASH sessionId → JSON binding: the truth that the counters are a cache of. */
  bindings: 'session:bindings',
  /** HASH profile → sessionId, for profiles that are used. */
  profileOwners: 'profiles:owners',
  /** HASH profile id → profile line, for profiles whose line is JSON with an id of its own. */
  profileIndex: 'profiles:index',
  /** SET of profiles that a person took out of service; auto-provisioning leaves them alone. */
  profilesHeld: 'profiles:held',
  /** ZSET proxy → sessions, the members of `proxies:available` by load. */
  proxiesByLoad: 'proxies:by_load',
  /** SET of proxies that take no new session and are removed when their last one leaves. */
  proxiesDraining: 'proxies:draining',
  /** HASH proxy → JSON {error, at}. */
  proxyErrors: 'proxies:errors',
  /** ZSET profile → upload order, over the available ones that nobody put aside. */
  profilesOrder: 'profiles:order',
  /** HASH sessionId → profile, for stopped sessions that keep their profile. */
  profilesKept: 'profiles:kept',
  /** The last place given out in `profiles:order`. */
  profileSequence: 'profiles:sequence',
  /** SET of ids of what SQL knows to have been done to the pools, and this server has seen done. */
  poolPieces: 'inventory:pieces',
  uploadStaging: (kind: string, uploadId: string) => `upload:${kind}:${uploadId}`,

  /** HASH fingerprint of raw → lease, where the owner's `flight` does not stand for all of them. */
  outboxLeases: (sessionId: string) => `session:leases:${sessionId}`,
  /** LIST of JSON {raw, reason, at, attempts}. */
  outboxDead: (sessionId: string) => `session:dead:${sessionId}`,
  /** SET of task ids that the outbox holds (queued, processing or dead). */
  outboxTaskIds: (sessionId: string) => `session:task_ids:${sessionId}`,
  /** ZSET of task ids that ended lately, by time: late acks and repeated enqueues are recognised by it. */
  outboxEnded: (sessionId: string) => `session:ended:${sessionId}`,
  /** HASH {epoch, seenAt, notBefore, sequence; claim, request, flight: the lease of what is in flight}. */
  owner: (sessionId: string) => `session:owner:${sessionId}`,
  /** SET of session ids whose outbox holds something, or did when a worker last claimed. */
  outboxActive: 'outbox:active',

  /** STREAM of what became of tasks, applied to SQL by the ledger follower. */
  ledger: 'ledger',
  /** STRING with a lease: the process that follows the ledger. */
  ledgerFollower: 'ledger:follower',
  /** Pub/sub channels. */
  channelOutbox: 'wake:outbox',
  channelEvents: 'wake:events',
  channelFleet: 'wake:fleet',
  /** ZSET sessionId → time of the last sign of life in ms. */
  heartbeats: 'fleet:heartbeats',
  runnerLeader: 'fleet:leader',
  /** As the one above: the process that delivers webhooks. */
  webhookLeader: 'webhooks:leader',
  /** HASH sessionId → JSON of a session on its way to another node. */
  moves: 'fleet:moves',
  /** STRING with the epoch of a worker that waits for its turn. */
  waitingWorker: (sessionId: string) => `session:waiting_worker:${sessionId}`,
  alerts: 'alerts:raised',
  /** HASH sessionId → JSON {qr, expiresAt}. */
  qr: 'session:qr',
  /** LIST of JSON commands that a worker fetches with its pings. */
  commands: (sessionId: string) => `session:commands:${sessionId}`,
  /** What became of a command, as JSON, for a minute. */
  commandResult: (sessionId: string, commandId: string) => `session:command_result:${sessionId}:${commandId}`,
  /** ZSET of the ids of the last inbound messages, by time. */
  inboundSeen: (sessionId: string) => `session:inbound:${sessionId}`,
  /** ZSET of the ids of deleted sessions, by time: nothing is queued for them any more. */
  sessionsDeleted: 'sessions:deleted',
  webVersion: 'whatsapp:web_version',
  /** Run id of the server whose data was last brought up to what SQL knows. */
  incarnation: 'redis:incarnation',
  /** STRING with a lease: the process that does so. */
  restorer: 'redis:restorer',
} as const;

/** Prefix of BullMQ's own keys. */
export const BULLMQ_PREFIX = 'bull';
