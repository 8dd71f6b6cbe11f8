/** Whether slow tests run at full length, as in `npm run test:faults` and `npm run test:conformance`. */
export const IS_FULL = (process.env["WORKER_FULL_FAULTS"] ?? "") !== "";
