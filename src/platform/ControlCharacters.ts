/** Text that anybody could have written, for a log or a terminal: without control characters and marks of direction. */
export const withoutControls = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}]/gu, " ");
