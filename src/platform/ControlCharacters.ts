/** Makes untrusted text safe to print: replaces control and format characters (text direction marks) by spaces. */
export const withoutControls = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}]/gu, " ");
