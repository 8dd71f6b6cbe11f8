import {
  Cause,
  Clock,
  Context,
  Duration,
  Effect,
  Exit,
  Fiber,
  FiberSet,
  Latch,
  Layer,
  Metric,
  Option,
  Random,
  type Scope,
  Semaphore,
  Stream,
} from "effect";

import type { Job } from "../protocol/Job.ts";
import { JobEvents } from "../protocol/JobEvents.ts";
import { CONCURRENCY } from "../settings/Concurrency.ts";
import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import { chunkStream } from "./ChunkStream.ts";
import { Delivery } from "./Delivery.ts";
import { Heartbeat } from "./Heartbeat.ts";
import { JobQueue, type Taken, type TakeFailed } from "./JobQueue.ts";
import { failureBody, outputBody } from "./JobResult.ts";
import { PROGRESS, progressReport } from "./ProgressReport.ts";

export const SHUTDOWN_GRACE = Setting.optionalSeconds({
  name: "WORKER_SHUTDOWN_GRACE",
  doc: "How long jobs may run on after SIGTERM; then they are ended and reported as failed.",
  minimum: 0,
});

const REFRESH = Setting.flag({
  name: "WORKER_REFRESH",
  doc: "End after one job and ask RunPod for a fresh container.",
});

/** An answer that there is nothing comes after a wait, if the service holds polls open; else we wait: milliseconds. */
const EMPTY_INTERVAL = 520;

/** Pauses after failed takes: the first, the longest, and the one after "too many requests", in milliseconds. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
const BUSY_PAUSE = 5000;

/** Pauses of the stop channel after an empty answer, in milliseconds. */
const STOP_PAUSE = 1000;

/** The same complaint is not repeated more often than this, in milliseconds. */
const COMPLAINT_INTERVAL = 60_000;

/**
 * What a worker does with a job: returns what goes back as its output, or a stream of values, each of which is
 * sent as it comes. It may tell of what happens on the way by `JobEvents`.
 */
export type Handler<R = never> = (
  job: Job,
) => Effect.Effect<unknown, unknown, R> | Stream.Stream<unknown, unknown, R>;

const jobsTaken = Metric.counter("worker_jobs_taken", { incremental: true });
const jobsDone = Metric.counter("worker_jobs_done", { incremental: true });
const jobsStopped = Metric.counter("worker_jobs_stopped", { incremental: true });
const jobTimes = Metric.timer("worker_job_duration");

type StopReason = "stopped by RunPod" | "shut down";

/** A job from being taken to the end of its handler. */
interface Working {
  readonly since: number;
  reason: StopReason | undefined;
  /** Ends the handler, once that runs. */
  interrupt: Effect.Effect<void>;
  /** Opens when the handler has ended. */
  readonly ended: Latch.Latch;
}

const jittered = (milliseconds: number) =>
  Effect.map(Random.next, (share) => milliseconds * (1 + share / 5));

/** Says the same thing only so often. */
const complaints = () => {
  let said = "";
  let at = -COMPLAINT_INTERVAL;
  return Effect.fnUntraced(function* (message: string) {
    const now = yield* Clock.currentTimeMillis;
    if (message === said && now - at < COMPLAINT_INTERVAL) return;
    said = message;
    at = now;
    yield* Effect.logWarning(message);
  });
};

/** Takes jobs from RunPod's queue, has them handled and brings the results back. */
export class Worker extends Context.Service<
  Worker,
  {
    /** Works until it is drained. */
    readonly run: <R>(handler: Handler<R>) => Effect.Effect<void, never, R>;
    /** Takes no more; `run` ends when all that was taken is done and reported. */
    readonly drain: Effect.Effect<void>;
  }
