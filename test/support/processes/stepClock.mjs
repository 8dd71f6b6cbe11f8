// Imported before the program. SIGUSR2 sets the wall clock, but not the monotonic clock, back by an hour and 3.7 s.
const { now } = Date;
let offset = 0;
Date.now = () => now() + offset;
process.on("SIGUSR2", () => {
  offset -= 3_603_700;
});
