import type { Option } from "effect";

/** A folder that a worker can live in, with what follows from where it is. */
export interface Place {
  /** The workspace: current directory of jobs, parent of the virtual environments. */
  readonly directory: string;
  /** Other workers use it too, so it is locked before it is changed. */
  readonly shared: boolean;
  /** Where caches are kept. */
  readonly caches: string;
  /** Where RunPod's cached models are, if there are any. */
  readonly cachedModels: Option.Option<string>;
  /** Caches are kept in this place, since the user's own folder for caches is not writable. */
  readonly keepsCaches?: boolean;
}
