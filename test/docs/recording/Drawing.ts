import type { TimedLine } from "./Run.ts";

/** One request of the recording: the Python source, the command and its output. */
export interface Scene {
  readonly title: string;
  readonly source: ReadonlyArray<string>;
  readonly output: ReadonlyArray<TimedLine>;
}

// All sizes are in pixels of the drawing.
const FONT_SIZE = 12;
const CHARACTER = 7.2;
const LINE = 17;
const PADDING = 16;
const TITLE = 30;
const SOURCE_COLUMNS = 46;
const OUTPUT_COLUMNS = 68;
const OUTPUT_LEFT = PADDING * 3 + SOURCE_COLUMNS * CHARACTER;
const WIDTH = OUTPUT_LEFT + OUTPUT_COLUMNS * CHARACTER + PADDING;

const STYLE = `
text { font: ${FONT_SIZE}px ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; fill: #d6deeb; white-space: pre }
.title { font: 600 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #82aaff }
.source { fill: #a6accd }
.success { fill: #7fdb9c }
.failure { fill: #ff8b8b }
.request { fill: #ffd580 }
.line { animation: appear 1ms both }
@keyframes appear { from { opacity: 0 } to { opacity: 1 } }
@media (prefers-reduced-motion: reduce) { .line { animation: none } }`;

/** Indentation of wrapped lines. */
const INDENT = "  ";

const escaped = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const rounded = (value: number) => Number(value.toFixed(1));

/** A line of text. Its length is set explicitly, so that it has the same width in every font. */
const textAt = (left: number, top: number, text: string, attributes: string): string => {
  const indent = text.length - text.trimStart().length;
  const shown = text.trim();
  if (shown === "") return "";
  const x = rounded(left + indent * CHARACTER);
  const length = rounded([...shown].length * CHARACTER);
  return `<text x="${x}" y="${top}" textLength="${length}" ${attributes}>${escaped(shown)}</text>`;
};

/** Breaks a long line between words; the rest is indented. */
const wrapped = (text: string): ReadonlyArray<string> => {
  if (text.length <= OUTPUT_COLUMNS) return [text];
  const end = text.lastIndexOf(" ", OUTPUT_COLUMNS);
  const at = end > INDENT.length ? end : OUTPUT_COLUMNS;
  return [text.slice(0, at), ...wrapped(`${INDENT}${text.slice(at).trimStart()}`)];
};

const CLASSES = { "▶": "request", "✓": "success", "✗": "failure" } as const;

const classOf = (text: string): string =>
  Object.entries(CLASSES).find(([mark]) => text.startsWith(mark))?.[1] ?? "output";

const drawScene = ({ title, source, output }: Scene, top: number) => {
  const first = top + TITLE + LINE;
  const sources = source.map((text, index) =>
    textAt(PADDING * 1.5, first + index * LINE, text, 'class="source"'),
  );
  const rows = output.flatMap(({ seconds, text }) =>
    wrapped(text).map((part) => ({ seconds, part, style: classOf(text) })),
  );
  const outputs = rows.map(({ seconds, part, style }, index) =>
    textAt(
      OUTPUT_LEFT,
      first + index * LINE,
      part,
      `class="line ${style}" style="animation-delay:${rounded(seconds)}s"`,
    ),
  );
  const height = TITLE + LINE * (Math.max(source.length, rows.length) + 1);
  const line = rounded(OUTPUT_LEFT - PADDING);
  return {
    height,
    parts: [
      `<text x="${PADDING * 1.5}" y="${top + 18}" class="title">${escaped(title)}</text>`,
      `<path d="M${line} ${top + TITLE}V${top + height - 8}" stroke="#3b4261"/>`,
      ...sources,
      ...outputs,
    ].filter((part) => part !== ""),
  };
};

/** An animated SVG image that shows each line at its time, or all lines at once if the reader prefers reduced motion. */
export const draw = (scenes: ReadonlyArray<Scene>, description: string): string => {
  const parts: Array<string> = [];
  let top = PADDING;
  for (const scene of scenes) {
    const drawing = drawScene(scene, top);
    parts.push(...drawing.parts);
    top += drawing.height + PADDING / 2;
  }
  const size = `${Math.ceil(WIDTH)} ${Math.ceil(top)}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size}" role="img" xml:space="preserve">
<title>${escaped(description)}</title>
<style>${STYLE}
</style>
<rect width="100%" height="100%" rx="10" fill="#1a1e2e" stroke="#3b4261"/>
${parts.join("\n")}
</svg>
`;
};
