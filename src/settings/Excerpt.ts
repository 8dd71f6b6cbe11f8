const isHighSurrogate = (unit: number) => (unit & 0xfc00) === 0xd800;

/**
 * The beginning of a text and the number of omitted characters. Mask secrets first: a secret that was cut may no longer
 * be recognised.
 *
 * @param limit maximum number of characters shown
 */
export const excerpt = (text: string, limit: number): string => {
  if (text.length <= limit) return text;
  const end = isHighSurrogate(text.charCodeAt(limit - 1)) ? limit - 1 : limit;
  return `${text.slice(0, end)}… (${text.length - end} more characters)`;
};
