"""What a call does: functions, instances of classes and their methods."""

import gc
import hashlib
import importlib
import os
import sys
import time
import types
from collections import OrderedDict
from datetime import datetime, timezone
from functools import partial

import runner_async
import runner_errors
import runner_process
import runner_values
from runner_errors import RequestError, SizeError, one_line, printable
from runner_sources import ModuleStore, Sources, defined_names, mend_imports
from runner_wire import CHUNK

_exec, _urandom = exec, os.urandom
_perf_counter, _monotonic = time.perf_counter, time.monotonic
_utc_now = partial(datetime.now, timezone.utc)
_blake2b = hashlib.blake2b


# Limits of what is sent about a call beside its result.
_MOST_NOTES, _MAX_NOTE = 20, 2000
_MOST_THREADS, _MAX_THREAD = 20, 100
_MAX_POISONED = 500


class Instance:
    """An object of a job's class that lives on between calls, with the surroundings it was made in."""

    def __init__(self, identifier, job, fingerprint, main):
        self.id = identifier
        self.class_name = job.name
        self.fingerprint = fingerprint
        self.source = job.source
        self.modules = job.modules
        self.main = main
        self.value = None
        self.loop = None
        self.logging = None
        self.created_at = self.last_used = _utc_now()
        self.used_at = _monotonic()
        self.method_calls = 0

    def touch(self):
        self.method_calls += 1
        self.last_used = _utc_now()
        self.used_at = _monotonic()

    def own_loop(self, awaitable):
        """Runs an awaitable in the instance's loop: what its methods bind to the loop works in the next call too."""
        if self.loop is None:
            self.loop = runner_async.Loop()
        return self.loop.run(awaitable)

    def info(self):
        return {
            "id": self.id,
            "class_name": one_line(self.class_name),
            "created_at": self.created_at.isoformat(),
            "method_calls": self.method_calls,
            "last_used": self.last_used.isoformat(),
        }


class Instances:
    """The living instances, the one used last at the end."""

    _REMEMBERED = 256

    def __init__(self, limit, idle_seconds):
        self._limit = max(1, limit)
        self._idle_seconds = idle_seconds
        self._living = OrderedDict()
        self._dropped = OrderedDict()  # why instances went, by id, for the call that asks for one again

    def uses(self, attribute, thing):
        return any(getattr(instance, attribute) is thing for instance in self._living.values())

    def count(self):
        return len(self._living)

    def has(self, identifier):
        return identifier in self._living

    def find(self, identifier):
        instance = self._living.get(identifier)
        if instance is not None:
            self._living.move_to_end(identifier)
        return instance

    def add(self, instance):
        self._living[instance.id] = instance

    def why_dropped(self, identifier):
        return self._dropped.pop(identifier, None)

    def drop(self, identifier):
        instance = self._living.pop(identifier)
        instance.value = None
        if instance.loop is not None:
            instance.loop.close(wait=False)

    def drop_idle(self):
        """Drops what has not been used for too long."""
        if not self._idle_seconds or not self._living:
            return
        before = _monotonic() - self._idle_seconds
        idle = [instance.id for instance in self._living.values() if instance.used_at < before]
        self._drop_all(idle, "after %g seconds without a call" % self._idle_seconds)

    def make_room(self):
        """Drops the ones used longest ago until one more fits."""
        surplus = list(self._living)[: max(0, len(self._living) - self._limit + 1)]
        self._drop_all(surplus, "as there were more than %d instances" % self._limit)

    def drop_others(self, reason):
        """Drops all; returns how many there were."""
        identifiers = list(self._living)
        self._drop_all(identifiers, reason)
        return len(identifiers)

    def _drop_all(self, identifiers, reason):
        for identifier in identifiers:
            self._dropped[identifier] = reason
            self.drop(identifier)
        while len(self._dropped) > self._REMEMBERED:
            self._dropped.popitem(last=False)
        if identifiers:
            gc.collect()  # a model is often part of a cycle, and its memory is wanted now


class Job:
    """A CALL frame, taken apart."""

    def __init__(self, frame, source, modules):
        meta = frame.meta
        self.call_id = frame.call_id
        self.is_class = meta["kind"] == "class"
        self.name = meta["name"]
        self.source = source
        self.modules = modules
        self.format = meta["format"]
        self.as_json = self.format == "json"
        self.limit = meta["limit"]  # of the result, in bytes
        self.chunk_limit = meta.get("chunkLimit")  # of each item of a generator; None when nobody wants them
        self.instance_id = meta.get("instance")
        self.fresh = bool(meta.get("fresh"))
        self.method = meta.get("method") or "__call__"
        self._arguments = meta["args"], meta["kwargs"]
        self._constructor = meta.get("constructorArgs", 0), meta.get("constructorKwargs", ())
        split = meta["args"] + len(meta["kwargs"])
        self._blobs, self._constructor_blobs = frame.blobs[:split], frame.blobs[split:]

    def arguments(self):
        return runner_values.load_arguments(iter(self._blobs), self.as_json, "", *self._arguments)

    def constructor_arguments(self):
        return runner_values.load_arguments(
            iter(self._constructor_blobs), self.as_json, "constructor_", *self._constructor
        )

    def fingerprint(self):
        """Equal for calls that would construct the same object."""
        digest = _blake2b(digest_size=16)
        folder = self.modules.folder if self.modules is not None else ""
        names = "\0".join(self._constructor[1])
        for part in (self.source.text, self.name, folder, names):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data))
            digest.update(data)
        for blob in self._constructor_blobs:
            digest.update(b"%d:" % len(blob))
            digest.update(blob)
        return digest.digest()


