import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { ByteSize, Duration, Effect, Option, Result, type Scope, ScopedRef } from "effect";

import { poll } from "../effects/Waiting.ts";
import { temporaryFolder } from "../files/TemporaryFolder.ts";
import { runProcess, startProcess, stdoutOf } from "../processes/ChildProcess.ts";

/** MooseFS refuses loopback addresses between its parts. */
const ADDRESS = "10.77.0.1";
const PORT = { metaloggers: 9419, chunkservers: 9420, clients: 9421, chunks: 9422, relay: 9430 };

const RELAY = join(import.meta.dirname, "slow_relay.py");

/** A file system that reports less has not heard of its chunkserver yet. */
const MIN_FREE = ByteSize.mebibytes(256);

const PROGRAMS = ["mfsmaster", "mfschunkserver", "mfsmount", "mfssetquota", "nsenter", "unshare"];

const isInstalled = (program: string) =>
  Result.isSuccess(
    Result.try(() => execFileSync("/bin/sh", ["-c", `command -v ${program}`], { stdio: "ignore" })),
  );

const findObstacle = (): string | undefined => {
  if (process.getuid?.() !== 0) return "MooseFS needs root";
  if (!existsSync("/dev/fuse")) return "MooseFS needs /dev/fuse";
  const missing = PROGRAMS.filter((program) => !isInstalled(program));
  return missing.length === 0 ? undefined : `MooseFS needs ${missing.join(", ")}`;
};

const obstacle = findObstacle();

export const hasMooseFs = obstacle === undefined;

/** Why tests on MooseFS are skipped, for the end of the names of their suites; empty where it can run. */
export const skippedWithoutMooseFs = hasMooseFs ? "" : ` (skipped: ${obstacle})`;

export interface MooseFsOptions {
  /** Size of the disk, which is in memory and takes only what is used. "disk": in the folder for temporary files instead. */
  readonly size?: ByteSize.ByteSize | "disk";
  /** How long the master keeps the locks of a client that disappeared; a day by default, as in MooseFS. */
  readonly sustain?: Duration.Duration;
  /** Further options of the clients, such as `mfsattrcacheto=0`. */
  readonly mountOptions?: ReadonlyArray<string>;
}

/** Operations of a mount. */
interface Operations {
  /** Requests of the kernel to the client. */
  readonly fuse: number;
  /** Requests of the client to the master. */
  readonly roundTrips: number;
}

interface Delays {
  readonly roundTrip: Duration.Duration;
  /** Delay of the first round trip. */
  readonly first?: Duration.Duration;
}

/** Daemons die with the test's process, even if that is killed. */
const daemon = (network: number, ...command: ReadonlyArray<string>) =>
  startProcess("setpriv", [
    "--pdeathsig",
    "KILL",
    "--",
    "nsenter",
    `--net=/proc/${network}/ns/net`,
    "--",
    ...command,
  ]);

type Daemon = Effect.Success<ReturnType<typeof daemon>>;

/** A daemon that can be suspended, killed and started again. */
const restartable = Effect.fnUntraced(function* (start: Effect.Effect<Daemon, never, Scope.Scope>) {
  const current = yield* ScopedRef.fromAcquire(Effect.asSome(start));
  const withCurrent = (use: (process: Daemon) => Effect.Effect<unknown>) =>
    Effect.suspend(() =>
      Option.match(ScopedRef.getUnsafe(current), {
        onNone: () => Effect.void,
        onSome: (process) => Effect.asVoid(use(process)),
      }),
    );
  const end = ScopedRef.set(current, Effect.succeedNone);
  /** Starts it, or another one in its place. */
  const startAs = (other: typeof start) =>
    Effect.andThen(end, ScopedRef.set(current, Effect.asSome(other)));
  return {
    suspend: withCurrent(({ signal }) => signal("SIGSTOP")),
    resume: withCurrent(({ signal }) => signal("SIGCONT")),
    kill: withCurrent(({ signal, ended }) => Effect.andThen(signal("SIGKILL"), ended)),
    start: startAs(start),
    startAs,
  };
});

