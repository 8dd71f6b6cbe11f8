// Plain JavaScript, so that every version of Node can run this check.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

// Effect 4 requires Node 22.19. Node runs TypeScript without a build since 22.18.
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(
    `worker-tetra requires Node 22.19 or newer; this is ${process.versions.node} (${process.execPath}).\n` +
      "`npm ci` installs Node as an optional dependency of this project: run it without --omit=optional,\n" +
      `then use npm scripts (\`npm start\`, \`npm test\`). If there is no such package for ${process.platform}-${process.arch}, put a newer node on PATH.\n`,
  );
  process.exit(1);
}
