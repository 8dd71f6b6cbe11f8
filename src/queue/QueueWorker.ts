import {
  Cause,
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
  Scope,
  Stream,
} from "effect";

import type { Job } from "../domain/Job.ts";
import { both, JobListener, listenerOf } from "../domain/JobEvents.ts";
import { CONCURRENCY } from "../settings/Concurrency.ts";
import { Environment } from "../settings/Environment.ts";
import * as Setting from "../settings/Setting.ts";
import { stopwatch } from "../settings/SteadyClock.ts";
import { chunkStream } from "./ChunkStream.ts";
import { Delivery } from "./Delivery.ts";
import { Heartbeat } from "./Heartbeat.ts";
import { errorIn, firstLine, inSeconds } from "./JobLog.ts";
import { JobQueue, type Taken, type TakeFailed } from "./JobQueue.ts";
import { failureBody, outputBody } from "./JobResult.ts";
import { type JobAtWork, jobsAtWork, type StopReason } from "./JobsAtWork.ts";
import { PROGRESS, progressReport } from "./ProgressReport.ts";

export const SHUTDOWN_GRACE = Setting.optionalSeconds({
  name: "WORKER_SHUTDOWN_GRACE",
  doc: "How long jobs may run on after SIGTERM; then they are ended and reported as failed.",
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

/** The same warning is not repeated more often than this. */
const COMPLAINT_INTERVAL = Duration.minutes(1);

/**
 * What a worker does with a job: returns what goes back as its output, or a stream of values, each of which is
 * sent as it comes. It may tell of what happens on the way by `JobListener`.
 */
export type Handler<R = never> = (
  job: Job,
) => Effect.Effect<unknown, unknown, R> | Stream.Stream<unknown, unknown, R>;

const jobsTaken = Metric.counter("worker_jobs_taken", { incremental: true });
const jobsDone = Metric.counter("worker_jobs_done", { incremental: true });
const jobsStopped = Metric.counter("worker_jobs_stopped", { incremental: true });
const jobTimes = Metric.timer("worker_job_duration");

const jittered = (milliseconds: number) =>
  Effect.map(Random.next, (share) => milliseconds * (1 + share / 5));

/** Logs a warning, but the same one at most once in COMPLAINT_INTERVAL. */
const rateLimitedWarning = () => {
  let last:
    | { readonly message: string; readonly since: Effect.Effect<Duration.Duration> }
    | undefined;
  return Effect.fnUntraced(function* (message: string) {
    if (last?.message === message) {
      if (Duration.isLessThan(yield* last.since, COMPLAINT_INTERVAL)) return;
    }
    last = { message, since: yield* stopwatch };
    yield* Effect.logWarning(message);
  });
};

/** What a worker did from its start to its end. */
export interface Summary {
  readonly done: number;
  readonly failed: number;
  readonly stopped: number;
}

/** Decides whether a worker may take jobs. */
export interface Admission {
  /** Waits until jobs may be taken, and returns how many at most. */
  readonly beforeTake: Effect.Effect<number>;
}

const ADMIT_ALL: Admission = { beforeTake: Effect.succeed(Number.POSITIVE_INFINITY) };

const isInterrupted = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause);

/** Takes jobs from RunPod's queue, has them handled and brings the results back. */
export class QueueWorker extends Context.Service<
  QueueWorker,
  {
    /** Works until it is drained. */
    readonly run: <R>(
      handler: Handler<R>,
      admission?: Admission,
    ) => Effect.Effect<Summary, never, R>;
    /** Takes no more; `run` ends when all that was taken is done and reported. */
    readonly drain: Effect.Effect<void>;
  }
>()("worker-tetra/queue/QueueWorker") {
  static readonly layerNoDeps = Layer.effect(
    this,
    Effect.gen(function* () {
      const queue = yield* JobQueue;
      const delivery = yield* Delivery;
      const heartbeat = yield* Heartbeat;
      const { mask } = yield* Environment;
      const concurrency = yield* CONCURRENCY.value;
      const grace = yield* SHUTDOWN_GRACE.value;
      const refresh = yield* REFRESH.value;
      const progressMode = yield* PROGRESS.value;
      const draining = Latch.makeUnsafe();

      const interruptedBody = (reason: StopReason | undefined) =>
        failureBody(
          reason === "shut down"
            ? `The worker was shut down and the job did not end within WORKER_SHUTDOWN_GRACE (${Duration.toSeconds(Option.getOrElse(grace, () => Duration.zero))} seconds). Run it again.`
            : "The worker ended before the job did. Run it again.",
        );

      const bodyOf = (exit: Exit.Exit<unknown, unknown>, reason: StopReason | undefined) => {
        if (Exit.isSuccess(exit)) return outputBody(exit.value, refresh);
        if (isInterrupted(exit)) return interruptedBody(reason);
        const error = Cause.squash(exit.cause);
        return failureBody(
          mask(error instanceof Error ? `${error.name}: ${error.message}` : String(error)),
        );
      };

      const run = Effect.fn("Worker.run")(function* <R>(
        handler: Handler<R>,
        { beforeTake }: Admission = ADMIT_ALL,
      ): Effect.fn.Return<Summary, never, R | Scope.Scope> {
        const atWork = yield* jobsAtWork(concurrency);
        const undelivered = new Set<string>();
        const fibers = yield* FiberSet.make<void>();
        const outer = yield* JobListener;
        const summary = { done: 0, failed: 0, stopped: 0 };

        /** A handler from its first step to its outcome, with the channels that live as long as the job. */
        const handle = Effect.fnUntraced(function* (job: Job) {
          const stream = yield* chunkStream(queue, job.id);
          const progress = yield* progressReport(queue, job.id, progressMode);
          const own = listenerOf({
            StageStarted: ({ stage }) => progress.stage(stage),
            OutputWritten: ({ lines }) => progress.output(lines),
            ...(queue.canStream ? { ValueYielded: ({ value }) => stream.offerAnswer(value) } : {}),
          });
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
            handled: Effect.provideService(handled, JobListener, both(outer, own)),
            isStream: stream.isUsed,
            /** All that must be sent before the result is. */
            before: Effect.andThen(stream.end, progress.end),
          };
        });

        const logEnd = Effect.fnUntraced(function* (
          { elapsed }: JobAtWork,
          exit: Exit.Exit<unknown, unknown>,
          body: Uint8Array,
        ) {
          const duration = yield* elapsed;
          const error = errorIn(Exit.isSuccess(exit) ? exit.value : undefined, body);
          yield* Metric.update(jobTimes, duration);
          yield* Metric.update(jobsDone, 1);
          summary[error === undefined ? "done" : "failed"] += 1;
          yield* error === undefined
            ? Effect.logInfo(`Job done in ${inSeconds(duration)}`)
            : Effect.logWarning(
                `Job failed after ${inSeconds(duration)}: ${firstLine(mask(error))}`,
              );
        });

        /**
         * Runs a job until Delivery has its result. Its slot and its entry are released by scope; `outer` is the scope
         * of resources that are needed until the result is delivered. Returns a latch that opens at that point.
         */
        const runJob = Effect.fnUntraced(function* (
          job: Job,
          entry: JobAtWork,
          earlier: Effect.Effect<void>,
          jobScope: Scope.Scope,
        ) {
          yield* Effect.addFinalizer(() => entry.remove);
          const slotScope = yield* Effect.scope;
          const parts = yield* Scope.provide(handle(job), jobScope);
          const running = yield* earlier.pipe(
            Effect.andThen(Scope.provide(atWork.acquireSlot, slotScope)),
            Effect.andThen(Effect.logInfo("Job started")),
            Effect.andThen(parts.handled),
            Effect.forkChild,
          );
          yield* entry.setCode(running);
          yield* Effect.interruptible(Fiber.await(running)).pipe(
            Effect.onInterrupt(() => Fiber.interrupt(running)),
            Effect.exit,
          );
          const exit = yield* Fiber.await(running);
          const reason = entry.stopReason();
          if (reason === "stopped by RunPod" && Exit.hasInterrupts(exit)) {
            summary.stopped += 1;
            yield* Metric.update(jobsStopped, 1);
            yield* Effect.logInfo(`Job ${reason} after ${inSeconds(yield* entry.elapsed)}`);
            return yield* Latch.make(true);
          }
          if (reason === undefined && queue.rerunsUnfinished && isInterrupted(exit)) {
            yield* Effect.logInfo("The worker ends before the job: the queue runs it again");
            return yield* Latch.make(true);
          }
          const body = bodyOf(exit, reason);
          yield* logEnd(entry, exit, body);
          undelivered.add(job.id);
          const isOver = yield* Latch.make();
          yield* delivery.accept(
            { jobId: job.id, body, isStream: parts.isStream() },
            parts.before,
            Effect.andThen(
              Effect.sync(() => undelivered.delete(job.id)),
              isOver.open,
            ),
          );
          if (refresh) yield* draining.open;
          return isOver;
        }, Effect.scoped);

        /** Belongs to the set of fibers from its first step, and is only interruptible while it waits. */
        const launch = (fiber: Effect.Effect<void, never, R>) =>
          fiber.pipe(
            Effect.forkDetach({ uninterruptible: true }),
            Effect.flatMap((forked) => FiberSet.add(fibers, forked)),
          );

        const begin = Effect.fnUntraced(function* (taken: Taken) {
          for (const { id, problem } of taken.unusable) {
            yield* Effect.logError(problem);
            if (id === undefined) continue;
            const body = failureBody(`The job can't be used. ${problem}`);
            yield* launch(
              delivery.accept({ jobId: id, body, isStream: false }, Effect.void, Effect.void),
            );
          }
          for (const job of taken.jobs) {
            const { id } = job;
            const earlier = atWork.find(id);
            const isStopping = earlier?.stopReason() === "stopped by RunPod";
            if ((earlier !== undefined && !isStopping) || undelivered.has(id)) {
              yield* Effect.logWarning(
                `Ignoring a duplicate delivery of job ${id}: this worker has it already`,
              );
              continue;
            }
            const entry = yield* atWork.add(id);
            yield* Metric.update(jobsTaken, 1);
            const whole = Effect.scopedWith((scope) =>
              runJob(job, entry, earlier?.awaitRemoval ?? Effect.void, scope).pipe(
                Effect.flatMap((isOver) => Effect.interruptible(isOver.await)),
              ),
            );
            yield* launch(
              whole.pipe(
                Effect.withSpan("Worker.job", { attributes: { "job.id": id } }),
                Effect.annotateLogs({ requestId: id }),
              ),
            );
          }
        });

        const warnOfTake = rateLimitedWarning();

        /** How long to wait before the next take. */
        const pauseAfter = Effect.fnUntraced(function* (error: TakeFailed, failures: number) {
          yield* warnOfTake(error.message);
          if (error.status === 429) return yield* jittered(BUSY_PAUSE);
          return yield* jittered(Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1)));
        });

        const taking = Effect.gen(function* () {
          let failures = 0;
          for (;;) {
            yield* atWork.freeSlots;
            const admitted = yield* beforeTake;
            const wanted = Math.min(admitted, yield* atWork.freeSlots);
            const elapsed = yield* stopwatch;
            // What was given to us is begun, whatever happens meanwhile.
            const outcome = yield* Effect.uninterruptible(
              Effect.gen(function* () {
                const result = yield* Effect.result(queue.take(wanted, atWork.count() > 0));
                if (result._tag === "Success") yield* begin(result.success);
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
            const since = Duration.toMillis(yield* elapsed);
            if (since < EMPTY_INTERVAL)
              yield* Effect.sleep(yield* jittered(EMPTY_INTERVAL - since));
          }
        });

        const warnOfStops = rateLimitedWarning();
        const stopping = Effect.gen(function* () {
          let failures = 0;
          for (;;) {
            const outcome = yield* Effect.result(queue.stops);
            if (outcome._tag === "Failure") {
              failures += 1;
              const { status, reason } = outcome.failure;
              yield* warnOfStops(`Could not ask RunPod for jobs to stop: ${reason}. Retrying.`);
              const pause = status === 429 ? BUSY_PAUSE : STOP_PAUSE * 2 ** (failures - 1);
              yield* Effect.sleep(yield* jittered(Math.min(LONGEST_PAUSE, pause)));
              continue;
            }
            failures = 0;
            for (const id of outcome.success) {
              const found = atWork.find(id);
              // Code may stop slowly, and the next id must not wait for it.
              if (found !== undefined) yield* FiberSet.run(fibers, found.stop("stopped by RunPod"));
            }
            if (outcome.success.length === 0) yield* Effect.sleep(yield* jittered(STOP_PAUSE));
          }
        });

        const finish = Effect.gen(function* () {
          if (atWork.count() > 0) {
            yield* Effect.logInfo(`Draining: waiting for ${atWork.count()} running jobs`);
          }
          const done = FiberSet.awaitEmpty(fibers);
          if (Option.isSome(grace)) {
            const inTime = yield* Effect.timeoutOption(done, grace.value);
            if (Option.isNone(inTime)) {
              yield* Effect.logWarning(
                `${atWork.count()} jobs did not end within WORKER_SHUTDOWN_GRACE: stopping them`,
              );
              yield* Effect.forEach(atWork.all(), (entry) => entry.stop("shut down"), {
                concurrency: "unbounded",
                discard: true,
              });
            }
          }
          yield* done;
          yield* delivery.idle;
        });

        yield* Effect.forkScoped(delivery.resume);
        yield* Effect.forkScoped(
          heartbeat.beat(() => [...new Set([...atWork.all().map(({ id }) => id), ...undelivered])]),
        );
        const loops = yield* Effect.forkScoped(
          queue.canStop ? Effect.raceFirst(taking, stopping) : taking,
        );
        const end = yield* Effect.exit(Effect.raceFirst(draining.await, Fiber.join(loops)));
        yield* Fiber.interrupt(loops);
        // A defect in a loop ends the worker too, but not its running jobs.
        yield* finish;
        if (Exit.isFailure(end)) return yield* Effect.failCause(end.cause);
        return summary;
      }, Effect.scoped);

      return QueueWorker.of({ run, drain: Effect.asVoid(draining.open) });
    }),
  );

  static readonly layer = this.layerNoDeps.pipe(
    Layer.provide([Delivery.layer, Heartbeat.layer, JobQueue.layer]),
  );
}
