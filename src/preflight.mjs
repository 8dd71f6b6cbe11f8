// Plain JavaScript, so that every Node can read it and say what is wrong instead of failing on TypeScript.
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

// Effect 4 needs 22.19; from 22.18 on Node runs TypeScript as it is.
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(
    `worker-tetra needs Node 22.19 or newer, and this is ${process.versions.node} (${process.execPath}).\n` +
      "`npm ci` brings the right one as an optional dependency of this project: run it without --omit=optional,\n" +
      `then start through npm (\`npm start\`, \`npm test\`). For ${process.platform}-${process.arch} without such a package, put a newer node on PATH.\n`,
  );
  process.exit(1);
}
