// Imported before the program: sets its wall clock back an hour (and 3.7 s) at SIGUSR2, but not its monotonic clock.
const { now } = Date;
let offset = 0;
Date.now = () => now() + offset;
process.on("SIGUSR2", () => {
  offset -= 3_603_700;
});