const configure = (folder: string, sustain: Duration.Duration) => {
  for (const name of ["master", "chunks", "disk"]) mkdirSync(join(folder, name));
  const write = (name: string, lines: ReadonlyArray<string>) =>
    writeFileSync(join(folder, name), lines.map((line) => `${line}\n`).join(""));
  const common = [
    "WORKING_USER = root",
    "WORKING_GROUP = root",
    "NICE_LEVEL = 0",
    "DISABLE_OOM_KILLER = 0",
  ];
  write("exports.cfg", [`${ADDRESS} / rw,alldirs,admin,maproot=0:0`, `${ADDRESS} . rw`]);
  write("topology.cfg", []);
  write("master.cfg", [
    ...common,
    `DATA_PATH = ${join(folder, "master")}`,
    `EXPORTS_FILENAME = ${join(folder, "exports.cfg")}`,
    `TOPOLOGY_FILENAME = ${join(folder, "topology.cfg")}`,
    `SESSION_SUSTAIN_TIME = ${Math.ceil(Duration.toSeconds(sustain))}`,
    `MATOML_LISTEN_HOST = ${ADDRESS}`,
    `MATOML_LISTEN_PORT = ${PORT.metaloggers}`,
    `MATOCS_LISTEN_HOST = ${ADDRESS}`,
    `MATOCS_LISTEN_PORT = ${PORT.chunkservers}`,
    `MATOCL_LISTEN_HOST = ${ADDRESS}`,
    `MATOCL_LISTEN_PORT = ${PORT.clients}`,
  ]);
  // The tilde: a changed size of the disk is no damage.
  write("disks.cfg", [`~${join(folder, "disk")}`]);
  write("chunkserver.cfg", [
    ...common,
    `DATA_PATH = ${join(folder, "chunks")}`,
    `HDD_CONF_FILENAME = ${join(folder, "disks.cfg")}`,
    "HDD_LEAVE_SPACE_DEFAULT = 64MiB",
    `BIND_HOST = ${ADDRESS}`,
    `MASTER_HOST = ${ADDRESS}`,
    `MASTER_PORT = ${PORT.chunkservers}`,
    "MASTER_RECONNECTION_DELAY = 1",
    `CSSERV_LISTEN_HOST = ${ADDRESS}`,
    `CSSERV_LISTEN_PORT = ${PORT.chunks}`,
  ]);
  // What a master without any metadata starts from.
  writeFileSync(join(folder, "master", "metadata.mfs"), "MFSM NEW");
};

const memoryDisk = (path: string, size: ByteSize.ByteSize) =>
  Effect.acquireRelease(
    stdoutOf("mount", ["-t", "tmpfs", "-o", `size=${size}`, "worker-tetra-moosefs", path]),
    () => runProcess("umount", ["--lazy", path]),
  );

/** A network namespace, until the scope closes. Removes the mounts if the test's process or its group is killed before. */
const network = Effect.fnUntraced(function* (mounts: ReadonlyArray<string>) {
  const script = `ip link set lo up && ip address add ${ADDRESS}/32 dev lo && echo up && read _; umount --lazy "$@"`;
  const { pid, wrote } = yield* startProcess(
    "unshare",
    ["--net", "sh", "-c", script, "sh", ...mounts],
    { hasOpenStdin: true, leadsGroup: true },
  );
  yield* wrote("up\n");
  return pid;
});

/** Passes on the requests of a client to the master, and delays them after SIGUSR1. */
const startRelay = (network: number, { roundTrip, first = roundTrip }: Delays) =>
  daemon(
    network,
    "python3",
    RELAY,
    ADDRESS,
    String(PORT.relay),
    String(PORT.clients),
    ...[first, roundTrip].map((delay) => String(Duration.toSeconds(delay))),
  ).pipe(Effect.tap(({ wrote }) => wrote("listening")));

const readOperations = (path: string) =>
  Effect.map(stdoutOf("cat", [join(path, ".stats")]), (text): Operations => {
    const valueOf = (name: string) =>
      Number(new RegExp(`^${name}: (\\d+)`, "m").exec(text)?.[1] ?? Number.NaN);
    return { fuse: valueOf("fuse_ops"), roundTrips: valueOf("master\\.packets_sent") };
  });

/** Counts the operations of a mount during an effect, without those of reading the counters. */
const countOperations = <A, E, R>(path: string, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const read = readOperations(path);
    const [first, before] = [yield* read, yield* read];
    const value = yield* effect;
    const after = yield* read;
    const during = (name: keyof Operations) =>
      after[name] - before[name] - (before[name] - first[name]);
    const operations: Operations = { fuse: during("fuse"), roundTrips: during("roundTrips") };
    return { value, operations };
  });

/** Repeats a program until it succeeds. */
const succeeds = (program: string, ...args: ReadonlyArray<string>) =>
  Effect.orDie(poll(runProcess(program, args), ({ code }) => code === 0));

/** Unmounts at once, also a mount that is used or does not respond. */
const detach = (path: string) => runProcess("umount", ["--lazy", path]);

/** Mounts MooseFS until the scope closes; returns the client. */
const mount = Effect.fnUntraced(function* (
  network: number,
  path: string,
  options: ReadonlyArray<string>,
  delays?: Delays,
) {
  yield* Effect.addFinalizer(() => detach(path));
  const relay = delays === undefined ? undefined : yield* startRelay(network, delays);
  // Without auto_unmount: the mount of a killed client stays and is dead.
  const client = yield* daemon(
    network,
    "mfsmount",
    "-f",
    "-H",
    ADDRESS,
    "-P",
    String(relay === undefined ? PORT.clients : PORT.relay),
    "-o",
    ["nosuid,nodev,mfsnice=0,mfsallowoomkiller", ...options].join(","),
    path,
  );
  yield* succeeds("mountpoint", "-q", path);
  if (relay !== undefined) {
    yield* relay.signal("SIGUSR1");
    yield* relay.wrote("slow");
  }
  return client;
});

