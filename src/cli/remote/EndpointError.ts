import { Schema } from "effect";

/** Sent in place of a key to a server that requires none. */
export const NO_KEY = "none";

/** The URL or the endpoint ID is invalid; no request was sent. */
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
  /** The response is invalid. */
  isInvalid: Schema.optionalKey(Schema.Boolean),
  reason: Schema.String,
}) {
  override get message(): string {
    if (this.isInvalid === true) {
      return `Invalid response from ${this.url}: ${this.reason}.`;
    }
    switch (this.status) {
      case undefined:
        return `No response from ${this.url} (${this.reason}). Check the URL and the network. To start a local endpoint, run \`worker-tetra serve\`.`;
      case 401:
      case 403:
        return this.reason === NO_KEY
          ? "There is no API key: set RUNPOD_API_KEY to a key with access to this endpoint. Create one in RunPod's console under Settings."
          : `${this.url} rejects the API key. Set RUNPOD_API_KEY to a key with access to this endpoint.`;
      case 404:
        return `${this.url}: the endpoint does not exist, or the job has expired. Check the endpoint ID.`;
      case 413:
        return `${this.url} rejects the request as too large: RunPod accepts 10 MB. Store large data on the volume or in a bucket and send its location.`;
      default:
        return `${this.url} responded with status ${this.status}: ${this.reason}`;
    }
  }

  /** Whether the same request may succeed later. */
  get isRetryable(): boolean {
    if (this.isInvalid === true) return false;
    return this.status === undefined || this.status >= 500 || this.status === 429;
  }
}
