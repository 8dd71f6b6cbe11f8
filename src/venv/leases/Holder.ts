import { Duration } from "effect";

/** How often the holder of a lease changes the modification time of its lock file. */
export const HEARTBEAT_INTERVAL = Duration.seconds(3);

/** A holder that has sent no heartbeat for this time has stopped, or its host has died. */
export const LOST_AFTER = Duration.seconds(20);

/** If a waiting worker was itself stopped for longer than this, or could not look, it starts again to watch. */
const MAX_GAP = Duration.seconds(5);

const HEARTBEATS = `, heartbeat every ${Duration.toSeconds(HEARTBEAT_INTERVAL)} s`;

/** What a holder writes into the lock file. It empties the file when it releases the lock. */
export const holderText = (holder: string): string => `${holder}${HEARTBEATS}\n`;

/** The holder, for messages. */
export const holderName = (text: string): string => text.replace(HEARTBEATS, "").trim();

/** Whether a holder has written this that sends heartbeats. Workers in Python send none. */
export const sendsHeartbeats = (text: string): boolean => text.includes(HEARTBEATS);

/** What a waiting worker has seen of the holder of a lock. Times are in milliseconds of its clock. */
export interface Sighting {
  readonly text: string;
  /** The modification time of the lock file, by another clock. */
  readonly heartbeat: number;
  /** Since when both are the same. */
  readonly since: number;
  readonly at: number;
}

/** Adds a look at the lock file. */
export const sight = (
  before: Sighting | undefined,
  now: Omit<Sighting, "since">,
  pollInterval: Duration.Duration,
): Sighting => {
  const maxGap = Duration.toMillis(Duration.sum(MAX_GAP, pollInterval));
  const isSame =
    before !== undefined &&
    before.text === now.text &&
    before.heartbeat === now.heartbeat &&
    now.at - before.at <= maxGap;
  return { ...now, since: isSame ? before.since : now.at };
};

/**
 * Whether the holder has stopped: before it wrote who it is, if the text is empty. Workers that send no heartbeats, as
 * those in Python, never count as stopped. They use only some locks.
 */
export const isLost = ({ text, since, at }: Sighting, mayBeForeign: boolean): boolean =>
  (sendsHeartbeats(text) || (text === "" && !mayBeForeign)) &&
  at - since >= Duration.toMillis(LOST_AFTER);
