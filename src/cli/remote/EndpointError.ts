import { Schema } from "effect";

/** Sent in place of a key to a server that needs none. */
export const NO_KEY = "none";

/** The address or the id is invalid; no request was sent. */
export class EndpointInvalid extends Schema.TaggedError<EndpointInvalid>()("EndpointInvalid", {
  reason: Schema.String,
}) {
  override get message(): string {
    return this.reason;
  }
}

/** A request to an endpoint failed. */
export class EndpointFailed extends Schema.TaggedError<EndpointFailed>()("EndpointFailed", {
  url: Schema.String,
  /** Absent if there was no response. */
  status: Schema.optionalKey(Schema.Int),
  /** The response can't be used. */
  isUnusable: Schema.optionalKey(Schema.Boolean),
  reason: Schema.String,
}) {
  override get message(): string {
    if (this.isUnusable === true) {
      return `Invalid response from ${this.url}: ${this.reason}.`;
    }
    switch (this.status) {
      case undefined:
        return `${this.url} does not answer (${this.reason}). On this machine start it by \`worker-tetra serve\`; elsewhere check the address and the network.`;
      case 401:
      case 403:
        return this.reason === NO_KEY
          ? "There is no API key: set RUNPOD_API_KEY to one that may use this endpoint. RunPod's console makes them under Settings."
          : `${this.url} refuses the API key. Set RUNPOD_API_KEY to one that may use this endpoint.`;
      case 404:
        return `${this.url} is no endpoint, or the job is gone. Check the endpoint's id.`;
      case 413:
        return `${this.url} rejects the request as too large: RunPod accepts 10 MB. Put large data on the volume or in a bucket and send its location.`;
      default:
        return `${this.url} answered ${this.status}: ${this.reason}`;
    }
  }

  /** Whether the same request may succeed later. */
  get isRetryable(): boolean {
    if (this.isUnusable === true) return false;
    return this.status === undefined || this.status >= 500 || this.status === 429;
  }
}
