const isHighSurrogate = (unit: number) => (unit & 0xfc00) === 0xd800;

/**
 * The beginning of a text that may be long, and how much is missing. What must not be seen has to be masked
 * before: of a secret that was cut nothing may be left to know it by.
 *
 * @param limit characters that are shown
 */
export const excerpt = (text: string, limit: number): string => {
  if (text.length <= limit) return text;
  const end = isHighSurrogate(text.charCodeAt(limit - 1)) ? limit - 1 : limit;
  return `${text.slice(0, end)}… (${text.length - end} more characters)`;
};
