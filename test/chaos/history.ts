/** A message that reached WhatsApp, as the recorder saw it. */
export interface Arrival {
  atMs: number;
  session: string;
  epoch: number;
  /** The WhatsApp message id. */
  id: string;
  to: string;
  /** Names the message: every accepted message has a text of its own. */
  text: string;
}

/** A message on the wire, whether WhatsApp took it or not. */
export interface Attempt {
  atMs: number;
  session: string;
  text: string;
}

export interface Connection {
  session: string;
  epoch: number;
  proxy: number;
  openedMs: number;
  closedMs: number | null;
  /** A newer connection of the session came while this one was open. */
  replaced: boolean;
}

/** A message for which the system has answered 200. */
export interface AcceptedMessage {
  text: string;
  to: string;
  /** Null: the system chooses. */
  session: string | null;
  /** Groups messages whose order counts; within it the place. */
  stream: string;
  place: number;
  /** When a cancel of it was answered. */
  cancelledMs: number | null;
}

/** What the ledger says in the end. */
export interface LedgerRow {
  taskId: string;
  session: string;
  text: string;
  state: string;
  reason: string | null;
}

/** All that happened in a run. Times are milliseconds since its start. */
export interface History {
  /** Those that were answered with 200, and those whose last request never had an answer. */
  accepted: AcceptedMessage[];
  /** Texts of messages that were asked for without ever having been answered: they may be there or not. */
  unanswered: ReadonlySet<string>;
  ledger: LedgerRow[];
  arrivals: Arrival[];
  connections: Connection[];
  /** Seen from outside and in Redis. */
  capBreaches: string[];
  /** Requests of replaced workers that were not refused. */
  staleWrites: string[];
  /** For so long after a cancel, what was in flight may still go out. */
  inFlightMs: number;
}