class Answer:
    """What a call comes to, filled in on the way."""

    def __init__(self):
        self.value = ()
        self.error = None
        self.instance = None
        self.notes = []
        self.poisoned = None


def _bounded(notes):
    """Notes within limits: they have names from a job, which can be many and long."""
    bounded = [printable(note, _MAX_NOTE) for note in notes[:_MOST_NOTES]]
    if len(notes) > _MOST_NOTES:
        bounded.append("%d more notes were left out." % (len(notes) - _MOST_NOTES))
    return bounded


def _names(threads):
    """Names of threads for a sentence. Properties of a job's class are not read: they may hang or fail."""
    names = [one_line(vars(thread).get("_name", "?"), _MAX_THREAD) for thread in threads[:_MOST_THREADS]]
    if len(threads) > _MOST_THREADS:
        names.append("%d more" % (len(threads) - _MOST_THREADS))
    return names


class Worker:
    """Performs calls, one at a time."""

    def __init__(self, config, channel, output, gate, state, startup_modules):
        directory = config["dir"]
        self._channel = channel
        self._output = output
        self._gate = gate
        self._state = state
        self._sources = Sources(os.path.join(directory, "src"))
        self._module_store = ModuleStore(os.path.join(directory, "modules"), startup_modules, config["cwd"])
        self._instances = Instances(config["maxInstances"], config["instanceIdle"])
        self._idle_main = sys.modules["__main__"] = types.ModuleType("__main__")
        self._threads = runner_process.living_threads()  # as of the end of the last call
        runner_process.flush_before_exit(output)

    # --- a call from frame to answer --------------------------------------------------------------------------

    def call(self, frame):
        """Performs a CALL; returns the meta data and the value of its RESULT."""
        started = _perf_counter()
        answer = Answer()
        try:
            job = self._prepare(frame, answer)
        except Exception as error:
            answer.error = runner_errors.describe(error)
        else:
            self._perform(job, answer)
        self._output.settle()
        pending = self._output.pending()
        threads_before, self._threads = self._threads, runner_process.living_threads()
        return {
            "ok": answer.error is None,
            "error": answer.error,
            "instance": None if answer.instance is None else answer.instance.info(),
            "instances": self._instances.count(),
            "lives": self._instances.has(frame.meta.get("instance")),
            "notes": _bounded(answer.notes),
            "poisoned": None if answer.poisoned is None else one_line(answer.poisoned, _MAX_POISONED),
            "threads": _names([thread for thread in self._threads if thread not in threads_before]),
            "pending": pending,
            "output": self._output.release(),
            "ms": (_perf_counter() - started) * 1000,
            "value": None if not answer.value else frame.meta["format"],
        }, answer.value

    def repair(self):
        """Puts back what a call has changed in the process; after its answer is out, so that nobody waits for it."""
        self._state.repair()

    def _prepare(self, frame, answer):
        """Everything before code of the job runs."""
        meta = frame.meta
        if meta.get("refresh"):  # packages were installed since the last call
            importlib.invalidate_caches()
        modules = self._module_store.get(
            meta.get("modules"), partial(self._instances.uses, "modules"), answer.notes
        )
        source = self._sources.get(meta["source"], meta["name"], partial(self._instances.uses, "source"))
        return Job(frame, source, modules)

    def _perform(self, job, answer):
        if job.modules is not None:
            job.modules.enter()
        run = self._run_method if job.is_class else self._run_function
        self._gate.run(partial(run, job, answer), partial(self._failed, answer))
        if self._state.in_fork():
            self._leave_fork(1 if answer.error else 0)
        if answer.instance is not None:
            answer.instance.logging = self._state.logging_setting()
        self._state.reset_logging()
        sys.modules["__main__"] = self._idle_main
        if job.modules is not None:
            job.modules.leave()

    def _failed(self, answer, error):
        if isinstance(error, SystemExit) and self._state.in_fork():
            self._leave_fork(error.code if isinstance(error.code, int) else int(error.code is not None))
        cancelled = self._gate.fired
        answer.value = ()

        def examine():
            answer.error = runner_errors.describe(error, cancelled)
            answer.poisoned = runner_errors.broken_cuda(error)

        def give_up(_):
            if answer.error is None:
                answer.error = runner_errors.describe_briefly(error, cancelled or self._gate.fired)

        # An exception's __str__ is code of the job as well: it may hang, and may fail.
        self._gate.run(examine, give_up)
        if cancelled:
            broken = mend_imports()
            if broken is not None:
                answer.poisoned = "the cancel cut the import of %s short, which cannot be repeated" % broken

    def _leave_fork(self, status):
        """Ends a child whose code has come back out of the job: the parent alone answers."""
        self._output.flush()
        runner_process.exit_now(status & 0xFF)

    # --- functions --------------------------------------------------------------------------------------------

    def _run_function(self, job, answer):
        self._instances.drop_idle()
        main = self._execute(job)
        function = vars(main).get(job.name)
        if not callable(function):
            raise RequestError(
                "the source does not define a function named %r; it defines: %s" % (job.name, defined_names(main))
            )
        args, kwargs = job.arguments()
        value = function(*args, **kwargs)
        value = runner_async.plain_value(value, runner_async.run_once, self._emitter(job))
        answer.value = runner_values.dump(value, job.as_json, job.limit)

    def _execute(self, job):
        main = sys.modules["__main__"] = job.source.new_main()
        _exec(job.source.code, vars(main))
        return main

    def _emitter(self, job):
        """Takes the items of a generator as they come, and sends each when Node wants that.

        Fails once all together are certain to be too large, and not only when the generator has come to its end.
        """
        size = runner_values.LeastSize(job.limit)

        def emit(item):
            size.add(item)
            if job.chunk_limit is None:
                return
            try:
                value = runner_values.dump(item, job.as_json, job.chunk_limit)
            except SizeError:
                value = ()  # the result has it
            self._gate.hold()
            try:
                self._channel.send(CHUNK, job.call_id, {"value": job.format if value else None}, value)
            finally:
                self._gate.release()

        return emit

    # --- classes ----------------------------------------------------------------------------------------------

    def _run_method(self, job, answer):
        self._instances.drop_idle()
        fingerprint = job.fingerprint()
        instance = self._reusable(job, fingerprint, answer.notes)
        if instance is None:
            instance, arguments = self._build(job, fingerprint, answer.notes)
        else:
            sys.modules["__main__"] = instance.main
            self._state.set_logging(instance.logging)
            if instance.loop is not None:
                instance.loop.enter()
            arguments = job.arguments()
        answer.instance = instance
        method = self._method(instance, job.method)
        instance.touch()
        args, kwargs = arguments
        value = method(*args, **kwargs)
        value = runner_async.plain_value(value, instance.own_loop, self._emitter(job))
        answer.value = runner_values.dump(value, job.as_json, job.limit)

    def _reusable(self, job, fingerprint, notes):
        """The living instance that the call means, or None when one is to be built."""
        identifier = job.instance_id
        if identifier is None:
            return None
        instance = self._instances.find(identifier)
        reason = self._instances.why_dropped(identifier)
        if instance is None:
            if reason is not None and not job.fresh:
                notes.append("Instance %s was dropped %s and is built anew." % (identifier, reason))
            return None
        if not job.fresh and instance.fingerprint == fingerprint:
            return instance
        if not job.fresh:
            notes.append(
                "Instance %s is built anew: the code of its class, its local modules or its constructor arguments "
                "have changed." % identifier
            )
        del instance
        self._instances.drop(identifier)
        gc.collect()
        return None

    def _build(self, job, fingerprint, notes):
        """A new instance, and the arguments of the method: those that do not load should not cost a model."""
        main = self._execute(job)
        cls = vars(main).get(job.name)
        if not isinstance(cls, type):
            raise RequestError(
                "the source does not define a class named %r; it defines: %s" % (job.name, defined_names(main))
            )
        arguments = job.arguments()
        identifier = job.instance_id
        if identifier is None:
            identifier = "%s_%s" % (one_line(job.name), _urandom(4).hex())
        instance = Instance(identifier, job, fingerprint, main)
        self._instances.make_room()
        instance.loop = runner_async.loop_if_wanted()
        try:
            instance.value = self._construct(cls, job, notes)
        except BaseException:
            if instance.loop is not None:
                instance.loop.close(wait=False)
            raise
        self._instances.add(instance)
        return instance, arguments

    def _construct(self, cls, job, notes):
        args, kwargs = job.constructor_arguments()
        try:
            return cls(*args, **kwargs)
        except Exception as error:
            if not runner_errors.is_cuda_out_of_memory(error):
                raise
        # Outside of the handler: the exception holds the frames, and those hold what was loaded half-way.
        count = self._instances.drop_others("as CUDA memory ran out")
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.cuda.empty_cache()
        notes.append(
            "CUDA ran out of memory in the constructor of %s: %d other instances were dropped and it was tried once "
            "more." % (job.name, count)
        )
        return cls(*args, **kwargs)

    def _method(self, instance, name):
        try:
            method = getattr(instance.value, name)
        except AttributeError:
            if hasattr(type(instance.value), name):
                raise  # a property that fails in itself
            method = None
        if callable(method):
            return method
        public = [
            key
            for key in dir(type(instance.value))
            if (not key.startswith("_") or key == "__call__") and callable(getattr(type(instance.value), key, None))
        ]
        raise RequestError(
            "the class %s has no method named %r; it has: %s"
            % (instance.class_name, name, ", ".join(public) or "none")
        )
