// Whether the worker in this container lives: behind a load balancer by its /ping, else by its process.
import { readdirSync, readFileSync } from "node:fs";

const port = process.env.PORT_HEALTH || process.env.PORT;

const isAtWork = () =>
  readdirSync("/proc").some((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, "utf8").includes("/dist/bin.mjs");
    } catch {
      // It has ended meanwhile.
      return false;
    }
  });

const answers = async () => {
  try {
    const { status } = await fetch(`http://127.0.0.1:${port}/ping`, {
      signal: AbortSignal.timeout(4000),
    });
    return status === 200 || status === 204;
  } catch {
    return false;
  }
};

const isHealthy = port && !process.env.RUNPOD_WEBHOOK_GET_JOB ? await answers() : isAtWork();
process.exit(isHealthy ? 0 : 1);
