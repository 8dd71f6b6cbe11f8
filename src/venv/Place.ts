import { join } from "node:path";

import type { Option } from "effect";

/** A folder for a workspace: on the network volume or on the container's disk. */
export interface Place {
  /** The workspace: current directory of jobs, and parent of `.venvs`. */
  readonly directory: string;
  /** Whether other workers use it too, so changes need a lock. */
  readonly shared: boolean;
  /** Whether its disk is full, so that an existing virtual environment can be used, but none can be built. */
  readonly isFull?: boolean;
  /** The folder of the caches. */
  readonly caches: string;
  /** The folder of RunPod's cached models, if it exists. */
  readonly cachedModels: Option.Option<string>;
  /** The folder of the models that RunPod staged on this machine for the endpoint, if it exists. */
  readonly stagedModels?: string;
  /**
   * Whether libraries keep their caches in `caches` although the place is not shared: the user's cache folder is not
   * writable, or `caches` is on the network volume.
   */
  readonly keepsCaches?: boolean;
}

/** The folder of all virtual environments of a place. */
export const venvsFolder = ({ directory }: Pick<Place, "directory">): string =>
  join(directory, ".venvs");