>()("worker-tetra/runpod/Worker") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const { mask } = yield* Environment;
      const queue = yield* JobQueue;
      const delivery = yield* Delivery;
      const heartbeat = yield* Heartbeat;
      const concurrency = yield* CONCURRENCY.value;
      const grace = yield* SHUTDOWN_GRACE.value;
      const refresh = yield* REFRESH.value;
      const progressMode = yield* PROGRESS.value;
      const draining = Latch.makeUnsafe();

      const run = Effect.fn("Worker.run")(function* <R>(
        handler: Handler<R>,
      ): Effect.fn.Return<void, never, R | Scope.Scope> {
        const slots = Semaphore.makeUnsafe(concurrency);
        const working = new Map<string, Working>();
        const undelivered = new Set<string>();
        const jobs = yield* FiberSet.make<void>();
        const outer = yield* JobEvents;

        /** A handler from its first step to its outcome, as the body that goes back. */
        const handle = Effect.fnUntraced(function* (job: Job) {
          const stream = yield* chunkStream(queue, job.id);
          const progress = yield* progressReport(queue, job.id, progressMode);
          const events: JobEvents = {
            stage: (name) => {
              outer.stage?.(name);
              progress.stage(name);
            },
            output: (lines) => {
              outer.output?.(lines);
              progress.output(lines);
            },
            ...(queue.canStream ? { chunk: stream.offer } : {}),
          };
          const handled = Effect.suspend(() => {
            const produced = handler(job);
            if (!Stream.isStream(produced)) return produced;
            const values: Array<unknown> = [];
            return Stream.runForEach(produced, (value) =>
              Effect.sync(() => {
                values.push(value);
                stream.offer(value);
              }),
            ).pipe(Effect.as(values));
          });
          return {
            handled: Effect.provideService(handled, JobEvents, events),
            isStream: stream.isUsed,
            /** All that must be sent before the result is. */
            before: Effect.andThen(stream.end, progress.end),
          };
        });

        const bodyOf = (exit: Exit.Exit<unknown, unknown>, reason: StopReason | undefined) => {
          if (Exit.isSuccess(exit)) return outputBody(exit.value, refresh);
          if (Cause.hasInterruptsOnly(exit.cause)) {
            return failureBody(
              reason === "shut down"
                ? `The worker was shut down and the job did not end within WORKER_SHUTDOWN_GRACE (${Option.getOrElse(grace, () => 0)} seconds). Run it again.`
                : "The job was interrupted.",
            );
          }
          const error = Cause.squash(exit.cause);
          return failureBody(
            mask(error instanceof Error ? `${error.name}: ${error.message}` : String(error)),
          );
        };

        const leave = (id: string, entry: Working): void => {
          if (working.get(id) === entry) working.delete(id);
          entry.ended.openUnsafe();
        };

        const carryOut = Effect.fnUntraced(function* (job: Job, entry: Working, hasSlot: boolean) {
          if (!hasSlot) yield* slots.take(1);
          const { id } = job;
          yield* Effect.logInfo("Job started");
          const parts = yield* handle(job);
          const running = yield* Effect.forkChild(parts.handled);
          entry.interrupt = Effect.asVoid(Fiber.interrupt(running));
          if (entry.reason !== undefined) yield* entry.interrupt;
          const exit = yield* Fiber.await(running);
          const duration = (yield* Clock.currentTimeMillis) - entry.since;
          const seconds = duration / 1000;
          yield* Metric.update(jobTimes, Duration.millis(duration));
          if (entry.reason === "stopped by RunPod" && Exit.hasInterrupts(exit)) {
            leave(id, entry);
            yield* Metric.update(jobsStopped, 1);
            yield* Effect.logInfo(`Job ${entry.reason} after ${seconds.toFixed(3)} s`);
          } else {
            const body = bodyOf(exit, entry.reason);
            undelivered.add(id);
            yield* Metric.update(jobsDone, 1);
            yield* Effect.logInfo(`Job done in ${seconds.toFixed(3)} s`);
            const over = yield* Latch.make();
            yield* delivery.accept(
              { jobId: id, body, isStream: parts.isStream() },
              parts.before,
              Effect.andThen(
                Effect.sync(() => undelivered.delete(id)),
                over.open,
              ),
            );
            leave(id, entry);
            yield* slots.release(1);
            if (refresh) yield* draining.open;
            // What belongs to the job ends with its delivery.
            return yield* over.await;
          }
          yield* slots.release(1);
        }, Effect.scoped);

        const begin = Effect.fnUntraced(function* (taken: Taken, held: number) {
          let free = held;
          for (const { id, problem } of taken.unusable) {
            yield* Effect.logError(problem);
            if (id === undefined) continue;
            const body = failureBody(`The job can't be used. ${problem}`);
            yield* delivery.accept({ jobId: id, body, isStream: false }, Effect.void, Effect.void);
          }
          for (const job of taken.jobs) {
            const earlier = working.get(job.id);
            const isStopping = earlier?.reason === "stopped by RunPod";
            if ((earlier !== undefined && !isStopping) || undelivered.has(job.id)) {
              yield* Effect.logWarning(
                `Job ${job.id} came again while this worker has it; once is enough`,
              );
              continue;
            }
            const entry: Working = {
              since: yield* Clock.currentTimeMillis,
              reason: undefined,
              interrupt: Effect.void,
              ended: Latch.makeUnsafe(),
            };
            working.set(job.id, entry);
            yield* Metric.update(jobsTaken, 1);
            const hasSlot = free > 0;
            if (hasSlot) free -= 1;
            yield* FiberSet.run(
              jobs,
              (earlier?.ended.await ?? Effect.void).pipe(
                Effect.andThen(carryOut(job, entry, hasSlot)),
                Effect.withSpan("Worker.job", { attributes: { "job.id": job.id } }),
                Effect.annotateLogs({ requestId: job.id }),
              ),
            );
          }
          if (free > 0) yield* slots.release(free);
        });

        const complain = complaints();

        /** How long to wait before the next take. */
        const pauseAfter = Effect.fnUntraced(function* (error: TakeFailed, failures: number) {
          yield* complain(error.message);
          if (error.status === 429) return yield* jittered(BUSY_PAUSE);
          return yield* jittered(Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1)));
        });

        const taking = Effect.gen(function* () {
          let failures = 0;
          for (;;) {
            yield* slots.take(1);
            let held = 1;
            while (yield* slots.takeIfAvailable(1)) held += 1;
            const started = yield* Clock.currentTimeMillis;
            // What was given to us is begun, whatever happens meanwhile.
            const outcome = yield* Effect.uninterruptible(
              Effect.gen(function* () {
                const result = yield* Effect.result(queue.take(held, working.size > 0));
                yield* result._tag === "Success"
                  ? begin(result.success, held)
                  : slots.release(held);
                return result;
              }),
            );
            if (outcome._tag === "Failure") {
              failures += 1;
              yield* Effect.sleep(yield* pauseAfter(outcome.failure, failures));
              continue;
            }
            failures = 0;
            const { jobs: taken, unusable } = outcome.success;
            if (taken.length + unusable.length > 0) continue;
            const since = (yield* Clock.currentTimeMillis) - started;
            if (since < EMPTY_INTERVAL)
              yield* Effect.sleep(yield* jittered(EMPTY_INTERVAL - since));
          }
        });

        const end = (entry: Working, reason: StopReason) =>
          Effect.suspend(() => {
            entry.reason = reason;
            return entry.interrupt;
          });

        const complainOfStops = complaints();
        const stopping = Effect.gen(function* () {
          let failures = 0;
          for (;;) {
            const outcome = yield* Effect.result(queue.stops);
            if (outcome._tag === "Failure") {
              failures += 1;
              const { status, reason } = outcome.failure;
              yield* complainOfStops(`RunPod could not be asked for jobs to stop: ${reason}`);
              const pause = status === 429 ? BUSY_PAUSE : STOP_PAUSE * 2 ** (failures - 1);
              yield* Effect.sleep(yield* jittered(Math.min(LONGEST_PAUSE, pause)));
              continue;
            }
            failures = 0;
            const found = outcome.success.flatMap((id) => working.get(id) ?? []);
            for (const entry of found) {
              yield* FiberSet.run(jobs, end(entry, "stopped by RunPod"));
            }
            if (outcome.success.length === 0) yield* Effect.sleep(yield* jittered(STOP_PAUSE));
          }
        });

        yield* delivery.resume;
        yield* Effect.forkScoped(
          heartbeat.beat(() => [...new Set([...working.keys(), ...undelivered])]),
        );
        if (queue.canStop) yield* Effect.forkScoped(stopping);
        const open = yield* Effect.forkScoped(taking);
        // A loop that dies of a defect must not leave a worker that does nothing for ever.
        yield* Effect.raceFirst(draining.await, Fiber.join(open));
        yield* Fiber.interrupt(open);
        if (working.size > 0) {
          yield* Effect.logInfo(`No more jobs are taken; ${working.size} are finished first`);
        }
        const done = FiberSet.awaitEmpty(jobs);
        if (Option.isSome(grace)) {
          const inTime = yield* Effect.timeoutOption(done, { seconds: grace.value });
          if (Option.isNone(inTime)) {
            yield* Effect.logWarning(`${working.size} jobs did not end in time and are ended now`);
            yield* Effect.forEach([...working.values()], (entry) => end(entry, "shut down"), {
              concurrency: "unbounded",
              discard: true,
            });
          }
        }
        yield* done;
        yield* delivery.idle;
      }, Effect.scoped);

      return Worker.of({ run, drain: Effect.asVoid(draining.open) });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Delivery.layer, Heartbeat.layer, JobQueue.layer]),
  );
}