/** A worker that leads a process group. */
interface GroupLeader {
  readonly signalGroup: (name: NodeJS.Signals) => Effect.Effect<void>;
}

/** A separate mount, which stands for a host. */
const host = Effect.fnUntraced(function* (
  network: number,
  path: string,
  options: ReadonlyArray<string>,
) {
  mkdirSync(path);
  const client = yield* restartable(mount(network, path, options));
  // Processes that have just ended may still use the mount.
  const unmount = succeeds("umount", path);
  return {
    /** The mount point. While the master or the client is suspended, tests must not use it in their own process: they would hang. */
    path,
    /** Suspends the client: everything that uses the mount hangs. */
    suspend: client.suspend,
    resume: client.resume,
    /** Kills the client: the mount is dead (ENOTCONN), and the master keeps its locks until `sustain` is over. */
    kill: client.kill,
    /** Kills the host: the client together with a worker, which has no time to release its locks. */
    killWith: ({ signalGroup }: GroupLeader) =>
      Effect.all([signalGroup("SIGSTOP"), client.kill, signalGroup("SIGKILL")], { discard: true }),
    /** Mounts again after `kill`, as another host. */
    start: client.start,
    /** Unmounts and mounts again. The page cache of the mount is empty afterwards. */
    remount: Effect.andThen(unmount, client.start),
    /** Mounts again, and delays the requests to the master until `remount`. */
    slowDown: (delays: Delays) =>
      Effect.andThen(unmount, client.startAs(mount(network, path, options, delays))),
    /** The result of an effect, and the operations of this mount during it. */
    counted: <A, E, R>(effect: Effect.Effect<A, E, R>) => countOperations(path, effect),
  };
});

export type Host = Effect.Success<ReturnType<typeof host>>;

/** Waits until the master knows the space of the chunkserver. Until then all writes fail (ENOSPC). */
const untilThereIsSpace = (path: string) =>
  poll(
    Effect.map(stdoutOf("stat", ["-f", "-c", "%a %S", path]), (text) => {
      const [blocks = 0, size = 0] = text.trim().split(" ").map(Number);
      return blocks * size;
    }),
    (free) => free > Number(MIN_FREE),
  ).pipe(Effect.orDie);

/**
 * A real MooseFS in a temporary folder and a separate network: a master, a chunkserver and two hosts that mount it.
 * Everything ends with the scope.
 */
export const mooseFs = Effect.fnUntraced(function* ({
  size = ByteSize.gibibytes(2),
  sustain = Duration.days(1),
  mountOptions = [],
}: MooseFsOptions = {}) {
  const folder = yield* temporaryFolder;
  configure(folder, sustain);
  if (size !== "disk") yield* memoryDisk(join(folder, "disk"), size);
  const net = yield* network(["a", "b", "disk"].map((name) => join(folder, name)));
  const started = (...command: ReadonlyArray<string>) =>
    daemon(net, ...command, "start").pipe(Effect.tap(({ wrote }) => wrote("initialized properly")));
  const file = (name: string) => join(folder, name);
  const master = yield* restartable(
    // -a: recovers the metadata after a kill.
    started("mfsmaster", "-f", "-a", "-c", file("master.cfg")),
  );
  const chunkserver = yield* restartable(
    started("mfschunkserver", "-f", "-c", file("chunkserver.cfg")),
  );
  const a = yield* host(net, file("a"), mountOptions);
  const b = yield* host(net, file("b"), mountOptions);
  yield* untilThereIsSpace(a.path);
  /** Runs a tool of MooseFS, which asks the master itself. */
  const tool = (...command: ReadonlyArray<string>) =>
    stdoutOf("nsenter", [`--net=/proc/${net}/ns/net`, "--", ...command]);
  return {
    a,
    b,
    master,
    chunkserver,
    /**
     * Limits a folder. "length" counts the bytes of files, and writes fail at close or fsync; "size" counts chunks, and
     * new files fail below 64 MiB.
     */
    setQuota: (path: string, limit: ByteSize.ByteSize, kind: "length" | "size" = "length") =>
      tool("mfssetquota", kind === "length" ? "-L" : "-S", String(limit), path),
    removeQuota: (path: string) => tool("mfsdelquota", "-A", path),
  };
});

export type MooseFs = Effect.Success<ReturnType<typeof mooseFs>>;

/** Empties the page cache of the machine, which slows down everything that runs on it. */
export const dropCaches = stdoutOf("sh", ["-c", "sync; echo 3 > /proc/sys/vm/drop_caches"]);
